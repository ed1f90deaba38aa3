"""Terms added to the generator's loss.

Every one takes ``(game, players, batch, fake)``, ``fake`` being G(z) of the batch, (N, *event), and
returns a scalar, differentiable in the generator's parameters.
"""

from dataclasses import dataclass, replace

import torch.nn.functional as F
from torch import Tensor

from saddle.game import FUNCTIONAL, Batch, Game, Players


def nagarajan_kolter(game: Game, players: Players, batch: Batch, fake: Tensor, *, eta: float) -> Tensor:
    """Squared size of the discriminator's gradient: η · ‖∇_ψL_D(θ, ψ)‖², differentiated in θ.

    Its minimum over θ is where D cannot improve. On the bilinear game it adds 2ησ² to G's own curvature.
    Source: Nagarajan and Kolter 2017, arXiv:1706.04156, eq. 5 (η = ½ on the ring).
    """
    functional = replace(game, calculus=FUNCTIONAL)  # a derivative of a derivative
    gradient, _ = functional.discriminator_gradient(players, batch)
    return eta * gradient.square().sum()


def mode_seeking(
    game: Game, players: Players, batch: Batch, fake: Tensor, *, weight: float, eps: float = 1e-5
) -> Tensor:
    """Reward samples that differ as their latents do: λ / (E[d(G(z), G(z'))/d(z, z')] + ε), d the mean
    absolute difference over a sample's entries, z' the batch's latents moved on by one.

    The unconditional form. Source: Mao et al. 2019, arXiv:1903.05628, eq. 4 and the authors' code.
    """
    apart = (fake - fake.roll(1, 0)).abs().flatten(1).mean(1)  # (N,)
    latents_apart = (batch.latent - batch.latent.roll(1, 0)).abs().flatten(1).mean(1)
    return weight / ((apart / latents_apart).mean() + eps)


@dataclass(frozen=True)
class JacobianClamping:
    """Hold the generator's stretch within [low, high]: E[max(0, Q − high)² + max(0, low − Q)²]·λ.

    Q = ‖G(z) − G(z')‖ / ‖z − z'‖, z' = z + ε·δ/‖δ‖ with δ another latent of the batch.
    Source: Odena et al. 2018, arXiv:1802.08768, algorithm 1 (λ = 1, [1, 20], ε = 1).
    """

    weight: float
    low: float = 1.0
    high: float = 20.0
    eps: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.high:
            raise ValueError(
                f"low must lie between 0 and high; got {self.low:g} and {self.high:g}. Swap them."
            )

    def __call__(self, game: Game, players: Players, batch: Batch, fake: Tensor) -> Tensor:
        direction = F.normalize(batch.latent.roll(1, 0), dim=1)
        moved = game.bind_generator(players, batch)(batch.latent + self.eps * direction)
        stretch = ((moved - fake).flatten(1).square().sum(1) + 1e-12).sqrt() / self.eps  # bounded from 0
        outside = F.relu(stretch - self.high).square() + F.relu(self.low - stretch).square()
        return self.weight * outside.mean()
