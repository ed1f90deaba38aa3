"""Fully connected players: for points, and the classic pair for small images."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import prod

import torch
from torch import Tensor, nn

from saddle.game.ranges import COUNT, COUNT_OR_NONE, FRACTION, POSITIVE, require, require_sizes
from saddle.models.dropout import Dropout
from saddle.models.minibatch import MinibatchDiscrimination
from saddle.models.normalization import NONE, Normalization

Initialize = Callable[[nn.Linear], None]


@torch.no_grad()
def orthogonal(layer: nn.Linear, *, gain: float) -> None:
    """Weights with orthogonal rows or columns, all singular values ``gain``; no bias.

    Source: Saxe et al. 2014, arXiv:1312.6120, sec. 3.
    """
    require("gain", gain, POSITIVE, "1 is usual.")
    nn.init.orthogonal_(layer.weight, gain)
    layer.bias.zero_()


def _require(event: Sequence[int], hidden: Sequence[int], negative_slope: float) -> None:
    require_sizes("event", event, "Give the shape of a sample, such as [2] for points in the plane.")
    require_sizes(
        "hidden", hidden, "Give the width of each hidden layer, such as [128, 128], or [] for none."
    )
    require("negative_slope", negative_slope, FRACTION, "0 is ReLU, 0.2 is usual.")


class Generator(nn.Module):
    """Latents (N, d) -> samples (N, *event): [Linear, activation, norm] per hidden layer, then Linear.

    Args:
        hidden: widths of the hidden layers; without one the player is linear.
        activation: of hidden layers; None is LeakyReLU with ``negative_slope`` in [0, 1).
        output: last activation: identity for points, tanh for images in [−1, 1].
        initialize: sets every linear layer's first weights; None is torch's default.
    """

    def __init__(
        self,
        num_latents: int,
        event: Sequence[int],
        hidden: Sequence[int],
        negative_slope: float,
        normalization: Normalization = NONE,
        output: nn.Module | None = None,
        activation: nn.Module | None = None,
        initialize: Initialize | None = None,
    ) -> None:
        super().__init__()
        require("num_latents", num_latents, COUNT, "Give the length of a latent.")
        _require(event, hidden, negative_slope)
        around, after = normalization
        layers: list[nn.Module] = []
        for num_inputs, num_outputs in pairwise([num_latents, *hidden]):
            layers += [
                around(nn.Linear(num_inputs, num_outputs)),
                activation or nn.LeakyReLU(negative_slope),
                after(num_outputs),
            ]
        layers += [around(nn.Linear([num_latents, *hidden][-1], prod(event))), output or nn.Identity()]
        self.layers = nn.Sequential(*(layer for layer in layers if not isinstance(layer, nn.Identity)))
        self.event = tuple(event)
        _initialize(self, initialize)

    def forward(self, latents: Tensor) -> Tensor:
        return self.layers(latents).view(-1, *self.event)


class Discriminator(nn.Module):
    """Packed samples -> logits (N,): [Linear, activation, norm, dropout] per hidden layer, then Linear.

    Args:
        hidden: widths of the hidden layers; without one the player is linear.
        num_kernels: above 0, of minibatch discrimination before the last layer.
        activation: of hidden layers; None is LeakyReLU with ``negative_slope`` in [0, 1).
        initialize: sets every linear layer's first weights; None is torch's default.
        input_scale: samples are multiplied by it; in (0, inf).
    """

    def __init__(
        self,
        event: Sequence[int],
        hidden: Sequence[int],
        negative_slope: float,
        dropout: float = 0.0,
        normalization: Normalization = NONE,
        pack: int = 1,
        num_kernels: int = 0,
        activation: nn.Module | None = None,
        initialize: Initialize | None = None,
        input_scale: float = 1.0,
    ) -> None:
        super().__init__()
        _require(event, hidden, negative_slope)
        require("pack", pack, COUNT, "1 shows samples one by one.")
        require("num_kernels", num_kernels, COUNT_OR_NONE, "0 leaves minibatch discrimination out.")
        require("input_scale", input_scale, POSITIVE, "1 leaves samples as they are.")
        around, after = normalization
        layers: list[nn.Module] = []
        for num_inputs, num_outputs in pairwise([pack * prod(event), *hidden]):
            layers += [
                around(nn.Linear(num_inputs, num_outputs)),
                activation or nn.LeakyReLU(negative_slope),
                after(num_outputs),
            ]
            if dropout:
                layers += [Dropout(dropout, num_outputs)]
        num_features = [pack * prod(event), *hidden][-1]
        if num_kernels:
            layers += [MinibatchDiscrimination(num_features, num_kernels)]
        layers += [around(nn.Linear(num_features + num_kernels, 1))]
        self.layers = nn.Sequential(*(layer for layer in layers if not isinstance(layer, nn.Identity)))
        self.input_scale = input_scale
        _initialize(self, initialize)

    def forward(self, samples: Tensor) -> Tensor:
        inputs = samples.flatten(1)
        return self.layers(inputs if self.input_scale == 1.0 else self.input_scale * inputs).squeeze(-1)


def _initialize(module: nn.Module, initialize: Initialize | None) -> None:
    if initialize is not None:
        for layer in module.modules():
            if isinstance(layer, nn.Linear):
                initialize(layer)
