"""Many runs: jobs in processes of their own, ensembles in one, searches, and where they lie.

May use training and records.
"""
