"""What exact claims share: solvable games as ordinary games, their paths, and rates read off paths."""

from collections.abc import Callable, Iterator, Mapping, Sized
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from saddle.game.calculus import AUTOGRAD
from saddle.game.game import AdversarialLoss, Batch, Game, Part
from saddle.game.losses import Wasserstein
from saddle.game.network import Network
from saddle.models.toy import Bilinear, Linear, Point
from saddle.rounds.execution import Dynamics


@contextmanager
def double() -> Iterator[None]:
    """float64 by default, meanwhile; as a decorator, of a function."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def dirac(
    loss: AdversarialLoss,
    penalties: Mapping[str, Part] | None = None,
    transforms: Mapping[str, Part] | None = None,
    start: tuple[float, float] = (1.0, -1.0),
) -> Game:
    """The Dirac-GAN; the papers' start (1, 1) is (1, −1) in our sign of D."""
    theta, psi = start
    networks = Network(Point(theta)), Network(Linear(psi))
    return Game(*networks, loss, penalties or {}, AUTOGRAD, transforms=transforms or {})


def bilinear(theta: Tensor, psi: Tensor, matrix: Tensor) -> Game:
    """L_D = ψᵀMθ = −L_G."""
    return Game(Network(Point(theta)), Network(Bilinear(psi, matrix)), Wasserstein())


def at_origin(num_axes: int = 1, num: int = 1) -> Batch:
    """The batch of a game whose data lie at the origin, of ``num`` equal samples."""
    return Batch(torch.zeros(num, num_axes), torch.zeros(num, 1), torch.full((num,), 0.5))


class Move(nn.Module):
    """A player's numbers x as a generator: latents (N, 2n) of noise (ε_x, ε_y) -> (x, ε_x, ε_y, 1)."""

    def __init__(self, x: Tensor) -> None:
        super().__init__()
        self.x = nn.Parameter(x.clone())

    def forward(self, latents: Tensor) -> Tensor:
        ones = torch.ones_like(latents[:, :1])
        return torch.cat([self.x * ones, latents, ones], 1)


class Payoff(nn.Module):
    """A discriminator that makes the Wasserstein game min_x max_y Σᵢ f(xᵢ, yᵢ), with noise on both gradients.

    On a generated sample (x, ε_x, ε_y, 1) its logit is −Σ(f(x, y) + ε_x·x − ε_y·y); on real samples, which
    are all 0, it is 0. So L_G = Σf + ε_x·x + …, and L_D = −Σf + ε_y·y + …: n games side by side.
    """

    def __init__(self, y: Tensor, f: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.y = nn.Parameter(y.clone())
        self.f = f

    def forward(self, samples: Tensor) -> Tensor:
        num = len(self.y)
        x, noise_x, noise_y, is_generated = samples.split([num, num, num, 1], 1)
        payoff = self.f(x, self.y) + noise_x * x - noise_y * self.y
        return -is_generated[:, 0] * payoff.sum(1)


def zero_sum(f: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor) -> Game:
    """min_x max_y Σ f(xᵢ, yᵢ), x (n,) the generator and y (n,) the discriminator."""
    return Game(Network(Move(x)), Network(Payoff(y, f)), Wasserstein())


def of_zero_sum(noise: Tensor) -> Batch:
    """Its batch: noise (N, 2n) on the players' gradients, x's first; zeros for none."""
    real = torch.zeros(len(noise), noise.shape[1] // 2 * 3 + 1)
    return Batch(real, noise, torch.full((len(noise),), 0.5))


def path(game: Game, dynamics: Dynamics, batch: Batch, num_rounds: int) -> Tensor:
    """(θ, ψ) before the first round and after each, on the same batch: (num_rounds + 1, P + Q)."""
    players = game.init()
    memory, batches = dynamics.init(players), (batch,) * dynamics.num_batches
    points = [torch.cat(players)]
    for _ in range(num_rounds):
        players, memory, _ = dynamics.step(game, players, memory, batches)
        points.append(torch.cat(players))
    return torch.stack(points).detach()


def rate(points: Tensor, order: int) -> float:
    """Modulus of the largest root of the recurrence that a path of a linear game obeys: its factor a round.

    xₜ₊ₘ = c₁xₜ₊ₘ₋₁ + … + cₘxₜ, fitted by least squares over all rounds and coordinates, each window of
    m + 1 points scaled to size one (Prony's method). Only rounds of the path that are far above round-off and
    far from overflow take part.

    Args:
        order: m, how many eigenvalues a round has, memory of the dynamics included.
    """
    sizes = points.abs().amax(dim=1)  # squares would leave the range of numbers sooner
    usable = torch.isfinite(sizes) & (sizes > 1e-290)
    rows, targets = [], []
    for start in range(len(points) - order):
        window = points[start : start + order + 1]
        if not bool(usable[start : start + order + 1].all()):
            break
        window = window / window.abs().max()
        rows.append(window[:-1].flip(0).T)  # (coordinates, m)
        targets.append(window[-1])
    solution = np.linalg.lstsq(torch.cat(rows).numpy(), torch.cat(targets).numpy(), rcond=None)[0]
    return float(np.abs(np.roots([1.0, *(-solution)])).max())


def as_complex(values: Tensor) -> tuple[complex, ...]:
    return tuple(complex(value) for value in values.tolist())


def spread(values: Sized, num: int) -> list[int]:
    """Indices of at most ``num`` of the values, first and last among them, for a figure."""
    last = len(values) - 1
    return (
        sorted({round(index * last / (num - 1)) for index in range(num)})
        if last >= num
        else [*range(last + 1)]
    )
