"""Extragradient and its one-gradient kin: their operators on the bilinear game and the papers' algorithms."""

import itertools
import math

import pytest
import torch
from torch.testing import assert_close

from by_hand import every_rule, gradient_by_hand, small_batch, small_game, start_by_hand
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
from oracles import trajectory
from saddle.dynamics import Alternating, Simultaneous
from saddle.dynamics.extrapolation import ExtraGradient, Optimistic, PastExtraGradient
from saddle.dynamics.optimizers import SGD, Adam
from saddle.game.game import Players
from saddle.game.losses import Relativistic
from saddle.theory.bilinear import EXTRAGRADIENT, OPTIMISTIC

# ---- the bilinear game

KINDS = [ExtraGradient, PastExtraGradient, Optimistic]
every_kind = pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
one_gradient = pytest.mark.parametrize("make", KINDS[1:], ids=lambda make: make.__name__)


@pytest.mark.parametrize(("s", "printed"), [(0.1, 0.995038), (0.2, 0.980612), (0.5, 0.901388)])
@pytest.mark.parametrize("sigma", [1.0, 2.5])
def test_extragradient_on_the_bilinear_game_contracts_by_the_published_factor(s, printed, sigma):
    found = rate(both(ExtraGradient, SGD(s / sigma)), game=bilinear(sigma))
    assert_close(found, EXTRAGRADIENT.radius(s), **EXACT)
    assert_close(found, printed, atol=1e-6, rtol=0)  # as printed


@one_gradient
@pytest.mark.parametrize(("s", "printed"), [(0.1, 0.994936), (0.2, 0.978906), (0.5, 0.707107)])
@pytest.mark.parametrize("sigma", [1.0, 2.5])
def test_one_gradient_methods_on_the_bilinear_game_contract_by_the_published_factor(make, s, printed, sigma):
    found = rate(both(make, SGD(s / sigma)), game=bilinear(sigma))
    # at s = ½ the root is double, and only accurate to √eps
    assert_close(found, OPTIMISTIC.radius(s), atol=1e-6 if s == 0.5 else 1e-12, rtol=0)
    assert_close(found, printed, atol=1e-6, rtol=0)  # as printed


def test_extragradient_is_stable_below_1_and_fastest_at_1_over_root_2():
    best = 1 / math.sqrt(2)
    fastest = rate(both(ExtraGradient, SGD(best)))
    assert_close(fastest, math.sqrt(0.75), **EXACT)
    assert fastest < min(rate(both(ExtraGradient, SGD(best + off))) for off in (-0.01, 0.01))
    assert rate(both(ExtraGradient, SGD(0.999))) < 1 < rate(both(ExtraGradient, SGD(1.001)))


@one_gradient
def test_one_gradient_methods_are_stable_below_1_over_root_3_and_fastest_at_a_half(make):
    edge = 1 / math.sqrt(3)
    assert rate(both(make, SGD(edge - 1e-3))) < 1 < rate(both(make, SGD(edge + 1e-3)))
    fastest = rate(both(make, SGD(0.5)))
    assert_close(fastest, 1 / math.sqrt(2), atol=1e-6, rtol=0)  # a double root, accurate to √eps
    assert fastest < min(rate(both(make, SGD(0.5 + off))) for off in (-0.01, 0.01))


def test_extragradient_shrinks_the_radius_by_the_same_factor_in_every_round():
    radius = trajectory(bilinear(), both(ExtraGradient, SGD(0.2)), 100).norm(dim=1)
    expected = torch.full((100,), math.sqrt(1 - 0.2**2 + 0.2**4))  # its operator is a scaled rotation
    assert_close(radius[1:] / radius[:-1], expected, **EXACT)


# ---- the papers' algorithms, written out


@every_rule
@every_calculus
def test_extragradient_is_algorithm_4_of_gidel(rule, twin, calculus):
    """With Adam it is ExtraAdam: moments and bias corrections advance twice a round, by 2t − 1 and 2t."""
    point, by_hand, path = start_by_hand(), twin(), []
    for turn in range(10):
        batch = small_batch(10 * turn)
        ahead = point - by_hand.direction(gradient_by_hand(point, batch))
        point = point - by_hand.direction(gradient_by_hand(ahead, batch))
        path.append(point)
    assert_close(play(small_game(calculus), both(ExtraGradient, rule)), torch.stack(path), **ROUND_OFF)


@every_rule
@every_calculus
def test_past_extragradient_is_popovs_method(rule, twin, calculus):
    """ω̃ₜ = ωₜ − ηξ(ω̃ₜ₋₁), ωₜ₊₁ = ωₜ − ηξ(ω̃ₜ), the look ahead from a copy of the rule's memory."""
    point, by_hand, past, path = start_by_hand(), twin(), None, []
    for turn in range(10):
        copy = twin()
        vars(copy).update(vars(by_hand))
        ahead = point if past is None else point - copy.direction(past)
        past = gradient_by_hand(ahead, small_batch(10 * turn))
        point = point - by_hand.direction(past)
        path.append(point)
    assert_close(play(small_game(calculus), both(PastExtraGradient, rule)), torch.stack(path), **ROUND_OFF)


@every_rule
@every_calculus
def test_optimistic_steps_along_twice_the_gradient_less_the_last(rule, twin, calculus):
    point, by_hand, past, path = start_by_hand(), twin(), None, []
    for turn in range(10):
        now = gradient_by_hand(point, small_batch(10 * turn))
        point = point - by_hand.direction(now if past is None else 2 * now - past)
        past = now
        path.append(point)
    assert_close(play(small_game(calculus), both(Optimistic, rule)), torch.stack(path), **ROUND_OFF)


@one_gradient
def test_the_first_round_has_no_past_and_is_plain_descent(make):
    for rule in (SGD(0.1, 0.9), Adam(0.1)):
        found, plain = (play(small_game(), both(kind, rule), 1) for kind in (make, Simultaneous))
        assert_close(found, plain, rtol=0, atol=0)


def test_the_points_at_which_past_extragradient_looks_are_iterates_of_optimistic_descent():
    """With SGD on one batch, from the second on: Popov's first past is 0, and Optimistic's is ξ₀."""
    game, batch, lr = small_game(), (small_batch(),), 0.1
    optimistic, popov = both(Optimistic, SGD(lr)), both(PastExtraGradient, SGD(lr))
    players, state, looks = game.init(), popov.init(game.init()), []
    for _ in range(10):
        looks.append((Players(*(a - lr * g for a, g in zip(players, state.past, strict=True))), state))
        players, state, _ = popov.step(game, players, state, batch)
    for (here, its_state), (there, _) in itertools.pairwise(looks[1:]):
        found, _, _ = optimistic.step(game, here, its_state, batch)
        assert_close(torch.cat(found), torch.cat(there), **EXACT)


def test_each_player_has_a_rule_of_its_own():
    for make in KINDS:
        first, second = play(small_game(), make(SGD(0.0), Adam(0.1)), 1)[0].split(3)
        assert_close(first, start_by_hand()[:3], rtol=0, atol=0)
        assert (second - start_by_hand()[3:]).abs().min() > 0.01


# ---- cost and laws


@pytest.mark.parametrize(
    ("make", "generator", "discriminator", "num_gradients"),
    [
        (Simultaneous, 2, 3, 2),  # L_D runs G once and D on real and fake; L_G both once
        (Alternating, 2, 3, 2),
        (ExtraGradient, 4, 6, 4),
        (PastExtraGradient, 2, 3, 2),
        (Optimistic, 2, 3, 2),
    ],
)
def test_a_round_runs_the_networks_as_its_gradients_need(make, generator, discriminator, num_gradients):
    dynamics = both(make, SGD(0.1))
    assert num_evaluations(dynamics) == (generator, discriminator)
    # a paired loss looks at real samples in the generator's step as well
    assert num_evaluations(dynamics, Relativistic()) == (generator, discriminator + num_gradients // 2)
    assert dynamics.num_gradients == num_gradients
    assert (dynamics.num_generator_steps, dynamics.num_discriminator_steps) == (1, 1)


@every_kind
@pytest.mark.parametrize("rule", [SGD, Adam])
def test_an_ensemble_of_three_is_three_solo_runs(make, rule):
    assert_lifts(lambda lr: both(make, rule(lr)))


@every_kind
@pytest.mark.parametrize("rule", [SGD(0.1, 0.5), Adam(0.1)], ids=["sgd", "adam"])
def test_autograd_and_torch_func_agree(make, rule):
    assert_both_calculi_agree(both(make, rule))


@every_kind
def test_a_round_is_pure(make):
    assert_pure(both(make, Adam(0.1)))


@every_calculus
def test_the_written_out_game_is_the_game(calculus):
    game, batch = small_game(calculus), small_batch(3)
    gradients, _ = game.gradients(game.init(), batch)
    assert_close(torch.cat(gradients), gradient_by_hand(start_by_hand(), batch), **EXACT)
