"""Methods that act on the gradient of a point ahead: extragradient and its one-gradient kin."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from saddle.dynamics.moves import Rules, gradient_norms, move, start
from saddle.dynamics.optimizers import UpdateRule
from saddle.game.calculus import Logs
from saddle.game.game import Batch, Game, Players


@dataclass(frozen=True)
class ExtraGradient:
    """Look ahead with one step, then step from where one stood with the gradient found there.

    ω̃ = ω − ηξ(ω),  ω' = ω − ηξ(ω̃), on one batch: 4 gradients a round. With an adaptive rule both
    steps update its moments, as in ExtraAdam. On the bilinear game |λ|² = 1 − s² + s⁴: converges for
    s < 1, fastest at s = 1/√2.

    Source: Korpelevich 1976; for GANs Gidel et al. 2019, arXiv:1802.10551, eqs. 14-15 and algorithm 4.
    """

    generator: UpdateRule
    discriminator: UpdateRule
    num_batches: ClassVar[int] = 1
    num_generator_steps: ClassVar[int] = 1
    num_discriminator_steps: ClassVar[int] = 1
    num_gradients: ClassVar[int] = 4
    looks_ahead: ClassVar[bool] = True

    def init(self, players: Players) -> Players:
        return start(Rules(self.generator, self.discriminator), players)

    def step(
        self, game: Game, players: Players, state: Players, batches: tuple[Batch, ...]
    ) -> tuple[Players, Players, Logs]:
        (batch,) = batches
        rules = Rules(self.generator, self.discriminator)
        ahead, state = move(rules, game.gradients(players, batch)[0], players, state)
        gradients, logs = game.gradients(ahead, batch)
        players, state = move(rules, gradients, players, state)
        return players, state, logs | gradient_norms(gradients)


class WithPast(NamedTuple):
    """Memory of the rules, and the last round's gradients."""

    memory: Players
    past: Players
    started: Tensor  # (), 0 before the first round, then 1


def _no_past(rules: Rules, players: Players) -> WithPast:
    zero = torch.zeros((), dtype=players.generator.dtype, device=players.generator.device)
    return WithPast(start(rules, players), pytree.tree_map(torch.zeros_like, players), zero)


@dataclass(frozen=True)
class PastExtraGradient:
    """Extragradient that looks ahead with the gradient of the last round: 2 gradients a round.

    ω̃ₜ = ωₜ − ηξ(ω̃ₜ₋₁),  ωₜ₊₁ = ωₜ − ηξ(ω̃ₜ). The first round has no past and does not look ahead.
    Looking ahead leaves the rule's moments alone. On the bilinear game the points ω̃ follow
    ``Optimistic``'s recursion: λ² − (1 − 2is)λ − is = 0, stable for s < 1/√3.

    Source: Popov 1980; for GANs Gidel et al. 2019, arXiv:1802.10551, eqs. 20-21.
    """

    generator: UpdateRule
    discriminator: UpdateRule
    num_batches: ClassVar[int] = 1
    num_generator_steps: ClassVar[int] = 1
    num_discriminator_steps: ClassVar[int] = 1
    num_gradients: ClassVar[int] = 2
    looks_ahead: ClassVar[bool] = True

    def init(self, players: Players) -> WithPast:
        return _no_past(Rules(self.generator, self.discriminator), players)

    def step(
        self, game: Game, players: Players, state: WithPast, batches: tuple[Batch, ...]
    ) -> tuple[Players, WithPast, Logs]:
        (batch,) = batches
        rules = Rules(self.generator, self.discriminator)
        ahead, _ = move(rules, state.past, players, state.memory)
        # where, not if: under vmap `started` is a tensor of the whole ensemble. A stateful rule moves
        # along a zero gradient too, so the first look ahead is undone and not merely empty.
        ahead = pytree.tree_map(
            lambda there, here: torch.where(state.started > 0, there, here), ahead, players
        )
        gradients, logs = game.gradients(ahead, batch)
        players, memory = move(rules, gradients, players, state.memory)
        state = WithPast(memory, gradients, torch.ones_like(state.started))
        return players, state, logs | gradient_norms(gradients)


@dataclass(frozen=True)
class Optimistic:
    """Step along 2ξₜ − ξₜ₋₁ (OGDA): 2 gradients a round. The first round has no past and uses ξ₀.

    ωₜ₊₁ = ωₜ − η(2ξ(ωₜ) − ξ(ωₜ₋₁)). On the bilinear game the eigenvalues are the roots of
    λ² − (1 − 2is)λ − is = 0: stable for s < 1/√3, fastest at s = ½ with |λ| = 1/√2. Here the *gradient*
    is optimistic, whatever the rule makes of it; ``optimizers.OptimisticAdam`` is so in Adam's direction.

    Source: Daskalakis et al. 2018, arXiv:1711.00141.
    """

    generator: UpdateRule
    discriminator: UpdateRule
    num_batches: ClassVar[int] = 1
    num_generator_steps: ClassVar[int] = 1
    num_discriminator_steps: ClassVar[int] = 1
    num_gradients: ClassVar[int] = 2
    looks_ahead: ClassVar[bool] = True

    def init(self, players: Players) -> WithPast:
        return _no_past(Rules(self.generator, self.discriminator), players)

    def step(
        self, game: Game, players: Players, state: WithPast, batches: tuple[Batch, ...]
    ) -> tuple[Players, WithPast, Logs]:
        (batch,) = batches
        gradients, logs = game.gradients(players, batch)
        # without a past the last gradient counts as the present one: 2ξ − ξ
        direction = pytree.tree_map(
            lambda now, past: now + state.started * (now - past), gradients, state.past
        )
        rules = Rules(self.generator, self.discriminator)
        players, memory = move(rules, direction, players, state.memory)
        state = WithPast(memory, gradients, torch.ones_like(state.started))
        return players, state, logs | gradient_norms(gradients)
