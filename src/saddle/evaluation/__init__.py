"""One generator, or two sets of samples, measured: samples, one feature pass, every metric.

May use all that makes numbers: data, models, features, metrics.
"""
