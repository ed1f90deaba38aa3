"""Numbers from two matrices of features: ``metric(real (N, d), fake (M, d), **options)``.

A metric knows neither images nor networks, draws nothing at random and computes in float64. The order
is always real, then fake; a generator that repeats one good sample has high precision and low recall.
"""
