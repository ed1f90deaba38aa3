"""Records to statistics, tables, figures and pages.

May use records and what stands above them; trains nothing.
"""
