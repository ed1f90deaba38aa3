"""What became of a game near a rest point: it came closer, it stayed around, or it left."""

from typing import NamedTuple

import torch
from torch import Tensor

from saddle.game.refusals import Refused

CONVERGED, ORBIT, DIVERGED = range(3)
NAMES = ("converged", "orbit", "diverged")
LEAST_ROUNDS = 8  # two for each quarter


class Fate(NamedTuple):
    verdict: Tensor  # (cells,), CONVERGED, ORBIT or DIVERGED
    growth: (
        Tensor  # (cells,), factor a round of the distance's maximum over the second half; NaN if not finite
    )


def fate(distances: Tensor, escape: float = 100.0, still: float = 0.01) -> Fate:
    """Judge each course by its largest distances in the third and in the last quarter, d₃ and d₄.

    converged
        d₄ < (1 − ``still``)·d₃ and no farther than the start: still coming closer, however slowly.
    diverged
        Not finite, or beyond ``escape`` times the distance at the start.
    orbit
        Neither: it moves around, or outward too slowly to have left.

    Maxima, since an orbit that is not round changes its distance within a turn: a quarter must hold half a
    turn. A course that reached the point exactly has converged.

    Args:
        distances: from the rest point, (rounds + 1, cells).

    Raises:
        ValueError: too few rounds, or a start at the rest point itself.
    """
    num_rounds = len(distances) - 1
    if num_rounds < LEAST_ROUNDS:
        raise Refused(
            f"a fate needs at least {LEAST_ROUNDS} rounds; got {num_rounds}. Give a larger num_steps."
        )
    if not (distances[0] > 0).all():
        raise Refused(
            "a course must start away from the point it is measured from; got a distance of 0. Start "
            "elsewhere, such as model.generator.theta=[0.1]."
        )
    quarter = num_rounds // 4
    third, last = distances[-2 * quarter : -quarter].amax(0), distances[-quarter:].amax(0)
    finite = torch.isfinite(distances).all(0)
    left = ~finite | (last > escape * distances[0])
    closer = (last < (1 - still) * third) | (last == 0)
    verdict = torch.where(closer & (last <= distances[0]), CONVERGED, ORBIT)
    growth = torch.where(finite, (last / third) ** (1 / quarter), torch.nan)
    return Fate(torch.where(left, DIVERGED, verdict), growth)
