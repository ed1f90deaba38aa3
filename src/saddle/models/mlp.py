"""Fully connected players: for points, and the classic pair for small images."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import prod

from torch import Tensor, nn

from saddle.models.dropout import Dropout
from saddle.models.normalization import none

Normalization = Callable[[int], nn.Module]


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
        normalization: Normalization = none,
        output: nn.Module | None = None,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for num_inputs, num_outputs in pairwise([num_latents, *hidden]):
            layers += [
                nn.Linear(num_inputs, num_outputs),
                nn.LeakyReLU(negative_slope),
                normalization(num_outputs),
            ]
        layers += [nn.Linear([num_latents, *hidden][-1], prod(event)), output or nn.Identity()]
        self.layers = nn.Sequential(*layers)
        self.event = tuple(event)

    def forward(self, latents: Tensor) -> Tensor:
        return self.layers(latents).view(-1, *self.event)


class Discriminator(nn.Module):
    """Samples (N, *event) -> logits (N,): [Linear, LeakyReLU, dropout] per hidden layer, then Linear."""

    def __init__(
        self, event: Sequence[int], hidden: Sequence[int], negative_slope: float, dropout: float = 0.0
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for num_inputs, num_outputs in pairwise([prod(event), *hidden]):
            layers += [nn.Linear(num_inputs, num_outputs), nn.LeakyReLU(negative_slope)]
            if dropout:
                layers += [Dropout(dropout, num_outputs)]
        layers += [nn.Linear([prod(event), *hidden][-1], 1)]
        self.layers = nn.Sequential(*layers)

    def forward(self, samples: Tensor) -> Tensor:
        return self.layers(samples.flatten(1)).squeeze(-1)
