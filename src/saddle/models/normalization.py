"""Normalization layers by choice, and BatchNorm's standing statistics for sampling.

In training BatchNorm uses the statistics of its own batch and keeps none (a player has no memory).
For sampling, its mean and variance are measured afresh over many batches of latents with the very
weights that will be used, averaged or not: *standing statistics* (Brock et al. 2019,
arXiv:1809.11096, sec. 3).
"""

from collections.abc import Iterable
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from saddle.game import Network


def none(num_features: int) -> nn.Module:
    """No normalization."""
    return nn.Identity()


def batch_norm_1d(num_features: int) -> nn.Module:
    """BatchNorm over (N,) for features (N, num_features). Source: Ioffe and Szegedy 2015."""
    return nn.BatchNorm1d(num_features, track_running_stats=False)


def batch_norm_2d(num_features: int) -> nn.Module:
    """BatchNorm over (N, H, W) for maps (N, num_features, H, W). Source: Ioffe and Szegedy 2015."""
    return nn.BatchNorm2d(num_features, track_running_stats=False)


@torch.no_grad()
def for_sampling(network: Network, vector: Tensor, latents: Iterable[Tensor]) -> nn.Module:
    """A module with the parameters ``vector``, ready to sample: evaluation mode, nothing batch-wise.

    Args:
        network: the player whose module is copied; it is not changed itself.
        vector: its parameters (P,).
        latents: batches (N, d) over which BatchNorm's means and variances are averaged; unused by
            a network without BatchNorm.
    """
    module = deepcopy(network.module)
    module.load_state_dict(network.unflatten(vector), strict=False)  # strict: buffers are not in it
    layers = [layer for layer in module.modules() if isinstance(layer, _BatchNorm)]
    for layer in layers:
        layer.track_running_stats = True
        layer.momentum = None  # a plain average over all batches, in torch's convention
        layer.running_mean = vector.new_zeros(layer.num_features)
        layer.running_var = vector.new_ones(layer.num_features)
        layer.num_batches_tracked = torch.zeros((), dtype=torch.long, device=vector.device)
    if layers:
        module.train()
        for latent in latents:
            module(latent)
    return module.eval()
