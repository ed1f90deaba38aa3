"""How a round of the game is run: the only file that knows.

A round advances everything that training remembers, the ``TrainingState``: a tree of tensors that
is replaced and never written to, so an unfinished chunk of rounds is undone by dropping it.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from saddle.averages import Average, AverageState
from saddle.game import Batch, Game, Logs, Players
from saddle.schedules import Schedule, scheduled


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

CONSTANT: Players = Players(None, None)


def start(game: Game, dynamics: Dynamics, averages: Averages, device: torch.device) -> TrainingState:
    """The state before the first round, from the modules as they stand."""
    players = Players(*(vector.to(device) for vector in game.init()))
    return TrainingState(
        players,
        dynamics.init(players),
        {name: average.init(players.generator) for name, average in averages.items()},
        game.init_memory(players),
    )


def eager(game: Game, dynamics: Dynamics, averages: Averages, schedules: Players = CONSTANT) -> Round:
    """Plain PyTorch, one operation after the other.

    Args:
        schedules: of each player's learning rate, or None where it is constant.
    """

    def play(state: TrainingState, batches: tuple[Batch, ...], index: int) -> tuple[TrainingState, Logs]:
        now = game.at(index).remember(state.game)
        mover = _at(dynamics, schedules, index)
        players, memory, logs = mover.step(now, state.players, state.memory, batches)
        return TrainingState(
            players,
            memory,
            {name: rule.step(players.generator, state.averages[name]) for name, rule in averages.items()},
            now.advance_memory(state.game, players, logs),
        ), logs

    return play


def _at(dynamics: Dynamics, schedules: Players, index: int) -> Dynamics:
    """The dynamics with the learning rates of this round."""
    if schedules == CONSTANT:
        return dynamics
    step = index * dynamics.num_generator_steps

    def factor(schedule: Schedule | None) -> float:
        return 1.0 if schedule is None else schedule(step)

    return scheduled(dynamics, Players(*map(factor, schedules)))
