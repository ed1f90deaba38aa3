"""A dataset: a name, a source of samples to play the game on, and one of samples never trained on."""

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from saddle.data.sources import Source, TensorSource, sha256_of
from saddle.game.refusals import Refused


@dataclass(frozen=True, eq=False)  # eq: samples have no single truth value; compare digests
class Dataset:
    """Two splits of samples, with labels where the data has them.

    Args:
        name: short word under which results are filed.
        train: what the game is played on.
        held_out: never trained on.

    Raises:
        ValueError: the splits differ in event shape, dtype or classes.
    """

    name: str
    train: Source
    held_out: Source

    def __post_init__(self) -> None:
        kinds = [(split.event_shape, split.first(0).dtype) for split in (self.train, self.held_out)]
        if kinds[0] != kinds[1]:
            raise Refused(
                f"both splits of {self.name} must hold samples of one shape and dtype; got "
                f"{kinds[0][0]} {kinds[0][1]} and {kinds[1][0]} {kinds[1][1]}. "
                "Split one tensor, or convert the second."
            )
        classes = self.train.num_classes, self.held_out.num_classes
        if (classes[0] is None) != (classes[1] is None):
            raise Refused(
                f"{self.name} must have labels on both splits or on none; got one of the two. "
                "Give the other, or drop both."
            )
        if classes[0] != classes[1]:
            raise Refused(
                f"both splits of {self.name} must be of the same classes; got num_classes={classes[0]} and "
                f"{classes[1]}. Give both the number that the whole data has."
            )

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one sample: (2,) for points, (C, H, W) for images."""
        return self.train.event_shape

    @property
    def num_classes(self) -> int | None:
        """K, of labels 0 … K − 1; None without labels."""
        return self.train.num_classes

    def digest(self) -> str:
        """sha256 of what all samples and labels are known by: equal exactly when the data is equal.

        The name and the device do not enter.
        """
        (train, train_labels), (held_out, held_out_labels) = self.train.identity(), self.held_out.identity()
        return sha256_of(train, held_out, train_labels, held_out_labels)

    def to(self, device: torch.device | str) -> Self:
        """The same data on ``device``."""
        return replace(self, train=self.train.to(device), held_out=self.held_out.to(device))


def of_tensors(
    name: str,
    train: Tensor,
    held_out: Tensor,
    train_labels: Tensor | None = None,
    held_out_labels: Tensor | None = None,
) -> Dataset:
    """A dataset whose splits are tensors: floats, or images as uint8; see ``TensorSource``.

    Args:
        name: short word under which results are filed.
        train: (N, *event).
        held_out: (M, *event).
        train_labels: (N,) int64 from 0; the number of classes is one more than the largest of either split.
        held_out_labels: (M,) int64, given exactly when ``train_labels`` is.

    Raises:
        ValueError: the splits differ in event shape or dtype, or labels do not match samples.
    """
    labels = [found for found in (train_labels, held_out_labels) if found is not None and found.numel()]
    num_classes = max(int(found.max()) for found in labels) + 1 if labels else 1

    def source(samples: Tensor, labels: Tensor | None) -> TensorSource:
        return TensorSource(samples, labels, None if labels is None else num_classes)

    return Dataset(name, source(train, train_labels), source(held_out, held_out_labels))
