"""Metrics that need more than two matrices: a third set of samples, a classifier's answers, the generator.

Each is called with ``Evidence`` and returns its values by name. What it needs beyond the features of real
and generated samples it says beforehand: images in a folder have no Jacobian.
"""

import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor, nn

from saddle.game.refusals import Refused
from saddle.metrics import frechet, generators, memorization, vendi
from saddle.metrics.values import Meaning

SAMPLES = "samples"  # the layer that is no layer: samples as they are
Layers = Mapping[str, Tensor]  # layer -> features (N, d)


@dataclass(frozen=True)
class ReadyGenerator:
    """A generator ready to sample.

    Args:
        sample: latents (B, n) -> samples (B, *event), each sample from its own latent alone.
        latents: how many -> latents (num, n) as in training, the same at every call.
    """

    sample: Callable[[Tensor], Tensor]
    latents: Callable[[int], Tensor]


@dataclass(frozen=True)
class Evidence:
    """All there is to judge generated samples by.

    Args:
        real: features of the training set.
        fake: features of the generated samples.
        held_out: features of real samples that the generator has not seen; None if there are none.
        generator: which the fakes come from; None for samples alone.
    """

    real: Layers
    fake: Layers
    held_out: Layers | None = None
    generator: ReadyGenerator | None = None


class Judge(typing.Protocol):
    """A metric of evidence: what its numbers mean, what it needs, and the numbers."""

    meaning: ClassVar[Meaning]
    needs_held_out: ClassVar[bool]
    needs_generator: ClassVar[bool]

    def __call__(self, evidence: Evidence) -> Mapping[str, float]: ...


def must_have(judges: Mapping[str, Judge], has_held_out: bool, has_generator: bool) -> None:
    """Refuse, before anything is computed, metrics that lack what they need.

    Raises:
        ValueError: one does.
    """
    for name, judge in judges.items():
        if judge.needs_held_out and not has_held_out:
            raise Refused(
                f"{name} must have real samples that the generator has not seen; got none. "
                f"Say held_out=SAMPLES, or leave {name} out."
            )
        if judge.needs_generator and not has_generator:
            raise Refused(
                f"{name} must have the generator itself; got samples alone. "
                f"Give a run or a checkpoint as fake, or leave {name} out."
            )


@dataclass(frozen=True)
class Memorization:
    """``memorization.memorization``: whether fakes are nearer to the training set than to held-out samples.

    Args:
        layer: of the features.

    Source: after Meehan et al. 2020, arXiv:2004.05675.
    """

    layer: str
    meaning: ClassVar[Meaning] = memorization.memorization.meaning
    needs_held_out: ClassVar[bool] = True
    needs_generator: ClassVar[bool] = False

    def __call__(self, evidence: Evidence) -> dict[str, float]:
        assert evidence.held_out is not None
        real, fake, held_out = (
            _of(one, self.layer) for one in (evidence.real, evidence.fake, evidence.held_out)
        )
        return memorization.memorization(real, fake, held_out=held_out)


@dataclass(frozen=True)
class ClassFID:
    """``frechet.class_fid``, each sample in the class that a classifier finds likeliest.

    Args:
        layer: whose features the distance is of.
        classes: layer of logits or probabilities (N, classes).

    Source: Miyato and Koyama 2018, arXiv:1802.05637 (intra FID), there by the labels asked for.
    """

    layer: str
    classes: str
    meaning: ClassVar[Meaning] = frechet.class_fid.meaning
    needs_held_out: ClassVar[bool] = False
    needs_generator: ClassVar[bool] = False

    def __call__(self, evidence: Evidence) -> dict[str, float]:
        real, fake = (_of(one, self.layer) for one in (evidence.real, evidence.fake))
        labels = (_of(one, self.classes).argmax(1) for one in (evidence.real, evidence.fake))
        real_classes, fake_classes = labels
        return frechet.class_fid(real, fake, real_classes=real_classes, fake_classes=fake_classes)


@dataclass(frozen=True)
class ClassVendi:
    """``vendi.class_vendi``, each fake in the class that a classifier finds likeliest.

    Args:
        layer: whose features the score is of.
        classes: layer of logits or probabilities (N, classes).

    Source: Friedman and Dieng 2023, arXiv:2210.02410, def. 3.1.
    """

    layer: str
    classes: str
    meaning: ClassVar[Meaning] = vendi.class_vendi.meaning
    needs_held_out: ClassVar[bool] = False
    needs_generator: ClassVar[bool] = False

    def __call__(self, evidence: Evidence) -> dict[str, float]:
        real, fake = (_of(one, self.layer) for one in (evidence.real, evidence.fake))
        return vendi.class_vendi(real, fake, fake_classes=_of(evidence.fake, self.classes).argmax(1))


@dataclass(frozen=True)
class LogCondition:
    """``generators.log_condition_number``: how unevenly the generator stretches its latents.

    Of use where samples have at least as many numbers as latents: else some direction is always lost.

    Args:
        num: latents.

    Source: Odena et al. 2018, arXiv:1802.08768, sec. 2.
    """

    num: int = 64
    meaning: ClassVar[Meaning] = generators.log_condition_number.meaning
    needs_held_out: ClassVar[bool] = False
    needs_generator: ClassVar[bool] = True

    def __call__(self, evidence: Evidence) -> dict[str, float]:
        ready = evidence.generator
        assert ready is not None
        return generators.log_condition_number(ready.sample, ready.latents(self.num))


@dataclass(frozen=True)
class PathLength:
    """``generators.path_length``: how smoothly the generator moves along paths between latents.

    Args:
        num: paths.
        epsilon: step along a path.
        features: samples -> (B, d), without quantization; the samples themselves, flattened, by default.
        interpolate: see there; along the great circle by default.
        seed: of the places along the paths.

    Source: Karras et al. 2019, arXiv:1812.04948, eq. 2, there in VGG16's features.
    """

    num: int = 500
    epsilon: float = 1e-2
    features: Callable[[Tensor], Tensor] = field(default_factory=nn.Flatten)
    interpolate: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None
    seed: int = 0
    meaning: ClassVar[Meaning] = generators.path_length.meaning
    needs_held_out: ClassVar[bool] = False
    needs_generator: ClassVar[bool] = True

    def __call__(self, evidence: Evidence) -> dict[str, float]:
        ready = evidence.generator
        assert ready is not None
        return generators.path_length(
            ready.sample,
            self.features,
            ready.latents(2 * self.num),
            interpolate=self.interpolate,
            epsilon=self.epsilon,
            seed=self.seed,
        )


def _of(layers: Layers, layer: str) -> Tensor:
    if layer not in layers:
        raise Refused(
            f"this metric must have the layer {layer}; these features have {', '.join(layers)}. "
            "Leave it out, or choose features with that layer."
        )
    return layers[layer]
