"""Unrolled GANs: the operator on the bilinear game, and the gradient through D's own next steps."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from by_hand import loss_by_hand_d, loss_by_hand_g, small_batch, small_game, start_by_hand
from dynamics_laws import (
    EXACT,
    ROUND_OFF,
    assert_both_calculi_agree,
    assert_lifts,
    assert_pure,
    bilinear,
    every_calculus,
    num_evaluations,
    operator,
    play,
    rate,
)
from oracles import dirac_batch, dirac_gan, spectral_radius, step_jacobian, trajectory
from payoffs import game_of
from saddle.dynamics import Simultaneous
from saddle.dynamics.optimizers import SGD, Adam, AdamW, OptimisticAdam, RMSProp
from saddle.dynamics.unrolled import Unrolled
from saddle.game.losses import Minimax, NonSaturating, Relativistic

STEPS = [0, 1, 2, 5]
every_k = pytest.mark.parametrize("k", STEPS)


def unrolled(lr: float, k: int) -> Unrolled:
    return Unrolled(SGD(lr), SGD(lr), k)


# ---- the bilinear game


def published(k: int, s: float) -> np.ndarray:
    return np.array([[1 - 2 * k * s**2, -s], [s, 1]])


@every_k
@pytest.mark.parametrize("s", [0.1, 0.2, 0.5])
@pytest.mark.parametrize("sigma", [1.0, 2.5])
def test_rounds_on_the_bilinear_game_have_the_published_operator(k, s, sigma):
    dynamics, game = unrolled(s / sigma, k), bilinear(sigma)
    # ours has θ descend −θψ and ψ descend θψ: the published one with −ψ for ψ
    flip = np.diag([1.0, -1.0])
    found = torch.from_numpy(operator(dynamics, game=game)[:2, :2])
    assert_close(found, torch.from_numpy(flip @ published(k, s) @ flip), **EXACT)
    # where ks = 1 the two eigenvalues meet, and are accurate to √eps
    assert_close(rate(dynamics, game=game), spectral_radius(published(k, s)), atol=1e-7, rtol=0)


@pytest.mark.parametrize(("k", "s"), [(1, 0.2), (2, 0.2), (5, 0.1)])
def test_training_contracts_by_the_root_of_the_determinant(k, s):
    """Complex roots have the modulus √det = √(1 + s² − 2ks²), found from three rounds of x'' = tx' − dx."""
    first, second, third = trajectory(bilinear(), unrolled(s, k), 12)[-3:]
    recurrence = torch.linalg.solve(torch.stack([second, first], 1), third)
    assert_close((-recurrence[1]).sqrt().item(), math.sqrt(1 + s**2 - 2 * k * s**2), **EXACT)


@every_k
def test_rounds_at_the_equilibrium_of_the_dirac_gan_are_the_bilinear_ones_at_half_the_stride(k):
    step = step_jacobian(dirac_gan(Minimax(), start=(0.0, 0.0)), unrolled(0.2, k), (dirac_batch(),))
    # f'(0) = ½; f'' enters multiplied by θ or ψ, which are 0
    assert_close(spectral_radius(step), spectral_radius(published(k, 0.1)), atol=1e-10, rtol=0)


# ---- what is unrolled


class SGDByHand:
    """v ← βv + g, x ← x − ηv, as a function of its memory (v,)."""

    def __init__(self, lr: float, momentum: float) -> None:
        self.lr, self.momentum = lr, momentum
        self.memory: tuple = (torch.zeros(3),)

    def step(self, params: Tensor, gradient: Tensor, memory: tuple) -> tuple[Tensor, tuple]:
        velocity = self.momentum * memory[0] + gradient
        return params - self.lr * velocity, (velocity,)


class AdamByHand:
    """Kingma and Ba 2015, algorithm 1, as a function of its memory (m, v, t)."""

    def __init__(self, lr: float, beta1: float, beta2: float) -> None:
        self.lr, self.beta1, self.beta2 = lr, beta1, beta2
        self.memory: tuple = (torch.zeros(3), torch.zeros(3), 0)

    def step(self, params: Tensor, gradient: Tensor, memory: tuple) -> tuple[Tensor, tuple]:
        m, v, t = memory
        t += 1
        m = self.beta1 * m + (1 - self.beta1) * gradient
        v = self.beta2 * v + (1 - self.beta2) * gradient**2
        m_hat, v_hat = m / (1 - self.beta1**t), v / (1 - self.beta2**t)
        return params - self.lr * m_hat / (v_hat.sqrt() + 1e-8), (m, v, t)


@every_k
@every_calculus
@pytest.mark.parametrize(
    ("rule", "twin"),
    [
        (SGD(0.2, 0.5), lambda: SGDByHand(0.2, 0.5)),
        (Adam(0.05, 0.5, 0.9), lambda: AdamByHand(0.05, 0.5, 0.9)),
    ],
    ids=["momentum", "adam"],
)
def test_rounds_are_equations_7_to_10_of_metz(k, rule, twin, calculus):
    """θ descends L_G(θ, ψₖ(θ)) with the graph of all k steps kept; ψ makes its first step only."""
    theta, psi = start_by_hand().split(3)
    of_theta, of_psi, path = twin(), twin(), []
    for turn in range(10):
        batch = small_batch(10 * turn)
        leaf, ahead, memory = theta.detach().requires_grad_(), psi.detach().requires_grad_(), of_psi.memory
        for _ in range(k):
            (gradient,) = torch.autograd.grad(loss_by_hand_d(leaf, ahead, batch), ahead, create_graph=True)
            ahead, memory = of_psi.step(ahead, gradient, memory)
        (of_generator,) = torch.autograd.grad(loss_by_hand_g(leaf, ahead, batch), leaf)
        at = psi.detach().requires_grad_()
        (of_discriminator,) = torch.autograd.grad(loss_by_hand_d(theta, at, batch), at)
        theta, of_theta.memory = of_theta.step(theta, of_generator, of_theta.memory)
        psi, of_psi.memory = of_psi.step(psi, of_discriminator, of_psi.memory)
        path.append(torch.cat([theta, psi]))
    assert_close(play(small_game(calculus), Unrolled(rule, rule, k)), torch.stack(path), **ROUND_OFF)


@pytest.mark.parametrize("rule", [SGD(0.1, 0.5), Adam(0.1)], ids=["sgd", "adam"])
def test_unrolling_no_step_is_simultaneous_descent_exactly(rule):
    for game in (small_game(), small_game(loss=Relativistic())):
        found = play(game, Unrolled(rule, rule, 0))
        assert_close(found, play(game, Simultaneous(rule, rule)), rtol=0, atol=0)


def test_many_unrolled_steps_are_the_best_response():
    """L_D = ½‖y − Ax‖² and L_G = xᵀy: far ahead y = Ax, and G descends xᵀAx with its whole gradient."""
    matrix, x, y = torch.tensor([[2.0, 1.0], [-0.5, 1.0]]), torch.tensor([1.0, -2.0]), torch.tensor([3, 0.5])
    game, batch = game_of(lambda x, y: x @ y, lambda x, y: 0.5 * (y - matrix @ x).square().sum(), x, y)
    dynamics = Unrolled(SGD(0.1), SGD(0.5), 50)  # 0.5^50 = 1e-15 of the way is left
    players, _, _ = dynamics.step(game, game.init(), dynamics.init(game.init()), (batch,))
    assert_close(players.generator, x - 0.1 * (matrix + matrix.T) @ x, **EXACT)
    assert_close(players.discriminator, y - 0.5 * (y - matrix @ x), **EXACT)


# ---- cost and laws


@every_k
def test_a_round_runs_the_networks_once_for_each_step_ahead(k):
    dynamics = unrolled(0.1, k)
    assert num_evaluations(dynamics) == (2 + k, 3 + 2 * k)
    assert num_evaluations(dynamics, Relativistic()) == (2 + k, 4 + 2 * k)
    assert dynamics.num_gradients == 2 + 2 * k  # each step ahead is differentiated twice
    assert (dynamics.num_batches, dynamics.num_generator_steps, dynamics.num_discriminator_steps) == (1, 1, 1)


@pytest.mark.parametrize("k", [0, 3])
@pytest.mark.parametrize("rule", [SGD, Adam])
def test_an_ensemble_of_three_is_three_solo_runs(k, rule):
    assert_lifts(lambda lr: Unrolled(rule(lr), rule(lr), k))


@pytest.mark.parametrize("k", [0, 3])
def test_autograd_and_torch_func_agree(k):
    assert_both_calculi_agree(Unrolled(Adam(0.1), Adam(0.1), k))


@pytest.mark.parametrize("k", [0, 3])
def test_a_round_is_pure(k):
    assert_pure(Unrolled(Adam(0.1), Adam(0.1), k))


@pytest.mark.parametrize("value", [-1, 1.5])
def test_unrolling_backwards_or_by_half_a_step_is_refused(value):
    with pytest.raises(ValueError, match=rf"num_unrolled_steps must be a whole .*; got {value}\. 0 does not"):
        Unrolled(SGD(0.1), SGD(0.1), value)


@pytest.mark.parametrize("rule", [Adam(0.1), RMSProp(0.1), AdamW(0.1), OptimisticAdam(0.1)], ids=repr)
def test_unrolling_through_a_gradient_of_exactly_0_stays_finite(rule):
    """√v has no derivative at v = 0, where a dead unit or the bias before a normalization leaves it."""
    game = dirac_gan(NonSaturating(), start=(0.0, 0.0))  # the equilibrium: every gradient is 0
    dynamics = Unrolled(rule, rule, 3)
    players, state = game.init(), dynamics.init(game.init())
    for _ in range(3):
        players, state, _ = dynamics.step(game, players, state, (dirac_batch(),))
    assert torch.equal(torch.cat(players), torch.zeros(2))
