"""Fully connected players: for points, and the classic pair for small images."""

from collections.abc import Sequence
from itertools import pairwise
from math import prod

from torch import Tensor, nn

from saddle.models.dropout import Dropout
from saddle.models.minibatch import MinibatchDiscrimination
from saddle.models.normalization import NONE, Normalization


class Generator(nn.Module):
    """Latents (N, d) -> samples (N, *event): [Linear, LeakyReLU, norm] per hidden layer, then Linear.

    last activation: identity for points, tanh for images in [−1, 1].
    """

    def __init__(
        self,
        num_latents: int,
        event: Sequence[int],
        hidden: Sequence[int],
        negative_slope: float,
        normalization: Normalization = NONE,
        output: nn.Module | None = None,
    ) -> None:
        super().__init__()
        around, after = normalization
        layers: list[nn.Module] = []
        for num_inputs, num_outputs in pairwise([num_latents, *hidden]):
            layers += [
                around(nn.Linear(num_inputs, num_outputs)),
                nn.LeakyReLU(negative_slope),
                after(num_outputs),
            ]
        layers += [around(nn.Linear([num_latents, *hidden][-1], prod(event))), output or nn.Identity()]
        self.layers = nn.Sequential(*(layer for layer in layers if not isinstance(layer, nn.Identity)))
        self.event = tuple(event)

    def forward(self, latents: Tensor) -> Tensor:
        return self.layers(latents).view(-1, *self.event)


class Discriminator(nn.Module):
    """Packed samples -> logits (N,): [Linear, LeakyReLU, norm, dropout] per hidden layer, then Linear.

    ``num_kernels`` > 0 puts minibatch discrimination before the last layer.
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
    ) -> None:
        super().__init__()
        around, after = normalization
        layers: list[nn.Module] = []
        for num_inputs, num_outputs in pairwise([pack * prod(event), *hidden]):
            layers += [
                around(nn.Linear(num_inputs, num_outputs)),
                nn.LeakyReLU(negative_slope),
                after(num_outputs),
            ]
            if dropout:
                layers += [Dropout(dropout, num_outputs)]
        num_features = [pack * prod(event), *hidden][-1]
        if num_kernels:
            layers += [MinibatchDiscrimination(num_features, num_kernels)]
        layers += [around(nn.Linear(num_features + num_kernels, 1))]
        self.layers = nn.Sequential(*(layer for layer in layers if not isinstance(layer, nn.Identity)))

    def forward(self, samples: Tensor) -> Tensor:
        return self.layers(samples.flatten(1)).squeeze(-1)
