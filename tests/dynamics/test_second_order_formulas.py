"""Rounds of the second-order dynamics against their papers' formulas, by dense algebra."""

import math
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from by_hand import (
    AdamByHand,
    MomentumByHand,
    every_rule,
    gradient_by_hand,
    jacobian_by_hand,
    small_batch,
    small_game,
    start_by_hand,
)
from dynamics_laws import ROUND_OFF, both, play, rounds
from payoffs import game_of
from saddle.dynamics.optimizers import SGD, Adam
from saddle.dynamics.second_order import (
    CompetitiveGradientDescent,
    Consensus,
    FollowTheRidge,
    SymplecticGradientAdjustment,
)

# ---- random general-sum quadratics, several parameters a player


def random_quadratic(seed: int) -> tuple:
    """L_G = ½xᵀPx + xᵀQy + pᵀx, L_D = ½yᵀRy + yᵀSx + qᵀy, x in R³, y in R²; R well away from singular."""
    draw = torch.Generator().manual_seed(seed)
    p, q, r, s = (torch.randn(*shape, generator=draw) for shape in ((3, 3), (3, 2), (2, 2), (2, 3)))
    p, r = (p + p.T) / 2, torch.diag(torch.tensor([2.0, -1.0])) + 0.1 * (r + r.T)
    linear_x, linear_y, x, y = (torch.randn(num, generator=draw) for num in (3, 2, 3, 2))
    game, batch = game_of(
        lambda x, y: 0.5 * x @ p @ x + x @ q @ y + linear_x @ x,
        lambda x, y: 0.5 * y @ r @ y + y @ s @ x + linear_y @ y,
        x,
        y,
    )
    of_x, of_y = p @ x + q @ y + linear_x, r @ y + s @ x + linear_y
    return game, batch, (x, y), (of_x, of_y), (p, q, s, r)


@pytest.mark.parametrize("seed", range(4))
def test_competitive_descent_is_the_papers_formula(seed):
    """Schaefer and Anandkumar 2019, eqs. 3-4, by a dense solve."""
    game, batch, (x, y), (of_x, of_y), (_, q, s, _) = random_quadratic(seed)
    eta = 0.3
    found = rounds(game, batch, both(CompetitiveGradientDescent, SGD(eta)), 1)[1]
    step_x = torch.linalg.solve(torch.eye(3) - eta**2 * q @ s, of_x - eta * q @ of_y)
    step_y = torch.linalg.solve(torch.eye(2) - eta**2 * s @ q, of_y - eta * s @ of_x)
    assert_close(found, torch.cat([x - eta * step_x, y - eta * step_y]), **ROUND_OFF)


@pytest.mark.parametrize("seed", range(4))
def test_competitive_players_with_two_rates_are_at_the_nash_point_of_their_local_game(seed):
    """Δx minimises Δxᵀ∇ₓL_G + ΔxᵀD²ₓᵧL_G Δy + ‖Δx‖²/2η_G, and Δy its own."""
    game, batch, (x, y), (of_x, of_y), (_, q, s, _) = random_quadratic(seed)
    moved = rounds(game, batch, CompetitiveGradientDescent(SGD(0.4), SGD(0.1)), 1)[1]
    step_x, step_y = (moved - torch.cat([x, y])).split([3, 2])
    assert_close(step_x, -0.4 * (of_x + q @ step_y), **ROUND_OFF)
    assert_close(step_y, -0.1 * (of_y + s @ step_x), **ROUND_OFF)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("damping", [0.0, 0.5])
def test_follow_the_ridge_is_its_equation_by_a_dense_solve(seed, damping):
    game, batch, (x, y), (of_x, of_y), (_, _, s, r) = random_quadratic(seed)
    dynamics = FollowTheRidge(SGD(0.2), SGD(0.3), num_iterations=2, damping=damping)
    found = rounds(game, batch, dynamics, 1)[1]
    follow = torch.linalg.solve(r @ r + damping * torch.eye(2), r @ (s @ of_x))  # R⁻¹ without damping
    assert_close(found, torch.cat([x - 0.2 * of_x, y - 0.3 * of_y + 0.2 * follow]), **ROUND_OFF)


def test_a_player_on_the_ridge_stays_on_it():
    """∇_ψL_D = 0 is kept exactly on a quadratic: that is what the correction is for."""
    game, batch, (x, _), _, (*_, r) = random_quadratic(0)
    players = game.init()
    of_y = game.gradients(players, batch)[0].discriminator
    players = players._replace(discriminator=players.discriminator - torch.linalg.solve(r, of_y))
    dynamics = FollowTheRidge(SGD(0.05), SGD(0.05), num_iterations=2)
    for _ in range(10):
        players, _, _ = dynamics.step(game, players, dynamics.init(players), (batch,))
        gradients, _ = game.gradients(players, batch)
        assert_close(gradients.discriminator, torch.zeros(2), **ROUND_OFF)
    assert (players.generator - x).norm() > 0.1


# ---- literal twins on the small nonlinear game


def twin_path(rule_by_hand, direction) -> Tensor:
    point, path = start_by_hand(), []
    for turn in range(10):
        batch = small_batch(10 * turn)
        gradient, jacobian = gradient_by_hand(point, batch), jacobian_by_hand(point, batch)
        point = point - rule_by_hand.direction(direction(gradient, jacobian))
        path.append(point)
    return torch.stack(path)


@every_rule
def test_consensus_is_algorithm_2_of_mescheder(rule, twin):
    expected = twin_path(twin(), lambda gradient, jacobian: gradient + 1.5 * jacobian.T @ gradient)
    assert_close(play(small_game(), both(partial(Consensus, gamma=1.5), rule)), expected, **ROUND_OFF)


@every_rule
@pytest.mark.parametrize("align", [0.0, 1.0])
def test_sga_is_algorithm_1_of_balduzzi(rule, twin, align):
    signs = set()

    def direction(gradient: Tensor, jacobian: Tensor) -> Tensor:
        adjustment = (0.5 * (jacobian - jacobian.T)).T @ gradient
        of_size = jacobian.T @ gradient
        towards = (gradient @ of_size) * (adjustment @ of_size) / len(gradient) + epsilon
        sign = math.copysign(1.0, towards.item()) if align else 1.0
        signs.add(sign)
        return gradient + 2.0 * sign * adjustment

    # so small an ε that both signs occur on the way
    epsilon = 1e-6
    make = partial(SymplecticGradientAdjustment, weight=2.0, align=align, epsilon=epsilon)
    expected = twin_path(twin(), direction)
    assert_close(play(small_game(), both(make, rule)), expected, **ROUND_OFF)
    assert signs == ({-1.0, 1.0} if align else {1.0})


def test_competitive_descent_is_its_formula_at_every_round():
    eta, momentum = 0.2, 0.5

    def direction(gradient: Tensor, jacobian: Tensor) -> Tensor:
        mixed = jacobian.clone()
        mixed[:3, :3] = mixed[3:, 3:] = 0
        return torch.linalg.solve(torch.eye(6) + eta * mixed, gradient)

    expected = twin_path(MomentumByHand(eta, momentum), direction)
    found = play(small_game(), both(CompetitiveGradientDescent, SGD(eta, momentum)))
    assert_close(found, expected, **ROUND_OFF)


def test_follow_the_ridge_is_its_equation_at_every_round():
    """With Adam as the rule; the correction is added after its step, with G's rate."""
    point, by_hand, path = start_by_hand(), AdamByHand(0.05, 0.5, 0.9), []
    for turn in range(10):
        batch = small_batch(10 * turn)
        gradient, jacobian = gradient_by_hand(point, batch), jacobian_by_hand(point, batch)
        hessian, mixed = jacobian[3:, 3:], jacobian[3:, :3] @ gradient[:3]
        follow = torch.linalg.solve(hessian @ hessian + 0.1 * torch.eye(3), hessian @ mixed)
        point = point - by_hand.direction(gradient)
        point[3:] += 0.05 * follow
        path.append(point)
    found = play(
        small_game(), both(partial(FollowTheRidge, num_iterations=3, damping=0.1), Adam(0.05, 0.5, 0.9))
    )
    assert_close(found, torch.stack(path), **ROUND_OFF)
