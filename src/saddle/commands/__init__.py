"""Entry points: ``saddle-train``, ``saddle-evaluate``, ``saddle-sample``. Only these read a configuration.

torch and Lightning take seconds to import, so the modules here import them inside the work:
``--help`` and ``--cfg job`` answer at once.
"""
