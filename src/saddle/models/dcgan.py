"""Convolutional players for 28x28 images in the manner of DCGAN.

Weights start from N(0, 0.02²), BatchNorm's scales from N(1, 0.02²), biases from 0.
Source: Radford et al. 2016, arXiv:1511.06434, secs. 3-4; BatchNorm's scales as in the authors' code.
"""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.parametrize import is_parametrized

from saddle.game.ranges import COUNT, require
from saddle.models.minibatch import MinibatchStandardDeviation
from saddle.models.normalization import NONE, Normalization


def _initialize(layer: nn.Module) -> None:
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear | _BatchNorm):
        with torch.no_grad():
            weight = torch.empty_like(layer.weight).normal_(
                1.0 if isinstance(layer, _BatchNorm) else 0.0, 0.02
            )
            if is_parametrized(layer):
                layer.weight = weight  # through the parametrization, as weight normalization needs
            else:
                layer.weight.copy_(weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def _require(num_channels: int, width: int) -> None:
    require("num_channels", num_channels, COUNT, "Give 1 for grey images, 3 for colour.")
    require("width", width, COUNT, "64 is usual.")


class Generator(nn.Module):
    """Latents (N, d) -> images (N, num_channels, 28, 28) in [−1, 1]: 7x7, then two doublings."""

    def __init__(
        self, num_latents: int, num_channels: int, width: int, normalization: Normalization = NONE
    ) -> None:
        super().__init__()
        require("num_latents", num_latents, COUNT, "Give the length of a latent.")
        _require(num_channels, width)
        around, after = normalization
        self.layers = nn.Sequential(
            around(nn.Linear(num_latents, 2 * width * 7 * 7)),
            nn.Unflatten(1, (2 * width, 7, 7)),
            after(2 * width),
            nn.ReLU(),
            around(nn.ConvTranspose2d(2 * width, width, 4, 2, 1)),  # 14x14
            after(width),
            nn.ReLU(),
            around(nn.ConvTranspose2d(width, num_channels, 4, 2, 1)),  # 28x28
            nn.Tanh(),
        )
        self.apply(_initialize)

    def forward(self, latents: Tensor) -> Tensor:
        return self.layers(latents)


class Discriminator(nn.Module):
    """Images (N, pack·num_channels, 28, 28) -> logits (N,): two halvings, then a linear layer.

    BatchNorm, if asked for, spares the first layer as the paper says.
    """

    def __init__(
        self,
        num_channels: int,
        width: int,
        normalization: Normalization = NONE,
        pack: int = 1,
        minibatch_std: bool = False,
    ) -> None:
        super().__init__()
        _require(num_channels, width)
        require("pack", pack, COUNT, "1 shows samples one by one.")
        around, after = normalization
        self.layers = nn.Sequential(
            around(nn.Conv2d(num_channels * pack, width, 4, 2, 1)),  # 14x14
            nn.LeakyReLU(0.2),
            around(nn.Conv2d(width, 2 * width, 4, 2, 1)),  # 7x7
            after(2 * width),
            nn.LeakyReLU(0.2),
            *([MinibatchStandardDeviation()] if minibatch_std else []),
            nn.Flatten(),
            around(nn.Linear((2 * width + minibatch_std) * 7 * 7, 1)),
        )
        self.apply(_initialize)

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images).squeeze(-1)
