"""Samples to feature matrices: what every metric is computed on.

An extractor is called with samples (N, *event) and returns, by layer name, float matrices (N, d) on
the samples' device. It runs in batches of bounded size without gradients, and ``describe`` says what
a number computed from it depends on.
"""

import json
from copy import deepcopy
from dataclasses import dataclass, replace
from hashlib import sha256
from importlib.resources import as_file, files
from typing import Self

import torch
from safetensors import safe_open
from torch import Tensor, nn

from saddle.data.pixels import QUANTIZATION, from_uint8, to_uint8
from saddle.game.refusals import Refused
from saddle.metrics.protocol import Extraction
from saddle.models.classifier import FEATURE_DIM, DigitClassifier


@dataclass(frozen=True)
class PointFeatures:
    """Points are their own features: layer "points", float32 or float64 as they come."""

    is_costly = False  # features of real samples are not worth keeping on disk

    def __call__(self, samples: Tensor) -> dict[str, Tensor]:
        """(N, d) to {"points": (N, d)}."""
        if samples.ndim != 2:
            raise Refused(
                f"points must be a matrix (N, d); got shape {tuple(samples.shape)}. "
                "Choose metrics=images for image data."
            )
        return {"points": samples.detach()}

    def describe(self) -> Extraction:
        """What a number depends on: nothing but the points."""
        return Extraction(name="points", layers="points", dtype="as given")

    def to(self, device: torch.device | str) -> Self:
        """Itself: there is nothing to move."""
        return self


def points() -> PointFeatures:
    """The extractor for point data."""
    return PointFeatures()


@dataclass(frozen=True)
class FlatFeatures:
    """Samples are their own features, flattened: layer "features" (N, d), in the dtype they come in.

    Images are quantized first and stay in [−1, 1].
    """

    is_costly = False

    def __call__(self, samples: Tensor) -> dict[str, Tensor]:
        """(N, *event) to {"features": (N, d)}."""
        if samples.ndim < 2:
            raise Refused(f"samples must have a shape (N, *event); got {tuple(samples.shape)}.")
        values = from_uint8(to_uint8(samples)) if samples.ndim == 4 else samples
        return {"features": values.detach().flatten(1)}

    def describe(self) -> Extraction:
        """What a number depends on: nothing but the samples."""
        return Extraction(
            name="flat", layers="features", quantization=f"images: {QUANTIZATION}", dtype="as given"
        )

    def to(self, device: torch.device | str) -> Self:
        """Itself: there is nothing to move."""
        return self


def identity() -> FlatFeatures:
    """The extractor for samples that are their own features: points, flattened images, given features."""
    return FlatFeatures()


@dataclass(frozen=True, eq=False)
class ClassifierFeatures:
    """Layers "features" (N, 64), standardized, and "logits" (N, 10) of a digit classifier.

    Images are quantized first, real ones too.

    Args:
        network: images to ``Classified``, in evaluation mode.
        name: of the weights.
        digest: sha256 of the weights file.
        image_shape: (C, H, W) the weights were made for.
        batch_size: images a pass: bounds memory, does not change what is computed. 100 stay in a CPU's
            cache: twice as fast as 500.
    """

    network: nn.Module
    name: str
    digest: str
    image_shape: tuple[int, int, int]
    batch_size: int = 100
    is_costly = False

    @torch.no_grad()
    def __call__(self, samples: Tensor) -> dict[str, Tensor]:
        """Images (N, C, H, W) in [−1, 1] to {"features": (N, 64), "logits": (N, 10)}, float32.

        Raises:
            ValueError: images of another shape than the weights were made for, or not finite.
        """
        if samples.shape[1:] != self.image_shape:
            raise Refused(
                f"the classifier {self.name} must see images of shape {self.image_shape}; got "
                f"{tuple(samples.shape[1:])}. Choose the metrics that belong to this data."
            )
        images = from_uint8(to_uint8(samples))
        with torch.autocast(samples.device.type, enabled=False):  # features stay float32 in mixed precision
            passes = [self.network(batch) for batch in images.split(self.batch_size)]
        return {
            "features": torch.cat([one.features for one in passes]),
            "logits": torch.cat([one.logits for one in passes]),
        }

    def describe(self) -> Extraction:
        """What a number depends on; the batch size is not among it."""
        return Extraction(
            name=f"digit_classifier/{self.name}",
            weights_sha256=self.digest,
            layers=f"features ({FEATURE_DIM}, standardized), logits (10)",
            quantization=QUANTIZATION,
        )

    def to(self, device: torch.device | str) -> Self:
        """The same extractor on ``device``; this one stays where it is."""
        return replace(self, network=deepcopy(self.network).to(device))


def digit_classifier(weights: str, batch_size: int = 100) -> ClassifierFeatures:
    """The classifier shipped under this name, on the CPU.

    Args:
        weights: "mnist5k" for 28×28 digits, "digits" for 8×8 ones.
        batch_size: images a pass.

    Raises:
        ValueError: no weights of that name.
    """
    network, digest, side = _classifier(weights)
    return ClassifierFeatures(network, weights, digest, (1, side, side), batch_size)


def _classifier(weights: str) -> tuple[DigitClassifier, str, int]:
    """The network, the sha256 of its file, and the side of the images it was trained on."""
    folder = files("saddle.features") / "weights"
    resource = folder / f"{weights}.safetensors"
    if not resource.is_file():
        shipped = (entry.name for entry in folder.iterdir() if entry.name.endswith(".safetensors"))
        known = sorted(name.removesuffix(".safetensors") for name in shipped)
        raise Refused(
            f"weights must be one of {', '.join(known)}; got {weights!r}. "
            "Train others with scripts/train_classifier.py."
        )
    network = DigitClassifier().to(torch.float32)
    with as_file(resource) as path, safe_open(path, framework="pt") as stored:
        network.load_state_dict({name: stored.get_tensor(name) for name in stored.keys()})  # noqa: SIM118
        side = json.loads(stored.metadata()["made_from"])["image_side"]
    network.requires_grad_(False).eval()
    return network, sha256(resource.read_bytes()).hexdigest(), side
