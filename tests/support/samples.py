"""Samples on which metrics are tried, and means over many of them."""

import numpy as np
import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor

from saddle.data.points import ring

RING = ring(8, radius=1.0, std=0.01)
seeds = st.integers(0, 99)
few = settings(max_examples=20, deadline=None)  # no deadline: the first call warms torch up


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


every_place = pytest.mark.parametrize("where", ["at a real sample", "far away", "at zero"])


def one_sample(where: str) -> tuple[Tensor, Tensor]:
    """30 real samples and a collapsed generator's 20 copies of one point: where 0 could be divided by 0."""
    real = normal(30, 2)
    at = {"at a real sample": real[7], "far away": torch.full((2,), 1e3), "at zero": torch.zeros(2)}
    return real, at[where].to(torch.float64).expand(20, 2)


def mean_and_error(values: list[float]) -> tuple[float, float]:
    return float(np.mean(values)), float(np.std(values, ddof=1)) / len(values) ** 0.5


def pictures(num: int, seed: int, grain: float) -> "np.ndarray":
    """RGB images (num, 16, 16, 3) of 256 levels: four by four patches of colour under noise of size "
    "``grain``."""
    import numpy as np

    random = np.random.default_rng(seed)
    patches = random.uniform(0, 255, (num, 4, 4, 3)).repeat(4, axis=1).repeat(4, axis=2)
    noise = random.uniform(0, 255, (num, 16, 16, 3))
    return np.rint((1 - grain) * patches + grain * noise).astype(np.uint8)
