"""Many games in one step: members that differ in weights, batches and numbers, lifted by ``torch.func.vmap``.

Ensembles of runs, cells of diagrams and the seeds of claims are all played by ``together``.

Each member is an ordinary game, put together by itself. Where members' games, dynamics and averages hold
unlike numbers, those become tensors with one entry a member; everything else must be alike, since a lifted
step does the same operations for all. So a member may differ in any floating-point number that is only
calculated with, and in nothing that decides shapes or control flow.

Member m equals its solo run up to round-off. A number that varies is rounded to the parameters' dtype, where
a solo run calculates with float64: 1 − β of a float32 β = 0.999 is then off by 2e-5 of itself.

No step mixes members, so one whose numbers stop being finite leaves the others as they are.
"""

import copy
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import vmap
from torch.utils import _pytree as pytree

from saddle.game.calculus import Logs
from saddle.game.game import Batch, Players
from saddle.game.network import Network
from saddle.game.refusals import Refused
from saddle.rounds.execution import (
    CONSTANT,
    Execution,
    Method,
    Round,
    Step,
    TrainingState,
    advance,
    factors_at,
    representative,
    rounds,
)

Path = tuple[str, ...]  # into a tree of parts, such as ("game", "penalties", "r1", "gamma")


class Unlike(Refused):
    """Members differ in what cannot be lifted."""


def stack(trees: Sequence[Any]) -> Any:
    """Trees of tensors as one tree, members along a new first axis."""
    return pytree.tree_map(lambda *leaves: torch.stack(leaves), *trees)


def unstack(tree: Any, index: int) -> Any:
    """One member's tree, a copy of its own: a checkpoint of a view would hold the whole ensemble."""
    return pytree.tree_map(lambda leaf: leaf[index].clone(), tree)


def with_number(part: Any, path: Path, value: Any) -> Any:
    """Copy a tree of parts with ``value`` at the path: through fields, keywords of a partial, and keys.

    No check of the part's own runs: they are for numbers, and the members' numbers have passed them.
    """
    if not path:
        return value
    key, rest = path[0], path[1:]
    if isinstance(part, partial):
        return partial(
            part.func, *part.args, **{**part.keywords, key: with_number(part.keywords[key], rest, value)}
        )
    if isinstance(part, Mapping):
        return {**part, key: with_number(part[key], rest, value)}
    if isinstance(part, tuple):  # a NamedTuple
        return part._replace(**{key: with_number(getattr(part, key), rest, value)})  # type: ignore[attr-defined]
    bound = copy.copy(part)
    for name in [name for name in vars(bound) if name not in {field.name for field in fields(part)}]:
        del bound.__dict__[name]  # cached properties of the part as it was
    object.__setattr__(bound, key, with_number(getattr(part, key), rest, value))
    return bound


def differing(members: Sequence[Any]) -> dict[Path, list[float]]:
    """The numbers in which trees of parts differ: path -> one value a member.

    Raises:
        Unlike: they differ in anything else.
    """
    return _differing(members, (), Any)


def _differing(members: Sequence[Any], path: Path, annotation: Any) -> dict[Path, list[float]]:
    first, kinds = members[0], {type(member) for member in members}
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in members):
        if len({*members}) == 1:
            return {}
        if any(isinstance(value, float) for value in members) or _takes_floats(annotation):
            return {path: [float(value) for value in members]}
        raise _unlike(path, members, "a whole number there decides what is done, not how much of it")
    if len(kinds) > 1:
        raise _unlike(path, members, "they are not of one kind")
    if isinstance(first, Network):
        for one in members[1:]:
            _must_be_one_function(first.module, one.module, path)
        return {}
    children: list[tuple[str, list[Any], Any]]
    if is_dataclass(first):
        hints = typing.get_type_hints(type(first))
        names = [field.name for field in fields(first)]
        children = [(name, [getattr(one, name) for one in members], hints[name]) for name in names]
    elif isinstance(first, partial):
        if any(
            (one.func, one.args, {*one.keywords}) != (first.func, first.args, {*first.keywords})
            for one in members
        ):
            raise _unlike(path, members, "they are not of one kind")
        hints = typing.get_type_hints(first.func)
        children = [
            (name, [one.keywords[name] for one in members], hints.get(name)) for name in first.keywords
        ]
    elif isinstance(first, Mapping):
        if any([*one] != [*first] for one in members):
            raise _unlike(path, members, "they have not the same names, in the same order")
        children = [(name, [one[name] for one in members], Any) for name in first]
    elif isinstance(first, tuple) and hasattr(first, "_fields"):
        children = [(name, [getattr(one, name) for one in members], Any) for name in first._fields]
    elif any(one is not first and one != first for one in members):
        raise _unlike(path, members, "it is no floating-point number")
    else:
        return {}
    found: dict[Path, list[float]] = {}
    for name, values, hint in children:
        found |= _differing(values, (*path, name), hint)
    return found


def _takes_floats(annotation: Any) -> bool:
    return annotation is float or float in typing.get_args(annotation)


def _unlike(path: Path, members: Sequence[Any], why: str) -> Unlike:
    shown = " and ".join(dict.fromkeys(str(member)[:60] for member in members))
    return Unlike(
        f"members of an ensemble must be alike but for floating-point numbers; at {'.'.join(path)} they are "
        f"{shown}, and {why}."
    )


def _must_be_one_function(first: nn.Module, other: nn.Module, path: Path) -> None:
    """Refuse modules that differ in more than the values of parameters and of memory."""
    layers, others = dict(first.named_modules()), dict(other.named_modules())
    if [*layers] != [*others]:
        raise _unlike(path, [first, other], "they have not the same layers")
    for name, layer in layers.items():
        ours, theirs = (
            [
                (type(one).__module__, type(one).__qualname__),  # a parametrized layer has a type of its own
                {key: value for key, value in vars(one).items() if not key.startswith("_")},
                {key: value.shape for key, value in one.named_parameters()},
                {key: value.shape for key, value in one.named_buffers()},
            ]
            for one in (layer, others[name])
        )
        if ours != theirs:
            place = (*path, *name.split("."))
            raise _unlike(place, [layer, others[name]], "it decides the function that the network is")


def lift(members: Sequence[Method], like: Tensor, *, one_batch: bool = False) -> Step:
    """The members' steps as one: of stacked states, stacked batches, and factors (M,).

    Args:
        like: has the dtype and device of the players' parameters.
        one_batch: every member takes the same batches, which are then not stacked.

    Raises:
        Unlike: the members differ in more than parameters and floating-point numbers.
    """
    bindable = [one._replace(game=one.game.functional(), schedules=CONSTANT) for one in members]
    common = bindable[0]
    numbers = {path: like.new_tensor(values) for path, values in differing(bindable).items()}

    def step(
        state: TrainingState, batches: tuple[Batch, ...], factors: Players, *, round: int
    ) -> tuple[TrainingState, Logs]:
        def of_one(
            own: Mapping[Path, Tensor],
            state: TrainingState,
            batches: tuple[Batch, ...],
            *given: Players,
        ) -> tuple[TrainingState, Logs]:
            method = common
            for path, value in own.items():
                method = with_number(method, path, value)
            game, dynamics, averages, _ = method
            (factors,) = given or (CONSTANT,)
            return advance(game, dynamics, averages, state, batches, factors, round=round)

        given = () if factors is CONSTANT else (factors,)
        axes = (0, 0, None if one_batch else 0, *(0 for _ in given))
        return vmap(of_one, in_dims=axes)(numbers, state, batches, *given)

    return step


class Together(NamedTuple):
    """The rounds of some members as one, and the way of their trees there and back."""

    play: Round
    join: Callable[[Sequence[Any]], Any]  # a tree of each member -> the tree that is played
    part: Callable[[Any, int], Any]  # that tree -> the tree of one member


def together(
    members: Sequence[Method], execution: Execution, like: Tensor, *, one_batch: bool = False
) -> Together:
    """The rounds of all members at once: lifted, or as they are where there is one; see ``lift``."""
    if len(members) == 1 and not one_batch:
        (alone,) = members
        return Together(rounds(*alone, execution), lambda trees: trees[0], lambda tree, _: tree)
    run = execution(lift(members, like, one_batch=one_batch))

    def play(state: TrainingState, batches: tuple[Batch, ...], index: int) -> tuple[TrainingState, Logs]:
        return run(
            state, batches, _factors(members, index, like), round=representative(members[0].game, index)
        )

    return Together(play, stack, unstack)


def _factors(members: Sequence[Method], index: int, like: Tensor) -> Players:
    if all(one.schedules == CONSTANT for one in members):
        return CONSTANT
    found = [factors_at(one.dynamics, one.schedules, index) for one in members]
    # float64 whatever the parameters' dtype: as a scalar, a factor never changes that of a vector
    columns = ([1.0 if value is None else value for value in column] for column in zip(*found, strict=True))
    return Players(*(like.new_tensor(column, dtype=torch.float64) for column in columns))
