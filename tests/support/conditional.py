"""Two conditional networks of a line each, on points whose class is their mode."""

from typing import Any

import torch
from torch import Tensor, nn

from saddle.data.sampling import normal_latents
from saddle.data.sources import TensorSource
from saddle.game.network import Network

MODES = torch.tensor([[2.0, 0.0], [-1.0, 1.0], [0.0, -2.0]], dtype=torch.float64)  # their mean is not one
STD = 0.1


class Centres(nn.Module):
    """G(z, y) = c_y + σz, of which the centres c (K, 2) are learned, from 0."""

    conditional = True

    def __init__(self, num_classes: int = len(MODES)) -> None:
        super().__init__()
        self.centres = nn.Parameter(torch.zeros(num_classes, 2))

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        return self.centres[labels] + STD * latents


class Slopes(nn.Module):
    """D(x, y) = ψ_y·x: a Dirac-GAN for each class."""

    conditional = True

    def __init__(self, num_classes: int = len(MODES)) -> None:
        super().__init__()
        self.psi = nn.Parameter(torch.zeros(num_classes, 2))

    def forward(self, samples: Tensor, labels: Tensor) -> Tensor:
        return (self.psi[labels] * samples).sum(1)


class Blind(nn.Module):
    """One of the two without its labels: every sample is taken for one of the first class."""

    def __init__(self, seeing: nn.Module) -> None:
        super().__init__()
        self.seeing = seeing

    def forward(self, inputs: Tensor) -> Tensor:
        return self.seeing(inputs, torch.zeros(len(inputs), dtype=torch.int64))


def centres(num_classes: int = 8, **_: Any) -> Centres:
    """For a configuration, whose other keys are of the model that it takes the place of."""
    return Centres(num_classes)


def slopes(num_classes: int = 8, **_: Any) -> Slopes:
    return Slopes(num_classes)


def networks() -> tuple[Network, Network]:
    return Network(Centres()), Network(Slopes())


def latents(num: int, random: torch.Generator) -> Tensor:
    return normal_latents(num, random, size=2)


def modes(num: int = 300, labelled: bool = True) -> TensorSource:
    """Equally many samples of every mode; the label is the mode."""
    labels = torch.arange(num) % len(MODES)
    noise = torch.randn(num, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    samples = MODES[labels] + STD * noise
    return TensorSource(samples, labels, len(MODES)) if labelled else TensorSource(samples)
