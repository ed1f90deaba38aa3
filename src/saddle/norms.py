"""Norms over all of a sample's own axes: (N, *event) -> (N,)."""

import torch
from torch import Tensor


def squared_norm(values: Tensor) -> Tensor:
    """‖·‖² of each sample."""
    return values.flatten(1).square().sum(1)


def norm(values: Tensor) -> Tensor:
    """‖·‖ of each sample. Its derivative at exactly 0 is taken as 0."""
    squared = squared_norm(values)
    positive = squared > 0
    # two wheres: sqrt never sees 0, where its derivative is infinite
    return torch.where(positive, torch.where(positive, squared, 1.0).sqrt(), 0.0)
