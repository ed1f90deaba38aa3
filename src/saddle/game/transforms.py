"""What the discriminator sees: differentiable transforms of real and generated samples alike.

``transform(samples, ...) -> samples``, shapes (N, *event). Randomness arrives as ``uniform``
(N, num_uniform); the i-th real and the i-th generated sample of a batch share it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod, sqrt
from typing import NamedTuple

import torch
from torch import Tensor

from saddle.game.calculus import Logs
from saddle.game.composition import Composition
from saddle.game.ranges import (
    FRACTION,
    FRACTION_OR_ONE,
    NOT_NEGATIVE,
    POSITIVE_FRACTION_OR_ONE,
    POSITIVE_OR_INFINITE,
    SIGNED_FRACTION_OR_ONE,
    SWITCH,
    require,
)
from saddle.game.refusals import Refused


def gaussian(uniform: Tensor) -> Tensor:
    """Numbers from N(0, 1) out of uniform ones on [0, 1), one each; none lies beyond ±4.8."""
    # the inverse of the normal distribution function, kept from ±infinity at 0 and 1
    return sqrt(2.0) * torch.erfinv(2.0 * uniform.clamp(1e-6, 1.0 - 1e-6) - 1.0)


class Count(NamedTuple):
    rounds: Tensor  # ()


@dataclass(frozen=True)
class InstanceNoise:
    """Add Gaussian noise, annealed to nothing: x + σₜε, σₜ = σ·max(0, 1 − t/T), t the round.

    Makes the supports overlap, so that D's gradient does not vanish. ``num_rounds`` T = inf keeps σ, which is
    logged as ``diag/instance_noise_std``.
    Source: Sønderby et al. 2017, arXiv:1610.04490; Arjovsky and Bottou 2017, arXiv:1701.04862, sec. 3.
    """

    std: float
    num_rounds: float = float("inf")

    def __post_init__(self) -> None:
        require("std", self.std, NOT_NEGATIVE, "0 adds no noise.")
        require("num_rounds", self.num_rounds, POSITIVE_OR_INFINITE, "inf does not anneal.")

    def num_uniform(self, event: tuple[int, ...]) -> int:
        return prod(event)

    def init(self, like: Tensor) -> Count:
        return Count(torch.zeros((), dtype=like.dtype, device=like.device))

    def __call__(self, samples: Tensor, uniform: Tensor, memory: Count) -> Tensor:
        return samples + self._std(memory) * gaussian(uniform).reshape(samples.shape)

    def advance(self, memory: Count, logs: Logs) -> Count:
        return Count(memory.rounds + 1.0)

    def report(self, memory: Count) -> Logs:
        return {"diag/instance_noise_std": self._std(memory)}

    def advice(self, composition: Composition) -> Iterator[str]:
        num_steps, num_rounds = composition.num_steps, composition.num_rounds
        # the end of the run, meant in rounds and given in generator steps
        if self.num_rounds == num_steps > num_rounds:
            name = composition.name_of(self)
            yield (
                f"{name} is annealed over num_rounds={self.num_rounds:g} rounds, and this run of {num_steps} "
                f"generator steps has {num_rounds:g}. Take transform.{name}.num_rounds={num_rounds:g}."
            )

    def _std(self, memory: Count) -> Tensor:
        return self.std * (1.0 - memory.rounds / self.num_rounds).clamp(min=0.0)


NUM_AUGMENTATIONS, NUM_DRAWS = 6, 8
"""What ``augment`` applies, and how many uniform numbers an image needs for all of it."""


def augment(
    images: Tensor, uniform: Tensor, chosen: Tensor, *, translation: float, cutout: float, color: float
) -> Tensor:
    """Flip, colour, translation and cutout of images (N, C, H, W), each where chosen.

    Args:
        images: in [−1, 1].
        uniform: (N, 8): flip, brightness, saturation, contrast, translation (y, x), cutout centre (y, x).
        chosen: (N, 6) of 0 and 1, in the order above: which are applied to which image.
        translation: greatest shift as a fraction of the side, in [0, 1); what comes in from outside is 0.
        cutout: side of the square set to 0, as a fraction of the image's, in [0, 1].
        color: in [0, inf). Brightness moves by up to ±color/2; saturation, the distance from a pixel's mean
            over channels, scales by 1 ± color, and contrast, that from the image's mean, by 1 ± color/2.

    Raises:
        ValueError: the samples are not images.

    Source: Zhao et al. 2020, arXiv:2006.10738, and the authors' code (color 1, translation 1/8, cutout 1/2).
    """
    if images.ndim != 4:
        raise Refused(
            f"ada and diffaugment must be given images (N, C, H, W); got samples {tuple(images.shape)}. Take "
            "transform=[instance_noise], which adds noise to samples of any kind, or data of images."
        )
    height, width = images.shape[-2:]
    chosen = chosen[:, :, None, None, None]
    draw = uniform[:, :, None, None, None]  # (N, 8, 1, 1, 1)
    images = torch.where(chosen[:, 0] * (draw[:, 0] < 0.5) > 0, images.flip(-1), images)
    images = images + chosen[:, 1] * color * (draw[:, 1] - 0.5)
    stretch = chosen[:, 2] * color * (2.0 * draw[:, 2] - 1.0)
    images = images + stretch * (images - images.mean(1, keepdim=True))
    stretch = chosen[:, 3] * color * (draw[:, 3] - 0.5)
    images = images + stretch * (images - images.mean((1, 2, 3), keepdim=True))

    rows, columns = torch.arange(height, device=images.device), torch.arange(width, device=images.device)

    def shift(draws: Tensor, side: int) -> Tensor:
        """Whole pixels in [−translation·side, translation·side], (N, 1)."""
        reach = int(translation * side + 0.5)
        return ((draws * (2 * reach + 1)).floor() - reach).clamp(max=reach).to(torch.long)[:, None]

    moved = chosen[:, 4, 0, 0, 0].to(torch.long)[:, None]
    from_rows = rows + moved * shift(uniform[:, 4], height)  # (N, H)
    from_columns = columns + moved * shift(uniform[:, 5], width)  # (N, W)
    inside = ((from_rows >= 0) & (from_rows < height))[:, None, :, None]
    inside = inside & ((from_columns >= 0) & (from_columns < width))[:, None, None, :]
    index = from_rows.clamp(0, height - 1)[:, None, :, None].expand_as(images)
    images = images.gather(2, index)
    index = from_columns.clamp(0, width - 1)[:, None, None, :].expand_as(images)
    images = torch.where(inside, images.gather(3, index), 0.0)

    half = cutout / 2.0
    far_rows = (rows[None] - uniform[:, 6, None] * height).abs() > half * height  # (N, H)
    far_columns = (columns[None] - uniform[:, 7, None] * width).abs() > half * width
    kept = far_rows[:, None, :, None] | far_columns[:, None, None, :] | (chosen[:, 5] == 0)
    return torch.where(kept, images, 0.0)


def _require(translation: float, cutout: float, color: float) -> None:
    require("translation", translation, FRACTION, "0.125 is usual, of an image's side.")
    require("cutout", cutout, FRACTION_OR_ONE, "0 cuts nothing out, 0.5 is usual.")
    require("color", color, NOT_NEGATIVE, "0 leaves colours as they are, 1 is usual.")


@dataclass(frozen=True)
class DiffAugment:
    """Augment every image D sees, real or generated, differentiably; see ``augment``. For images only.

    Source: Zhao et al. 2020, arXiv:2006.10738. Flips are left out there and by default here.
    """

    translation: float = 0.125
    cutout: float = 0.5
    color: float = 1.0
    flip: float = 0.0  # 1 flips half of the images

    def __post_init__(self) -> None:
        _require(self.translation, self.cutout, self.color)
        require("flip", self.flip, SWITCH, "1 flips half of the images.")

    def num_uniform(self, event: tuple[int, ...]) -> int:
        return NUM_DRAWS

    def __call__(self, samples: Tensor, uniform: Tensor) -> Tensor:
        chosen = torch.ones_like(uniform[:, :NUM_AUGMENTATIONS])
        chosen = torch.cat([self.flip * chosen[:, :1], chosen[:, 1:]], 1)
        return augment(
            samples, uniform, chosen, translation=self.translation, cutout=self.cutout, color=self.color
        )


class Probability(NamedTuple):
    p: Tensor  # (), of every augmentation


@dataclass(frozen=True)
class AdaptiveAugment:
    """ADA: ``augment`` each image with probability p, which follows the discriminator's overfitting.

    After each round p ← clip(p + speed·sign(r − target), 0, 1), r = E[sign D(x)] on the augmented real
    samples. ``speed``, in (0, 1], is per round: batch size / 500,000 raises p from 0 to 1 in 500,000 images.
    p is logged as ``diag/ada_p``.

    Source: Karras et al. 2020, arXiv:2006.06676, sec. 3 (target 0.6), with a compact set of transforms.
    """

    target: float = 0.6
    speed: float = 0.001
    translation: float = 0.125
    cutout: float = 0.5
    color: float = 1.0

    def __post_init__(self) -> None:
        require("target", self.target, SIGNED_FRACTION_OR_ONE, "It is a mean of signs; 0.6 is usual.")
        require("speed", self.speed, POSITIVE_FRACTION_OR_ONE, "batch_size/500000 is usual.")
        _require(self.translation, self.cutout, self.color)

    def num_uniform(self, event: tuple[int, ...]) -> int:
        return NUM_DRAWS + NUM_AUGMENTATIONS

    def init(self, like: Tensor) -> Probability:
        return Probability(torch.zeros((), dtype=like.dtype, device=like.device))

    def __call__(self, samples: Tensor, uniform: Tensor, memory: Probability) -> Tensor:
        chosen = (uniform[:, NUM_DRAWS:] < memory.p).to(samples.dtype)
        return augment(
            samples,
            uniform[:, :NUM_DRAWS],
            chosen,
            translation=self.translation,
            cutout=self.cutout,
            color=self.color,
        )

    def advance(self, memory: Probability, logs: Logs) -> Probability:
        excess = (logs["diag/real_sign"] - self.target).sign()
        return Probability((memory.p + self.speed * excess).clamp(0.0, 1.0))

    def report(self, memory: Probability) -> Logs:
        return {"diag/ada_p": memory.p}

    def advice(self, composition: Composition) -> Iterator[str]:
        loss = composition.game.loss
        if getattr(loss, "shift_invariant", False):
            yield (
                "ada follows the sign of D's logits on real samples, which means nothing under "
                f"{type(loss).__name__}: it does not see a common shift of all logits. Take "
                "transform=[diffaugment], or a loss such as non_saturating."
            )
