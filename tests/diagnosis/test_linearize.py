"""Linearization: published Jacobians, the spectral radius of every dynamics' step, and Adam's step."""

import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from by_hand import jacobian_by_hand, small_batch, small_game
from dynamics_laws import EXACT, bilinear, both
from oracles import dirac_batch, dirac_gan, field_jacobian, sorted_eigenvalues, spectral_radius
from payoffs import quadratic
from saddle.diagnosis.linearize import Map, game_field, game_gradient, jacobian, products, training_rounds
from saddle.dynamics import Alternating, Simultaneous
from saddle.dynamics.extrapolation import ExtraGradient, Optimistic, PastExtraGradient
from saddle.dynamics.lookahead import Lookahead
from saddle.dynamics.optimizers import SGD, Adam, OptimisticAdam, RMSProp
from saddle.dynamics.runge_kutta import RungeKutta2, RungeKutta4
from saddle.dynamics.second_order import (
    CompetitiveGradientDescent,
    Consensus,
    FollowTheRidge,
    SymplecticGradientAdjustment,
)
from saddle.dynamics.unrolled import Unrolled
from saddle.game.calculus import AUTOGRAD, FUNCTIONAL
from saddle.game.game import Batch, Game
from saddle.game.losses import Minimax, NonSaturating, Wasserstein
from saddle.game.network import Network
from saddle.game.penalties.discriminator import r1, wgan_gp
from saddle.game.penalties.generator import nagarajan_kolter
from saddle.models.normalization import SpectralNorm
from saddle.models.toy import Affine, Quadratic
from saddle.theory import dirac, linear_quadratic

# ---- the field


def linear_quadratic_gan(mu: float, sigma: float, loss) -> tuple[Game, Batch]:
    # Gauss-Hermite nodes with equal weights: six points with the first five moments of N(0, 1)
    z = torch.tensor([3**0.5, -(3**0.5), 0.0, 0.0, 0.0, 0.0])[:, None]
    game = Game(Network(Affine(sigma, mu)), Network(Quadratic([0.0, 0.0])), loss)
    return game, Batch(mu + sigma * z, z, torch.full((len(z),), 0.5))


@pytest.mark.parametrize(
    ("mu", "sigma", "loss", "slope", "curvature", "printed"),
    [
        (
            0.0,
            1.0,
            Minimax(),
            0.5,
            -0.5,
            [-0.75 - 0.6614j, -0.75 + 0.6614j, -0.25 - 0.4330j, -0.25 + 0.4330j],
        ),
        (0.0, 1.0, Wasserstein(), 1.0, 0.0, [-2j, -1j, 1j, 2j]),
        (0.5, 2.0, NonSaturating(), 0.5, -0.5, [-27.2462, -1.5977, -0.1937, -0.1186]),
    ],
    ids=["minimax", "wasserstein", "non-saturating"],
)
def test_the_linear_quadratic_gan_has_its_published_eigenvalues(mu, sigma, loss, slope, curvature, printed):
    game, batch = linear_quadratic_gan(mu, sigma, loss)
    found = sorted_eigenvalues(jacobian(game_field(game, game.init(), [batch])))
    expected = sorted_eigenvalues(
        torch.from_numpy(linear_quadratic.field_jacobian(mu, sigma, slope, curvature / 2))
    )
    assert_close(found, expected, **EXACT)
    assert_close(found, torch.tensor(printed, dtype=torch.complex128), rtol=0, atol=5.1e-5)  # as printed


@pytest.mark.parametrize("gamma", [0.0, 0.3, 2.0])
def test_r1_gives_the_dirac_gan_its_published_eigenvalues(gamma):
    game = dirac_gan(NonSaturating(), {"r1": partial(r1, gamma=gamma)}, (0.0, 0.0), calculus=AUTOGRAD)
    found = jacobian(game_field(game, game.init(), [dirac_batch(3)]))
    expected = sorted(dirac.gradient_penalty_eigenvalues(gamma), key=lambda value: (value.real, value.imag))
    assert_close(sorted_eigenvalues(found), torch.tensor(expected), **EXACT)


def test_at_the_critical_gamma_the_jacobian_is_defective_and_its_eigenvalues_good_to_root_eps():
    game = dirac_gan(NonSaturating(), {"r1": partial(r1, gamma=1.0)}, (0.0, 0.0))
    found = sorted_eigenvalues(jacobian(game_field(game, game.init(), [dirac_batch()])))
    assert_close(found, torch.tensor([-0.5, -0.5], dtype=torch.complex128), rtol=0, atol=4 * 1.5e-8)


def test_the_gradient_is_descended_and_the_field_is_its_negative():
    game, batches = small_game(), [small_batch(0), small_batch(1)]
    found = jacobian(game_gradient(game, game.init(), batches))
    point = torch.cat(game.init())
    expected = (jacobian_by_hand(point, batches[0]) + jacobian_by_hand(point, batches[1])) / 2
    assert_close(found, expected, **EXACT)
    assert_close(jacobian(game_field(game, game.init(), batches)), -expected, **EXACT)


def test_products_are_those_of_the_dense_jacobian():
    at = game_gradient(small_game(), small_game().init(), [small_batch()])
    dense, (forward, transposed) = jacobian(at), products(at)
    for vector in torch.eye(6) + 0.1:
        assert_close(forward(vector), dense @ vector, **EXACT)
        assert_close(transposed(vector), dense.T @ vector, **EXACT)


def test_float64_on_request_from_players_and_batches_in_float32():
    torch.set_default_dtype(torch.float32)
    game, batch = small_game(), small_batch()
    found = jacobian(game_gradient(game, game.init(), [batch], torch.float64))
    wide = Batch(*(part.double() for part in batch[:3]))
    assert found.dtype == torch.float64
    assert_close(found, jacobian_by_hand(torch.cat(game.init()).double(), wide), **EXACT)
    assert jacobian(game_gradient(game, game.init(), [batch])).dtype == torch.float32


def test_the_memory_of_the_games_parts_is_held_and_cast_too():
    torch.set_default_dtype(torch.float32)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        critic = nn.Sequential(SpectralNorm(nn.Linear(1, 3)), nn.Tanh(), nn.Linear(3, 1), nn.Flatten(0))
    game = replace(small_game(), discriminator=Network(critic))
    game = game.remember(game.init_memory(game.init()))
    at = game_gradient(game, game.init(), [small_batch()], torch.float64)
    steps = 1e-5 * torch.eye(len(at.point), dtype=torch.float64)
    columns = [(at.function(at.point + d) - at.function(at.point - d)) / 2e-5 for d in steps]
    # round-off eps/h = 2e-11, truncation h² = 1e-10 times third derivatives of order 1
    assert_close(jacobian(at), torch.stack(columns, 1).detach(), rtol=0, atol=1e-8)


# ---- steps: the table of the bilinear game, s = ησ


def roots_of_optimism(s: float) -> float:
    """Largest root of λ² − (1 − 2is)λ − is."""
    half, root = complex(1, -2 * s) / 2, (complex(1, -2 * s) ** 2 / 4 + 1j * s) ** 0.5
    return max(abs(half + root), abs(half - root))


def radius_of_unrolling(s: float, k: int = 3) -> float:
    return spectral_radius(torch.tensor([[1 - 2 * k * s**2, -s], [s, 1.0]]))


UNROLLED = partial(Unrolled, num_unrolled_steps=3)
TABLE = {  # dynamics, formula, and the values printed at s = 0.1, 0.2, 0.5
    "simultaneous": (Simultaneous, lambda s: math.sqrt(1 + s**2), (1.004988, 1.019804, 1.118034)),
    "alternating": (Alternating, lambda _: 1.0, ()),
    "extragradient": (
        ExtraGradient, lambda s: math.sqrt(1 - s**2 + s**4), (0.995038, 0.980612, 0.901388)
    ),
    "optimistic": (Optimistic, roots_of_optimism, (0.994936, 0.978906, 0.707107)),
    "past extragradient": (PastExtraGradient, roots_of_optimism, (0.994936, 0.978906, 0.707107)),
    "consensus": (
        partial(Consensus, gamma=1.0), lambda s: abs(complex(1 - s, s)), (0.905539, 0.824621, 0.707107)
    ),
    "sga": (
        SymplecticGradientAdjustment, lambda s: abs(complex(1 - s, s)), (0.905539, 0.824621, 0.707107)
    ),
    "cgd": (CompetitiveGradientDescent, lambda s: (1 + s**2) ** -0.5, (0.995037, 0.980581, 0.894427)),
    "runge-kutta 2": (RungeKutta2, lambda s: math.sqrt(1 + s**4 / 4), ()),
    "runge-kutta 4": (RungeKutta4, lambda s: math.sqrt(1 - s**6 / 72 + s**8 / 576), ()),
    "unrolled": (UNROLLED, radius_of_unrolling, ()),
}  # fmt: skip


def step(dynamics, game: Game | None = None, num_rounds: int = 1, past: int = 1) -> Tensor:
    """Jacobian of rounds on the bilinear game, with SGD, after ``past`` rounds."""
    game = game or bilinear()
    players, batches = game.init(), (dirac_batch(),) * dynamics.num_batches
    state = dynamics.init(players)
    for _ in range(past):
        players, state, _ = dynamics.step(game, players, state, batches)
    return jacobian(training_rounds(game, dynamics, players, state, [batches] * num_rounds))


@pytest.mark.parametrize("index", range(3))
@pytest.mark.parametrize(("make", "formula", "printed"), TABLE.values(), ids=TABLE)
def test_the_step_has_the_published_spectral_radius(make, formula, printed, index):
    s = (0.1, 0.2, 0.5)[index]
    found = spectral_radius(step(both(make, SGD(s))))
    # a double eigenvalue, of the optimistic methods at s = ½, is good to √eps
    double = make in (Optimistic, PastExtraGradient) and s == 0.5
    assert_close(found, formula(s), atol=4 * 1.5e-8 if double else 1e-12, rtol=0)
    if printed:
        assert_close(found, printed[index], atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("inner", "printed"),
    [(Simultaneous, (0.996237, 0.984820, 0.916729)), (Alternating, (0.993698, 0.974132, 0.787349))],
    ids=["simultaneous", "alternating"],
)
def test_lookahead_over_a_whole_period_has_the_published_rate(inner, printed):
    for s, rate in zip((0.1, 0.2, 0.5), printed, strict=True):
        found = spectral_radius(step(Lookahead(both(inner, SGD(s)), 5, 0.5), num_rounds=5, past=0))
        assert_close(found**0.2, rate, atol=1e-6, rtol=0)  # as printed


def test_a_period_of_lookahead_is_the_product_of_its_rounds():
    dynamics = Lookahead(both(Simultaneous, SGD(0.2, momentum=0.3)), 3, 0.5)
    product = torch.eye(6)  # θ, ψ, two velocities, two slow weights
    for past in range(3):
        product = step(dynamics, past=past) @ product
    assert_close(step(dynamics, num_rounds=3, past=0), product, **EXACT)


def test_the_regularizer_of_nagarajan_and_kolter_adds_to_the_generators_diagonal():
    game = Game(bilinear().generator, bilinear().discriminator, Wasserstein(), generator_penalties={
        "nagarajan_kolter": partial(nagarajan_kolter, eta=0.5)
    })  # fmt: skip
    found = step(both(Simultaneous, SGD(0.2)), game)[:2, :2]  # L_D = θψ: extra 2·½·σ² on G's own curvature
    assert_close(found, torch.tensor([[1 - 0.2, 0.2], [-0.2, 1.0]]), **EXACT)


def test_the_ridge_reverses_descents_eigenvalues_on_the_published_quadratics():
    for numbers, of_descent, of_ridge in [
        ((-3.0, -1.0, 4.0, 5.0, 7.0), 2.0, -2.0),
        ((3.0, 1.0, 4.0, 6.0, 5.0), -2.0, 2.0),
    ]:
        game, batch = quadratic(*numbers)
        for make, value in (
            (Simultaneous, of_descent),
            (partial(FollowTheRidge, num_iterations=1), of_ridge),
        ):
            dynamics = both(make, SGD(0.05))
            at = training_rounds(game, dynamics, game.init(), dynamics.init(game.init()), [(batch,)])
            matrix = jacobian(at)[:2, :2]
            # a double eigenvalue, of which trace and determinant are exact
            assert_close(matrix.trace().item(), 2 * (1 + 0.05 * value), **EXACT)
            assert_close(matrix.det().item(), (1 + 0.05 * value) ** 2, **EXACT)


def test_momentum_is_part_of_the_point():
    matrix = step(both(Simultaneous, SGD(0.1, momentum=-0.5)), past=0)
    expected = [  # θ, ψ, and velocities v' = βv + ξ: L_D = θψ, so ξ = (−ψ, θ)
        [1.0, 0.1, 0.05, 0.0],
        [-0.1, 1.0, 0.0, 0.05],
        [0.0, -1.0, -0.5, 0.0],
        [1.0, 0.0, 0.0, -0.5],
    ]
    assert_close(matrix, torch.tensor(expected), **EXACT)


# ---- adaptive rules


@pytest.mark.parametrize(
    "rule", [Adam(0.01, 0.5), RMSProp(0.01), OptimisticAdam(0.01)], ids=lambda r: type(r).__name__
)
@pytest.mark.parametrize("make", [Simultaneous, Alternating, ExtraGradient], ids=lambda make: make.__name__)
def test_the_jacobian_of_an_adaptive_step_is_its_finite_difference(rule, make):
    game, dynamics = small_game(), both(make, rule)
    players, state = game.init(), dynamics.init(game.init())
    rounds = [tuple(small_batch(5 * turn + i) for i in range(dynamics.num_batches)) for turn in range(4)]
    for batches in rounds[:3]:
        players, state, _ = dynamics.step(game, players, state, batches)
    at = training_rounds(game, dynamics, players, state, rounds[3:])
    moments = {Adam: 2, RMSProp: 1, OptimisticAdam: 3}[type(rule)]
    assert at.point.shape == (6 * (1 + moments),)
    # a second moment is near 0, so each number moves by a share h of itself, and derivatives are by its log:
    # round-off eps/h = 2e-11, truncation h² = 1e-10 times third derivatives that √v makes ~ 10
    h, scale = 1e-5, at.point.abs()
    steps = h * torch.diag(scale)
    found = torch.stack([at.function(at.point + d) - at.function(at.point - d) for d in steps], 1) / (2 * h)
    assert (scale > 0).all()
    assert_close(jacobian(at) * scale, found.detach(), rtol=1e-7, atol=1e-9)


def test_clocks_tick_but_are_not_perturbed():
    game, dynamics = small_game(), both(Simultaneous, Adam(0.01))
    batch, players = small_batch(), small_game().init()
    twice = training_rounds(game, dynamics, players, dynamics.init(players), [(batch,)] * 2)
    state = dynamics.init(players)
    for _ in range(2):
        players, state, _ = dynamics.step(game, players, state, (batch,))
    assert_close(twice.function(twice.point)[:6], torch.cat(players), **EXACT)


@pytest.mark.parametrize("rule", [Adam(0.01), RMSProp(0.01)], ids=["adam", "rmsprop"])
def test_an_adaptive_step_at_an_exact_equilibrium_is_refused(rule):
    game, dynamics = dirac_gan(Minimax(), start=(0.0, 0.0)), both(Simultaneous, rule)
    with pytest.raises(ValueError, match=r"must have a derivative.*√v, which has no slope at v = 0"):
        training_rounds(game, dynamics, game.init(), dynamics.init(game.init()), [(dirac_batch(),)])


def test_conjugate_gradients_at_an_exact_equilibrium_are_refused_and_right_beside_it():
    dynamics = both(CompetitiveGradientDescent, SGD(0.2))
    game = dirac_gan(Minimax(), start=(0.0, 0.0))
    with pytest.raises(ValueError, match=r"got an exact equilibrium.*conjugate gradients"):
        training_rounds(game, dynamics, game.init(), dynamics.init(game.init()), [(dirac_batch(),)])
    game = dirac_gan(Minimax(), start=(1e-6, 1e-6))
    found = jacobian(
        training_rounds(game, dynamics, game.init(), dynamics.init(game.init()), [(dirac_batch(),)])
    )
    # θψ = 1e-12 bends f'(0) = ½ by as much
    assert_close(spectral_radius(found), (1 + 0.1**2) ** -0.5, atol=1e-11, rtol=0)


def test_a_penalty_with_a_kink_at_the_equilibrium_is_refused():
    game = dirac_gan(Minimax(), {"gp": partial(wgan_gp, weight=1.0)}, start=(0.0, 0.0))
    with pytest.raises(ValueError, match="WGAN-GP has a kink where D is constant"):
        game_gradient(game, game.init(), [dirac_batch()])


SMOOTH = {name: make for name, (make, _, _) in TABLE.items() if make is not CompetitiveGradientDescent}


@pytest.mark.parametrize("make", SMOOTH.values(), ids=SMOOTH)
def test_smooth_steps_at_an_exact_equilibrium_are_accepted(make):
    game, dynamics = dirac_gan(Minimax(), start=(0.0, 0.0)), both(make, SGD(0.2))
    batches = (dirac_batch(),) * dynamics.num_batches
    at = training_rounds(game, dynamics, game.init(), dynamics.init(game.init()), [batches])
    assert_close(jacobian(at)[0, :2].norm(), torch.tensor(1.0), atol=0.3, rtol=0)  # I plus a step of 0.2


# ---- refusals


def test_a_dense_jacobian_that_is_too_large_says_how_large_and_what_to_use():
    at = Map(lambda x: x, torch.zeros(100_000))
    with pytest.raises(
        ValueError, match=r"at most 5,000 rows; got 100,000.*80 GB \(80,000,000,000 bytes\)"
    ) as caught:
        jacobian(at)
    assert "products" in str(caught.value)


def test_batches_that_are_missing_are_refused():
    game, dynamics = bilinear(), both(Alternating, SGD(0.1))
    with pytest.raises(ValueError, match="at least one batch; got none"):
        game_gradient(game, game.init(), [])
    with pytest.raises(ValueError, match=r"must have 2 batches; got \[1\]"):
        training_rounds(game, dynamics, game.init(), dynamics.init(game.init()), [(dirac_batch(),)])


@pytest.mark.parametrize("calculus", [AUTOGRAD, FUNCTIONAL], ids=["autograd", "functional"])
def test_the_games_own_calculus_does_not_matter(calculus):
    game = small_game(calculus)
    assert_close(
        jacobian(game_gradient(game, game.init(), [small_batch()])),
        -field_jacobian(small_game(FUNCTIONAL), small_batch()),
        **EXACT,
    )
