"""Divergences of Gaussians and of held modes: printed values, sums, and best responses by brute force."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize, minimize_scalar
from scipy.stats import norm, wasserstein_distance
from torch.testing import assert_close

from saddle.theory import gaussians, held_modes
from saddle.theory.gaussians import Gaussian

SHIFTS = [0.0, 0.5, 1.0, 2.0, 4.0, 8.0]
PAIRS = [
    (Gaussian(0.0), Gaussian(1.0)), (Gaussian(-1.0, 0.5), Gaussian(2.0, 1.5)),
    (Gaussian(0.3, 2.0), Gaussian(0.3, 0.1)),
    (Gaussian(5.0, 0.2), Gaussian(0.0, 3.0)),
]  # fmt: skip
every_pair = pytest.mark.parametrize(("p", "q"), PAIRS)
laws = st.builds(Gaussian, st.floats(-3, 3), st.floats(0.2, 3))
few = settings(max_examples=30, deadline=None)


def total(integrand, p: Gaussian, q: Gaussian) -> float:
    """The trapezoidal rule on a fine grid, which for smooth integrands that vanish at both ends is exact."""
    x = np.linspace(-45, 45, 900_001)
    return float(np.trapezoid(integrand(norm.pdf(x, *p), norm.pdf(x, *q)), x))


# ---- Gaussians, unit variances


@pytest.mark.parametrize(
    ("shift", "jsd", "logistic", "overlap", "lecam"),
    list(
        zip(
            SHIFTS,
            [0, 0.030311, 0.111421, 0.336831, 0.632720, 0.693054],
            [1.386294, 1.325672, 1.163451, 0.712633, 0.120854, 0.000187],
            [0.5, 0.470527, 0.397973, 0.224800, 0.034299, 4.9e-5],
            [0, 0.117892, 0.408109, 1.100801, 1.862805, 1.999804],
            strict=True,
        )
    ),
)
def test_divergences_of_shifted_gaussians_are_the_printed_ones(shift, jsd, logistic, overlap, lecam):
    p, q = Gaussian(0.0), Gaussian(shift)
    found = [
        f(p, q)
        for f in (gaussians.jensen_shannon, gaussians.logistic_loss, gaussians.overlap, gaussians.lecam)
    ]
    assert_close(
        found, [float(jsd), logistic, overlap, float(lecam)], rtol=0, atol=6e-7
    )  # six digits are printed


@pytest.mark.parametrize("shift", SHIFTS)
def test_the_hinge_loss_of_shifted_gaussians_is_four_times_a_tail(shift):
    assert_close(gaussians.hinge_loss(Gaussian(0.0), Gaussian(shift)), 4 * norm.cdf(-shift / 2))
    assert_close(gaussians.hinge_loss(Gaussian(shift), Gaussian(0.0)), 4 * norm.cdf(-shift / 2))


def test_the_hinge_loss_of_far_gaussians_keeps_its_digits():
    assert_close(gaussians.hinge_loss(Gaussian(0.0), Gaussian(60.0)), 4 * norm.cdf(-30.0), rtol=1e-12, atol=0)
    close = gaussians.hinge_loss(Gaussian(0.0, 1.0), Gaussian(60.0, 1.0 + 1e-9))
    assert_close(
        close, 4 * norm.cdf(-30.0), rtol=1e-5, atol=0
    )  # the widths differ by 1e-9, and 60²·1e-9 counts


# ---- Gaussians, any


@every_pair
def test_every_integral_is_the_sum_over_a_grid(p, q):
    exact = {"rtol": 0, "atol": 2e-10}  # quadrature to 1e-10; the grid as much
    middle = total(lambda a, b: (a + b) / 2, p, q)
    assert_close(middle, 1.0, rtol=0, atol=1e-10)

    def entropy(a, b):
        a, b = a + 1e-300, b + 1e-300
        return 0.5 * a * np.log(2 * a / (a + b)) + 0.5 * b * np.log(2 * b / (a + b))

    assert_close(gaussians.jensen_shannon(p, q), total(entropy, p, q), **exact)
    assert_close(gaussians.overlap(p, q), total(lambda a, b: a * b / (a + b + 1e-300), p, q), **exact)
    assert_close(
        gaussians.lecam(p, q),
        total(lambda a, b: (a - b) ** 2 / (a + b + 1e-300), p, q),
        **{**exact, "atol": 1e-9},
    )
    # a kink: the rule is of second order there
    assert_close(gaussians.total_variation(p, q), total(lambda a, b: abs(a - b) / 2, p, q), rtol=0, atol=1e-7)


@every_pair
def test_kullback_leibler_is_the_mean_of_the_best_logit(p, q):
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    logit = gaussians.optimal_logit(p, q)
    mean = sum(w * logit(p.mean + p.std * x) for x, w in zip(nodes, weights, strict=True)) / weights.sum()
    assert_close(gaussians.kullback_leibler(p, q), float(mean))


@every_pair
def test_wasserstein_is_the_distance_of_quantiles(p, q):
    levels = (np.arange(200_000) + 0.5) / 200_000
    found = wasserstein_distance(norm.ppf(levels, *p), norm.ppf(levels, *q))
    # tails beyond the outermost quantiles
    assert_close(gaussians.wasserstein1(p, q), float(found), rtol=0, atol=1e-4)


def test_wasserstein_of_point_masses_is_their_distance():
    assert gaussians.wasserstein1(Gaussian(0.0, 0.0), Gaussian(-1.5, 0.0)) == 1.5


@few
@given(p=laws, q=laws)
def test_divergences_are_symmetric_bounded_and_zero_only_for_equal_laws(p, q):
    for divergence, most in (
        (gaussians.jensen_shannon, math.log(2)), (gaussians.lecam, 2.0), (gaussians.total_variation, 1.0)
    ):  # fmt: skip
        found = divergence(p, q)
        assert_close(found, divergence(q, p), rtol=0, atol=1e-9)
        assert -1e-12 <= found <= most + 1e-9
        assert_close(divergence(p, p), 0.0, rtol=0, atol=1e-9)
    # Δ/4 ≤ JSD ≤ TV·log 2, in nats
    assert gaussians.lecam(p, q) / 4 <= gaussians.jensen_shannon(p, q) + 1e-9
    assert gaussians.jensen_shannon(p, q) <= gaussians.total_variation(p, q) * math.log(2) + 1e-9


# ---- best responses by brute force, at points of the line


def at(p: Gaussian, q: Gaussian, x: float) -> tuple[float, float]:
    return float(norm.pdf(x, *p)), float(norm.pdf(x, *q))


@every_pair
@pytest.mark.parametrize("x", [-0.5, 0.3, 1.1])
def test_best_discriminators_minimise_the_loss_at_every_point(p, q, x):
    a, b = at(p, q, x)
    size = a + b

    def best(loss) -> float:
        return float(
            minimize_scalar(
                lambda d: loss(d) / size, bounds=(-60, 60), method="bounded", options={"xatol": 1e-9}
            ).x
        )

    logistic = best(lambda d: a * np.logaddexp(0, -d) + b * np.logaddexp(0, d))
    if abs(gaussians.optimal_logit(p, q)(x)) < 15:  # beyond, the loss is too flat for a search
        assert_close(logistic, gaussians.optimal_logit(p, q)(x), rtol=1e-3, atol=1e-4)
    squares = best(lambda d: a * (d - 1) ** 2 + b * (d + 0.5) ** 2)
    assert_close(squares, gaussians.optimal_least_squares(p, q, 1.0, -0.5)(x), rtol=0, atol=1e-6)
    hinge = min((-1.0, 1.0), key=lambda d: a * max(0, 1 - d) + b * max(0, 1 + d))
    assert hinge == gaussians.optimal_hinge(p, q)(x)
    # −aD + bD + λ(a(D + α)² + b(D − α)²): α the anchor, D on real drawn to −α
    lecam = best(lambda d: (b - a) * d + 0.3 * (a * (d + 0.2) ** 2 + b * (d - 0.2) ** 2))
    assert_close(lecam, gaussians.optimal_lecam(p, q, 0.3, 0.2)(x), rtol=0, atol=1e-6)


@every_pair
def test_losses_are_those_at_the_best_discriminator(p, q):
    def mean(law: Gaussian, function) -> float:
        x = np.linspace(law.mean - 10 * law.std, law.mean + 10 * law.std, 20_001)
        return float(np.trapezoid(norm.pdf(x, *law) * np.array([function(value) for value in x]), x))

    squares = gaussians.optimal_least_squares(p, q, 1.0, -1.0)
    found = 0.5 * mean(p, lambda x: (squares(x) - 1) ** 2) + 0.5 * mean(q, lambda x: (squares(x) + 1) ** 2)
    assert_close(gaussians.least_squares_loss(p, q, 1.0, -1.0), found, rtol=0, atol=1e-8)
    critic = gaussians.optimal_lecam(p, q, 0.3, 0.2)
    assert_close(gaussians.lecam_gap(p, q, 0.3, 0.2), mean(p, critic) - mean(q, critic), rtol=0, atol=1e-8)


@pytest.mark.parametrize(("distance", "weight"), [(1.0, 10.0), (3.0, 0.1), (0.0, 1.0)])
def test_a_penalized_critic_is_steeper_than_1(distance, weight):
    found = minimize_scalar(lambda s: -s * distance + weight * (s - 1) ** 2)
    assert_close(gaussians.wgan_gp_slope(distance, weight), float(found.x), rtol=1e-6, atol=0)  # a search


# ---- held modes


@pytest.mark.parametrize(
    ("r", "logistic", "relativistic"),
    [
        (1, 1.3863, 0.6931), (7 / 8, 1.2955, 0.6065), (3 / 4, 1.1951, 0.5199),
        (1 / 2, 0.9548, 0.3466), (1 / 4, 0.6255, 0.1733), (1 / 8, 0.3924, 0.0866),
    ],
)  # fmt: skip
def test_plateaus_of_held_modes_are_the_printed_ones(r, logistic, relativistic):
    found = [held_modes.logistic_loss(r), held_modes.relativistic_loss(r)]
    assert_close(found, [logistic, relativistic], rtol=0, atol=5.1e-5)  # four digits are printed


@pytest.mark.parametrize(("num", "num_held"), [(8, 8), (8, 5), (25, 1), (1000, 99)])
def test_divergences_of_held_modes_are_sums_over_the_modes(num, num_held):
    p, q = np.full(num, 1 / num), np.where(np.arange(num) < num_held, 1 / num_held, 0.0)
    r, m = num_held / num, (p + q) / 2
    held = slice(num_held)
    of_q = float((q[held] * np.log(q[held] / m[held])).sum())
    assert_close(held_modes.jensen_shannon(r), 0.5 * float((p * np.log(p / m)).sum()) + 0.5 * of_q)
    assert_close(held_modes.total_variation(r), 0.5 * float(abs(p - q).sum()))
    assert_close(held_modes.hinge_loss(r), 2 * float(np.minimum(p, q).sum()))
    assert_close(held_modes.overlap(r), float((p * q / (p + q)).sum()))
    assert_close(held_modes.lecam(r), float(((p - q) ** 2 / (p + q)).sum()))
    assert_close(held_modes.least_squares_loss(r, 1.0, -1.0), 2 * held_modes.overlap(r))
    expected = float((q[held] * np.log(q[held] / p[held])).sum())
    assert_close(held_modes.reverse_kullback_leibler(r), expected, rtol=1e-7, atol=1e-15)


@pytest.mark.parametrize("num_held", [1, 2, 3, 4])
def test_the_relativistic_loss_is_the_best_found_by_search(num_held):
    """D on 4 modes as four free logits; lost ones may grow without bound."""

    def loss(logits: np.ndarray) -> float:
        margins = logits[:, None] - logits[None, :num_held]
        return float(np.logaddexp(0, -margins).mean())

    found = minimize(loss, np.linspace(-1, 1, 4), tol=1e-12)
    assert_close(
        found.fun, held_modes.relativistic_loss(num_held / 4), rtol=0, atol=1e-4
    )  # approached from above


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: gaussians.jensen_shannon(Gaussian(0, 0), Gaussian(1)),
            r"std must be above 0 .* got 0\. Point masses",
        ),
        (lambda: gaussians.hinge_loss(Gaussian(0), Gaussian(0, -1)), r"std must be above 0"),
        (lambda: gaussians.kullback_leibler(Gaussian(0), Gaussian(0, 0)), r"std must be above 0"),
        (lambda: gaussians.wasserstein1(Gaussian(0, -1), Gaussian(0)), r"std must be at least 0; got -1"),
        (
            lambda: gaussians.lecam_gap(Gaussian(0), Gaussian(1), 1.0, 0.6),
            r"weight must be below .* = 0\.833333; got 1",
        ),
        (lambda: gaussians.optimal_lecam(Gaussian(0), Gaussian(1), 0.0, 0.1), r"weight must be above 0"),
        (lambda: gaussians.wgan_gp_slope(-1.0, 1.0), r"distance must be at least 0"),
        (lambda: held_modes.jensen_shannon(0.0), r"r must lie in \(0, 1\]; got 0\. It is the share"),
        (lambda: held_modes.relativistic_loss(1.1), r"r must lie in \(0, 1\]; got 1\.1"),
    ],
)
def test_a_formula_is_refused_outside_its_domain(call, message):
    with pytest.raises(ValueError, match=message):
        call()
