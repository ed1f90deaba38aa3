"""A small nonlinear game of three numbers a player and the rules that move them, each also written out."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from saddle.dynamics.optimizers import SGD, Adam
from saddle.game.calculus import AUTOGRAD, Calculus
from saddle.game.game import Batch, Game
from saddle.game.losses import NonSaturating
from saddle.game.network import Network


class Curve(nn.Module):
    """G(z) = θ₁ + θ₂ tanh(θ₃z)."""

    def __init__(self) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.tensor([0.4, -0.7, 0.9]))

    def forward(self, latents: Tensor) -> Tensor:
        return self.theta[0] + self.theta[1] * torch.tanh(self.theta[2] * latents)


class Bend(nn.Module):
    """D(x) = ψ₁x + ψ₂ tanh(ψ₃x + 0.3)."""

    def __init__(self) -> None:
        super().__init__()
        self.psi = nn.Parameter(torch.tensor([0.5, 0.8, -1.1]))

    def forward(self, samples: Tensor) -> Tensor:
        x = samples.squeeze(-1)
        return self.psi[0] * x + self.psi[1] * torch.tanh(self.psi[2] * x + 0.3)


def small_game(calculus: Calculus = AUTOGRAD, loss: Any = None) -> Game:
    """Non-saturating, so not zero-sum: the two losses share no term that could hide a mix-up."""
    return Game(Network(Curve()), Network(Bend()), loss or NonSaturating(), calculus=calculus)


def small_batch(seed: int = 0) -> Batch:
    draw = torch.Generator().manual_seed(seed)
    real, latent = torch.randn(2, 6, 1, generator=draw)
    return Batch(real + 1.0, latent, torch.full((6,), 0.5))


def loss_by_hand_g(theta: Tensor, psi: Tensor, batch: Batch) -> Tensor:
    x = theta[0] + theta[1] * torch.tanh(theta[2] * batch.latent[:, 0])
    logits = psi[0] * x + psi[1] * torch.tanh(psi[2] * x + 0.3)
    return torch.log(1 + torch.exp(-logits)).mean()


def loss_by_hand_d(theta: Tensor, psi: Tensor, batch: Batch) -> Tensor:
    def logits(x: Tensor) -> Tensor:
        return psi[0] * x + psi[1] * torch.tanh(psi[2] * x + 0.3)

    fake = theta[0] + theta[1] * torch.tanh(theta[2] * batch.latent[:, 0])
    on_real, on_fake = logits(batch.real[:, 0]), logits(fake)
    return torch.log(1 + torch.exp(-on_real)).mean() + torch.log(1 + torch.exp(on_fake)).mean()


def gradient_by_hand(point: Tensor, batch: Batch) -> Tensor:
    """ξ at (θ, ψ) as one vector (6,), by autograd through the losses written out above."""
    theta, psi = (part.detach().requires_grad_() for part in point.split(3))
    (of_theta,) = torch.autograd.grad(loss_by_hand_g(theta, psi, batch), theta)
    (of_psi,) = torch.autograd.grad(loss_by_hand_d(theta, psi, batch), psi)
    return torch.cat([of_theta, of_psi])


def jacobian_by_hand(point: Tensor, batch: Batch) -> Tensor:
    """∂ξ/∂ω, shape (6, 6), from two dense Hessians."""

    def hessian(loss: Callable[..., Tensor]) -> Tensor:
        return torch.autograd.functional.hessian(lambda at: loss(at[:3], at[3:], batch), point)

    return torch.cat([hessian(loss_by_hand_g)[:3], hessian(loss_by_hand_d)[3:]])


def start_by_hand() -> Tensor:
    return torch.tensor([0.4, -0.7, 0.9, 0.5, 0.8, -1.1])


class AdamByHand:
    """Kingma and Ba 2015, algorithm 1, in its own letters."""

    def __init__(self, lr: float, beta1: float, beta2: float, eps: float = 1e-8) -> None:
        self.lr, self.beta1, self.beta2, self.eps = lr, beta1, beta2, eps
        self.m: Any = 0.0
        self.v: Any = 0.0
        self.t = 0

    def direction(self, g: Tensor) -> Tensor:
        self.t += 1
        self.m = self.beta1 * self.m + (1 - self.beta1) * g
        self.v = self.beta2 * self.v + (1 - self.beta2) * g * g
        m_hat, v_hat = self.m / (1 - self.beta1**self.t), self.v / (1 - self.beta2**self.t)
        return self.lr * m_hat / (v_hat.sqrt() + self.eps)


class MomentumByHand:
    """v ← βv + g; a step is η·v."""

    def __init__(self, lr: float, momentum: float = 0.0) -> None:
        self.lr, self.momentum, self.v = lr, momentum, 0.0

    def direction(self, g: Tensor) -> Tensor:
        self.v = self.momentum * self.v + g
        return self.lr * self.v


RULES = [  # the rule, and the same written out
    (SGD(0.1), lambda: MomentumByHand(0.1)),
    (SGD(0.05, -0.4), lambda: MomentumByHand(0.05, -0.4)),
    (Adam(0.05, 0.5, 0.9), lambda: AdamByHand(0.05, 0.5, 0.9)),
]
every_rule = pytest.mark.parametrize(("rule", "twin"), RULES, ids=["sgd", "momentum", "adam"])
