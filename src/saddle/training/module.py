"""GANModule: the one LightningModule. Lightning drives; the game is played in pure functions.

Lightning's "batch" is a chunk: a range of rounds of the game, played in one ``training_step`` with
no host synchronisation in between. Its optimizer is a shell that runs the chunk. Its
``global_step`` counts chunks; the clock of a run is ``generator_steps``.
"""

import math
import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch.utils import _pytree as pytree

from saddle.data.dataset import Dataset
from saddle.data.sampling import LatentLaw, Order, draw_batches, with_replacement
from saddle.game.game import Batch, Game, Players
from saddle.rounds.execution import (
    CONSTANT,
    EAGER,
    Averages,
    Dynamics,
    Execution,
    TrainingState,
    rounds,
    start,
)

# Euclidean norm of each player's parameters: not finite as soon as one of them is not
WEIGHTS_NORM = {"generator": "diag/generator_norm", "discriminator": "diag/discriminator_norm"}


class Diverged(RuntimeError):
    """A loss, gradient or weight stopped being finite."""


class ShellOptimizer(torch.optim.Optimizer):
    """What Lightning needs to count steps: it holds no parameter and only runs the closure."""

    def __init__(self) -> None:
        super().__init__([torch.nn.Parameter(torch.zeros(()))], {})

    def step(self, closure: Any = None) -> Any:
        return closure() if closure else None


class GANModule(LightningModule):
    """A game under training.

    Args:
        game: the two networks, their loss and penalties.
        dynamics: who moves when; carries both update rules.
        averages: of the generator's weights, by name; the first is what is evaluated.
        dataset: real samples; they are kept on the device.
        latents: (num, random) -> latents (num, d).
        batch_size: N of every batch.
        seed: of every batch, together with the round.
        num_steps: generator steps after which the run ends.
        steps_per_execution: rounds in a chunk. Changes how often losses are read, not the training.
        schedules: of each player's learning rate; None is constant.
        periods: generator steps at whose multiples a chunk must end, so that something can happen there.
        execution: how a round is run.
        order: which real samples a round takes.
    """

    def __init__(
        self,
        game: Game,
        dynamics: Dynamics,
        averages: Averages,
        dataset: Dataset,
        latents: LatentLaw,
        *,
        batch_size: int,
        seed: int,
        num_steps: int,
        steps_per_execution: int,
        schedules: Players = CONSTANT,
        periods: tuple[int, ...] = (),
        execution: Execution = EAGER,
        order: Order = with_replacement,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.game, self.dynamics, self.averages, self.schedules = game, dynamics, averages, schedules
        self.generator, self.discriminator = game.generator.module, game.discriminator.module
        self.dataset, self.latents, self.order = dataset, latents, order
        self.batch_size, self.seed, self.num_steps = batch_size, seed, num_steps
        self.steps_per_execution, self.periods, self.execution = steps_per_execution, periods, execution
        self.rounds = 0
        self.training_state: TrainingState | None = None  # made, or given by a checkpoint, before round 0
        self.logs: dict[str, float] | None = None  # means over the last chunk; None if it was dropped
        self.seconds = 0.0  # that the last chunk took
        self.stop_requested = False

    @property
    def generator_steps(self) -> int:
        """The clock."""
        return self.rounds * self.dynamics.num_generator_steps

    @property
    def images_seen(self) -> int:
        """Real samples shown to the discriminator, repetitions included."""
        return self.rounds * self.dynamics.num_discriminator_steps * self.batch_size

    @property
    def gradient_evaluations(self) -> int:
        """What training has cost so far, in gradients of one player's loss."""
        return self.rounds * self.dynamics.num_gradients

    @property
    def finished(self) -> bool:
        return self.generator_steps >= self.num_steps

    @property
    def state(self) -> TrainingState:
        """Everything that training remembers."""
        if self.training_state is None:
            raise RuntimeError("the training state exists once fit has begun; read it from a callback.")
        return self.training_state

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return ShellOptimizer()

    def on_fit_start(self) -> None:
        # here, not in __init__: Lightning has moved the networks to the device by now
        self.begin(self.device)
        self._play = rounds(self.game, self.dynamics, self.averages, self.schedules, self.execution)

    def begin(self, device: torch.device) -> None:
        """Bring the data and the training state, which is made if there is none yet, to the device."""
        self.dataset = self.dataset.to(device)
        if self.training_state is None:
            self.training_state = start(self.game, self.dynamics, self.averages, device)
        self.training_state = pytree.tree_map(lambda tensor: tensor.to(device), self.training_state)

    def train_dataloader(self) -> Iterator[range]:
        return self.chunks()

    def chunks(self) -> Iterator[range]:
        """Ranges of rounds from the present one on; each ends at or before every period's multiple."""
        per_round = self.dynamics.num_generator_steps
        periods = [self.steps_per_execution, *(period // per_round for period in self.periods)]
        first, last = self.rounds, self.num_steps // per_round
        while first < last and not self.stop_requested:
            end = min(last, *((first // period + 1) * period for period in periods))
            yield range(first, end)
            first = end

    def transfer_batch_to_device(self, batch: range, device: torch.device, dataloader_idx: int) -> range:
        return batch  # nothing in it lives on a device, and Lightning would try to rebuild it as a list

    def training_step(self, chunk: range, batch_idx: int) -> None:
        began = time.perf_counter()
        self.optimizers().step(closure=lambda: self.play(chunk))  # type: ignore[union-attr]
        self.seconds = time.perf_counter() - began

    def play(self, chunk: range) -> None:
        """Play the rounds of a chunk, or none of them if the run is asked to stop meanwhile.

        Raises:
            Diverged: naming the first round after which something was not finite, and the player.
        """
        state, rows = self.state, []
        self.logs = None
        for index in chunk:
            if self.stop_requested:
                return  # the chunk's rounds are forgotten: resuming plays them again, alike
            state, logs = self._play(state, self.draw(index), index)
            rows.append(
                logs
                | {
                    WEIGHTS_NORM["discriminator"]: state.players.discriminator.norm(),
                    WEIGHTS_NORM["generator"]: state.players.generator.norm(),
                }
            )
        together = torch.stack([value for row in rows for value in row.values()])
        values = iter(together.double().tolist())  # the chunk's one synchronisation
        self.take(chunk, state, [dict(zip(row, values, strict=False)) for row in rows])

    def draw(self, index: int) -> tuple[Batch, ...]:
        """The batches of a round."""
        return draw_batches(
            self.dataset.train,
            self.latents,
            self.game,
            self.batch_size,
            self.dynamics.num_batches,
            self.seed,
            index,
            self.order,
        )

    def take(self, chunk: range, state: TrainingState, rows: Sequence[dict[str, float]]) -> None:
        """Be where the chunk's rounds, which logged ``rows``, have led.

        Raises:
            Diverged: see ``play``; the module stays where it was.
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
                    step = (index + 1) * self.dynamics.num_generator_steps
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
        if on := ", ".join(self.game.penalties):
            return f"{lower}, or give another weight to what holds the discriminator back already ({on})."
        return f"{lower}, or bound the discriminator with a penalty such as regularizer=[r1]."

    def on_fit_end(self) -> None:
        """Put the trained parameters back into the modules."""
        if self.training_state is not None:
            networks = zip((self.game.generator, self.game.discriminator), self.state.players, strict=True)
            for network, vector in networks:
                network.module.load_state_dict(network.unflatten(vector), strict=False)
