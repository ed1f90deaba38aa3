"""Simultaneous and alternating descent on games whose every step is known."""

import math
from decimal import Decimal
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from oracles import (
    bilinear_momentum_operator,
    dirac_batch,
    dirac_gan,
    dirac_path_by_hand,
    field_jacobian,
    sorted_eigenvalues,
    spectral_radius,
    step_jacobian,
    trajectory,
)
from saddle.dynamics import Alternating, Simultaneous
from saddle.dynamics.optimizers import SGD, Adam
from saddle.game.losses import LeastSquares, Minimax, NonSaturating, Relativistic, Wasserstein
from saddle.game.penalties.discriminator import r1, r2, wgan_gp
from saddle.theory import bilinear as of_bilinear
from saddle.theory.dirac import (
    alternating_eigenvalues,
    alternating_step_limit,
    gradient_penalty_eigenvalues,
    limit_cycle_radius,
    simultaneous_growth,
)
from saddle.theory.stability import euler_radius, fastest_step, largest_stable_step

LOGISTIC = [Minimax(), NonSaturating(), Relativistic()]
logistic = pytest.mark.parametrize("loss", LOGISTIC, ids=lambda loss: type(loss).__name__)


def descent(alternating: bool, h: float, momentum: float = 0.0, num_d: int = 1, num_g: int = 1):
    rule = SGD(h, momentum)
    return Alternating(rule, rule, num_d, num_g) if alternating else Simultaneous(rule, rule)


def radius_of_step(game, dynamics, num: int = 1) -> float:
    """Spectral radius of one round, from its Jacobian through the code that trains."""
    return spectral_radius(step_jacobian(game, dynamics, (dirac_batch(num),) * dynamics.num_batches))


def bilinear(sigma: float = 1.0):
    """L_D = σθψ = −L_G."""
    return dirac_gan(Wasserstein(), scale=sigma)


# ---- the field of the Dirac-GAN


@logistic
@pytest.mark.parametrize("penalty", [r1, r2])
@pytest.mark.parametrize("gamma", [0.0, 0.3, 2.0])  # not 1: a double root, only accurate to √eps
def test_the_dirac_gan_has_its_published_eigenvalues(loss, penalty, gamma):
    game = dirac_gan(loss, {"penalty": partial(penalty, gamma=gamma)}, start=(0.0, 0.0))
    found = sorted_eigenvalues(field_jacobian(game, dirac_batch(3)))
    expected = torch.tensor(
        sorted(gradient_penalty_eigenvalues(gamma), key=lambda value: (value.real, value.imag))
    )
    assert_close(found, expected, rtol=0, atol=1e-12)  # a 2x2 eigenvalue problem with simple roots


def test_the_wasserstein_field_turns_everywhere():
    found = sorted_eigenvalues(field_jacobian(bilinear(), dirac_batch()))
    assert_close(found, torch.tensor([-1j, 1j]))


def test_relativistic_and_non_saturating_play_the_same_dirac_gan():
    ours, theirs = (
        trajectory(dirac_gan(loss), descent(True, 0.2), 50) for loss in (Relativistic(), NonSaturating())
    )
    assert_close(ours, theirs)


# ---- every step of the Dirac-GAN


def sigmoid(t: float) -> float:
    return 1 / (1 + math.exp(-t))


@pytest.mark.parametrize(
    ("loss", "of_generator"),
    [(Minimax(), lambda t: sigmoid(-t)), (NonSaturating(), sigmoid)],  # f'(t) = σ(−t), and as −log D has it
    ids=["minimax", "non-saturating"],
)
@pytest.mark.parametrize("gamma", [0.0, 0.3])
@pytest.mark.parametrize(("alternating", "num_d"), [(False, 1), (True, 1), (True, 5)])
def test_each_step_is_the_papers(loss, of_generator, gamma, alternating, num_d):
    game = dirac_gan(loss, {"r1": partial(r1, gamma=gamma)})
    found = trajectory(game, descent(alternating, 0.2, num_d=num_d), 200)
    expected = dirac_path_by_hand(of_generator, lambda t: sigmoid(-t), gamma, 0.2, 200, alternating, num_d)
    # the paper's ψ is the negative of ours; 200 steps of round-off, the fastest growing by 1 % a step
    assert_close(found * torch.tensor([1.0, -1.0]), torch.tensor(expected), rtol=1e-12, atol=1e-13)


def test_simultaneous_descent_leaves_the_dirac_gan_by_a_known_factor_each_step():
    path, h = trajectory(dirac_gan(Minimax()), descent(False, 0.2), 500), 0.2
    squared = path.square().sum(1)
    expected = squared[:-1] * torch.tensor([simultaneous_growth(*at, h) for at in path[:-1].tolist()])
    assert_close(squared[1:], expected, rtol=1e-14, atol=0)  # a few roundings a step
    assert (squared.diff() > 0).all()


def test_alternating_descent_stays_near_its_orbit():
    radius = trajectory(dirac_gan(Minimax()), descent(True, 0.2), 1000).norm(dim=1)
    # to first order in h it follows circles: the radius moves by h·f'(0)·r at most, and does not drift
    assert (radius - 2**0.5).abs().max() < 0.2 * 0.5 * 2**0.5
    assert_close(radius[:500].mean(), radius[-500:].mean(), rtol=1e-2, atol=0)  # 500 steps are several turns


@pytest.mark.parametrize(
    ("loss", "penalties", "simultaneous", "alternating"),
    [
        (Minimax(), {}, "3.0969", "1.421"),
        (NonSaturating(), {}, "0.640", "0.284"),
        (Minimax(), {"r1": partial(r1, gamma=0.3)}, "2.64e-6", "2.30e-7"),
        (Minimax(), {"r2": partial(r2, gamma=0.3)}, "2.64e-6", "2.30e-7"),
        (NonSaturating(), {"r1": partial(r1, gamma=0.3)}, "2.2e-6", None),
    ],
)
def test_radii_after_500_steps_from_1_1_are_the_tabled_ones(loss, penalties, simultaneous, alternating):
    """The table alternates generator first: our rounds, one generator step ahead."""

    def must_print_as(found: Tensor, printed: str) -> None:
        digits = Decimal(printed).as_tuple()
        assert_close(found.item(), float(printed), atol=0.501 * 10.0**digits.exponent, rtol=0)

    must_print_as(trajectory(dirac_gan(loss, penalties), descent(False, 0.2), 500)[-1].norm(), simultaneous)
    if alternating is not None:
        game = dirac_gan(loss, penalties)
        (slope,), _ = game.generator_gradient(game.init(), dirac_batch())
        path = trajectory(
            dirac_gan(loss, penalties, (1.0 - 0.2 * slope.item(), -1.0)), descent(True, 0.2), 500
        )
        must_print_as(torch.hypot(path[-2, 0], path[-1, 1]), alternating)


def test_critical_r1_has_arrived_after_500_steps():
    game = dirac_gan(Minimax(), {"r1": partial(r1, gamma=1.0)})
    found = [
        trajectory(game, descent(alternating, 0.2), 500)[-1].norm().item() for alternating in (False, True)
    ]
    # 1e-21 and 7e-17 are tabled: |1 − h/2|^500 = 1e-23 at a double root, times a polynomial
    assert found[0] < 1e-20
    assert found[1] < 1e-16


@pytest.mark.parametrize("h", [0.1, 0.2])
def test_the_non_saturating_gan_settles_on_a_cycle_of_radius_root_2h(h):
    start = (1.05 * limit_cycle_radius(h), 0.0)
    radius = trajectory(dirac_gan(NonSaturating(), start=start), descent(False, h), round(100 / h))[
        -200:
    ].norm(dim=1)
    # to first order in h, over a few turns that wobble by 1.5 %; at 0.1 the start still counts for 0.4 %
    assert_close(radius.mean().item(), limit_cycle_radius(h), rtol=5e-3, atol=0)


def test_wgan_gp_orbits_in_its_tabled_band_and_does_not_converge():
    """The penalty is not smooth at ψ = 0. The authors' λ = 0.7 has a factor ½, and is 0.35 here."""
    game = dirac_gan(Wasserstein(), {"gp": partial(wgan_gp, weight=0.35)})
    radius = trajectory(game, descent(False, 0.2), 500)[100:].norm(dim=1)
    assert_close(radius.min().item(), 1.62, atol=5e-3, rtol=0)  # as printed
    assert_close(radius.max().item(), 1.97, atol=6e-3, rtol=0)  # as printed; which steps of the cycle are hit


# ---- stability, from the Jacobian of the round that trains


@pytest.mark.parametrize("gamma", [0.3, 0.7])
def test_simultaneous_descent_with_r1_is_stable_below_4_gamma_and_fastest_at_2_gamma(gamma):
    game = dirac_gan(Minimax(), {"r1": partial(r1, gamma=gamma)}, start=(0.0, 0.0))

    def radius(h: float) -> float:
        return radius_of_step(game, descent(False, h))

    values = gradient_penalty_eigenvalues(gamma)
    for h in (0.2, 0.5, 2 * gamma, 4 * gamma):
        expected = euler_radius(values, h)
        assert_close(radius(h), expected, atol=1e-12, rtol=0)  # round-off: the roots are simple
    assert_close((largest_stable_step(values), fastest_step(values)[0]), (4 * gamma, 2 * gamma))
    assert radius(3.99 * gamma) < 1 < radius(4.01 * gamma)
    assert radius(2 * gamma) < min(radius(1.98 * gamma), radius(2.02 * gamma))


@pytest.mark.parametrize("alternating", [False, True])
def test_training_near_the_equilibrium_contracts_as_its_jacobian_says(alternating):
    penalties, num = {"r1": partial(r1, gamma=0.3)}, 1000
    game, dynamics = dirac_gan(Minimax(), penalties, start=(1e-6, 0.0)), descent(alternating, 0.2)
    path = trajectory(game, dynamics, num)
    radius = radius_of_step(dirac_gan(Minimax(), penalties, start=(0.0, 0.0)), dynamics)
    # a linear map of dimension 2 obeys x'' = tx' − dx, and its complex roots have the modulus √d
    first, second, third = path[num - 2 :]
    coefficients = torch.linalg.solve(torch.stack([second, first], 1), third)
    assert_close((-coefficients[1]).sqrt().item(), radius, atol=1e-6, rtol=0)  # curvature at 1e-6 and below
    assert radius < 1


@logistic
@pytest.mark.parametrize(("num_d", "num_g"), [(1, 1), (2, 1), (5, 1), (1, 3), (2, 3)])
@pytest.mark.parametrize("h", [0.2, 1.3])
def test_alternating_rounds_turn_without_contracting_up_to_alpha_2(loss, num_d, num_g, h):
    game = dirac_gan(loss, start=(0.0, 0.0))
    found = radius_of_step(game, descent(True, h, num_d=num_d, num_g=num_g))
    expected = max(abs(value) for value in alternating_eigenvalues(h, num_g, num_d))
    assert_close(found, expected, atol=1e-12, rtol=0)  # simple roots
    assert (found > 1 + 1e-9) == (h > alternating_step_limit(num_g, num_d))


@pytest.mark.parametrize(("s", "expected"), [(0.1, 1.004988), (0.2, 1.019804), (0.5, 1.118034)])
@pytest.mark.parametrize("sigma", [1.0, 2.5])
def test_simultaneous_descent_on_the_bilinear_game_grows_by_the_published_factor(s, expected, sigma):
    found = radius_of_step(bilinear(sigma), descent(False, s / sigma))
    assert_close(found, of_bilinear.SIMULTANEOUS.radius(s), atol=1e-12, rtol=0)  # round-off
    assert_close(found, expected, atol=1e-6, rtol=0)  # as printed
    path = trajectory(bilinear(sigma), descent(False, s / sigma), 50).norm(dim=1)
    assert_close(path[1:] / path[:-1], torch.full((50,), found))  # and so does training, at every step


@pytest.mark.parametrize("s", [0.1, 0.2, 0.5, 1.0, 1.9])
def test_alternating_descent_on_the_bilinear_game_keeps_its_orbit(s):
    assert_close(radius_of_step(bilinear(), descent(True, s)), 1.0, atol=1e-12, rtol=0)  # round-off
    path = trajectory(bilinear(), descent(True, s), 500)
    conserved = torch.tensor([of_bilinear.alternating_invariant(*at, s) for at in path.tolist()])
    assert_close(conserved, conserved[0].expand(501), rtol=1e-11, atol=0)  # 500 steps of round-off


def test_alternating_descent_on_the_bilinear_game_diverges_beyond_s_2():
    assert radius_of_step(bilinear(), descent(True, 2.05)) > 1.1


@pytest.mark.parametrize("alternating", [False, True])
@pytest.mark.parametrize("beta", [-0.5, -0.2, 0.0, 0.5])
@pytest.mark.parametrize("s", [0.1, 0.3, 0.5])
def test_momentum_on_the_bilinear_game_has_the_operator_of_its_recurrence(s, beta, alternating):
    found = radius_of_step(bilinear(), descent(alternating, s, beta))
    solved = of_bilinear.momentum_alternating if alternating else of_bilinear.momentum_simultaneous
    expected = spectral_radius(bilinear_momentum_operator(s, beta, alternating))
    if beta or not alternating:  # else a double root, of modulus 1
        assert_close(solved(beta).radius(s), expected, atol=1e-10, rtol=0)
    assert_close(found, expected, atol=1e-10, rtol=0)  # the largest roots are simple, the matrices unalike


@pytest.mark.parametrize(
    ("alternating", "beta", "s", "expected"),
    [
        (True, -0.5, 0.1, 0.9985), (True, -0.5, 0.3, 0.9866), (True, -0.5, 0.5, 0.9625),
        (False, -0.5, 0.1, 1.0007), (False, -0.5, 0.5, 1.020), (True, 0.5, 0.1, 1.032),
    ],
)  # fmt: skip
def test_negative_momentum_helps_only_when_players_alternate(alternating, beta, s, expected):
    found = radius_of_step(bilinear(), descent(alternating, s, beta))
    assert_close(found, expected, atol=5e-4 if expected > 1.01 else 5e-5, rtol=0)  # as printed
    assert (found < 1) == (alternating and beta < 0)
    point = np.array([1.0, -1.0, 1.0, -1.0])
    for reached in trajectory(bilinear(), descent(alternating, s, beta), 60)[1:]:
        point = bilinear_momentum_operator(s, beta, alternating) @ point
        assert_close(reached, torch.from_numpy(point[:2]))


# ---- who moves when


@pytest.mark.parametrize(("num_d", "num_g"), [(1, 1), (3, 1), (1, 2), (3, 2)])
def test_each_alternating_step_has_a_batch_of_its_own_in_order(num_d, num_g):
    dynamics = Alternating(SGD(0.1), SGD(0.2), num_d, num_g)
    assert (dynamics.num_batches, dynamics.num_gradients) == (num_d + num_g, num_d + num_g)
    batches = [
        dirac_batch(2)._replace(real=torch.full((2, 1), float(index))) for index in range(num_d + num_g)
    ]
    game = dirac_gan(LeastSquares(1.0, -1.0), start=(0.5, 0.7))
    theta, psi, seen = 0.5, 0.7, 0.0
    for x in range(num_d):  # L_D = ½(ψx − 1)² + ½(ψθ + 1)²
        seen = psi * x
        psi -= 0.2 * ((psi * x - 1) * x + (psi * theta + 1) * theta)
    for _ in range(num_g):  # L_G = ½(ψθ − 1)²
        theta -= 0.1 * (psi * theta - 1) * psi
    players, _, logs = dynamics.step(game, game.init(), dynamics.init(game.init()), tuple(batches))
    assert_close(torch.cat(players), torch.tensor([theta, psi]))
    assert_close(logs["diag/real_logit"].item(), seen)  # of the last discriminator step


def test_simultaneous_players_do_not_see_each_other_move():
    game = dirac_gan(LeastSquares(1.0, -1.0), start=(0.5, 0.7))
    dynamics = Simultaneous(SGD(0.1), SGD(0.2))
    players, _, _ = dynamics.step(game, game.init(), dynamics.init(game.init()), (dirac_batch(),))
    logit = 0.35
    assert_close(players.generator, torch.tensor([0.5 - 0.1 * (logit - 1) * 0.7]))
    assert_close(players.discriminator, torch.tensor([0.7 - 0.2 * (logit + 1) * 0.5]))


@pytest.mark.parametrize(
    "dynamics", [Simultaneous(Adam(0.1), SGD(0.2)), Alternating(Adam(0.1), SGD(0.2), 2, 3)], ids=repr
)
def test_a_round_logs_losses_and_gradients_and_leaves_its_arguments_alone(dynamics):
    game = dirac_gan(NonSaturating(), {"r1": partial(r1, gamma=0.5)})
    players, batches = game.init(), (dirac_batch(2),) * dynamics.num_batches
    before, state = [vector.clone() for vector in players], dynamics.init(players)
    first = dynamics.step(game, players, state, batches)
    second = dynamics.step(game, players, state, batches)
    assert_close(first, second, rtol=0, atol=0)
    assert_close(list(players), before, rtol=0, atol=0)
    assert set(first[2]) == {
        "loss/discriminator", "loss/generator", "penalty/r1", "diag/real_logit", "diag/fake_logit",
        "diag/real_sign",
        "diag/generator_gradient_norm", "diag/discriminator_gradient_norm",
    }  # fmt: skip
    assert all(value.shape == () and not value.requires_grad for value in first[2].values())
    assert not any(tensor.requires_grad for tensor in first[0])


def test_each_player_has_a_rule_and_a_memory_of_its_own():
    game, players = dirac_gan(Wasserstein()), dirac_gan(Wasserstein()).init()
    for make in (Simultaneous, Alternating):
        dynamics = make(SGD(0.0, 0.5), Adam(0.1))
        moved, state, _ = dynamics.step(
            game, players, dynamics.init(players), (dirac_batch(),) * dynamics.num_batches
        )
        assert torch.equal(moved.generator, players.generator)
        assert_close(moved.discriminator, players.discriminator - 0.1)  # Adam's first step is its rate
        assert (type(state.generator).__name__, type(state.discriminator).__name__) == (
            "SGDState",
            "AdamState",
        )


def test_logged_gradient_norms_are_those_of_the_gradients_that_were_stepped_along():
    game, dynamics = dirac_gan(Wasserstein(), start=(3.0, 4.0)), Simultaneous(SGD(0.1), SGD(0.1))
    _, _, logs = dynamics.step(game, game.init(), dynamics.init(game.init()), (dirac_batch(),))
    assert (logs["diag/generator_gradient_norm"].item(), logs["diag/discriminator_gradient_norm"].item()) == (
        4.0,
        3.0,
    )


@pytest.mark.parametrize("name", ["num_discriminator_steps", "num_generator_steps"])
@pytest.mark.parametrize("value", [0, -1, 1.5])
def test_a_player_that_never_moves_or_moves_half_a_step_is_refused(name, value):
    with pytest.raises(ValueError, match=rf"{name} must be a whole number of at least 1; got {value}\. Give"):
        Alternating(SGD(0.1), SGD(0.1), **{name: value})
