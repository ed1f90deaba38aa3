"""Lookahead: its k-round operator on the bilinear game, the algorithm, and where it changes nothing."""

from functools import partial

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from by_hand import AdamByHand, MomentumByHand, gradient_by_hand, small_batch, small_game, start_by_hand
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
    play,
    rate,
)
from oracles import bilinear_momentum_operator, spectral_radius, trajectory
from saddle.dynamics import Alternating, Simultaneous
from saddle.dynamics.extrapolation import ExtraGradient, Optimistic
from saddle.dynamics.lookahead import Lookahead
from saddle.dynamics.optimizers import SGD, Adam
from saddle.dynamics.second_order import Consensus
from saddle.game.losses import Relativistic
from saddle.theory.bilinear import SIMULTANEOUS, lookahead

INNER = [Simultaneous, partial(Alternating, num_discriminator_steps=2), ExtraGradient, Optimistic, Consensus]
every_inner = pytest.mark.parametrize("inner", INNER, ids=["sim", "alt", "extra", "optimistic", "consensus"])


# ---- the bilinear game


def eased(matrix: np.ndarray, k: int, alpha: float) -> float:
    """Spectral radius of (1 − α)I + αMᵏ, a round."""
    power = np.linalg.matrix_power(matrix, k)
    return spectral_radius((1 - alpha) * np.eye(len(matrix)) + alpha * power) ** (1 / k)


@pytest.mark.parametrize(("s", "printed"), [(0.1, 0.996237), (0.2, 0.984820), (0.5, 0.916729)])
@pytest.mark.parametrize("sigma", [1.0, 2.5])
def test_lookahead_around_simultaneous_descent_has_the_published_rate(s, printed, sigma):
    dynamics = Lookahead(both(Simultaneous, SGD(s / sigma)), 5, 0.5)
    found = rate(dynamics, 5, bilinear(sigma))
    assert_close(found, abs(0.5 + 0.5 * complex(1, s) ** 5) ** 0.2, **EXACT)
    assert_close(found, printed, atol=1e-6, rtol=0)  # as printed


@pytest.mark.parametrize(("s", "printed"), [(0.1, 0.993698), (0.2, 0.974132), (0.5, 0.787349)])
def test_lookahead_around_alternating_descent_has_the_published_rate(s, printed):
    found = rate(Lookahead(both(Alternating, SGD(s)), 5, 0.5), 5)
    assert_close(found, eased(bilinear_momentum_operator(s, 0.0, True)[:2, :2], 5, 0.5), **EXACT)
    assert_close(found, printed, atol=1e-6, rtol=0)  # as printed


@pytest.mark.parametrize(("k", "alpha"), [(1, 0.3), (2, 0.8), (6, 0.4), (6, 0.5), (6, 0.8)])
def test_any_k_and_alpha_give_the_formula(k, alpha):
    found = rate(Lookahead(both(Simultaneous, SGD(0.3)), k, alpha), k)
    assert_close(found, lookahead(SIMULTANEOUS, k, alpha).radius(0.3), **EXACT)


def test_lookahead_around_extragradient_eases_its_operator():
    matrix = np.array([[1 - 0.3**2, 0.3], [-0.3, 1 - 0.3**2]])  # 1 − s² ∓ is
    assert_close(rate(Lookahead(both(ExtraGradient, SGD(0.3)), 6, 0.5), 6), eased(matrix, 6, 0.5), **EXACT)


def test_training_is_stretched_by_that_rate_at_every_pull():
    radius = trajectory(bilinear(), Lookahead(both(Simultaneous, SGD(0.2)), 5, 0.5), 100).norm(dim=1)
    at_pulls = radius[::5]
    expected = torch.full((20,), abs(0.5 + 0.5 * complex(1, 0.2) ** 5))
    assert_close(at_pulls[1:] / at_pulls[:-1], expected, **EXACT)  # the operator is a scaled rotation
    between = radius[:100].view(20, 5)
    assert_close(between[:, 1:] / between[:, :-1], torch.full((20, 4), (1 + 0.2**2) ** 0.5), **EXACT)


# ---- the paper's algorithm, written out


@pytest.mark.parametrize(
    ("rule", "twin"),
    [
        (SGD(0.1, 0.5), lambda: MomentumByHand(0.1, 0.5)),
        (Adam(0.05, 0.5, 0.9), lambda: AdamByHand(0.05, 0.5, 0.9)),
    ],
    ids=["momentum", "adam"],
)
@every_calculus
def test_lookahead_is_algorithm_1_of_chavdarova(rule, twin, calculus):
    """Around alternating descent, k = 3: both players are pulled together, and moments are kept."""
    point, path = start_by_hand(), []
    slow, of_theta, of_psi = point.clone(), twin(), twin()
    for turn in range(10):
        gradient = gradient_by_hand(point, small_batch(10 * turn))
        point = torch.cat([point[:3], point[3:] - of_psi.direction(gradient[3:])])
        gradient = gradient_by_hand(point, small_batch(10 * turn + 1))
        point = torch.cat([point[:3] - of_theta.direction(gradient[:3]), point[3:]])
        if (turn + 1) % 3 == 0:
            point = slow = slow + 0.4 * (point - slow)
        path.append(point)
    found = play(small_game(calculus), Lookahead(both(Alternating, rule), 3, 0.4))
    assert_close(found, torch.stack(path), **ROUND_OFF)


@every_inner
@pytest.mark.parametrize("rule", [SGD(0.1, 0.5), Adam(0.1)], ids=["sgd", "adam"])
def test_alpha_1_is_the_inner_dynamics(inner, rule):
    found = play(small_game(), Lookahead(both(inner, rule), 3, 1.0))
    # slow + 1·(fast − slow) rounds once a pull
    assert_close(found, play(small_game(), both(inner, rule)), **ROUND_OFF)


def test_a_run_shorter_than_k_is_the_inner_dynamics_exactly():
    found = play(small_game(), Lookahead(both(Simultaneous, Adam(0.1)), 11, 0.5))
    assert_close(found, play(small_game(), both(Simultaneous, Adam(0.1))), rtol=0, atol=0)


def test_lookaheads_nest():
    """Every second pull of the inner one, the outer one pulls too."""
    nested = Lookahead(Lookahead(both(Simultaneous, SGD(0.2)), 2, 0.5), 4, 0.3)
    inner = 0.5 + 0.5 * complex(1, 0.2) ** 2
    found = trajectory(bilinear(), nested, 4).norm(dim=1)
    # up to the first outer pull; from there on the inner one starts at slow weights of its own
    assert_close((found[4] / found[0]).item(), abs(0.7 + 0.3 * inner**2), **EXACT)


# ---- cost and laws


@every_inner
def test_lookahead_costs_what_it_wraps(inner):
    plain = both(inner, SGD(0.1))
    dynamics = Lookahead(plain, 1, 0.5)  # a pull in this very round
    for loss in (None, Relativistic()):
        assert num_evaluations(dynamics, loss) == num_evaluations(plain, loss)
    for name in ("num_batches", "num_generator_steps", "num_discriminator_steps", "num_gradients"):
        assert getattr(dynamics, name) == getattr(plain, name)


@every_inner
@pytest.mark.parametrize("rule", [SGD, Adam])
def test_an_ensemble_of_three_is_three_solo_runs(inner, rule):
    assert_lifts(lambda lr: Lookahead(both(inner, rule(lr)), 2, 0.5), num_rounds=3)


def test_members_may_have_weights_of_their_own():
    assert_lifts(lambda lr: Lookahead(both(Simultaneous, SGD(0.1)), 2, 0.2 + lr), num_rounds=4)


@every_inner
def test_autograd_and_torch_func_agree(inner):
    assert_both_calculi_agree(Lookahead(both(inner, Adam(0.1)), 3, 0.5))


@every_inner
def test_a_round_is_pure(inner):
    assert_pure(Lookahead(both(inner, Adam(0.1)), 1, 0.5))


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"k": 0}, r"lookahead's k must be a whole number of at least 1; got 0\. Give"),
        ({"k": 2.5}, r"lookahead's k must be a whole number of at least 1; got 2\.5\. Give"),
        ({"k": 2.0}, r"lookahead's k must be a whole number of at least 1; got 2\.0\. Give"),
        ({"alpha": 0.0}, r"lookahead's alpha must lie in \(0, 1\]; got 0\.0\. 0\.5 is usual"),
        ({"alpha": 1.5}, r"lookahead's alpha must lie in \(0, 1\]; got 1\.5"),
    ],
)
def test_a_pull_that_never_comes_or_overshoots_is_refused(named, message):
    with pytest.raises(ValueError, match=message):
        Lookahead(both(Simultaneous, SGD(0.1)), **named)
