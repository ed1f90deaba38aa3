"""The losses, penalties and small networks of which the tests' games are made."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from saddle.game.game import Game
from saddle.game.losses import Hinge, LeastSquares, Minimax, NonSaturating, Relativistic, Wasserstein
from saddle.game.network import Network
from saddle.game.penalties.discriminator import r1, r2, wgan_gp
from saddle.models import mlp
from saddle.models.dropout import Dropout
from saddle.models.normalization import BATCH, BatchNorm

LOSSES = [Minimax(), NonSaturating(), LeastSquares(), Wasserstein(), Hinge(), Relativistic()]
R1, R2, GP = partial(r1, gamma=0.7), partial(r2, gamma=0.4), partial(wgan_gp, weight=0.9)
PENALTIES = {
    "none": {},
    "r1": {"r1": R1},
    "r1+r2": {"r1": R1, "r2": R2},
    "wgan_gp": {"wgan_gp": GP},
    "all": {"wgan_gp": GP, "r2": R2, "r1": R1},
}


def points_networks() -> tuple[nn.Module, nn.Module]:
    return mlp.Generator(3, (2,), [8, 8], 0.2, BATCH), mlp.Discriminator((2,), [8, 8], 0.2, dropout=0.3)


def image_networks() -> tuple[nn.Module, nn.Module]:
    """BatchNorm in the generator, convolutions and dropout in the discriminator, 8x8 images."""
    generator = nn.Sequential(
        nn.Linear(3, 4 * 16), nn.Unflatten(1, (4, 4, 4)), BatchNorm(4), nn.ReLU(),
        nn.ConvTranspose2d(4, 1, 4, 2, 1), nn.Tanh(),
    )  # fmt: skip
    discriminator = nn.Sequential(
        nn.Conv2d(1, 4, 4, 2, 1),
        nn.LeakyReLU(0.2),
        nn.Flatten(),
        Dropout(0.3, 64),
        nn.Linear(64, 1),
        nn.Flatten(0),
    )
    return generator, discriminator


def bind_game(networks: tuple[nn.Module, nn.Module], loss: Any, penalties: Any, calculus: Any) -> Game:
    generator, discriminator = networks
    return Game(Network(generator), Network(discriminator), loss, penalties, calculus)


def seeded(make: Callable[[], tuple[nn.Module, nn.Module]], seed: int = 0) -> tuple[nn.Module, nn.Module]:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make()


NETWORKS = {"points": points_networks, "images": image_networks}
EVENTS = {"points": (2,), "images": (1, 8, 8)}


def data(event: tuple[int, ...]) -> Tensor:
    return torch.rand(32, *event, generator=torch.Generator().manual_seed(5)) * 2 - 1
