"""Published results as data, and how each is measured again by the code that trains.

A claim is a file of ``conf/claim``: paper, statement, protocol, the paper's numbers with where they are known
from, how ours are measured, and which are accepted (``claim``). Measuring functions take an ``Asked`` and
return a ``Measured`` (``measured``); ``job`` runs one in a process of its own, ``runner`` many side by side,
and ``judging`` compares. The table and the page are made in ``saddle.claims.page``.
"""
