"""Distances for points whose law is known by its moments, or is a single point: no mode is counted.

Source: their definitions; for W₁ on the line Villani 2003, Topics in Optimal Transportation, sec. 2.2.
"""

import numpy as np
import torch
from scipy.stats import wasserstein_distance
from torch import Tensor

from saddle.metrics.matrices import feature_matrices
from saddle.metrics.values import Role, Value, metric


@metric(Value())
def mean_error(real: Tensor, fake: Tensor) -> float:
    """‖E fake − E real‖, Euclidean, from (N, d) and (M, d); of the Dirac-GAN it is |θ|.

    Raises:
        ValueError: no rows, unlike widths, or a value that is not finite.
    """
    real, fake = feature_matrices(real, fake)
    return float(torch.linalg.vector_norm(fake.mean(0) - real.mean(0)))


@metric(Value())
def std_error(real: Tensor, fake: Tensor) -> float:
    """‖std fake − std real‖ over the coordinates' standard deviations, from (N, d) and (M, d).

    Divided by N and M, not by N − 1: a single sample has no spread.

    Raises:
        ValueError: no rows, unlike widths, or a value that is not finite.
    """
    real, fake = feature_matrices(real, fake)
    return float(torch.linalg.vector_norm(fake.std(0, correction=0) - real.std(0, correction=0)))


@metric(Value(role=Role.QUALITY, rank=4, near_zero=True))
def wasserstein(real: Tensor, fake: Tensor) -> float:
    """Mean over the coordinates of W₁ between the samples' marginals: on the line, W₁ between the samples.

    W₁ = ∫|F − G|, by sorting (scipy). For d > 1 a lower bound of W₁/√d: it is blind to how coordinates
    depend on each other.

    Args:
        real: (N, d).
        fake: (M, d).

    Raises:
        ValueError: no rows, unlike widths, or a value that is not finite.
    """
    real, fake = feature_matrices(real, fake)
    columns = zip(real.cpu().numpy().T, fake.cpu().numpy().T, strict=True)
    return float(np.mean([wasserstein_distance(one, other) for one, other in columns]))
