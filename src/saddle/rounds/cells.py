"""A game played at many settings at once: each cell is a member with numbers of its own.

Every cell plays from the same start on the same batches as a run of its own would, only side by side. What
is varied is found by comparing the parts themselves, so whatever a configuration's key sets can vary, as
long as it is a number that the arithmetic uses and not one that decides how often something is done.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from saddle.game.game import Batch, Players
from saddle.game.refusals import Refused
from saddle.rounds.execution import EAGER, Method, start
from saddle.rounds.lifting import Path, Unlike, differing, together, with_number


def moved_by(low: Method, high: Method, ends: tuple[float, float], key: str) -> list[Path]:
    """Find where the setting ``key`` went, from the methods that its two ends make.

    Raises:
        Refused: nowhere, or not as the number that it is.
    """
    try:
        # averages follow the game and do not move it
        moved = differing([one._replace(averages={}) for one in (low, high)])
    except Unlike:
        moved = {}
    if not moved:
        raise Refused(
            f"an axis must be a number of the loss, a penalty, a transform, the dynamics or an optimizer of "
            f"this game; {key} changes none. Choose its part too, such as regularizer=[r1] for "
            "regularizer.r1.gamma."
        )
    if wrong := [path for path, found in moved.items() if tuple(found) != ends]:
        raise Refused(
            f"an axis must set numbers as they are; {key}={ends[0]:g} became {moved[wrong[0]][0]:g} at "
            f"{'.'.join(wrong[0])}. Vary that number's own key."
        )
    return list(moved)


def cell(method: Method, values: Mapping[Path, float]) -> Method:
    """The method with these numbers."""
    return reduce(lambda found, item: with_number(found, *item), values.items(), method)


class Playing(NamedTuple):
    """What every cell did."""

    distances: Tensor  # (rounds + 1, cells), of both players from the centre
    players: Players  # at the end, (cells, P) and (cells, Q)


def play(
    method: Method,
    values: Mapping[Path, Tensor],
    batches: Callable[[int], tuple[Batch, ...]],
    rounds: Iterable[int],
    centre: Tensor,
) -> Playing:
    """Play the same game in every cell, each with its own values.

    Args:
        values: path -> its value in each cell, (cells,), one length for all.
        batches: index of the round -> its batches, the same for every cell.
        rounds: their indices, from 0.
        centre: both players as one vector (P + Q,), from which distances are measured.

    Raises:
        Refused: a number decides how often something is done, so that cells cannot be played together.
    """
    columns = [[float(value) for value in column] for column in values.values()]
    settings = [dict(zip(values, row, strict=True)) for row in zip(*columns, strict=True)]
    first = start(method.game, method.dynamics, {}, centre.device)
    state = pytree.tree_map(lambda leaf: leaf.expand(len(settings), *leaf.shape), first)
    distances = [torch.cat(state.players, 1).sub(centre).norm(dim=1)]
    try:
        cells = [cell(method._replace(averages={}), setting) for setting in settings]
        step = together(cells, EAGER, first.players.generator, one_batch=True).play
        for index in rounds:
            state, _ = step(state, batches(index), index)
            distances.append(torch.cat(state.players, 1).sub(centre).norm(dim=1))
    except (TypeError, RuntimeError, Unlike) as error:
        raise Refused(
            f"cells must differ in numbers only, not in what is done; got "
            f"{', '.join('.'.join(path) for path in values)}, and: {str(error).splitlines()[0]}. Vary "
            "such a number by a sweep of runs."
        ) from error
    return Playing(torch.stack(distances), state.players)
