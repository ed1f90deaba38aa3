"""A game played at many settings at once: numbers in its parts become tensors, a round is lifted over them.

Every cell plays from the same start on the same batches as a run of its own would, only side by side. What
is varied is found by comparing the parts themselves, so whatever a configuration's key sets can vary, as
long as it is a number that the arithmetic uses and not one that decides how often something is done.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from saddle.game.game import Batch, Game, Players
from saddle.game.refusals import Refused
from saddle.rounds.execution import CONSTANT, Dynamics, eager, start

Place = tuple[str, ...]  # names of the fields, keywords and keys that lead to a number


class Parts(NamedTuple):
    """What a round is made of."""

    game: Game
    dynamics: Dynamics
    schedules: Players = CONSTANT


def numbers(part: Any, place: Place = ()) -> dict[Place, float]:
    """Every number in a tree of dataclasses, named tuples, partial functions and mappings, by its place.

    Networks are left out: their numbers are the players.
    """
    if isinstance(part, int | float) and not isinstance(part, bool):
        return {place: part}
    return {
        at: value
        for name, inner in _children(part).items()
        for at, value in numbers(inner, (*place, name)).items()
    }


def bind(part: Any, values: Mapping[Place, Any]) -> Any:
    """The same tree with other values at some places."""
    if not values:
        return part
    if () in values:
        return values[()]
    inside: dict[str, dict[Place, Any]] = {}
    for (name, *rest), value in values.items():
        inside.setdefault(name, {})[tuple(rest)] = value
    changed = {name: bind(_children(part)[name], below) for name, below in inside.items()}
    if isinstance(part, partial):
        return partial(part.func, *part.args, **(part.keywords | changed))
    if isinstance(part, Mapping):
        return {**part, **changed}
    return part._replace(**changed) if hasattr(part, "_replace") else replace(part, **changed)


def _children(part: Any) -> Mapping[str, Any]:
    if isinstance(part, partial):
        return part.keywords
    if isinstance(part, Mapping):
        return part
    if isinstance(part, tuple) and hasattr(part, "_asdict"):
        return dict(part._asdict())
    if is_dataclass(part) and not isinstance(part, type):
        return {field.name: getattr(part, field.name) for field in fields(part)}
    return {}


def moved_by(low: Parts, high: Parts, ends: tuple[float, float], key: str) -> list[Place]:
    """Where the setting ``key`` went, from the parts that its two ends make.

    Raises:
        ValueError: nowhere, or not as the number that it is.
    """
    before, after = numbers(low), numbers(high)
    places = [place for place in before if before[place] != after.get(place)]
    if not places or before.keys() != after.keys():
        raise Refused(
            f"an axis must be a number of the loss, a penalty, a transform, the dynamics or an optimizer of "
            f"this game; {key} changes none. Choose its part too, such as regularizer=[r1] for "
            "regularizer.r1.gamma."
        )
    if wrong := [place for place in places if (before[place], after[place]) != ends]:
        raise Refused(
            f"an axis must set numbers as they are; {key}={ends[0]:g} became {before[wrong[0]]:g} at "
            f"{'.'.join(wrong[0])}. Vary that number's own key."
        )
    return places


class Playing(NamedTuple):
    """What every cell did."""

    distances: Tensor  # (rounds + 1, cells), of both players from the centre
    players: Players  # at the end, (cells, P) and (cells, Q)


def play(
    parts: Parts,
    values: Mapping[Place, Tensor],
    batches: Callable[[int], tuple[Batch, ...]],
    rounds: Iterable[int],
    centre: Tensor,
) -> Playing:
    """Play the same game in every cell, each with its own values.

    Args:
        values: place -> its value in each cell, (cells,), one length for all.
        batches: index of the round -> its batches, the same for every cell.
        rounds: their indices, from 0.
        centre: both players as one vector (P + Q,), from which distances are measured.

    Raises:
        ValueError: a number decides how often something is done, so that cells cannot be played together.
    """
    num = len(next(iter(values.values())))
    parts = parts._replace(game=parts.game.functional())
    first = start(parts.game, parts.dynamics, {}, centre.device)
    state = pytree.tree_map(lambda leaf: leaf.expand(num, *leaf.shape), first)
    distances = [torch.cat(state.players, 1).sub(centre).norm(dim=1)]
    for index in rounds:
        drawn = batches(index)

        def step(own: Mapping[Place, Tensor], state: Any, index: int = index, drawn: Any = drawn) -> Any:
            game, dynamics, schedules = bind(parts, own)
            return eager(game, dynamics, {}, schedules)(state, drawn, index)[0]

        try:
            state = torch.func.vmap(step)(dict(values), state)
        except (TypeError, RuntimeError) as error:
            raise Refused(
                f"cells must differ in numbers only, not in what is done; got "
                f"{', '.join('.'.join(place) for place in values)}, and: {str(error).splitlines()[0]}. Vary "
                "such a number by a sweep of runs."
            ) from error
        distances.append(torch.cat(state.players, 1).sub(centre).norm(dim=1))
    return Playing(torch.stack(distances), state.players)
