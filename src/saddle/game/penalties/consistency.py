"""Penalties on a discriminator whose logit moves when a sample is moved and its meaning is not.

They share the signature of ``penalties.discriminator`` and its convention for weights. T moves a sample:

- images (C, H, W): flipped left to right with probability ½, and shifted by whole pixels, up to the
  fraction ``translation`` of the side, in [0, 1); what comes in from outside is 0;
- anything else: Gaussian noise of standard deviation ``jitter`` on each entry, in units of the data.

The i-th real and the i-th generated sample of a batch share the random numbers of T. Each penalty costs
one more evaluation of D for every set of moved samples.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

from torch import Tensor

from saddle.game.calculus import BoundDiscriminator, Function
from saddle.game.composition import Composition
from saddle.game.game import Batch
from saddle.game.ranges import FRACTION, NOT_NEGATIVE, POSITIVE, require
from saddle.game.transforms import NUM_DRAWS, augment, gaussian


def _num_uniform(event: tuple[int, ...]) -> int:
    return NUM_DRAWS if len(event) == 3 else prod(event)


def _move(samples: Tensor, uniform: Tensor, translation: float, jitter: float) -> Tensor:
    """T of every sample; each sample of a pack is moved on its own."""
    if samples.ndim != 4:
        return samples + jitter * gaussian(uniform).reshape(samples.shape)
    images = samples.reshape(len(uniform), -1, *samples.shape[2:])
    chosen = uniform.new_tensor([1.0, 0.0, 0.0, 0.0, 1.0, 0.0]).expand(
        len(uniform), -1
    )  # flip and translation
    moved = augment(images, uniform, chosen, translation=translation, cutout=0.0, color=0.0)
    return moved.reshape(samples.shape)


def _require(weight: float, translation: float, jitter: float) -> None:
    require("weight", weight, NOT_NEGATIVE)
    require("translation", translation, FRACTION, "0.125 is usual, of an image's side.")
    require("jitter", jitter, NOT_NEGATIVE, "It is a standard deviation, in units of the data.")


def _disagreement(discriminator: BoundDiscriminator, samples: Tensor, moved: Tensor) -> Tensor:
    return (discriminator(samples) - discriminator(moved)).square().mean()


def _in_unlike_batches(penalty: Any, composition: Composition) -> Iterator[str]:
    """Advise against a discriminator to which one sample in two batches is not one."""
    for layer in composition.facts("discriminator", "mixes_samples"):
        yield (
            f"{composition.name_of(penalty)} compares the logits of two batches, and {layer} in D takes each "
            "by its own statistics. Take normalization@model.discriminator.normalization=layer."
        )


@dataclass(frozen=True)
class Consistency:
    """CR: real samples and moved ones get the same logit: λ · E[(D(x) − D(T(x)))²].

    Both logits are differentiated. Exactly 0 for a constant discriminator; no factor ½.
    Source: Zhang et al. 2020, arXiv:1910.12027 (λ = 10).
    """

    weight: float
    translation: float = 0.125
    jitter: float = 0.02

    def __post_init__(self) -> None:
        _require(self.weight, self.translation, self.jitter)

    def num_uniform(self, event: tuple[int, ...]) -> int:
        return _num_uniform(event)

    def __call__(
        self, discriminator: BoundDiscriminator, batch: Batch, fake: Tensor, uniform: Tensor
    ) -> Tensor:
        moved = _move(batch.real, uniform, self.translation, self.jitter)
        return self.weight * _disagreement(discriminator, batch.real, moved)

    def advice(self, composition: Composition) -> Iterator[str]:
        yield from _in_unlike_batches(self, composition)


@dataclass(frozen=True)
class BalancedConsistency:
    """bCR: CR on real and generated samples: λ · E[(D(x) − D(T(x)))²] + λ_F · E[(D(G(z)) − D(T(G(z))))²].

    λ is ``weight``, λ_F ``fake_weight``. Without the second term G learns the artifacts of T.
    Source: Zhao et al. 2021, arXiv:2002.04724, algorithm 1 (λ = λ_F = 10).
    """

    weight: float
    fake_weight: float
    translation: float = 0.125
    jitter: float = 0.02

    def __post_init__(self) -> None:
        _require(self.weight, self.translation, self.jitter)
        require("fake_weight", self.fake_weight, NOT_NEGATIVE)

    def num_uniform(self, event: tuple[int, ...]) -> int:
        return _num_uniform(event)

    def __call__(
        self, discriminator: BoundDiscriminator, batch: Batch, fake: Tensor, uniform: Tensor
    ) -> Tensor:
        moved_real, moved_fake = (
            _move(samples, uniform, self.translation, self.jitter) for samples in (batch.real, fake)
        )
        on_real = _disagreement(discriminator, batch.real, moved_real)
        on_fake = _disagreement(discriminator, fake, moved_fake)
        return self.weight * on_real + self.fake_weight * on_fake

    def advice(self, composition: Composition) -> Iterator[str]:
        yield from _in_unlike_batches(self, composition)


def lonely_half(player: str) -> str:
    """What either part of zCR says of itself without the other."""
    return (
        f"zCR has a part in each player; got that of {player} alone. Take regularizer=[zcr] and "
        "generator_regularizer=[zcr] together."
    )


NEARBY = "It is how far latents are moved; 0.03 is usual."


def nearby_latents(latent: Tensor, std: float) -> Tensor:
    """z + δ (N, d), δ = std times the next latent of the batch: of the latents' own law, scaled, and drawn
    independently of z. For z ~ N(0, I) that is N(0, std²I). A batch of one has only itself: δ = std·z."""
    return latent + std * latent.roll(-1, 0)


@dataclass(frozen=True)
class LatentConsistency:
    """zCR's part in D: nearby latents get the same logit: λ · E[(D(G(z)) − D(G(z + δ)))²], δ of size ``std``.

    δ as in ``nearby_latents``. Costs one more evaluation of G, whose parameters get no gradient from it, and
    one of D. Its part in G is ``saddle.game.penalties.generator.latent_diversity``.
    Source: Zhao et al. 2021, arXiv:2002.04724, algorithm 2 (λ = 5, std 0.03 there).
    """

    weight: float
    std: float = 0.03
    sees_generator: ClassVar[bool] = True
    joins_nearby_latents: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require("weight", self.weight, NOT_NEGATIVE)
        require("std", self.std, POSITIVE, NEARBY)

    def __call__(
        self, discriminator: BoundDiscriminator, batch: Batch, fake: Tensor, generator: Function
    ) -> Tensor:
        nearby = generator(nearby_latents(batch.latent, self.std))
        return self.weight * _disagreement(discriminator, fake, nearby)

    def advice(self, composition: Composition) -> Iterator[str]:
        if not any(hasattr(part, "separates_nearby_latents") for part in composition.penalties("generator")):
            yield lonely_half("D")
        yield from _in_unlike_batches(self, composition)
