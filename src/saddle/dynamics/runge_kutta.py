"""The game as the differential equation dω/dt = −ξ(ω), integrated with more than Euler's accuracy.

The step size is each rule's ``lr``; with plain SGD a round is one step of the integrator. All stages
see the same batch.
"""

from dataclasses import dataclass
from typing import ClassVar

from saddle.dynamics.moves import Rules, exact_for_sgd, gradient_norms, move, start
from saddle.dynamics.optimizers import UpdateRule
from saddle.game.calculus import Logs
from saddle.game.game import Batch, Game, Players


def _along(rules: Rules, players: Players, gradients: Players, fraction: float) -> Players:
    """ω − fraction·η·gradients."""
    return Players(
        *(
            params - fraction * rule.lr * gradient  # type: ignore[attr-defined]
            for rule, params, gradient in zip(rules, players, gradients, strict=True)
        )
    )


@dataclass(frozen=True)
class RungeKutta2:
    """Heun's method: the mean of the gradients here and one Euler step ahead. 4 gradients a round.

    ω' = ω − ½η(k₁ + k₂), k₁ = ξ(ω), k₂ = ξ(ω − ηk₁). On the bilinear game |λ|² = 1 + s⁴/4: still
    outward, but less than Euler's 1 + s².

    Source: Qin et al. 2020, arXiv:2010.15040, without its gradient regularization.
    """

    generator: UpdateRule
    discriminator: UpdateRule
    num_batches: ClassVar[int] = 1
    num_generator_steps: ClassVar[int] = 1
    num_discriminator_steps: ClassVar[int] = 1
    num_gradients: ClassVar[int] = 4
    advice = exact_for_sgd

    def init(self, players: Players) -> Players:
        return start(Rules(self.generator, self.discriminator), players)

    def step(
        self, game: Game, players: Players, state: Players, batches: tuple[Batch, ...]
    ) -> tuple[Players, Players, Logs]:
        (batch,) = batches
        rules = Rules(self.generator, self.discriminator)
        first, logs = game.gradients(players, batch)
        second, _ = game.gradients(_along(rules, players, first, 1.0), batch)
        direction = Players(*((a + b) / 2 for a, b in zip(first, second, strict=True)))
        players, state = move(rules, direction, players, state)
        return players, state, logs | gradient_norms(first)


@dataclass(frozen=True)
class RungeKutta4:
    """The classical fourth-order method. 8 gradients a round.

    ω' = ω − η(k₁ + 2k₂ + 2k₃ + k₄)/6, k₁ = ξ(ω), k₂ = ξ(ω − ½ηk₁), k₃ = ξ(ω − ½ηk₂), k₄ = ξ(ω − ηk₃). On the
    bilinear game |λ|² = 1 − s⁶/72 + s⁸/576: inward for s < 2√2.

    Source: Qin et al. 2020, arXiv:2010.15040, without its gradient regularization.
    """

    generator: UpdateRule
    discriminator: UpdateRule
    num_batches: ClassVar[int] = 1
    num_generator_steps: ClassVar[int] = 1
    num_discriminator_steps: ClassVar[int] = 1
    num_gradients: ClassVar[int] = 8
    advice = exact_for_sgd

    def init(self, players: Players) -> Players:
        return start(Rules(self.generator, self.discriminator), players)

    def step(
        self, game: Game, players: Players, state: Players, batches: tuple[Batch, ...]
    ) -> tuple[Players, Players, Logs]:
        (batch,) = batches
        rules = Rules(self.generator, self.discriminator)
        first, logs = game.gradients(players, batch)
        second, _ = game.gradients(_along(rules, players, first, 0.5), batch)
        third, _ = game.gradients(_along(rules, players, second, 0.5), batch)
        fourth, _ = game.gradients(_along(rules, players, third, 1.0), batch)
        stages = zip(first, second, third, fourth, strict=True)
        direction = Players(*((a + 2 * b + 2 * c + d) / 6 for a, b, c, d in stages))
        players, state = move(rules, direction, players, state)
        return players, state, logs | gradient_norms(first)
