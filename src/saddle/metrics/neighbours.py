"""Precision, recall, density and coverage from balls that reach to the k-th nearest neighbour.

A ball around a sample reaches to its k-th nearest neighbour of its own kind, itself not counted, and
contains its surface. Distances are Euclidean, in float64, made in blocks of rows.
"""

import torch
from torch import Tensor

from saddle.metrics.kernels import squared_distances
from saddle.metrics.matrices import feature_matrices


def precision_recall(real: Tensor, fake: Tensor, *, k: int = 3, block_size: int = 256) -> dict[str, float]:
    """Improved precision and recall: the share of each side that lies in some ball of the other.

    Args:
        real: (N, d), N > k.
        fake: (M, d), M > k.
        k: neighbour that sets a ball's radius.
        block_size: rows of the distance matrix held at once.

    Returns:
        "precision", share of fake inside some ball of a real sample, and "recall", share of real inside
        some ball of a fake one; both in [0, 1], larger is better.

    Raises:
        ValueError: k or fewer rows, unlike widths, or a value that is not finite.

    Source: Kynkäänniemi et al. 2019, arXiv:1904.06991, eq. 1.
    """
    real, fake = _centred(real, fake, k)
    real_radii, fake_radii = _radii(real, k, block_size), _radii(fake, k, block_size)
    fake_inside = torch.zeros(len(fake), dtype=torch.bool, device=fake.device)
    num_recalled = 0
    for rows, radii in zip(real.split(block_size), real_radii.split(block_size), strict=True):
        squared = squared_distances(rows, fake)  # (block, M)
        fake_inside |= (squared <= radii[:, None]).any(dim=0)
        num_recalled += int((squared <= fake_radii).any(dim=1).sum())
    return {"precision": float(fake_inside.sum()) / len(fake), "recall": num_recalled / len(real)}


def density_coverage(real: Tensor, fake: Tensor, *, k: int = 5, block_size: int = 256) -> dict[str, float]:
    """Density, Σ over fake of the balls of real samples it lies in, /(k·M); coverage, the share of those
    balls that hold a fake sample.

    For equal distributions the expectations are 1 and 1 − Π_{j=1..k} (N − j)/(M + N − j).

    Args:
        real: (N, d), N > k.
        fake: (M, d), M > k.
        k: neighbour that sets a ball's radius.
        block_size: rows of the distance matrix held at once.

    Returns:
        "density", ≥ 0, above 1 where fake crowds into dense parts of real, and "coverage" in [0, 1];
        larger is better.

    Raises:
        ValueError: k or fewer rows, unlike widths, or a value that is not finite.

    Source: Naeem et al. 2020, arXiv:2002.09797, eqs. 3 and 4.
    """
    real, fake = _centred(real, fake, k)
    real_radii = _radii(real, k, block_size)
    num_inside = num_covered = 0
    for rows, radii in zip(real.split(block_size), real_radii.split(block_size), strict=True):
        inside = squared_distances(rows, fake) <= radii[:, None]  # (block, M)
        num_inside += int(inside.sum())
        num_covered += int(inside.any(dim=1).sum())
    return {"density": num_inside / (k * len(fake)), "coverage": num_covered / len(real)}


def _centred(real: Tensor, fake: Tensor, k: int) -> tuple[Tensor, Tensor]:
    if k < 1:
        raise ValueError(f"k must be at least 1; got {k}. The papers use 3 and 5.")
    real, fake = feature_matrices(real, fake, at_least=k + 1)
    centre = real.mean(0)
    return real - centre, fake - centre


def _radii(x: Tensor, k: int, block_size: int) -> Tensor:
    """(N,) squared distance of each row to its k-th nearest other row."""
    radii = []
    for start in range(0, len(x), block_size):
        squared = squared_distances(x[start : start + block_size], x)
        own = torch.arange(len(squared), device=x.device)
        squared[own, own + start] = torch.inf  # a row is not its own neighbour
        radii.append(squared.topk(k, dim=1, largest=False).values[:, -1])
    return torch.cat(radii)
