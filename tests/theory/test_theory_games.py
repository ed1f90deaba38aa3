"""The linear-quadratic GAN, noisy descent at a saddle, and duality gaps, against numbers and brute force."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from torch.testing import assert_close

from saddle.theory import duality, linear_quadratic, stochastic

# ---- the linear-quadratic GAN

PRINTED = {  # four digits
    "logistic": ((0.0, 1.0), [-0.75 - 0.6614j, -0.75 + 0.6614j, -0.25 - 0.4330j, -0.25 + 0.4330j]),
    "logistic elsewhere": ((0.5, 2.0), [-27.2462, -1.5977, -0.1937, -0.1186]),
    "wasserstein": ((0.0, 1.0, 1.0, 0.0), [-2j, -1j, 1j, 2j]),
}


@pytest.mark.parametrize(("arguments", "printed"), PRINTED.values(), ids=PRINTED)
def test_eigenvalues_of_the_linear_quadratic_gan_are_the_printed_ones(arguments, printed):
    found = np.linalg.eigvals(linear_quadratic.field_jacobian(*arguments)).astype(complex).tolist()
    found.sort(key=lambda value: (round(value.real, 6), value.imag))
    assert_close(found, [complex(value) for value in printed], rtol=0, atol=6e-5)


@pytest.mark.parametrize(("mu", "sigma"), [(0.0, 1.0), (0.5, 2.0), (-1.3, 0.4)])
def test_moments_are_those_of_a_quadrature(mu, sigma):
    nodes, weights = np.polynomial.hermite_e.hermegauss(8)  # exact up to degree 15
    x, weights = mu + sigma * nodes, weights / weights.sum()
    both = np.stack([x, x**2])
    second = (both * weights) @ both.T
    centred = second - np.outer(both @ weights, both @ weights)
    assert_close(linear_quadratic.second_moments(mu, sigma).tolist(), second.tolist())
    assert_close(linear_quadratic.covariance(mu, sigma).tolist(), centred.tolist(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("mu", "sigma"), [(0.0, 1.0), (0.5, 2.0)])
@pytest.mark.parametrize("relativistic", [False, True])
def test_the_jacobian_is_that_of_the_field_differentiated_numerically(mu, sigma, relativistic):
    nodes, weights = np.polynomial.hermite_e.hermegauss(30)
    weights = weights / weights.sum()
    real = mu + sigma * nodes
    pairs = np.outer(weights, weights)

    def value(point: np.ndarray) -> float:
        """What D ascends, and G descends, in the paper's form."""
        a, b, w1, w2 = point

        def d(x: np.ndarray) -> np.ndarray:
            return w1 * x + w2 * x**2

        fake = b + a * nodes
        if relativistic:
            return float(-(pairs * np.logaddexp(0, -(d(real)[:, None] - d(fake)[None]))).sum())
        return float(-weights @ np.logaddexp(0, -d(real)) - weights @ np.logaddexp(0, d(fake)))

    at, step = np.array([sigma, mu, 0.0, 0.0]), 1e-3
    hessian = np.empty((4, 4))
    for i, one in enumerate(step * np.eye(4)):
        for j, other in enumerate(step * np.eye(4)):
            corners = value(at + one + other) - value(at + one - other) - value(at - one + other)
            hessian[i, j] = (corners + value(at - one - other)) / (4 * step**2)
    sign = np.array([-1.0, -1.0, 1.0, 1.0])  # G descends, D ascends
    solved = linear_quadratic.relativistic_field_jacobian if relativistic else linear_quadratic.field_jacobian
    # truncation: step² times fourth derivatives, up to 500 here
    assert_close(solved(mu, sigma).tolist(), (sign[:, None] * hessian).tolist(), rtol=1e-3, atol=2e-3)


# ---- noisy descent


@pytest.mark.parametrize(
    ("player", "lr", "printed"),
    [(0, 1e-4, 5.03e-4), (0, 1e-3, 1.67e-3), (1, 0.01, 0.0503), (1, 0.001, 0.0158)],
)
def test_stationary_spreads_of_the_ttur_saddle_are_the_printed_ones(player, lr, printed):
    found = stochastic.stationary_std(lr, stochastic.TTUR_CURVATURES[player])
    assert_close(found, printed, rtol=0, atol=0.51 * 10 ** (math.floor(math.log10(printed)) - 2))


def test_curvatures_of_the_ttur_saddle_are_second_derivatives():
    def f(x: float, y: float) -> float:
        return (1 + x**2) * (100 - y**2)

    of_x = (f(1e-3, 0) - 2 * f(0, 0) + f(-1e-3, 0)) / 1e-6
    of_y = -(f(0, 1e-3) - 2 * f(0, 0) + f(0, -1e-3)) / 1e-6
    assert_close((of_x, of_y), stochastic.TTUR_CURVATURES, rtol=1e-6, atol=0)  # rounding of 100/1e-6


def test_noisy_descent_on_the_saddle_has_that_spread():
    """The recursion of both players with 5,000 independent copies, after the start is forgotten."""
    draw = np.random.default_rng(0)
    lr, num = (1e-3, 0.05), 5000
    x, y = np.zeros(num), np.zeros(num)
    for _ in range(400):
        of_x, of_y = 2 * x * (100 - y**2), 2 * y * (1 + x**2)
        x, y = x - lr[0] * (of_x + draw.normal(size=num)), y - lr[1] * (of_y + draw.normal(size=num))
    for values, rate, curvature in zip((x, y), lr, stochastic.TTUR_CURVATURES, strict=True):
        expected = stochastic.stationary_std(rate, curvature)
        # four standard errors of a standard deviation, 4/√(2·5000), and the saddle's own quartic terms
        assert_close(float(values.std()), expected, rtol=0.05, atol=0)


@given(lr=st.floats(1e-4, 0.9), curvature=st.floats(0.1, 2), noise=st.floats(0, 3))
def test_the_spread_is_the_fixed_point_of_the_variance(lr, curvature, noise):
    variance = stochastic.stationary_std(lr, curvature, noise) ** 2
    assert_close((1 - lr * curvature) ** 2 * variance + (lr * noise) ** 2, variance, rtol=1e-9, atol=1e-15)


# ---- duality gaps


@given(x=st.floats(-2, 2), y=st.floats(-2, 2), a=st.floats(0.2, 3), b=st.floats(-3, 3), c=st.floats(0.2, 3))
def test_the_gap_of_a_quadratic_game_is_the_formula_for_numbers(x, y, a, b, c):
    expected = x**2 * (a / 2 + b**2 / (2 * c)) + y**2 * (c / 2 + b**2 / (2 * a))
    assert_close(duality.quadratic_gap(x, y, a, b, c), expected, rtol=1e-10, atol=1e-12)


def test_the_gap_of_a_quadratic_game_is_that_of_best_responses_found_by_search():
    draw = np.random.default_rng(1)
    a, c = (m @ m.T + np.eye(len(m)) for m in (draw.normal(size=(3, 3)), draw.normal(size=(2, 2))))
    b, x, y = draw.normal(size=(3, 2)), draw.normal(size=3), draw.normal(size=2)

    def f(x: np.ndarray, y: np.ndarray) -> float:
        return float(0.5 * x @ a @ x + x @ b @ y - 0.5 * y @ c @ y)

    highest = -minimize(lambda other: -f(x, other), np.zeros(2), tol=1e-12).fun
    lowest = minimize(lambda other: f(other, y), np.zeros(3), tol=1e-12).fun
    assert_close(duality.quadratic_gap(x, y, a, b, c), float(highest - lowest), rtol=1e-8, atol=0)  # a search
    assert duality.quadratic_gap(np.zeros(3), np.zeros(2), a, b, c) == 0


def test_the_gap_of_a_bilinear_game_is_that_of_the_best_points_of_a_circle():
    a, x, y, radius = np.array([[1.0, 2.0], [-0.5, 1.5]]), np.array([0.3, -1.0]), np.array([1.1, 0.4]), 2.0
    angles = np.linspace(0, 2 * np.pi, 200_001)
    circle = radius * np.stack([np.cos(angles), np.sin(angles)])
    expected = float((x @ a @ circle).max() - (circle.T @ a @ y).min())
    assert_close(duality.bilinear_gap(x, y, a, radius), expected, rtol=1e-9, atol=0)  # of the grid


def test_rock_paper_scissors_is_in_equilibrium_only_at_thirds():
    matrix = np.array([[0, 1, -1], [-1, 0, 1], [1, -1, 0]])
    third = np.full(3, 1 / 3)
    assert_close(duality.matrix_game_gap(third, third, matrix), 0.0)
    assert_close(duality.matrix_game_gap([1, 0, 0], [0, 1, 0], matrix), 2.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: linear_quadratic.field_jacobian(0.0, 0.0), r"sigma must be above 0; got 0"),
        (
            lambda: stochastic.stationary_std(0.01, 200.0),
            r"lr must be below 2/curvature = 0\.01; got 0\.01\. Beyond",
        ),
        (lambda: stochastic.stationary_std(0.1, -1.0), r"curvature must be above 0; got -1"),
        (lambda: stochastic.stationary_std(0.1, 1.0, -1.0), r"noise must be at least 0"),
        (
            lambda: duality.quadratic_gap(1, 1, 0, 1, 1),
            r"a must be symmetric and positive definite; got smallest",
        ),
        (lambda: duality.quadratic_gap(1, 1, 1, 1, -1), r"c must be symmetric .* -1 .* bilinear_gap"),
        (
            lambda: duality.bilinear_gap([2, 0], [0, 0], np.eye(2)),
            r"x must lie within radius 1 of 0; got norm 2",
        ),
        (lambda: duality.bilinear_gap([0], [0], [[1]], 0.0), r"radius must be above 0"),
        (
            lambda: duality.matrix_game_gap([0.5, 0.6], [1, 0], np.eye(2)),
            r"x must be probabilities that sum to 1",
        ),
    ],
)
def test_a_formula_is_refused_outside_its_domain(call, message):
    with pytest.raises(ValueError, match=message):
        call()
