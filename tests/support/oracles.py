"""What is known from outside: games small enough to solve, their Jacobians, and slow literal twins.

The games are built of ``saddle.models.toy`` and solved in ``saddle.theory``; see there for the signs.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from scipy.stats import norm
from torch import Tensor, nn
from torch.func import jacrev

from saddle.dynamics.optimizers import SGDState
from saddle.game.calculus import AUTOGRAD, FUNCTIONAL, Calculus
from saddle.game.game import AdversarialLoss, Batch, Game, Part, Players
from saddle.game.network import Network
from saddle.models.toy import Linear, Point
from saddle.rounds.execution import Dynamics

# ---- games small enough to solve


class Bowl(nn.Module):
    """D(x) = ½a‖x‖²: the slope at x is a·x."""

    def __init__(self, a: float = 1.0) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor([a]))

    def forward(self, samples: Tensor) -> Tensor:
        return 0.5 * self.a * samples.flatten(1).square().sum(1)


def dirac_gan(
    loss: AdversarialLoss,
    penalties: dict[str, Part] | None = None,
    start: tuple[float, float] = (1.0, -1.0),
    scale: float = 1.0,
    calculus: Calculus = FUNCTIONAL,
) -> Game:
    """θ and ψ in our sign; the papers' start (1, 1) is (1, −1) here."""
    theta, psi = start
    return Game(Network(Point(theta)), Network(Linear(psi, scale)), loss, penalties or {}, calculus)


def dirac_batch(num: int = 1) -> Batch:
    return Batch(torch.zeros(num, 1), torch.zeros(num, 1), torch.full((num,), 0.5))


def trajectory(game: Game, dynamics: Dynamics, num_rounds: int) -> Tensor:
    """(θ, ψ) before the first round and after every one, shape (num_rounds + 1, 2)."""
    game = replace(game, calculus=AUTOGRAD)  # the same numbers, in half the time
    players = game.init()
    state, batches = dynamics.init(players), (dirac_batch(),) * dynamics.num_batches
    path = [torch.cat(players)]
    for _ in range(num_rounds):
        players, state, _ = dynamics.step(game, players, state, batches)
        path.append(torch.cat(players))
    return torch.stack(path).detach()


# ---- Jacobians


def field_jacobian(game: Game, batch: Batch) -> Tensor:
    """Of the vector field v = −gradient, at the players as their modules stand."""
    players = game.init()
    size = len(players.generator)

    def field(point: Tensor) -> Tensor:
        gradients, _ = game.gradients(Players(point[:size], point[size:]), batch)
        return -torch.cat(gradients)

    return jacrev(field)(torch.cat(players)).detach()


def step_jacobian(game: Game, dynamics: Dynamics, batches: Sequence[Batch]) -> Tensor:
    """Of one round under SGD on (θ, ψ, velocities), from velocity 0 at the players as they stand."""
    players = game.init()
    sizes = [len(vector) for vector in players] * 2

    def step(point: Tensor) -> Tensor:
        theta, psi, theta_velocity, psi_velocity = point.split(sizes)
        state = Players(SGDState(theta_velocity), SGDState(psi_velocity))
        moved, state, _ = dynamics.step(game, Players(theta, psi), state, tuple(batches))
        return torch.cat([*moved, state.generator.velocity, state.discriminator.velocity])

    start = torch.cat([*players, *(torch.zeros_like(vector) for vector in players)])
    return jacrev(step)(start).detach()


def spectral_radius(matrix: Tensor | np.ndarray) -> float:
    return float(np.abs(np.linalg.eigvals(np.asarray(matrix))).max())


def sorted_eigenvalues(matrix: Tensor) -> Tensor:
    """By real, then by imaginary part; rounded for the order only, so that equal real parts stay paired."""
    values = np.linalg.eigvals(matrix.numpy()).astype(complex)
    return torch.from_numpy(values[np.lexsort((values.imag, values.real.round(6)))])


# ---- quadrature and slow literal twins


def bilinear_momentum_operator(
    s: float, beta: float, alternating: bool, num_discriminator: int = 1, num_generator: int = 1
) -> np.ndarray:
    """One round of heavy-ball descent on L_D = xy = −L_G with η = s, acting on (x, y, x₋, y₋).

    Written as x ← x − η·gradient + β(x − x₋), y first if alternating: Gidel et al. 2019, eqs. 4-5.
    """
    x_step = np.array([[1 + beta, s, -beta, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1.0]])
    y_step = np.array([[1, 0, 0, 0], [-s, 1 + beta, 0, -beta], [0, 0, 1, 0], [0, 1, 0, 0.0]])
    if alternating:
        power = np.linalg.matrix_power
        return power(x_step, num_generator) @ power(y_step, num_discriminator)
    return np.stack([x_step[0], y_step[1], x_step[2], y_step[3]])


def gaussian_sample(mean: float, num: int = 2**18) -> Tensor:
    """Midpoint quantiles of N(mean, 1): an average over them is a quadrature of the expectation."""
    return torch.from_numpy(norm.ppf((np.arange(num) + 0.5) / num)) + mean


def dirac_path_by_hand(
    derivative_g: Callable[[float], float],
    derivative_d: Callable[[float], float],
    gamma: float,
    h: float,
    num_rounds: int,
    alternating: bool,
    num_discriminator: int = 1,
) -> list[tuple[float, float]]:
    """The Dirac-GAN in the paper's own sign and plain floats: L = f(ψθ) + f(0), v = (−ψf', θf' − γψ).

    ``derivative_g`` and ``derivative_d`` are f' as the generator and as the discriminator see it, at t = ψθ.
    """
    theta, psi = 1.0, 1.0
    path = [(theta, psi)]
    for _ in range(num_rounds):
        theta_before = theta
        if not alternating:
            theta -= h * psi * derivative_g(psi * theta)
        for _ in range(num_discriminator):
            psi += h * (theta_before * derivative_d(psi * theta_before) - gamma * psi)
        if alternating:
            theta -= h * psi * derivative_g(psi * theta)
        path.append((theta, psi))
    return path


def penalty_by_double_backward(
    discriminator: nn.Module, points: Tensor, of_norm: Callable[[Tensor], Tensor]
) -> Tensor:
    """E[of_norm(‖∇ₓD‖)] as the papers' code writes it: requires_grad_, autograd.grad with create_graph."""
    points = points.detach().clone().requires_grad_()
    logits = discriminator(points)
    (slope,) = torch.autograd.grad(logits.sum(), points, create_graph=True)
    return of_norm(slope.reshape(len(points), -1).norm(2, dim=1)).mean()


def average_by_hand(values: Sequence[float], start: float, beta: float) -> list[float]:
    """TensorFlow's ExponentialMovingAverage with num_updates, one number at a time."""
    average, path = start, []
    for t, value in enumerate(values):
        decay = min(beta, (1 + t) / (10 + t))
        average -= (1 - decay) * (average - value)
        path.append(average)
    return path
