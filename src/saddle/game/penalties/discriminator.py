"""Penalties on the discriminator, added to the discriminator's loss.

Every penalty takes ``(discriminator, batch, fake)`` and returns a scalar:

- ``discriminator``: samples (N, *event) -> logits (N,), its parameters bound, with ``slope``;
- ``batch``: ``batch.real`` is (N, *event), event (2,) for points and (C, H, W) for images;
- ``fake``: generated samples of the same shape.

Norms run over all of a sample's own axes, so a penalty does not depend on the batch size. Slopes
have units of logits per unit of data: doubling the data's scale calls for 4 times the weight.

Raises (all): ValueError if the discriminator does not return one logit per sample, or if a number is out of
its range: weights and targets in [0, inf).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from saddle.game.calculus import BoundDiscriminator, Logs
from saddle.game.composition import Composition
from saddle.game.game import Batch
from saddle.game.norms import norm, squared_norm
from saddle.game.ranges import FRACTION, FRACTION_OR_ONE, NOT_NEGATIVE, require


def _interpolate(batch: Batch, fake: Tensor) -> Tensor:
    mix = batch.mix.view(-1, *[1] * (fake.ndim - 1))
    return mix * batch.real + (1.0 - mix) * fake  # (N, *event)


def _require(penalty: str, weight: float, target: float) -> None:
    require(f"{penalty}'s weight", weight, NOT_NEGATIVE)
    require(f"{penalty}'s target", target, NOT_NEGATIVE, "It is the length of a slope; 1 is usual.")


def r1(discriminator: BoundDiscriminator, batch: Batch, fake: Tensor, *, gamma: float) -> Tensor:
    """Squared slope at real samples: ½γ · E[‖∇ₓD(x)‖²]. Exactly 0 for a constant discriminator.

    The factor ½ is the paper's; its authors' code has none, so their 10 is 20 here.
    Source: Mescheder et al. 2018, arXiv:1801.04406, eq. 9.
    """
    require("r1's gamma", gamma, NOT_NEGATIVE)
    return 0.5 * gamma * squared_norm(discriminator.slope(batch.real)).mean()


def r2(discriminator: BoundDiscriminator, batch: Batch, fake: Tensor, *, gamma: float) -> Tensor:
    """Squared slope at generated samples: ½γ · E[‖∇ₓD(G(z))‖²].

    Source: Mescheder et al. 2018, arXiv:1801.04406, eq. 10.
    """
    require("r2's gamma", gamma, NOT_NEGATIVE)
    return 0.5 * gamma * squared_norm(discriminator.slope(fake)).mean()


def wgan_gp(
    discriminator: BoundDiscriminator,
    batch: Batch,
    fake: Tensor,
    *,
    weight: float,
    target: float = 1.0,
    one_sided: float = 0.0,
) -> Tensor:
    """Penalty on interpolates: λ · E[(‖∇ₓD(x̂)‖ − target)²], x̂ = u·x + (1 − u)·G(z).

    u is uniform on [0, 1), one number a sample (``batch.mix``). At a slope of exactly 0 the norm's
    gradient is taken as 0, so a constant discriminator has value λ·target² and finite gradients.
    Slopes below the target count 1 − ``one_sided``, in [0, 1]: 1 is the one-sided form, ``wgan_lp``.

    Source: Gulrajani et al. 2017, arXiv:1704.00028, eq. 3 (λ = 10, target 1 there).
    """
    _require("wgan_gp", weight, target)
    require("wgan_gp's one_sided", one_sided, FRACTION_OR_ONE, "1 charges slopes above the target alone.")
    excess = norm(discriminator.slope(_interpolate(batch, fake))) - target
    squared = excess.square()
    return weight * torch.where(excess > 0, squared, (1.0 - one_sided) * squared).mean()


def wgan_lp(
    discriminator: BoundDiscriminator, batch: Batch, fake: Tensor, *, weight: float, target: float = 1.0
) -> Tensor:
    """The one-sided form of ``wgan_gp`` (WGAN-LP): λ · E[max(0, ‖∇ₓD(x̂)‖ − target)²], x̂ as there.

    Exactly 0, with gradient 0, where the slope is below the target.
    Source: Petzka et al. 2018, arXiv:1709.08894.
    """
    _require("wgan_lp", weight, target)
    return wgan_gp(discriminator, batch, fake, weight=weight, target=target, one_sided=1.0)


def zero_centered(discriminator: BoundDiscriminator, batch: Batch, fake: Tensor, *, weight: float) -> Tensor:
    """Squared slope on interpolates: λ · E[‖∇ₓD(x̂)‖²], x̂ as for ``wgan_gp``. No factor ½.

    Source: Thanh-Tung et al. 2019, arXiv:1902.03984 (authors' code: λ = 100 for MNIST, 10 for points).
    """
    require("zero_centered's weight", weight, NOT_NEGATIVE)
    return weight * squared_norm(discriminator.slope(_interpolate(batch, fake))).mean()


@dataclass(frozen=True)
class Dragan:
    """Penalty around real samples: λ · E[(‖∇ₓD(x̂)‖ − target)²], x̂ = x + α·½·std(x)·U.

    α is one uniform number a sample (``batch.mix``), U is uniform on [0, 1) for each of its entries, so
    the noise is one-sided; std runs over the whole batch. This is the authors' own law of the noise.

    Source: Kodali et al. 2017, arXiv:1705.07215, and the authors' code (λ = 10, target 1).
    """

    weight: float
    target: float = 1.0

    def __post_init__(self) -> None:
        _require("dragan", self.weight, self.target)

    def num_uniform(self, event: tuple[int, ...]) -> int:
        return prod(event)

    def __call__(
        self, discriminator: BoundDiscriminator, batch: Batch, fake: Tensor, uniform: Tensor
    ) -> Tensor:
        mix = batch.mix.view(-1, *[1] * (fake.ndim - 1))
        noise = 0.5 * batch.real.std() * uniform.reshape(batch.real.shape)
        slope = discriminator.slope(batch.real + mix * noise)
        return self.weight * (norm(slope) - self.target).square().mean()


@dataclass(frozen=True)
class DraganCentred:
    """Penalty around real samples: λ · E[(‖∇ₓD(x̂)‖ − target)²], x̂ = x + std(x)·(U − ½), clipped to [−1, 1].

    The law of the noise in compare_gan, mapped from its images in [0, 1] to ours; compare ``Dragan``.

    Source: Kodali et al. 2017, arXiv:1705.07215, as in Kurach et al. 2019, arXiv:1807.04720.
    """

    weight: float
    target: float = 1.0

    def __post_init__(self) -> None:
        _require("dragan_centred", self.weight, self.target)

    def num_uniform(self, event: tuple[int, ...]) -> int:
        return prod(event)

    def __call__(
        self, discriminator: BoundDiscriminator, batch: Batch, fake: Tensor, uniform: Tensor
    ) -> Tensor:
        noise = batch.real.std() * (uniform.reshape(batch.real.shape) - 0.5)
        slope = discriminator.slope((batch.real + noise).clamp(-1.0, 1.0))
        return self.weight * (norm(slope) - self.target).square().mean()

    def conflicts(self, composition: Composition) -> Iterator[str]:
        if (reach := composition.data.reach()) > 1:
            yield (
                "dragan_centred must see data in [-1, 1], to which it clips the places where it takes the "
                f"slope; got {composition.data.name}, which reaches {reach:.3g}. Take regularizer=[dragan]."
            )


class LeCamMemory(NamedTuple):
    real: Tensor  # (), running mean of D(x)
    fake: Tensor  # (), running mean of D(G(z))


@dataclass(frozen=True)
class LeCam:
    """Keep logits near the other kind's running mean: λ · (E[(D(x) − α_F)²] + E[(D(G(z)) − α_R)²]).

    α_R and α_F are exponential averages of the mean logits, from 0, advanced once a round by those that are
    logged as ``diag/lecam_real_logit`` and ``diag/lecam_fake_logit``. This is the paper's formula; its
    authors' code first clips the differences at 0.

    Source: Tseng et al. 2021, arXiv:2104.03310 (λ = 0.3, decay 0.99 in their script for 20 % of
    CIFAR-10).
    """

    weight: float
    decay: float = 0.99

    def __post_init__(self) -> None:
        require("weight", self.weight, NOT_NEGATIVE)
        require("decay", self.decay, FRACTION, "0.99 is usual.")

    def init(self, like: Tensor) -> LeCamMemory:
        zero = torch.zeros((), dtype=like.dtype, device=like.device)
        return LeCamMemory(zero, zero)

    def __call__(
        self, discriminator: BoundDiscriminator, batch: Batch, fake: Tensor, memory: LeCamMemory
    ) -> tuple[Tensor, Logs]:
        real_logits, fake_logits = discriminator(batch.real), discriminator(fake)
        value = (real_logits - memory.fake).square().mean() + (fake_logits - memory.real).square().mean()
        seen = {"diag/lecam_real_logit": real_logits.mean(), "diag/lecam_fake_logit": fake_logits.mean()}
        return self.weight * value, seen

    def advance(self, memory: LeCamMemory, logs: Logs) -> LeCamMemory:
        return LeCamMemory(  # under autocast the logits are bfloat16, the memory never is
            logs["diag/lecam_real_logit"].to(memory.real.dtype).lerp(memory.real, self.decay),
            logs["diag/lecam_fake_logit"].to(memory.fake.dtype).lerp(memory.fake, self.decay),
        )
