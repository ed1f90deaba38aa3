"""Games whose two losses are given functions of two vectors."""

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn

from saddle.game.game import Batch, Game
from saddle.game.network import Network


class Vector(nn.Module):
    """A generator without latents: two equal rows of its own parameters."""

    def __init__(self, x: Tensor) -> None:
        super().__init__()
        self.x = nn.Parameter(x.clone())

    def forward(self, latents: Tensor) -> Tensor:
        return self.x.expand(2, -1)


class Payoffs(nn.Module):
    """Logits that carry (L_G, L_D) at (x, y), x being what the generator sent."""

    def __init__(self, y: Tensor, of_generator: Callable, of_discriminator: Callable) -> None:
        super().__init__()
        self.y = nn.Parameter(y.clone())
        self.losses = (of_generator, of_discriminator)

    def forward(self, samples: Tensor) -> Tensor:
        return torch.stack([loss(sample, self.y) for loss, sample in zip(self.losses, samples, strict=True)])


class Carried:
    """The losses that ``Payoffs`` puts in the fake logits."""

    paired: ClassVar[bool] = False

    def discriminator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        return fake_logits[1]

    def generator(self, fake_logits: Tensor, real_logits: Tensor | None = None) -> Tensor:
        return fake_logits[0]


def game_of(of_generator: Callable, of_discriminator: Callable, x: Tensor, y: Tensor) -> tuple[Game, Batch]:
    """The game in which G minimises of_generator(x, y) over x and D of_discriminator(x, y) over y."""
    game = Game(Network(Vector(x)), Network(Payoffs(y, of_generator, of_discriminator)), Carried())
    return game, Batch(torch.zeros(2, len(x)), torch.zeros(2, 1), torch.zeros(2))


def quadratic(a: float, b: float, c: float, x: float, y: float) -> tuple:
    """f = ax² + by² + cxy, G minimising and D maximising."""

    def f(x: Tensor, y: Tensor) -> Tensor:
        return (a * x * x + b * y * y + c * x * y).sum()

    return game_of(f, lambda x, y: -f(x, y), torch.tensor([x]), torch.tensor([y]))
