"""How a round of one game is run; many games at once are in ``lifting``.

A round advances everything that training remembers, the ``TrainingState``: a tree of tensors that
is replaced and never written to, so an unfinished chunk of rounds is undone by dropping it.

What differs from round to round beside the batches is an argument of a step, so that a step
is a pure function of tensors and can be traced once, compiled, and lifted over an ensemble.
"""

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from saddle.dynamics.averages import Average, AverageState
from saddle.dynamics.schedules import Schedule, scheduled
from saddle.game.calculus import Logs
from saddle.game.game import Batch, Game, Players
from saddle.game.refusals import Refused


class Dynamics(Protocol):
    """Who moves when; see ``saddle.dynamics``."""

    @property
    def num_batches(self) -> int: ...
    @property
    def num_generator_steps(self) -> int: ...
    @property
    def num_discriminator_steps(self) -> int: ...
    @property
    def num_gradients(self) -> int: ...
    def init(self, players: Players) -> Any: ...
    def step(
        self, game: Game, players: Players, state: Any, batches: tuple[Batch, ...]
    ) -> tuple[Players, Any, Logs]: ...


class TrainingState(NamedTuple):
    players: Players  # of parameter vectors
    memory: Any  # of the dynamics: optimizer moments and the like
    averages: dict[str, AverageState]  # of the generator; the first is what is evaluated
    game: dict[str, Any]  # memory of the game's parts

    @property
    def evaluated(self) -> Tensor:
        """The generator that is evaluated, (P,): the first average, or without one the generator itself."""
        return next((average.params for average in self.averages.values()), self.players.generator)


Averages = Mapping[str, Average]
Round = Callable[[TrainingState, tuple[Batch, ...], int], tuple[TrainingState, Logs]]
"""(state, batches, index of the round) -> the state after it, and what it logged."""

CONSTANT: Players = Players(None, None)  # schedules, or their factors


class Step(Protocol):
    """A round as a pure function of trees of tensors, the first two of which are a state and its batches.

    ``factors`` are of each player's learning rate, or ``CONSTANT``; ``round`` is one in which the same lazy
    penalties are due, and the only argument that decides what is computed.
    """

    def __call__(
        self, state: TrainingState, batches: tuple[Batch, ...], factors: Players, *, round: int
    ) -> tuple[TrainingState, Logs]: ...


Execution = Callable[[Step], Step]
"""How a step is run: a choice of ``conf/execution``."""


class Method(NamedTuple):
    """What the rounds of one run are made of."""

    game: Game
    dynamics: Dynamics
    averages: Averages
    schedules: Players = CONSTANT  # of each player's learning rate; None is constant


def start(game: Game, dynamics: Dynamics, averages: Averages, device: torch.device) -> TrainingState:
    """The state before the first round, from the modules as they stand."""
    players = Players(*(vector.to(device) for vector in game.init()))
    return TrainingState(
        players,
        dynamics.init(players),
        {name: average.init(players.generator) for name, average in averages.items()},
        game.init_memory(players),
    )


@dataclass(frozen=True)
class Eager:
    """Plain PyTorch, one operation after the other."""

    def __call__(self, step: Step) -> Step:
        return step


EAGER = Eager()


@dataclass(frozen=True)
class Compiled:
    """A step as one graph of fused kernels, traced and compiled at its first call.

    The graph is traced through ``torch.fx`` below all of ``torch.func`` and ``torch.autograd``, so there is
    nothing in a composition that the compiler could fail to follow. A step that lazy penalties make vary is
    compiled once for each variant. Same numbers as ``Eager`` up to round-off.

    Raises:
        ValueError: there is no C++ compiler.
    """

    def __post_init__(self) -> None:
        named = os.environ.get("CXX")
        if not any(map(shutil.which, [named] if named else ["g++", "clang++"])):
            raise Refused(
                f"execution=compiled must find a C++ compiler; got {f'CXX={named}' if named else 'none'}. "
                "Install one, such as by `apt install g++`, set CXX to it, or take execution=eager."
            )

    def __call__(self, step: Step) -> Step:
        from torch._inductor import compile

        return traced(step, compile)


def traced(step: Step, compile: Callable[[torch.fx.GraphModule, list[Any]], Callable[..., Any]]) -> Step:
    """The step as a graph of tensors, made at its first call for each ``round``, and run as ``compile`` does.

    Args:
        compile: (graph, example inputs) -> what takes the graph's inputs one by one.
    """
    from torch.fx.experimental.proxy_tensor import make_fx

    graphs: dict[int, tuple[Callable[..., Any], Any]] = {}

    def run(
        state: TrainingState, batches: tuple[Batch, ...], factors: Players, *, round: int
    ) -> tuple[TrainingState, Logs]:
        arguments: tuple[Any, ...] = (state, batches)
        if factors is not CONSTANT:
            # float64 whatever the parameters' dtype: as a scalar, a factor never changes that of a vector
            factors = Players(*(torch.as_tensor(factor, dtype=torch.float64) for factor in factors))
            arguments = (state, batches, factors)
        leaves, structure = pytree.tree_flatten(arguments)
        if round not in graphs:
            made: list[Any] = []

            def flat(*tensors: Tensor) -> list[Tensor]:
                state, batches, *given = pytree.tree_unflatten([*tensors], structure)
                outputs, found = pytree.tree_flatten(
                    step(state, batches, *(given or [CONSTANT]), round=round)
                )
                made.append(found)
                return outputs

            # clones: of two inputs that are one tensor today, the graph would keep one
            examples = [leaf.detach().clone() for leaf in leaves]
            graph = make_fx(flat, decomposition_table={torch.ops.aten.bmm.default: _bmm})(*examples)
            graphs[round] = compile(graph, examples), made[-1]
        run_graph, found = graphs[round]
        with torch.no_grad():
            return pytree.tree_unflatten([*run_graph(*leaves)], found)

    return run


def _bmm(first: Tensor, second: Tensor) -> Tensor:
    """AB as (BᵀAᵀ)ᵀ where B has few columns, such as the one of D's logits: lifted over members, the
    processor's library takes up to eight times as long for the first."""
    few = 8
    if second.shape[2] > few or first.shape[1] <= few:
        return NotImplemented  # as it is
    return torch.bmm(second.mT, first.mT).mT


def rounds(
    game: Game,
    dynamics: Dynamics,
    averages: Averages,
    schedules: Players = CONSTANT,
    execution: Execution = EAGER,
) -> Round:
    """The rounds of a game, one at a time.

    Args:
        schedules: of each player's learning rate, or None where it is constant.
    """

    def step(
        state: TrainingState, batches: tuple[Batch, ...], factors: Players, *, round: int
    ) -> tuple[TrainingState, Logs]:
        return advance(game, dynamics, averages, state, batches, factors, round=round)

    run = execution(step)

    def play(state: TrainingState, batches: tuple[Batch, ...], index: int) -> tuple[TrainingState, Logs]:
        return run(state, batches, factors_at(dynamics, schedules, index), round=representative(game, index))

    return play


def eager(game: Game, dynamics: Dynamics, averages: Averages, schedules: Players = CONSTANT) -> Round:
    """The rounds of a game in plain PyTorch."""
    return rounds(game, dynamics, averages, schedules)


def advance(
    game: Game,
    dynamics: Dynamics,
    averages: Averages,
    state: TrainingState,
    batches: tuple[Batch, ...],
    factors: Players,
    *,
    round: int,
) -> tuple[TrainingState, Logs]:
    """One round: see ``Step``."""
    now = game.at(round).remember(state.game)
    mover = dynamics if factors is CONSTANT else scheduled(dynamics, factors)
    players, memory, logs = mover.step(now, state.players, state.memory, batches)
    return TrainingState(
        players,
        memory,
        {name: rule.step(players.generator, state.averages[name]) for name, rule in averages.items()},
        now.advance_memory(state.game, players, logs),
    ), logs


def factors_at(dynamics: Dynamics, schedules: Players, index: int) -> Players:
    """Of each player's learning rate in a round; ``CONSTANT`` if both are."""
    if schedules == CONSTANT:
        return CONSTANT
    step = index * dynamics.num_generator_steps

    def factor(schedule: Schedule | None) -> float:
        return 1.0 if schedule is None else schedule(step)

    return Players(*map(factor, schedules))


def representative(game: Game, index: int) -> int:
    """The first round in which the same lazy penalties are due as in the round ``index``."""

    def due(round: int) -> list[bool]:
        return [round % interval == 0 for interval in game.intervals.values()]

    return next(round for round in range(index + 1) if due(round) == due(index))
