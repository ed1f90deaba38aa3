"""Terms added to the generator's loss.

Every one takes ``(game, players, batch, fake)``, ``fake`` being G(z) of the batch, (N, *event), and
returns a scalar, differentiable in the generator's parameters.

Raises (all): ValueError if a number is out of its range: weights in [0, inf), lengths in (0, inf).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod, sqrt
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from saddle.game.calculus import Logs
from saddle.game.composition import Composition
from saddle.game.game import Batch, Game, Players, says
from saddle.game.norms import norm, squared_norm
from saddle.game.penalties.consistency import NEARBY, lonely_half, nearby_latents
from saddle.game.penalties.weights import (
    correlation,
    distance_from_orthonormal,
    squared_spectral_norms,
    under_spectral_normalization,
)
from saddle.game.ranges import FRACTION, NOT_NEGATIVE, POSITIVE, POSITIVE_OR_INFINITE, require
from saddle.game.refusals import Refused
from saddle.game.transforms import gaussian


def nagarajan_kolter(game: Game, players: Players, batch: Batch, fake: Tensor, *, eta: float) -> Tensor:
    """Squared size of the discriminator's gradient: η · ‖∇_ψL_D(θ, ψ)‖², differentiated in θ.

    Its minimum over θ is where D cannot improve. On the bilinear game it adds 2ησ² to G's own curvature.
    Source: Nagarajan and Kolter 2017, arXiv:1706.04156 (authors' code: η = ½ on the ring).
    """
    require("nagarajan_kolter's eta", eta, NOT_NEGATIVE)
    gradient, _ = game.functional().discriminator_gradient(players, batch)  # a derivative of a derivative
    return eta * gradient.square().sum()


def mode_seeking(
    game: Game, players: Players, batch: Batch, fake: Tensor, *, weight: float, eps: float = 1e-5
) -> Tensor:
    """Reward samples that differ as their latents do: λ / (E[d(G(z), G(z'))/d(z, z')] + ε), d the mean
    absolute difference over a sample's entries, z' the batch's latents moved on by one.

    The unconditional form. Source: Mao et al. 2019, arXiv:1903.05628, and the authors' code, which divides
    the batch's mean d(G(z), G(z')) by its mean d(z, z') (λ = 1, ε = 10⁻⁵).

    Raises:
        ValueError: the batch has one sample, which has no other to differ from.
    """
    require("mode_seeking's weight", weight, NOT_NEGATIVE)
    require("mode_seeking's eps", eps, POSITIVE, "1e-5 is usual.")
    if len(fake) < 2:
        raise Refused(
            "mode_seeking must see at least two samples, whose latents it compares; got a batch of one. "
            "Choose a larger batch_size."
        )
    apart = (fake - fake.roll(1, 0)).abs().flatten(1).mean(1)  # (N,)
    latents_apart = (batch.latent - batch.latent.roll(1, 0)).abs().flatten(1).mean(1)
    return weight / ((apart / latents_apart).mean() + eps)


def _of_samples_by_themselves(penalty: Any, composition: Composition) -> Iterator[str]:
    """Advise against a generator that has no Jacobian at each latent."""
    for layer in composition.facts("generator", "mixes_samples"):
        yield (
            f"{composition.name_of(penalty)} is about the generator's Jacobian at each latent, and {layer} "
            "mixes those of a batch. Take normalization@model.generator.normalization=layer or none."
        )


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
        require("weight", self.weight, NOT_NEGATIVE)
        require("eps", self.eps, POSITIVE, "It is how far latents are moved; 1 is usual.")
        require("low", self.low, NOT_NEGATIVE)
        require("high", self.high, POSITIVE_OR_INFINITE, "inf does not bound.")
        if not isinstance(self.low <= self.high, Tensor) and not self.low <= self.high:
            raise Refused(f"low must lie between 0 and high; got {self.low} and {self.high}. Swap them.")

    def __call__(self, game: Game, players: Players, batch: Batch, fake: Tensor) -> Tensor:
        direction = F.normalize(batch.latent.roll(1, 0), dim=1)
        moved = game.bind_generator(players, batch)(batch.latent + self.eps * direction)
        stretch = ((moved - fake).flatten(1).square().sum(1) + 1e-12).sqrt() / self.eps  # bounded from 0
        outside = F.relu(stretch - self.high).square() + F.relu(self.low - stretch).square()
        return self.weight * outside.mean()

    def advice(self, composition: Composition) -> Iterator[str]:
        yield from _of_samples_by_themselves(self, composition)


class MeanLength(NamedTuple):
    length: Tensor  # (), running mean of ‖Jᵀy‖


@dataclass(frozen=True)
class PathLength:
    """Equal steps in z make equally long steps in x, in every direction: λ · E[(‖Jᵀy‖ − a)²], J = ∂G/∂z.

    y is Gaussian noise of a sample's shape, divided by the root of the number of pixels: 1 for points, H·W
    for images. a is the exponential average of the mean ‖Jᵀy‖, from 0, a ← a + (1 − decay)(mean − a) once a
    round: a constant within it, where the authors' code first moves it by the batch at hand. Here z is the
    input of G, there its mapping network's output. The mean is logged as ``diag/generator_path_length``.
    Costs one more evaluation of G and a derivative of a derivative. Batch normalization in G mixes the
    samples' Jacobians.

    Source: Karras et al. 2020, arXiv:1912.04958, sec. 3.2 (authors' code: λ = 2, decay 0.99).
    """

    weight: float
    decay: float = 0.99

    def __post_init__(self) -> None:
        require("weight", self.weight, NOT_NEGATIVE)
        require("decay", self.decay, FRACTION, "0.99 is usual.")

    def num_uniform(self, event: tuple[int, ...]) -> int:
        return prod(event)

    def init(self, like: Tensor) -> MeanLength:
        return MeanLength(torch.zeros((), dtype=like.dtype, device=like.device))

    def __call__(
        self,
        game: Game,
        players: Players,
        batch: Batch,
        fake: Tensor,
        uniform: Tensor,
        memory: MeanLength,
    ) -> tuple[Tensor, Logs]:
        direction = gaussian(uniform).reshape(fake.shape) / sqrt(prod(fake.shape[2:]))
        generator = game.bind_generator(players, batch)

        def along(latents: Tensor) -> Tensor:
            return (generator(latents) * direction).flatten(1).sum(1)

        _, pulled_back = game.calculus.slope(along, batch.latent)  # Jᵀy, (N, d)
        lengths = norm(pulled_back)
        value = self.weight * (lengths - memory.length).square().mean()
        return value, {"diag/generator_path_length": lengths.mean()}

    def advance(self, memory: MeanLength, logs: Logs) -> MeanLength:
        return MeanLength(logs["diag/generator_path_length"].lerp(memory.length, self.decay))

    def advice(self, composition: Composition) -> Iterator[str]:
        yield from _of_samples_by_themselves(self, composition)


def _without_consistency(composition: Composition) -> Iterator[str]:
    if not any(hasattr(part, "joins_nearby_latents") for part in composition.penalties("discriminator")):
        yield lonely_half("G")


@says(separates_nearby_latents=True, advice=_without_consistency)
def latent_diversity(
    game: Game, players: Players, batch: Batch, fake: Tensor, *, weight: float, std: float = 0.03
) -> Tensor:
    """zCR's part in G: nearby latents make different samples: −λ · E[‖G(z) − G(z + δ)‖²], δ of size ``std``.

    δ as in ``consistency.nearby_latents``, the norm over all of a sample's entries. Has no lower bound: it
    wants ``consistency.LatentConsistency`` in D, and samples that are bounded, as images are. Costs one more
    evaluation of G.
    Source: Zhao et al. 2021, arXiv:2002.04724, algorithm 2 (λ = 0.5, std 0.03 there).
    """
    require("zcr's weight", weight, NOT_NEGATIVE)
    require("zcr's std", std, POSITIVE, NEARBY)
    moved = game.bind_generator(players, batch)(nearby_latents(batch.latent, std))
    return -weight * squared_norm(moved - fake).mean()


def orthogonal(game: Game, players: Players, batch: Batch, fake: Tensor, *, weight: float) -> Tensor:
    """Different filters of a layer of G at right angles, of any length: β · Σ ‖WWᵀ ⊙ (1 − I)‖²_F.

    The sum is over layers, W (outputs, rest); see ``saddle.game.penalties.weights``.
    Source: Brock et al. 2019, arXiv:1809.11096, sec. 3.1 (β = 10⁻⁴).
    """
    require("orthogonal's weight", weight, NOT_NEGATIVE)
    return weight * correlation(game.generator.matrices(players.generator).values())


def orthonormal(game: Game, players: Players, batch: Batch, fake: Tensor, *, weight: float) -> Tensor:
    """Filters of a layer of G at right angles and of length 1: β · Σ ‖WWᵀ − I‖²_F.

    The sum is over layers, W (outputs, rest); see ``saddle.game.penalties.weights``.
    Source: Brock et al. 2017, arXiv:1609.07093, in the squared form of Brock et al. 2019, sec. 3.1.
    """
    require("orthonormal's weight", weight, NOT_NEGATIVE)
    return weight * distance_from_orthonormal(game.generator.matrices(players.generator).values())


@says(advice=under_spectral_normalization("generator"))
def spectral(game: Game, players: Players, batch: Batch, fake: Tensor, *, weight: float) -> Tensor:
    """Largest singular value of each layer of G: ½λ · Σ σ(W)².

    The sum is over layers, W (outputs, rest); see ``saddle.game.penalties.weights``.
    Source: Yoshida and Miyato 2017, arXiv:1705.10941, sec. 3 (λ = 0.01), of a classifier there.
    """
    require("spectral's weight", weight, NOT_NEGATIVE)
    return 0.5 * weight * squared_spectral_norms(game.generator.matrices(players.generator).values())
