"""Plain descent: both players at once, or one after the other."""

from dataclasses import dataclass
from typing import ClassVar

from saddle.dynamics.moves import Rules, gradient_norms, move, start
from saddle.dynamics.optimizers import UpdateRule
from saddle.game.calculus import Logs
from saddle.game.game import Batch, Game, Players
from saddle.game.ranges import COUNT, require


@dataclass(frozen=True)
class Simultaneous:
    """Both players step from the same point on the same batch: 2 gradients a round.

    θ' = θ − η∇_θL_G(θ, ψ),  ψ' = ψ − η∇_ψL_D(θ, ψ). On the bilinear game f = σxy with SGD the
    iterates grow by √(1 + (ησ)²) a round. Source: Mescheder et al. 2017, arXiv:1705.10461, sec. 2.
    """

    generator: UpdateRule
    discriminator: UpdateRule
    num_batches: ClassVar[int] = 1
    num_generator_steps: ClassVar[int] = 1
    num_discriminator_steps: ClassVar[int] = 1
    num_gradients: ClassVar[int] = 2
    takes_lazy_penalties: ClassVar[bool] = True

    def init(self, players: Players) -> Players:
        return start(Rules(self.generator, self.discriminator), players)

    def step(
        self, game: Game, players: Players, state: Players, batches: tuple[Batch, ...]
    ) -> tuple[Players, Players, Logs]:
        (batch,) = batches
        gradients, logs = game.gradients(players, batch)
        rules = Rules(self.generator, self.discriminator)
        players, state = move(rules, gradients, players, state)
        return players, state, logs | gradient_norms(gradients)


@dataclass(frozen=True)
class Alternating:
    """n_D discriminator steps, then n_G generator steps, each on a batch of its own.

    ψ' = ψ − η∇_ψL_D(θ, ψ),  θ' = θ − η∇_θL_G(θ, ψ'), one step each. n_D + n_G gradients a round; the
    generator already sees the moved discriminator. On the bilinear game with SGD and one step each, the
    iterates stay on a closed orbit for ησ ≤ 2.
    Source: Goodfellow et al. 2014, arXiv:1406.2661, algorithm 1 (k = n_D, n_G = 1).
    """

    generator: UpdateRule
    discriminator: UpdateRule
    num_discriminator_steps: int = 1
    num_generator_steps: int = 1
    takes_lazy_penalties: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name in ("num_discriminator_steps", "num_generator_steps"):
            require(name, getattr(self, name), COUNT, "Give such a number.")

    @property
    def num_batches(self) -> int:
        return self.num_discriminator_steps + self.num_generator_steps

    @property
    def num_gradients(self) -> int:
        return self.num_batches

    def init(self, players: Players) -> Players:
        return start(Rules(self.generator, self.discriminator), players)

    def step(
        self, game: Game, players: Players, state: Players, batches: tuple[Batch, ...]
    ) -> tuple[Players, Players, Logs]:
        logs: Logs = {}
        for batch in batches[: self.num_discriminator_steps]:
            gradient, discriminator_logs = game.discriminator_gradient(players, batch)
            params, memory = self.discriminator.step(gradient, players.discriminator, state.discriminator)
            players, state = players._replace(discriminator=params), state._replace(discriminator=memory)
            logs |= {**discriminator_logs, "diag/discriminator_gradient_norm": gradient.norm()}
        for batch in batches[self.num_discriminator_steps :]:
            gradient, generator_logs = game.generator_gradient(players, batch)
            params, memory = self.generator.step(gradient, players.generator, state.generator)
            players, state = players._replace(generator=params), state._replace(generator=memory)
            logs |= {**generator_logs, "diag/generator_gradient_norm": gradient.norm()}
        return players, state, logs
