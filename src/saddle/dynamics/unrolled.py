"""Unrolled GAN: the generator descends through the discriminator's next k steps."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from saddle.dynamics.moves import Rules, gradient_norms, move, start
from saddle.dynamics.optimizers import UpdateRule
from saddle.game.calculus import Logs
from saddle.game.game import Batch, Game, Players
from saddle.game.ranges import COUNT_OR_NONE, require


@dataclass(frozen=True)
class Unrolled:
    """θ descends ∇_θL_G(θ, ψₖ(θ)), ψₖ being k steps of D's own rule ahead; ψ itself makes one step.

    The gradient runs through all k steps. Both players move from the same point on one batch. k = 0 is
    ``Simultaneous``. 2 + 2k gradients a round, counting k that are differentiated again. On the bilinear
    game the eigenvalues are those of [[1 − 2ks², −s], [s, 1]].

    Source: Metz et al. 2017, arXiv:1611.02163, eqs. 6-11.
    """

    generator: UpdateRule
    discriminator: UpdateRule
    num_unrolled_steps: int = 5
    num_batches: ClassVar[int] = 1
    num_generator_steps: ClassVar[int] = 1
    num_discriminator_steps: ClassVar[int] = 1

    def __post_init__(self) -> None:
        require("num_unrolled_steps", self.num_unrolled_steps, COUNT_OR_NONE, "0 does not unroll.")

    @property
    def num_gradients(self) -> int:
        return 2 + 2 * self.num_unrolled_steps

    def init(self, players: Players) -> Players:
        return start(Rules(self.generator, self.discriminator), players)

    def step(
        self, game: Game, players: Players, state: Players, batches: tuple[Batch, ...]
    ) -> tuple[Players, Players, Logs]:
        (batch,) = batches
        discriminator, logs = game.discriminator_gradient(players, batch)
        functional = game.functional()

        def ahead(generator: Tensor, part: Batch) -> tuple[Tensor, Logs]:
            point, memory = players._replace(generator=generator), state.discriminator
            for _ in range(self.num_unrolled_steps):  # on the whole batch, as D does move
                gradient, _ = functional.discriminator_gradient(point, batch)
                params, memory = self.discriminator.step(gradient, point.discriminator, memory)
                point = point._replace(discriminator=params)
            return functional.generator_loss(point, part)

        generator, generator_logs = functional.calculus.gradient(ahead, players.generator, batch)
        gradients = Players(generator, discriminator)
        players, state = move(Rules(self.generator, self.discriminator), gradients, players, state)
        return players, state, logs | generator_logs | gradient_norms(gradients)
