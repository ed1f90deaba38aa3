"""Fréchet distance between Gaussians fitted to two feature matrices: FID for any feature network.

‖μ₁ − μ₂‖² + tr(Σ₁ + Σ₂ − 2(Σ₁Σ₂)^½). The trace of the root needs no general matrix root: Σ₁Σ₂ has the
eigenvalues of the symmetric Σ₁^½ Σ₂ Σ₁^½, which are real and nonnegative also for singular Σ.

Bias: for equal distributions and d features the expectation is about d/N + d(d+1)/(4N) from the
sampling of each side, so numbers of unlike N are not comparable.

Source: Heusel et al. 2017, arXiv:1706.08500, eq. 6.
"""

import torch
from torch import Tensor

from saddle.metrics.matrices import feature_matrices


def fid(real: Tensor, fake: Tensor) -> float:
    """Fréchet distance of the Gaussians with the samples' means and (unbiased) covariances.

    Args:
        real: (N, d), N ≥ 2; N above d if the covariance is to have full rank.
        fake: (M, d), likewise.

    Returns:
        ≥ 0, in squared feature units; smaller is better.

    Raises:
        ValueError: fewer than two rows, unlike widths, or a value that is not finite.
    """
    real, fake = feature_matrices(real, fake, at_least=2)
    return frechet_distance(real.mean(0), _covariance(real), fake.mean(0), _covariance(fake))


def frechet_distance(mean_a: Tensor, covariance_a: Tensor, mean_b: Tensor, covariance_b: Tensor) -> float:
    """Squared 2-Wasserstein distance of N(mean_a, covariance_a) and N(mean_b, covariance_b).

    Args:
        mean_a, mean_b: (d,) float64.
        covariance_a, covariance_b: (d, d) float64, symmetric, nonnegative definite, possibly singular.

    Returns:
        ≥ 0; rounding below zero is cut off.
    """
    values, vectors = torch.linalg.eigh(covariance_a)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.mT  # Σ₁^½; clamp: rounding leaves −1e-16
    shared = torch.linalg.eigvalsh(root @ covariance_b @ root).clamp(min=0).sqrt().sum()
    spread = covariance_a.trace() + covariance_b.trace() - 2 * shared
    return max(float((mean_a - mean_b).square().sum() + spread), 0.0)


def _covariance(features: Tensor) -> Tensor:
    centred = features - features.mean(0)
    return centred.mT @ centred / (len(features) - 1)
