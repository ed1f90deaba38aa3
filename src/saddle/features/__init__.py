"""Samples to feature matrices: extractors, the networks behind them with their weights, and their files.

May use models, data and the protocol of numbers.
"""
