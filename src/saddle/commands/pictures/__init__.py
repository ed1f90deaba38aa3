"""What each picture computes from configurations and records, through the code that trains.

A function here takes a ``Subject`` and its own settings (``conf/picture``), and returns numbers; how they are
drawn is in ``saddle.reports``.
"""
