"""Sources: where samples lie, and how some of them are taken without making a tensor of all.

Samples taken are floats: images in [−1, 1], (n, C, H, W); points in the units of their paper, (n, 2). What
they lie as is the source's own business, and so is their device.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import chain
from typing import Protocol, Self

import torch
from torch import Tensor

from saddle.data.pixels import from_uint8
from saddle.game.refusals import Refused

BLOCK = 1000  # samples looked at together

Pieces = Iterable[bytes]


class Source(Protocol):
    """Samples by index, with their classes where the data has them."""

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one sample: (2,) for points, (C, H, W) for images."""

    @property
    def num_classes(self) -> int | None:
        """K, of labels 0 … K − 1; None without labels."""

    @property
    def device(self) -> torch.device:
        """Where samples are taken to."""

    def __len__(self) -> int: ...

    def take(self, indices: Tensor) -> tuple[Tensor, Tensor | None]:
        """Give the samples (n, *event) at ``indices`` (n,) int64, and their labels (n,) int64."""

    def first(self, num: int) -> Tensor:
        """Give the first ``num`` samples (num, *event), or all if there are fewer."""

    def identity(self) -> tuple[Pieces, Pieces]:
        """Give the bytes that samples and labels are known by: equal exactly where these are equal."""

    def digest(self) -> str:
        """Give sha256 of both; the device does not enter."""

    def to(self, device: torch.device | str) -> Self:
        """Give the same samples on ``device``."""


@dataclass(frozen=True, eq=False)  # eq: tensors have no single truth value; compare digests
class TensorSource:
    """Samples held as one tensor: floats as they are, or images as the 256 levels of a file.

    Levels take a quarter of the memory. They become float32 in [−1, 1] on their device when they are taken.

    Args:
        stored: (N, *event) floats, or (N, C, H, W) uint8.
        labels: (N,) int64: the class of an image, the mode of a point.
        num_classes: K, given exactly when labels are.

    Raises:
        ValueError: samples are of another kind, or labels do not match them or the number of classes.
    """

    stored: Tensor
    labels: Tensor | None = None
    num_classes: int | None = None

    def __post_init__(self) -> None:
        are_images = self.stored.dtype == torch.uint8 and self.stored.ndim == 4
        if not (are_images or self.stored.is_floating_point()):
            raise Refused(
                "samples must be floats, or images (N, C, H, W) in uint8; got "
                f"{tuple(self.stored.shape)} {self.stored.dtype}. Convert them."
            )
        _must_fit(len(self), self.labels, self.num_classes)

    @property
    def event_shape(self) -> tuple[int, ...]:
        return tuple(self.stored.shape[1:])

    @property
    def device(self) -> torch.device:
        return self.stored.device

    def __len__(self) -> int:
        return len(self.stored)

    def take(self, indices: Tensor) -> tuple[Tensor, Tensor | None]:
        # twice as fast as indexing
        samples = _floats(self.stored.index_select(0, indices))
        return samples, None if self.labels is None else self.labels.index_select(0, indices)

    def first(self, num: int) -> Tensor:
        return _floats(self.stored[:num])

    def identity(self) -> tuple[Pieces, Pieces]:
        return _pieces(self.stored), _pieces(self.labels)

    def digest(self) -> str:
        return sha256_of(*self.identity())

    def to(self, device: torch.device | str) -> Self:
        labels = None if self.labels is None else self.labels.to(device)
        return replace(self, stored=self.stored.to(device), labels=labels)


def blocks(source: Source, num: int | None = None, size: int = BLOCK) -> Iterator[Tensor]:
    """Go through the samples of a source in order, so that a large one never lies in memory as floats.

    Args:
        num: the first so many, or all if there are fewer; None takes all.
        size: samples in a block (size, *event); the last may have fewer.
    """
    end = len(source) if num is None else min(num, len(source))
    for start in range(0, end, size):
        yield source.take(torch.arange(start, min(start + size, end), device=source.device))[0]


def reach(source: Source) -> float:
    """Find the largest |x| among all numbers of all samples."""
    return max(float(block.abs().max()) for block in blocks(source))


def sha256_of(*parts: Pieces) -> str:
    """sha256 of pieces of bytes, one part after the other."""
    total = sha256()
    for piece in chain(*parts):
        total.update(piece)
    return total.hexdigest()


def _pieces(array: Tensor | None) -> Iterator[bytes]:
    """Shape, dtype and bytes of an array, a block at a time."""
    if array is None:
        yield b"none;"
        return
    yield f"{tuple(array.shape)} {array.dtype};".encode()
    for block in array.detach().split(BLOCK):
        yield block.cpu().contiguous().numpy().tobytes()


def _floats(stored: Tensor) -> Tensor:
    return from_uint8(stored) if stored.dtype == torch.uint8 else stored


def _must_fit(num: int, labels: Tensor | None, num_classes: int | None) -> None:
    if (labels is None) != (num_classes is None):
        raise Refused(
            f"labels and the number of their classes must be given together; got num_classes={num_classes} "
            f"and {'no labels' if labels is None else 'labels'}. Give the other, or drop both."
        )
    if labels is None or num_classes is None:
        return
    if labels.shape != (num,) or labels.dtype != torch.int64:
        raise Refused(
            f"labels must be one integer per sample, shape ({num},); got {tuple(labels.shape)} "
            f"{labels.dtype}. Flatten or re-index them, or convert them to int64."
        )
    if num and not 0 <= int(labels.min()) <= int(labels.max()) < num_classes:
        raise Refused(
            f"labels must be classes from 0 to {num_classes - 1}, num_classes={num_classes}; got "
            f"{int(labels.min())} to {int(labels.max())}. Number the classes from 0."
        )
