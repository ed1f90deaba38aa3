"""One generator, measured: samples, one feature pass, every metric, and the protocol of it all."""

import sys
import typing
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import lru_cache, partial
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from saddle.data.dataset import Dataset
from saddle.data.pixels import digest
from saddle.data.sampling import LatentLaw
from saddle.data.sources import blocks
from saddle.features.files import cached
from saddle.game.network import Network
from saddle.game.randomness import generator
from saddle.game.refusals import Refused
from saddle.metrics.evidence import SAMPLES, Evidence, Judge, ReadyGenerator
from saddle.metrics.protocol import Extraction, Fake, Protocol, Real
from saddle.metrics.values import Value, meanings_of, said
from saddle.models.normalization import for_sampling

Metric = Callable[[Tensor, Tensor], float | Mapping[str, float]]
Measures = Mapping[str, Mapping[str, Metric]]  # layer -> name -> metric of the two matrices of that layer
NO_SETTINGS = {"block_size", "batch_size", "seed"}  # arguments of metrics that leave the quantity what it is
STANDING_BATCHES = 32  # of the training batch size: enough that BatchNorm's means move by under 1 %


class Features(typing.Protocol):
    """Samples to named feature matrices; see ``saddle.features``. Costly ones are kept for the real side."""

    is_costly: typing.ClassVar[bool]

    def __call__(self, samples: Tensor) -> dict[str, Tensor]: ...
    def describe(self) -> Extraction: ...
    def to(self, device: torch.device | str) -> "Features": ...


@dataclass(frozen=True)
class Sampler:
    """Draws samples from a generator's vector with standing statistics, always the same ones.

    Args:
        network: the generator.
        latents: (num, random) -> latents (num, d).
        batch_size: of training; BatchNorm's statistics are measured over batches of this size.
        seed: of the latents and labels. Not the training seed: those of every run are the same.
        num_classes: K of the data; a conditional generator is asked for each class equally often, at random.

    Raises:
        ValueError: the generator is conditional, and the data has no classes.
    """

    network: Network
    latents: LatentLaw
    batch_size: int
    seed: int
    num_classes: int | None = None

    def __post_init__(self) -> None:
        if self.network.conditional and self.num_classes is None:
            raise Refused(
                "a conditional generator must be asked for classes; got data without labels. Choose labelled "
                "data, or a generator without classes."
            )

    def inputs(self, num: int, purpose: str, index: int, device: torch.device) -> tuple[Tensor, ...]:
        """What the generator takes: latents (num, d), and labels (num,) if it is conditional."""
        latents = self.latents(num, generator(self.seed, purpose, index, device))
        return latents, *self._labels(num, purpose, index, device)

    def _labels(self, num: int, purpose: str, index: int, device: torch.device) -> tuple[Tensor, ...]:
        if not self.network.conditional or self.num_classes is None:
            return ()
        random = generator(self.seed, f"{purpose} labels", index, device)
        return (torch.randint(self.num_classes, (num,), generator=random, device=device),)

    def module(self, params: Tensor) -> nn.Module:
        """The generator with these parameters (P,), ready to sample."""
        inputs = (
            self.inputs(self.batch_size, "standing statistics", index, params.device)
            for index in range(STANDING_BATCHES)
        )
        return for_sampling(self.network, params, inputs)

    def describe(self, name: str, num: int, averaging: str) -> Fake:
        """``num`` samples of the generator ``name``, for a protocol."""
        batches = f"{STANDING_BATCHES} of {self.batch_size}"
        return Fake(name, num, self.seed, averaging, "standing statistics", batches)

    def __call__(self, params: Tensor, num: int) -> Tensor:
        """``num`` samples (num, *event); the first m of them do not depend on ``num``."""
        return self.draw(self.module(params), num, params.device)

    @torch.no_grad()
    def draw(self, module: nn.Module, num: int, device: torch.device) -> Tensor:
        """``num`` samples (num, *event) of a generator that is ready to sample."""
        size = 500  # bounds memory
        batches = (self.inputs(size, "evaluation", index, device) for index in range(-(-num // size)))
        return torch.cat([module(*inputs) for inputs in batches])[:num]

    def ready(self, module: nn.Module, device: torch.device) -> ReadyGenerator:
        """A generator that is ready to sample, with latents of its own, for metrics of itself.

        A conditional one is asked for the i-th of a fixed row of classes by the i-th latent of every call, so
        that both ends of a small step are of one class.
        """
        labels = self._labels(1000, "source", 0, device)  # beforehand: a lifted call cannot draw

        def generate(latents: Tensor) -> Tensor:
            num = len(latents)
            return module(latents, *(label.repeat(-(-num // len(label)))[:num] for label in labels))

        return ReadyGenerator(
            generate,
            lambda num: self.latents(num, generator(self.seed, "source", device=device)),
        )


@dataclass(frozen=True)
class Evaluator:
    """Every metric of a generator from one feature pass.

    Args:
        features: extractor; runs once over the samples, and once over the real ones in ``prepare``.
        measures: layer -> name -> metric of the two feature matrices of that layer; the layer "samples" is
            the samples themselves. A metric that returns a mapping contributes its keys, one that returns a
            number its name.
        num_samples: generated samples.
        num_real: real samples, the first so many of the training split.
        meanings: value name -> what it means, of all that the metrics declare; see ``configured``.
        best: metrics whose best checkpoint is kept.
        shown: metrics in the progress bar.
        evidence: name -> metric of more than two matrices; see ``saddle.metrics.evidence``.
        real: layer -> features of the real samples, made by ``prepare``.
        held_out: likewise of the held-out ones, where there are metrics of more than two matrices.
    """

    features: Features
    measures: Measures
    num_samples: int
    num_real: int
    meanings: Mapping[str, Value]
    best: Collection[str]
    shown: Collection[str] = ()
    evidence: Mapping[str, Judge] = field(default_factory=dict)
    real: Mapping[str, Tensor] | None = None
    held_out: Mapping[str, Tensor] | None = None

    def prepare(self, dataset: Dataset, device: torch.device) -> "Evaluator":
        """The same with the real side computed, on ``device``."""
        features = self.features.to(device)
        samples = dataset.train.first(self.num_real).to(device)
        if features.is_costly:
            origin = self._real(dataset)
            note = partial(print, file=sys.stderr)
            kept = cached(features.describe(), origin, device, lambda: features(samples), note)
            real = {layer: matrix.to(device) for layer, matrix in kept.items()}
        else:
            real = features(samples)
        held_out = (
            features(dataset.held_out.first(len(dataset.held_out)).to(device)) if self.evidence else None
        )
        return replace(self, features=features, real=real | {SAMPLES: samples}, held_out=held_out)

    def __call__(self, samples: Tensor) -> dict[str, float]:
        """Metric name -> value for generated samples (N, *event), without the metrics of their generator."""
        return self._judge(samples, self.held_out)

    def of_generator(self, sampler: Sampler, params: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Samples of the generator with these parameters (P,), and every metric of it."""
        module = sampler.module(params)
        samples = sampler.draw(module, self.num_samples, params.device)
        return samples, self._judge(samples, self.held_out, sampler.ready(module, params.device))

    def of_held_out(self, dataset: Dataset) -> dict[str, float]:
        """What held-out real samples score in the generator's place: as many of them, if there are.

        Without the metrics that need a generator, or more held-out samples.
        """
        return self._judge(self._yardstick(dataset))

    def _judge(
        self,
        samples: Tensor,
        held_out: Mapping[str, Tensor] | None = None,
        ready: ReadyGenerator | None = None,
    ) -> dict[str, float]:
        if self.real is None:
            raise Refused(
                "an evaluator must know the real features; got none. Call prepare(dataset, device)."
            )
        fake = {**self.features(samples), SAMPLES: samples}
        values = of_matrices(self.measures, self.real, fake)
        for judge in self.evidence.values():
            lacking = (judge.needs_held_out and held_out is None, judge.needs_generator and ready is None)
            if not any(lacking):
                values |= judge(Evidence(self.real, fake, held_out, ready))
        return {name: float(value) for name, value in values.items()}

    def _yardstick(self, dataset: Dataset) -> Tensor:
        return dataset.held_out.first(self.num_samples)

    def protocol(self, dataset: Dataset, sampler: Sampler, averaging: str) -> dict[str, Any]:
        """What the numbers were computed from, as stored; see ``saddle.metrics.protocol``."""
        fake = sampler.describe("generator", self.num_samples, averaging)
        settings = settings_of(self.measures, self.evidence)
        protocol = Protocol(self.features.describe(), self._real(dataset), fake, settings)
        return {**protocol.to_dict(), "num_held_out": min(self.num_samples, len(dataset.held_out))}

    def _real(self, dataset: Dataset) -> Real:
        num = min(self.num_real, len(dataset.train))
        return Real(f"{dataset.name}, first of the training split", num, _digest_of_first(dataset, num))


def configured(
    *,
    measures: Measures,
    evidence: Mapping[str, Judge] | None = None,
    higher_is_better: Collection[str] = (),
    floors: Mapping[str, str] | None = None,
    **rest: Any,
) -> Evaluator:
    """Make the evaluator of a ``metrics`` configuration, whose parts are made.

    Args:
        measures, evidence: see ``Evaluator``.
        higher_is_better: names of values that are better high, where no function says so.
        floors: value name -> name of its floor, likewise.
        rest: of ``Evaluator``.
    """
    judges = evidence or {}
    meanings = said(declared(measures, judges), higher_is_better, floors)
    return Evaluator(measures=measures, evidence=judges, meanings=meanings, **rest)


def declared(measures: Measures, evidence: Mapping[str, Judge]) -> dict[str, Value]:
    """Collect what the values of these metrics mean: value name -> what its function declares."""
    entries = [*(entry for metrics in measures.values() for entry in metrics.items()), *evidence.items()]
    return {name: value for entry in entries for name, value in meanings_of(*entry).items()}


def of_matrices(
    measures: Measures, real: Mapping[str, Tensor], fake: Mapping[str, Tensor]
) -> dict[str, float]:
    """Name -> value of every metric of one layer.

    Raises:
        ValueError: a layer that these features do not have.
    """
    values: dict[str, float] = {}
    for layer, metrics in measures.items():
        if layer not in real or layer not in fake:
            raise Refused(
                f"{', '.join(metrics)} must have the layer {layer}; these features have {', '.join(real)}. "
                "Leave it out, or choose features with that layer."
            )
        for name, metric in metrics.items():
            found = metric(real[layer], fake[layer])
            values |= found if isinstance(found, Mapping) else {name: found}
    return {name: float(value) for name, value in values.items()}


def settings_of(measures: Measures, evidence: Mapping[str, Judge]) -> dict[str, str]:
    """Metric -> what computes it and with which numbers, such as ``prdc(k=3, density_k=5)``, for a protocol.

    Objects are told by their type alone: what they are made of is in the samples.
    """
    bound: dict[str, Any] = {
        name: metric for metrics in measures.values() for name, metric in metrics.items()
    }
    return {name: _call(metric) for name, metric in (bound | dict(evidence)).items()}


def _call(metric: Any) -> str:
    given: dict[str, Any]
    if is_dataclass(metric):
        name, given = type(metric).__name__, {one.name: getattr(metric, one.name) for one in fields(metric)}
    else:
        name = getattr(metric, "func", metric).__name__
        parameters = signature(metric).parameters.values()  # with partial's values as defaults
        given = {one.name: one.default for one in parameters if one.kind is one.KEYWORD_ONLY}
    plain = (int, float, str, type(None), list, tuple)
    shown = {
        key: repr(value) if isinstance(value, plain) else type(value).__name__
        for key, value in sorted(given.items())
        if key not in NO_SETTINGS
    }
    return f"{name}({', '.join(f'{key}={value}' for key, value in shown.items())})"


@lru_cache(maxsize=1)  # asked at every checkpoint
def _digest_of_first(dataset: Dataset, num: int) -> str:
    return digest(blocks(dataset.train, num))
