"""Runge-Kutta descent: on games whose flow is known, its order of accuracy, and the tableaux written out."""

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from by_hand import MomentumByHand, gradient_by_hand, small_batch, small_game, start_by_hand
from dynamics_laws import (
    EXACT,
    ROUND_OFF,
    assert_both_calculi_agree,
    assert_lifts,
    assert_pure,
    bilinear,
    both,
    every_calculus,
    num_evaluations,
    operator,
    play,
    rate,
)
from oracles import dirac_batch, dirac_gan, spectral_radius, step_jacobian, trajectory
from saddle.dynamics import Simultaneous
from saddle.dynamics.optimizers import SGD, Adam
from saddle.dynamics.runge_kutta import RungeKutta2, RungeKutta4
from saddle.game.losses import Minimax, Relativistic

KINDS = [RungeKutta2, RungeKutta4]
every_kind = pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)


def amplification(make, z: complex) -> complex:
    """The truncated exponential: what each method makes of ω' = zω."""
    order = 2 if make is RungeKutta2 else 4
    return sum(z**power / math.factorial(power) for power in range(order + 1))


@every_kind
@pytest.mark.parametrize("s", [0.1, 0.2, 0.5, 2.0])
@pytest.mark.parametrize("sigma", [1.0, 2.5])
def test_rounds_on_the_bilinear_game_are_the_truncated_exponential(make, s, sigma):
    found = rate(both(make, SGD(s / sigma)), game=bilinear(sigma))
    assert_close(found, abs(amplification(make, 1j * s)), **EXACT)
    squared = 1 + s**4 / 4 if make is RungeKutta2 else 1 - s**6 / 72 + s**8 / 576  # as published
    assert_close(found, math.sqrt(squared), **EXACT)


@every_kind
def test_the_bilinear_operator_is_the_truncated_exponential_of_the_field(make):
    turn = torch.tensor([[0.0, 1.0], [-1.0, 0.0]])  # L_D = θψ = −L_G: θ' = ψ, ψ' = −θ
    order = 2 if make is RungeKutta2 else 4
    expected = sum(torch.linalg.matrix_power(0.3 * turn, p) / math.factorial(p) for p in range(order + 1))
    assert_close(torch.from_numpy(operator(both(make, SGD(0.3)))[:2, :2]), expected, **EXACT)


def test_heun_always_spirals_out_and_the_fourth_order_in_up_to_2_root_2():
    edge = 2 * math.sqrt(2)
    assert rate(both(RungeKutta2, SGD(0.05))) > 1
    assert rate(both(RungeKutta4, SGD(edge - 0.01))) < 1 < rate(both(RungeKutta4, SGD(edge + 0.01)))
    radius = trajectory(bilinear(), both(RungeKutta4, SGD(0.5)), 100).norm(dim=1)
    expected = torch.full((100,), math.sqrt(1 - 0.5**6 / 72 + 0.5**8 / 576))
    assert_close(radius[1:] / radius[:-1], expected, **EXACT)  # its operator is a scaled rotation


@every_kind
def test_rounds_at_the_equilibrium_of_the_dirac_gan_amplify_its_eigenvalues(make):
    step = step_jacobian(dirac_gan(Minimax(), start=(0.0, 0.0)), both(make, SGD(0.2)), (dirac_batch(),))
    assert_close(spectral_radius(step), abs(amplification(make, 0.2 * 0.5j)), **EXACT)


# ---- order of accuracy


def flow(duration: float, num: int = 64) -> Tensor:
    """The small game's flow from its start, by as many fourth-order steps: off by (duration/num)⁴."""
    return play_on_one_batch(RungeKutta4, duration / num, num)


def play_on_one_batch(make, lr: float, num: int) -> Tensor:
    game, dynamics = small_game(), both(make, SGD(lr))
    players, state = game.init(), dynamics.init(game.init())
    for _ in range(num):
        players, state, _ = dynamics.step(game, players, state, (small_batch(),))
    return torch.cat(players)


@pytest.mark.parametrize(
    ("make", "order"),
    [(Simultaneous, 1), (RungeKutta2, 2), (RungeKutta4, 4)],
    ids=["euler", "heun", "fourth"],
)
def test_halving_the_step_divides_the_error_of_one_step_by_a_power_of_two(make, order):
    """By 4, 8 and 32: the local error is Ch^(order + 1)."""
    steps = [0.4, 0.2, 0.1]
    errors = [(play_on_one_batch(make, h, 1) - flow(h)).norm().item() for h in steps]
    ratios = torch.tensor([errors[0] / errors[1], errors[1] / errors[2]])
    expected = 2.0 ** (order + 1)
    # the next term of the error is of relative size h, with a constant of order 1: halved with the step
    assert_close(ratios, torch.full((2,), expected), rtol=0.35, atol=0)
    assert (ratios[1] - expected).abs() < (ratios[0] - expected).abs()
    assert_close(ratios[1].item(), expected, rtol=0.15, atol=0)


# ---- the tableaux, written out


def stages(make, point: Tensor, batch, h: float) -> Tensor:
    def xi(at: Tensor) -> Tensor:
        return gradient_by_hand(at, batch)

    k1 = xi(point)
    if make is RungeKutta2:
        return (k1 + xi(point - h * k1)) / 2
    k2 = xi(point - h / 2 * k1)
    k3 = xi(point - h / 2 * k2)
    k4 = xi(point - h * k3)
    return (k1 + 2 * k2 + 2 * k3 + k4) / 6


@every_kind
@every_calculus
@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_rounds_are_algorithm_1_of_qin(make, calculus, momentum):
    point, by_hand, path = start_by_hand(), MomentumByHand(0.2, momentum), []
    for turn in range(10):
        point = point - by_hand.direction(stages(make, point, small_batch(10 * turn), 0.2))
        path.append(point)
    found = play(small_game(calculus), both(make, SGD(0.2, momentum)))
    assert_close(found, torch.stack(path), **ROUND_OFF)


@every_kind
def test_each_player_has_a_step_of_its_own(make):
    """Two rates are the same method on the field scaled player by player."""
    rates = torch.tensor([0.1, 0.1, 0.1, 0.3, 0.3, 0.3])
    point, batch = start_by_hand(), small_batch()
    k1 = gradient_by_hand(point, batch)
    if make is RungeKutta2:
        expected = point - rates * (k1 + gradient_by_hand(point - rates * k1, batch)) / 2
    else:
        k2 = gradient_by_hand(point - rates / 2 * k1, batch)
        k3 = gradient_by_hand(point - rates / 2 * k2, batch)
        k4 = gradient_by_hand(point - rates * k3, batch)
        expected = point - rates * (k1 + 2 * k2 + 2 * k3 + k4) / 6
    assert_close(play(small_game(), make(SGD(0.1), SGD(0.3)), 1)[0], expected, **EXACT)


# ---- cost and laws


@pytest.mark.parametrize(("make", "num_fields"), [(RungeKutta2, 2), (RungeKutta4, 4)])
def test_a_round_runs_the_networks_once_a_stage(make, num_fields):
    dynamics = both(make, SGD(0.1))
    assert num_evaluations(dynamics) == (2 * num_fields, 3 * num_fields)
    assert num_evaluations(dynamics, Relativistic()) == (2 * num_fields, 4 * num_fields)
    assert dynamics.num_gradients == 2 * num_fields
    assert (dynamics.num_batches, dynamics.num_generator_steps, dynamics.num_discriminator_steps) == (1, 1, 1)


@every_kind
@pytest.mark.parametrize("rule", [SGD, Adam])
def test_an_ensemble_of_three_is_three_solo_runs(make, rule):
    assert_lifts(lambda lr: both(make, rule(lr)))


@every_kind
def test_autograd_and_torch_func_agree(make):
    assert_both_calculi_agree(both(make, Adam(0.1)))


@every_kind
def test_a_round_is_pure(make):
    assert_pure(both(make, Adam(0.1)))
