"""A source that holds nothing: samples are computed from their indices, and what was asked is counted."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from saddle.data.dataset import Dataset

NUM_CLASSES = 3


@dataclass(frozen=True)
class Spiral:
    """Sample i lies at the angle i on the circle of radius ``radius``; its class is i mod 3."""

    size: int
    radius: float = 1.0
    asked: list[int] = field(default_factory=list)  # how many samples at once
    event_shape: tuple[int, ...] = (2,)
    num_classes: int | None = NUM_CLASSES

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def __len__(self) -> int:
        return self.size

    def take(self, indices: Tensor) -> tuple[Tensor, Tensor | None]:
        self.asked.append(len(indices))
        angles = indices.to(torch.float64)
        points = self.radius * torch.stack([angles.cos(), angles.sin()], 1)
        return points.to(torch.get_default_dtype()), indices % NUM_CLASSES

    def first(self, num: int) -> Tensor:
        return self.take(torch.arange(min(num, self.size)))[0]

    def identity(self) -> tuple[Iterable[bytes], Iterable[bytes]]:
        return [f"spiral {self.size} {self.radius}".encode()], [b"mod 3"]

    def digest(self) -> str:
        return f"spiral {self.size} {self.radius}"

    def to(self, device: torch.device | str) -> "Spiral":
        return self  # it has no other device here


def dataset(name: str, num_train: int, num_held_out: int, radius: float = 1.0, **_: Any) -> Dataset:
    return Dataset(name, Spiral(num_train, radius), Spiral(num_held_out, radius))
