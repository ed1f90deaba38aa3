"""Spectral radii on the bilinear game against printed ones and hand-made matrices of the recursions."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from oracles import bilinear_momentum_operator, spectral_radius
from saddle.theory import bilinear
from saddle.theory.bilinear import (
    ALTERNATING,
    COMPETITIVE,
    EXTRAGRADIENT,
    LINEARIZED_CGD,
    OPTIMISTIC,
    RUNGE_KUTTA2,
    RUNGE_KUTTA4,
    SIMULTANEOUS,
    consensus,
    first_exit,
    lookahead,
    momentum_alternating,
    momentum_simultaneous,
    nagarajan_kolter,
    unrolled,
)

PRINTED = {  # |λ| a round at s = 0.1, 0.2, 0.5
    "simultaneous": (SIMULTANEOUS, (1.004988, 1.019804, 1.118034)),
    "alternating": (ALTERNATING, (1.0, 1.0, 1.0)),
    "extragradient": (EXTRAGRADIENT, (0.995038, 0.980612, 0.901388)),
    "optimistic": (OPTIMISTIC, (0.994936, 0.978906, 0.707107)),
    "competitive": (COMPETITIVE, (0.995037, 0.980581, 0.894427)),
    "consensus": (consensus(1.0), (0.905539, 0.824621, 0.707107)),
    "lookahead": (lookahead(SIMULTANEOUS, 5, 0.5), (0.996237, 0.984820, 0.916729)),
    "lookahead alternating": (lookahead(ALTERNATING, 5, 0.5), (0.993698, 0.974132, 0.787349)),
}


@pytest.mark.parametrize(("method", "printed"), PRINTED.values(), ids=PRINTED)
def test_radii_are_the_printed_ones(method, printed):
    assert_close([method.radius(s) for s in (0.1, 0.2, 0.5)], list(printed), rtol=0, atol=6e-7)


@pytest.mark.parametrize(
    ("method", "printed"),
    [
        (SIMULTANEOUS, (1.020, 1.166, 1.562)), (OPTIMISTIC, (0.979, 1.057, 2.345)),
        (LINEARIZED_CGD, (0.981, 0.877, 1.278)), (COMPETITIVE, (0.981, 0.857, 0.640)),
    ],
)  # fmt: skip
def test_radii_at_the_couplings_of_competitive_descents_paper_are_the_printed_ones(method, printed):
    assert_close([method.radius(0.2 * a) for a in (1, 3, 6)], list(printed), rtol=0, atol=6e-4)
    assert_close(
        [consensus(1.0, sigma=a).radius(0.2 * a) for a in (1, 3, 6)], [0.825, 1.0, 6.315], rtol=0, atol=6e-4
    )


@pytest.mark.parametrize(
    ("method", "printed"),
    [
        (SIMULTANEOUS, 1.0440), (EXTRAGRADIENT, 0.9582), (lookahead(EXTRAGRADIENT, 6, 0.5), 0.8968),
        (lookahead(SIMULTANEOUS, 6, 0.4), 0.9467), (lookahead(SIMULTANEOUS, 6, 0.5), 0.9521),
        (lookahead(SIMULTANEOUS, 6, 0.8), 1.0033),
    ],
)  # fmt: skip
def test_rates_of_the_lookahead_paper_at_lr_0_3_are_the_printed_ones(method, printed):
    assert_close(method.radius(0.3), printed, rtol=0, atol=6e-5)


@pytest.mark.parametrize(
    ("method", "s", "printed"),
    [
        (momentum_alternating(-0.5), 0.1, 0.9985), (momentum_alternating(-0.5), 0.3, 0.9866),
        (momentum_alternating(-0.5), 0.5, 0.9625), (momentum_simultaneous(-0.5), 0.1, 1.0007),
        (momentum_alternating(0.5), 0.1, 1.032), (momentum_simultaneous(-0.5), 0.5, 1.020),
    ],
)  # fmt: skip
def test_radii_with_momentum_are_the_printed_ones(method, s, printed):
    assert_close(method.radius(s), printed, rtol=0, atol=6e-5 if printed < 1.01 else 6e-4)


# ---- against matrices of the recursions, x descending s·y and y ascending s·x

FIELD = np.array([[0.0, -1.0], [1.0, 0.0]])
ONE = np.eye(2)


def polynomial(*coefficients: float):
    return lambda s: sum(c * np.linalg.matrix_power(s * FIELD, p) for p, c in enumerate(coefficients))


def optimistic(s: float) -> np.ndarray:
    """ω' = ω + 2sFω − sFω₋, on (ω, ω₋)."""
    return np.block([[ONE + 2 * s * FIELD, -s * FIELD], [ONE, np.zeros((2, 2))]])


def past(s: float) -> np.ndarray:
    """Popov: ω̃ = ω + sFω̃₋ and ω' = ω + sFω̃, on (ω, ω̃₋)."""
    ahead = np.block([ONE, s * FIELD])
    return np.block([[np.block([ONE, np.zeros((2, 2))]) + s * FIELD @ ahead], [ahead]])


def alternating(s: float) -> np.ndarray:
    return np.array([[1, 0], [s, 1]]) @ np.array([[1, -s], [0, 1]])


MATRICES = {
    "simultaneous": (SIMULTANEOUS, polynomial(1, 1)),
    "alternating": (ALTERNATING, alternating),
    "extragradient": (EXTRAGRADIENT, polynomial(1, 1, 1)),
    "optimistic": (OPTIMISTIC, optimistic),
    "past extragradient": (OPTIMISTIC, past),
    "competitive": (COMPETITIVE, lambda s: np.linalg.inv(ONE - s * FIELD)),
    "heun": (RUNGE_KUTTA2, lambda s: 0.5 * ONE + 0.5 * (ONE + s * FIELD) @ (ONE + s * FIELD)),
    "runge-kutta": (RUNGE_KUTTA4, polynomial(1, 1, 1 / 2, 1 / 6, 1 / 24)),
    "consensus": (consensus(1.5, 2.0), lambda s: ONE + s * FIELD - s / 2 * 1.5 * 4 * FIELD.T @ FIELD),
    "unrolled": (unrolled(3), lambda s: np.array([[1 - 6 * s**2, -s], [s, 1]])),
    "nagarajan-kolter": (
        nagarajan_kolter(0.3, 2.0),
        lambda s: np.array([[1 - s / 2 * 2 * 0.3 * 4, -s], [s, 1]]),
    ),
    "lookahead": (
        lookahead(ALTERNATING, 4, 0.3),
        lambda s: 0.7 * ONE + 0.3 * np.linalg.matrix_power(alternating(s), 4),
    ),
    "momentum": (momentum_simultaneous(-0.3), lambda s: bilinear_momentum_operator(s, -0.3, False)),
    "alternating momentum": (momentum_alternating(-0.3), lambda s: bilinear_momentum_operator(s, -0.3, True)),
}


@pytest.mark.parametrize(("method", "matrix"), MATRICES.values(), ids=MATRICES)
@given(s=st.floats(0.01, 3))
def test_radii_are_those_of_the_recursions_matrix(method, matrix, s):
    expected = spectral_radius(matrix(s)) ** (1 / method.num_rounds)
    assert_close(method.radius(s), expected, rtol=1e-6, atol=1e-6)  # √eps near double roots


# ---- limits and best strides, which are closed forms, against a search over s

METHODS = {
    "simultaneous": SIMULTANEOUS, "alternating": ALTERNATING, "extragradient": EXTRAGRADIENT,
    "optimistic": OPTIMISTIC, "heun": RUNGE_KUTTA2, "runge-kutta": RUNGE_KUTTA4, "competitive": COMPETITIVE,
    "weak consensus": consensus(0.4), "strong consensus": consensus(2.0, 1.5),
    "unrolled 1": unrolled(1), "unrolled 5": unrolled(5),
    "weak n&k": nagarajan_kolter(0.3), "critical n&k": nagarajan_kolter(1.0),
    "strong n&k": nagarajan_kolter(2.0),
    "lookahead": lookahead(SIMULTANEOUS, 6, 0.5), "hasty lookahead": lookahead(SIMULTANEOUS, 6, 0.9),
    "momentum": momentum_simultaneous(-0.5), "negative momentum": momentum_alternating(-0.5),
    "more negative momentum": momentum_alternating(-0.8), "positive momentum": momentum_alternating(0.3),
}  # fmt: skip
every_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)


@every_method
def test_the_radius_passes_1_at_the_limit(method):
    limit = method.stable_below
    assert_close(first_exit(method.eigenvalues), limit, rtol=1e-9, atol=0)
    if 0 < limit < math.inf:
        assert method.radius(0.5 * limit) <= 1 + 1e-12
        assert method.radius(1.0001 * limit) > 1
    if limit == 0:
        assert method.radius(0.01) > 1


@every_method
def test_no_stride_beats_the_best(method):
    if math.isnan(method.best):
        assert min(method.radius(s) for s in np.linspace(0.01, 4, 200)) >= 1 - 1e-12
    elif math.isinf(method.best):
        assert method.radius(100.0) < method.radius(10.0) < method.radius(1.0)
    else:
        least = method.radius(method.best)
        assert least < 1
        # 1e-7: where roots meet, a radius is accurate to √eps
        assert min(method.radius(s) for s in np.linspace(0.001, method.stable_below, 2000)) >= least - 1e-7


@pytest.mark.parametrize(
    ("method", "best", "radius"),
    [
        (EXTRAGRADIENT, 1 / math.sqrt(2), math.sqrt(0.75)), (OPTIMISTIC, 0.5, 1 / math.sqrt(2)),
        (RUNGE_KUTTA4, math.sqrt(6), 0.5), (unrolled(5), 0.2, 0.8), (consensus(1.0), 0.5, 1 / math.sqrt(2)),
        (nagarajan_kolter(0.3), 0.3, math.sqrt(1 - 0.09)), (nagarajan_kolter(2.0), 0.5, math.sqrt(0.75)),
    ],
)  # fmt: skip
def test_best_radii_are_the_stated_ones(method, best, radius):
    assert_close(method.best, best)
    assert_close(method.radius(best), radius, rtol=0, atol=1e-7)  # double roots


@given(s=st.floats(0.001, 5))
def test_alternating_descent_neither_grows_nor_shrinks_exactly_up_to_2(s):
    if s <= 2:
        assert_close(ALTERNATING.radius(s), 1.0, rtol=0, atol=1e-7)  # √eps at s = 2
    else:
        assert ALTERNATING.radius(s) > 1


@given(s=st.floats(0.01, 3), x=st.floats(-2, 2), y=st.floats(-2, 2))
def test_alternating_descent_conserves_its_quadratic_form(s, x, y):
    after_y = y - s * x  # L_D = xy = −L_G
    after_x = x + s * after_y
    expected = bilinear.alternating_invariant(x, y, s)
    found = bilinear.alternating_invariant(after_x, after_y, s)
    assert_close(found, expected, rtol=0, atol=1e-12 * (1 + s) ** 4 * 8)  # of terms of that size


@given(beta=st.floats(-0.95, 0.95), s=st.floats(0.05, 2))
def test_momentum_at_once_never_contracts(beta, s):
    assert momentum_simultaneous(beta).radius(s) > 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: consensus(0.0), r"gamma must be above 0; got 0"),
        (lambda: unrolled(-1), r"k must be at least 0; got -1\. Give a whole number"),
        (lambda: lookahead(SIMULTANEOUS, 0, 0.5), r"k must be at least 1"),
        (lambda: lookahead(SIMULTANEOUS, 5, 1.5), r"alpha must lie in \(0, 1\]; got 1\.5\. 0\.5 is usual"),
        (lambda: momentum_alternating(1.0), r"beta must lie in \(-1, 1\); got 1\. Choose"),
        (lambda: momentum_simultaneous(-1.0), r"beta must lie in \(-1, 1\)"),
        (lambda: SIMULTANEOUS.radius(-0.1), r"s must be at least 0; got -0\.1"),
    ],
)
def test_a_formula_is_refused_outside_its_domain(call, message):
    with pytest.raises(ValueError, match=message):
        call()
