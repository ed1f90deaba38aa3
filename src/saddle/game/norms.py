"""Norms over all of a sample's own axes: (N, *event) -> (N,)."""

import torch
from torch import Tensor


def squared_norm(values: Tensor) -> Tensor:
    """‖·‖² of each sample."""
    return values.flatten(1).square().sum(1)


def norm(values: Tensor) -> Tensor:
    """‖·‖ of each sample, where it is 0 the root of the smallest normal number: 1e-19 in float32.

    Its derivative there is 0, and finite everywhere: sqrt never sees 0, where it would be infinite.
    """
    squared = squared_norm(values)
    return squared.clamp(min=torch.finfo(squared.dtype).tiny).sqrt()
