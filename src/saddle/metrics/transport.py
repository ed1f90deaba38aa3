"""Wasserstein-2 distances between two sets of samples: sliced for any features, exact for few points."""

import math

import torch
from torch import Tensor

from saddle.game.randomness import generator
from saddle.game.refusals import Refused
from saddle.metrics.distances import squared_distances
from saddle.metrics.matrices import feature_matrices
from saddle.metrics.values import Role, Value, metric

LARGEST = 5000  # samples a side: the cost of an assignment grows as their cube


@metric(Value())
def sliced_wasserstein(real: Tensor, fake: Tensor, *, num_projections: int = 256, seed: int = 0) -> float:
    """√E_θ W₂²(θ·x, θ·y) over directions θ on the unit sphere, each W₂ exact by sorting.

    Args:
        real: (N, d).
        fake: (M, d); M need not be N.
        num_projections: directions drawn. The standard error over them is about the value/√(2·num).
        seed: of the directions.

    Returns:
        ≥ 0, in feature units; smaller is better. A shift by μ gives about ‖μ‖/√d. Biased upwards, for two
        samples of one distribution differ: the square by about 1/N + 1/M in units of the variance.

    Raises:
        ValueError: no rows, no directions, unlike widths, or a value that is not finite.

    Source: Bonneel et al. 2015, J. Math. Imaging Vis. 51; Deshpande et al. 2018, arXiv:1803.11188.
    """
    real, fake = feature_matrices(real, fake)
    if num_projections < 1:
        raise Refused(f"num_projections must be at least 1; got {num_projections}. Try 256.")
    random = generator(seed, "sliced_wasserstein")
    directions = torch.randn(real.shape[1], num_projections, generator=random, dtype=torch.float64)
    directions = (directions / directions.norm(dim=0)).to(real.device)
    total = 0.0
    for some in directions.split(16, dim=1):  # bounds memory
        x, y = (real @ some).sort(dim=0).values, (fake @ some).sort(dim=0).values
        steps, at_x, at_y = _common_steps(len(x), len(y), real.device)
        total += float((steps[:, None] * (x[at_x] - y[at_y]).square()).sum())
    return math.sqrt(total / num_projections)


@metric(Value(role=Role.QUALITY, rank=4, near_zero=True))
def exact_wasserstein(real: Tensor, fake: Tensor) -> float:
    """√min_π mean ‖xᵢ − y_π(i)‖² over permutations π: W₂ between two sets of equal size.

    min(N, M) samples of each side are used, the first so many.

    Args:
        real: (N, d).
        fake: (M, d).

    Returns:
        ≥ 0, in feature units; smaller is better. Biased upwards: two samples of one distribution are
        about N^{−1/d} apart.

    Raises:
        ValueError: more than 5,000 samples a side, none, unlike widths, or a value that is not finite.

    Source: Villani 2009, Optimal Transport, ch. 6; solved by Crouse 2016, IEEE TAES 52 (scipy).
    """
    from scipy.optimize import linear_sum_assignment

    real, fake = feature_matrices(real, fake)
    num = min(len(real), len(fake))
    if num > LARGEST:
        raise Refused(
            f"an exact assignment must be of at most {LARGEST} samples a side; got {num}. "
            "Give fewer, or use sliced_wasserstein."
        )
    centre = real[:num].mean(0)
    cost = squared_distances(real[:num] - centre, fake[:num] - centre).cpu().numpy()
    return math.sqrt(float(cost[linear_sum_assignment(cost)].mean()))


def _common_steps(num_x: int, num_y: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Where the quantile functions of N and M equal weights are both constant: widths and two indices.

    In units of 1/(N·M), so that all is exact.
    """
    edges_x = torch.arange(1, num_x + 1, device=device) * num_y
    edges_y = torch.arange(1, num_y + 1, device=device) * num_x
    edges = torch.cat([edges_x, edges_y]).unique()  # sorted
    steps = torch.diff(edges, prepend=edges.new_zeros(1)).to(torch.float64) / (num_x * num_y)
    return steps, torch.searchsorted(edges_x, edges), torch.searchsorted(edges_y, edges)
