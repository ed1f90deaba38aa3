"""One run under training: a method on data from a seed, and where its rounds have led.

Lightning drives a module of one member or many (``module``); what writes a record knows members alone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.utils import _pytree as pytree

from saddle.data.dataset import Dataset
from saddle.data.sampling import LatentLaw, Order, draw_batches, with_replacement
from saddle.game.game import Batch
from saddle.rounds.execution import Method, TrainingState, start

# Euclidean norm of each player's parameters: not finite as soon as one of them is not
WEIGHTS_NORM = {"generator": "diag/generator_norm", "discriminator": "diag/discriminator_norm"}


class Diverged(RuntimeError):
    """A loss, gradient or weight stopped being finite."""


@dataclass(eq=False)
class Member:
    """A run under training.

    Args:
        method: the game, who moves when, averages of the generator's weights (the first is what is
            evaluated), and schedules of the learning rates.
        dataset: real samples; they are kept on the device.
        latents: (num, random) -> latents (num, d).
        batch_size: N of every batch.
        seed: of every batch, together with the round.
        num_steps: generator steps after which the run ends.
        order: which real samples a round takes.
        rounds: played so far.
        training_state: made, or given by a checkpoint, before the first round of a session.
        logs: means over the last chunk of rounds; None if the chunk was dropped.
        seconds: that the last chunk took.
        fault: why the run diverged; None while it has not.
    """

    method: Method
    dataset: Dataset
    latents: LatentLaw
    batch_size: int
    seed: int
    num_steps: int
    order: Order = with_replacement
    rounds: int = 0
    training_state: TrainingState | None = None
    logs: dict[str, float] | None = None
    seconds: float = 0.0
    fault: str | None = None

    @property
    def generator_steps(self) -> int:
        """The clock."""
        return self.rounds * self.method.dynamics.num_generator_steps

    @property
    def images_seen(self) -> int:
        """Real samples shown to the discriminator, repetitions included."""
        return self.rounds * self.method.dynamics.num_discriminator_steps * self.batch_size

    @property
    def gradient_evaluations(self) -> int:
        """What training has cost so far, in gradients of one player's loss."""
        return self.rounds * self.method.dynamics.num_gradients

    @property
    def last_round(self) -> int:
        """How many rounds the whole run has."""
        return self.num_steps // self.method.dynamics.num_generator_steps

    @property
    def finished(self) -> bool:
        """Whether all steps are made."""
        return self.generator_steps >= self.num_steps

    @property
    def goes_on(self) -> bool:
        """Whether there are rounds left to play."""
        return self.fault is None and not self.finished

    @property
    def state(self) -> TrainingState:
        """Everything that training remembers."""
        if self.training_state is None:
            raise RuntimeError("the training state exists once training has begun; read it after begin().")
        return self.training_state

    def begin(self, device: torch.device) -> None:
        """Bring the data and the training state, which is made if there is none yet, to the device."""
        self.dataset = self.dataset.to(device)
        if self.training_state is None:
            game, dynamics, averages, _ = self.method
            self.training_state = start(game, dynamics, averages, device)
        self.training_state = pytree.tree_map(lambda tensor: tensor.to(device), self.training_state)

    def draw(self, index: int, num: int | None = None) -> tuple[Batch, ...]:
        """Draw the batches of a round; ``num`` of them instead, of a stream that is the round's too."""
        return draw_batches(
            self.dataset.train,
            self.latents,
            self.method.game,
            self.batch_size,
            num or self.method.dynamics.num_batches,
            self.seed,
            index,
            self.order,
        )

    def take(self, chunk: range, state: TrainingState, rows: Sequence[dict[str, float]]) -> None:
        """Be where the chunk's rounds, which logged ``rows``, have led.

        Raises:
            Diverged: naming the first round after which something was not finite, and the player; the member
                stays where it was.
        """
        self.logs = None
        self._must_be_finite(rows, chunk)
        self.training_state, self.rounds = state, chunk.stop
        series: dict[str, list[float]] = {}  # a lazy penalty need not log in every round
        for row in rows:
            for name, value in row.items():
                series.setdefault(name, []).append(value)
        self.logs = {name: math.fsum(values) / len(values) for name, values in series.items()}

    def _must_be_finite(self, rows: Sequence[dict[str, float]], chunk: range) -> None:
        def is_of_generator(name: str) -> bool:
            return name.partition("/")[2].startswith("generator")

        for index, row in zip(chunk, rows, strict=True):
            # the discriminator's first: where it moves first, the generator only inherits its fault
            for name, value in sorted(row.items(), key=lambda item: is_of_generator(item[0])):
                if not math.isfinite(value):
                    player = "generator" if is_of_generator(name) else "discriminator"
                    step = (index + 1) * self.method.dynamics.num_generator_steps
                    what = "weights" if name in WEIGHTS_NORM.values() else name
                    raise Diverged(
                        f"losses and weights must stay finite; the {player}'s {what} became {value} at "
                        f"generator step {step}. {self._remedy(player, index)}"
                    )

    def _remedy(self, player: str, index: int) -> str:
        if index == 0:
            return (
                "It was the first round: look for a setting or data that is not finite or far too large, "
                f"optimizer.{player}.lr among them."
            )
        lower = f"Lower optimizer.{player}.lr"
        if on := ", ".join(self.method.game.penalties):
            return f"{lower}, or give another weight to what holds the discriminator back already ({on})."
        return f"{lower}, or bound the discriminator with a penalty such as regularizer=[r1]."

    def put_back(self) -> None:
        """Put the trained parameters into the modules of both networks."""
        if self.training_state is not None:
            game = self.method.game
            networks = zip((game.generator, game.discriminator), self.state.players, strict=True)
            for network, vector in networks:
                network.module.load_state_dict(network.unflatten(vector), strict=False)
