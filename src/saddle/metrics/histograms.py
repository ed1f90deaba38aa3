"""Precision-recall curves of distributions, from histograms over common clusters: F8 and F1/8."""

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from saddle.game.randomness import seed_of
from saddle.metrics.matrices import feature_matrices
from saddle.metrics.values import HIGH, Value, metric


@metric({"f8": Value(HIGH), "f1_8": Value(HIGH)})
def prd(
    real: Tensor,
    fake: Tensor,
    *,
    num_clusters: int = 20,
    num_runs: int = 10,
    num_angles: int = 1001,
    seed: int = 0,
) -> dict[str, float]:
    """F8 and F1/8 of the curve α(λ) = Σ min(λp, q), β(λ) = α(λ)/λ, p and q the sides' shares of k clusters.

    Clusters are those of k-means on both sides together; curves are averaged over runs of it.
    min(N, M) samples of each side are used, the first so many: unlike sizes bias the clusters.

    Args:
        real: (N, d), N ≥ num_clusters.
        fake: (M, d), M ≥ num_clusters.
        num_clusters: k, 20 in the paper. Finer ones see more, and more noise.
        num_runs: of k-means, 10 in the authors' code.
        num_angles: points of the curve, at λ = tan of equally spaced angles.
        seed: of k-means.

    Returns:
        "f8", mostly recall, and "f1_8", mostly precision; in [0, 1], larger is better. Biased low for
        equal distributions: of N samples a side, histograms differ by about √(2k/πN) in total variation.

    Raises:
        ValueError: fewer rows than clusters, unlike widths, or a value that is not finite.

    Source: Sajjadi et al. 2018, arXiv:1806.00035, eq. 4 and secs. 3.3, 4 and 4.3 (the Fs).
    """
    from sklearn.cluster import MiniBatchKMeans

    real, fake = feature_matrices(real, fake, at_least=num_clusters)
    num = min(len(real), len(fake))
    together = torch.cat([real[:num], fake[:num]]).cpu().numpy()
    curves = []
    for run in range(num_runs):
        random = seed_of(seed, "prd", run) % 2**32  # numpy's seeds have 32 bits
        found = MiniBatchKMeans(num_clusters, n_init=10, random_state=random).fit_predict(together)
        p, q = (np.bincount(part, minlength=num_clusters) / num for part in np.split(found, 2))
        curves.append(prd_curve(p, q, num_angles))
    precision, recall = np.mean(curves, axis=0)
    return {"f8": _best_f(precision, recall, 8.0), "f1_8": _best_f(precision, recall, 1 / 8)}


def prd_curve(p: ArrayLike, q: ArrayLike, num_angles: int = 1001) -> tuple[np.ndarray, np.ndarray]:
    """Precision α and recall β of q against p, histograms over the same bins, at rising λ."""
    slopes = np.tan(np.linspace(1e-10, np.pi / 2 - 1e-10, num_angles))  # the authors' ε
    precision = np.minimum(slopes[:, None] * np.asarray(p), np.asarray(q)).sum(1)
    return np.clip(precision, 0, 1), np.clip(precision / slopes, 0, 1)  # clip: rounding leaves 1 + 1e-16


def _best_f(precision: np.ndarray, recall: np.ndarray, beta: float) -> float:
    total = beta**2 * precision + recall
    return float(((1 + beta**2) * precision * recall / np.where(total > 0, total, 1)).max())
