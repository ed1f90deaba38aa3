"""A dataset that fits in memory: samples as one tensor a split, indexed by whoever trains.

Images are float32 in [−1, 1], (N, C, H, W); points are float32 in the units of their paper, (N, 2).
"""

from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Self

import torch
from torch import Tensor

from saddle.game.refusals import Refused


@dataclass(frozen=True, eq=False)  # eq: tensors have no single truth value; compare digests
class Dataset:
    """Two splits of samples, with labels where the data has them.

    Args:
        name: short word under which results are filed.
        train: (N, *event), what the game is played on.
        held_out: (M, *event), never trained on.
        train_labels: (N,) int64: the class of an image, the mode of a point.
        held_out_labels: (M,) int64, given exactly when ``train_labels`` is.

    Raises:
        ValueError: the splits differ in event shape or dtype, or labels do not match samples.
    """

    name: str
    train: Tensor
    held_out: Tensor
    train_labels: Tensor | None = None
    held_out_labels: Tensor | None = None

    def __post_init__(self) -> None:
        if self.train.shape[1:] != self.held_out.shape[1:] or self.train.dtype != self.held_out.dtype:
            raise Refused(
                f"both splits of {self.name} must hold samples of one shape and dtype; got "
                f"{tuple(self.train.shape[1:])} {self.train.dtype} and {tuple(self.held_out.shape[1:])} "
                f"{self.held_out.dtype}. Split one tensor, or convert the second."
            )
        splits = {"train": (self.train, self.train_labels), "held_out": (self.held_out, self.held_out_labels)}
        for split, (samples, labels) in splits.items():
            if labels is not None and labels.shape != samples.shape[:1]:
                raise Refused(
                    f"{split} labels of {self.name} must be one integer per sample, shape "
                    f"{tuple(samples.shape[:1])}; got {tuple(labels.shape)}. Flatten or re-index them."
                )
        if (self.train_labels is None) != (self.held_out_labels is None):
            raise Refused(
                f"{self.name} must have labels on both splits or on none; got one of the two. "
                "Give the other, or drop both."
            )

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one sample: (2,) for points, (C, H, W) for images."""
        return tuple(self.train.shape[1:])

    def digest(self) -> str:
        """sha256 over shapes, dtypes and bytes of all arrays: equal exactly when the data is equal.

        The name and the device do not enter.
        """
        total = sha256()
        for array in (self.train, self.held_out, self.train_labels, self.held_out_labels):
            if array is None:
                total.update(b"none;")
                continue
            total.update(f"{tuple(array.shape)} {array.dtype};".encode())
            total.update(array.detach().cpu().contiguous().numpy().tobytes())
        return total.hexdigest()

    def to(self, device: torch.device | str) -> Self:
        """The same data on ``device``."""

        def moved(array: Tensor | None) -> Tensor | None:
            return None if array is None else array.to(device)

        return replace(
            self,
            train=self.train.to(device),
            held_out=self.held_out.to(device),
            train_labels=moved(self.train_labels),
            held_out_labels=moved(self.held_out_labels),
        )
