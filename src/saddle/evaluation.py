"""One generator, measured: samples, one feature pass, every metric, and the protocol of it all."""

import sys
import typing
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from saddle.data.dataset import Dataset
from saddle.data.sampling import LatentLaw
from saddle.feature_files import cached
from saddle.features import digest
from saddle.models.normalization import for_sampling
from saddle.network import Network
from saddle.protocol import Extraction, Fake, Protocol, Real
from saddle.randomness import generator

Metric = Callable[[Tensor, Tensor], float | Mapping[str, float]]
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
        seed: of the latents. Not the training seed: the latents of every run are the same.
    """

    network: Network
    latents: LatentLaw
    batch_size: int
    seed: int

    def module(self, params: Tensor) -> nn.Module:
        """The generator with these parameters (P,), ready to sample."""
        latents = (
            self.latents(self.batch_size, generator(self.seed, "standing statistics", index, params.device))
            for index in range(STANDING_BATCHES)
        )
        return for_sampling(self.network, params, latents)

    def describe(self, name: str, num: int, averaging: str) -> Fake:
        """``num`` samples of the generator ``name``, for a protocol."""
        batches = f"{STANDING_BATCHES} of {self.batch_size}"
        return Fake(name, num, self.seed, averaging, "standing statistics", batches)

    @torch.no_grad()
    def __call__(self, params: Tensor, num: int) -> Tensor:
        """``num`` samples (num, *event); the first m of them do not depend on ``num``."""
        module = self.module(params)
        size = 500  # bounds memory
        batches = (
            self.latents(size, generator(self.seed, "evaluation", index, params.device))
            for index in range(-(-num // size))
        )
        return torch.cat([module(latent) for latent in batches])[:num]


@dataclass(frozen=True)
class Evaluator:
    """Every metric of a generator from one feature pass.

    Args:
        features: extractor; runs once over the samples, and once over the real ones in ``prepare``.
        measures: layer -> name -> metric of the two feature matrices of that layer. A metric that
            returns a mapping contributes its keys, one that returns a number its name.
        num_samples: generated samples.
        num_real: real samples, the first so many of the training split.
        higher_is_better: metric names; the others are better low.
        floors: metric -> name of the value a perfect sampler would have.
        best: metrics whose best checkpoint is kept.
        shown: metrics in the progress bar.
        real: layer -> features of the real samples, made by ``prepare``.
    """

    features: Features
    measures: Mapping[str, Mapping[str, Metric]]
    num_samples: int
    num_real: int
    higher_is_better: Collection[str]
    floors: Mapping[str, str]
    best: Collection[str]
    shown: Collection[str] = ()
    real: Mapping[str, Tensor] | None = None

    def prepare(self, dataset: Dataset, device: torch.device) -> "Evaluator":
        """The same with the real side computed, on ``device``."""
        features = self.features.to(device)

        def compute() -> dict[str, Tensor]:
            return features(dataset.train[: self.num_real].to(device))

        if not features.is_costly:
            return replace(self, features=features, real=compute())
        origin = self._real(dataset)
        real = cached(features.describe(), origin, device, compute, lambda text: print(text, file=sys.stderr))
        return replace(
            self, features=features, real={layer: matrix.to(device) for layer, matrix in real.items()}
        )

    def __call__(self, samples: Tensor) -> dict[str, float]:
        """Metric name -> value for generated samples (N, *event)."""
        if self.real is None:
            raise ValueError(
                "an evaluator must know the real features; got none. Call prepare(dataset, device)."
            )
        fake = self.features(samples)
        values: dict[str, float] = {}
        for layer, metrics in self.measures.items():
            for name, metric in metrics.items():
                found = metric(self.real[layer], fake[layer])
                values |= found if isinstance(found, Mapping) else {name: found}
        return {name: float(value) for name, value in values.items()}

    def of_held_out(self, dataset: Dataset) -> dict[str, float]:
        """What held-out real samples score in the generator's place: as many of them, if there are."""
        return self(self._yardstick(dataset))

    def _yardstick(self, dataset: Dataset) -> Tensor:
        return dataset.held_out[: self.num_samples]

    def protocol(self, dataset: Dataset, sampler: Sampler, averaging: str) -> dict[str, Any]:
        """What the numbers were computed from, as stored; see ``saddle.protocol``."""
        fake = sampler.describe("generator", self.num_samples, averaging)
        protocol = Protocol(self.features.describe(), self._real(dataset), fake)
        return {**protocol.to_dict(), "num_held_out": len(self._yardstick(dataset))}

    def _real(self, dataset: Dataset) -> Real:
        num = min(self.num_real, len(dataset.train))
        return Real(f"{dataset.name}, first of the training split", num, _digest_of_first(dataset, num))


@lru_cache(maxsize=1)  # asked at every checkpoint
def _digest_of_first(dataset: Dataset, num: int) -> str:
    return digest([dataset.train[:num]])
