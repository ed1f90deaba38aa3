"""Numbers from two matrices of features: ``metric(real (N, d), fake (M, d), **options)``.

A metric knows neither images nor networks (but those of ``images`` and ``generators``, which say so) and
gives float64 accuracy. The order is always real, then fake; a generator that repeats one good sample has
high precision and low recall. What is drawn at random is drawn from a seed of the metric's own: no global
generator is read or moved, and no training is disturbed. ``intervals`` adds an interval to any of them;
``streaming`` makes ``torchmetrics`` metrics of them. Each carries what its numbers mean, see ``values``.
"""
