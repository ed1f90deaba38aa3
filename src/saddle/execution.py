"""How a round of the game is run: the only file that knows.

A round advances everything that training remembers, the ``TrainingState``: a tree of tensors that
is replaced and never written to, so an unfinished chunk of rounds is undone by dropping it.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch

from saddle.averages import AverageState, ExponentialAverage
from saddle.game import Batch, Game, Logs, Players


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
    average: AverageState  # of the generator
    game: dict[str, Any]  # memory of the game's parts


Round = Callable[[TrainingState, tuple[Batch, ...]], tuple[TrainingState, Logs]]


def start(game: Game, dynamics: Dynamics, average: ExponentialAverage, device: torch.device) -> TrainingState:
    """The state before the first round, from the modules as they stand."""
    players = Players(*(vector.to(device) for vector in game.init()))
    return TrainingState(
        players, dynamics.init(players), average.init(players.generator), game.init_memory(players)
    )


def eager(game: Game, dynamics: Dynamics, average: ExponentialAverage) -> Round:
    """Plain PyTorch, one operation after the other."""

    def play(state: TrainingState, batches: tuple[Batch, ...]) -> tuple[TrainingState, Logs]:
        remembering = game.remember(state.game)
        players, memory, logs = dynamics.step(remembering, state.players, state.memory, batches)
        of_game = game.advance_memory(state.game, players, logs)
        return TrainingState(players, memory, average.step(players.generator, state.average), of_game), logs

    return play
