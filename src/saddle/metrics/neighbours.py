"""Precision, recall, density and coverage from balls that reach to the k-th nearest neighbour.

A ball around a sample reaches to its k-th nearest neighbour of its own kind, itself not counted, and
contains its surface. Distances are Euclidean, as exact as float64, and made in blocks of rows: 50,000
against 50,000 samples need no more memory than a few copies of the features.

All four are biased at finite N and M, in ways that cancel only between sets of the same sizes.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from saddle.game.refusals import Refused
from saddle.metrics.distances import kth_nearest, pairs_within
from saddle.metrics.matrices import comparable
from saddle.metrics.values import HIGH, Role, Value, metric

MANIFOLDS = {"precision": Value(HIGH), "recall": Value(HIGH, Role.FRACTION, rank=0)}
BALLS = {"density": Value(HIGH), "coverage": Value(HIGH, Role.FRACTION, rank=1)}


@metric(MANIFOLDS)
def precision_recall(real: Tensor, fake: Tensor, *, k: int = 3, block_size: int = 256) -> dict[str, float]:
    """Improved precision and recall: the share of each side that lies in some ball of the other.

    Args:
        real: (N, d), N > k.
        fake: (M, d), M > k.
        k: neighbour that sets a ball's radius.
        block_size: rows of the distance matrix held at once.

    Returns:
        "precision", share of fake inside some ball of a real sample, and "recall", share of real inside
        some ball of a fake one; both in [0, 1], larger is better. Also a perfect generator is below 1.

    Raises:
        ValueError: k or fewer rows, unlike widths, or a value that is not finite.

    Source: Kynkäänniemi et al. 2019, arXiv:1904.06991, eqs. 1-2 (k = 3).
    """
    real, fake = _checked(real, fake, k)
    return _manifolds(_counts(real, fake, _radii(real, (k,)), _radii(fake, (k,)), block_size))


@metric(BALLS)
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

    Source: Naeem et al. 2020, arXiv:2002.09797, sec. 3 (their code: balls without their surface).
    """
    real, fake = _checked(real, fake, k)
    nowhere = torch.full((len(fake),), -1.0, dtype=torch.float64, device=fake.device)
    return _balls(_counts(real, fake, _radii(real, (k,)), [nowhere], block_size), k)


@metric({**MANIFOLDS, **BALLS})
def prdc(
    real: Tensor, fake: Tensor, *, k: int = 3, density_k: int = 5, block_size: int = 256
) -> dict[str, float]:
    """``precision_recall`` with k and ``density_coverage`` with density_k, from one pass over the distances.

    Args:
        real: (N, d), N > k, density_k.
        fake: (M, d), M > k, density_k.
        k: neighbour for precision and recall.
        density_k: neighbour for density and coverage. The package prdc uses one k for all four.
        block_size: rows of the distance matrix held at once.

    Returns:
        "precision", "recall", "density", "coverage"; larger is better.

    Raises:
        ValueError: k or fewer rows, unlike widths, or a value that is not finite.

    Source: Kynkäänniemi et al. 2019, arXiv:1904.06991; Naeem et al. 2020, arXiv:2002.09797.
    """
    real, fake = _checked(real, fake, min(k, density_k), max(k, density_k))
    (small, large) = _radii(real, (k, density_k))
    (fake_radii,) = _radii(fake, (k,))
    found = _counts(real, fake, [small, large], [fake_radii], block_size)
    return _manifolds(found) | _balls(found, density_k)


class _Counts(NamedTuple):
    fake_inside: Tensor  # (M,) bool, in some ball of the first radii
    recalled: Tensor  # (N,) bool
    covered: Tensor  # (N,) bool, by the last radii
    num_inside: int  # pairs, by the last radii


def _counts(
    real: Tensor, fake: Tensor, real_radii: list[Tensor], fake_radii: list[Tensor], block_size: int
) -> _Counts:
    first, last = real_radii[0], real_radii[-1]
    fake_inside = torch.zeros(len(fake), dtype=torch.bool, device=fake.device)
    recalled, covered = (torch.zeros(len(real), dtype=torch.bool, device=real.device) for _ in range(2))
    num_inside = 0
    radii = [first] if first is last else [first, last]
    for at in pairs_within(real, fake, radii, fake_radii[0], block_size=block_size):
        fake_inside[at.columns[at.in_row[0]]] = True
        recalled[at.rows[at.in_column]] = True
        covered[at.rows[at.in_row[-1]]] = True
        num_inside += int(at.in_row[-1].sum())
    return _Counts(fake_inside, recalled, covered, num_inside)


def _manifolds(found: _Counts) -> dict[str, float]:
    return {"precision": _share(found.fake_inside), "recall": _share(found.recalled)}


def _balls(found: _Counts, k: int) -> dict[str, float]:
    density = found.num_inside / (k * len(found.fake_inside))
    return {"density": density, "coverage": _share(found.covered)}


def _share(chosen: Tensor) -> float:
    return int(chosen.sum()) / len(chosen)


def _checked(real: Tensor, fake: Tensor, smallest: int, largest: int | None = None) -> tuple[Tensor, Tensor]:
    if smallest < 1:
        raise Refused(f"k must be at least 1; got {smallest}. The papers use 3 and 5.")
    return comparable(real, fake, at_least=1 + (largest or smallest))


def _radii(x: Tensor, ks: tuple[int, ...]) -> list[Tensor]:
    return list(kth_nearest(x, None, ks)[0].unbind(1))
