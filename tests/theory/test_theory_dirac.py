"""Closed forms of the Dirac-GAN against hand-made matrices, integration, and recursions in plain floats."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from torch.testing import assert_close

from saddle.theory import dirac, stability

EXACT = {"rtol": 0, "atol": 1e-12}  # round-off of numbers of order one
weights = st.floats(0.01, 0.95)  # below 1: at 1 a double root, only accurate to √eps


def by_value(values) -> list[complex]:
    return sorted((complex(value) for value in values), key=lambda value: (value.real, value.imag))


def sigmoid(t: float) -> float:
    return 1 / (1 + math.exp(-t))


def numeric_jacobian(field, point=(0.0, 0.0), step: float = 1e-5) -> np.ndarray:
    point = np.array(point)
    columns = [
        (np.array(field(*(point + shift))) - field(*(point - shift))) / (2 * step)
        for shift in step * np.eye(2)
    ]
    return np.stack(columns, 1)


# ---- eigenvalues


FIELDS = {  # θ̇, ψ̇ in the paper's sign, L = f(ψθ) + f(0); and the eigenvalues
    "minimax": (lambda x, y: (-y * sigmoid(-x * y), x * sigmoid(-x * y)), dirac.gan_eigenvalues()),
    "non-saturating": (lambda x, y: (-y * sigmoid(x * y), x * sigmoid(-x * y)), dirac.gan_eigenvalues()),
    "wasserstein": (lambda x, y: (-y, x), dirac.gan_eigenvalues(slope=1.0)),
    "r1": (
        lambda x, y: (-y * sigmoid(-x * y), x * sigmoid(-x * y) - 0.3 * y),
        dirac.gradient_penalty_eigenvalues(0.3),
    ),
    "strong r1": (
        lambda x, y: (-y * sigmoid(-x * y), x * sigmoid(-x * y) - 2.0 * y),
        dirac.gradient_penalty_eigenvalues(2.0),
    ),
}


@pytest.mark.parametrize(("field", "expected"), FIELDS.values(), ids=FIELDS)
def test_eigenvalues_are_those_of_the_field_differentiated_numerically(field, expected):
    found = by_value(np.linalg.eigvals(numeric_jacobian(field)))
    # a central difference of 1e-5: 1e-10 of truncation, 1e-11 of rounding
    assert_close(found, by_value(expected), rtol=0, atol=1e-9)


@pytest.mark.parametrize("std", [0.7, 1.0, 2.0])
def test_instance_noise_eigenvalues_are_those_of_the_field_integrated_over_the_noise(std):
    nodes, mass = np.polynomial.hermite_e.hermegauss(60)
    nodes, mass = std * nodes, mass / mass.sum()

    def field(x: float, y: float) -> tuple[float, float]:  # L = E f(ψ(θ + n)) + E f(−ψn)
        near = 1 / (1 + np.exp(y * (x + nodes)))
        of_real = 1 / (1 + np.exp(-y * nodes))
        return -y * float(mass @ near), float(mass @ (near * (x + nodes)) - mass @ (of_real * nodes))

    found = by_value(np.linalg.eigvals(numeric_jacobian(field)))
    expected = dirac.instance_noise_eigenvalues(std)
    assert_close(found, by_value(expected), rtol=0, atol=1e-8)  # of the difference quotient
    printed = [
        -(std**2) / 4 - complex(std**4 / 16 - 0.25) ** 0.5,
        -(std**2) / 4 + complex(std**4 / 16 - 0.25) ** 0.5,
    ]
    assert_close(by_value(expected), by_value(printed), **EXACT)


def test_consensus_eigenvalues_are_those_of_the_adjusted_jacobian():
    turn = 0.5 * np.array([[0.0, -1.0], [1.0, 0.0]])
    for gamma in (0.3, 1.0, 4.0):
        found = by_value(np.linalg.eigvals(turn - gamma * turn.T @ turn))
        assert_close(by_value(dirac.consensus_eigenvalues(gamma)), found, **EXACT)
    assert_close(by_value(dirac.consensus_eigenvalues(1.0)), [-0.25 - 0.5j, -0.25 + 0.5j])


def test_rotation_ends_at_the_critical_weights():
    assert dirac.critical_gamma() == 1.0
    assert_close(dirac.critical_noise() ** 2, 2.0)
    for values, at in (
        (dirac.gradient_penalty_eigenvalues, dirac.critical_gamma()),
        (dirac.instance_noise_eigenvalues, dirac.critical_noise()),
    ):
        assert all(value.imag != 0 for value in values(0.99 * at))
        assert all(value.imag == 0 for value in values(1.01 * at))


# ---- steps


def powers(values, h: float) -> float:
    """Spectral radius of I + hA for a hand-made real matrix with these two eigenvalues."""
    total, product = sum(values).real, (values[0] * values[1]).real
    matrix = np.array([[0.0, 1.0], [-product, total]])
    return float(np.abs(np.linalg.eigvals(np.eye(2) + h * matrix)).max())


@given(gamma=weights)
def test_r1_is_stable_below_4_gamma_and_fastest_at_2_gamma(gamma):
    values = dirac.gradient_penalty_eigenvalues(gamma)
    assert_close(stability.largest_stable_step(values), 4 * gamma)
    step, radius = stability.fastest_step(values)
    assert_close(step, 2 * gamma)
    assert_close(powers(values, step), radius, rtol=0, atol=1e-7)  # near γ = 1 a nearly double root
    assert powers(values, 0.99 * step) > radius < powers(values, 1.01 * step)


@pytest.mark.parametrize("gamma", [1.5, 3.0])
def test_a_strong_penalty_needs_small_steps(gamma):
    values = dirac.gradient_penalty_eigenvalues(gamma)
    limit = stability.largest_stable_step(values)
    assert_close(limit, 2 / (gamma / 2 + math.sqrt(gamma**2 / 4 - 0.25)))
    assert powers(values, 0.999 * limit) < 1 < powers(values, 1.001 * limit)
    assert_close(stability.fastest_step(values)[0], 2 / gamma)


def test_nothing_that_only_turns_has_a_stable_step():
    assert stability.largest_stable_step(dirac.gan_eigenvalues()) == 0
    with pytest.raises(ValueError, match=r"must have a negative real part; got .* No step contracts"):
        stability.fastest_step(dirac.gan_eigenvalues())


def alternating_operator(h: float, num_g: int, num_d: int, gamma: float) -> np.ndarray:
    g, d = np.array([[1, -0.5 * h], [0, 1]]), np.array([[1, 0], [0.5 * h, 1 - h * gamma]])
    return np.linalg.matrix_power(d, num_d) @ np.linalg.matrix_power(g, num_g)


@given(
    h=st.floats(0.01, 6),
    num_g=st.integers(1, 4),
    num_d=st.integers(1, 6),
    gamma=st.sampled_from([0.0, 0.3, 1.2]),
)
def test_alternating_eigenvalues_are_those_of_the_product_of_the_steps(h, num_g, num_d, gamma):
    found = by_value(dirac.alternating_eigenvalues(h, num_g, num_d, gamma=gamma))
    matrix = alternating_operator(h, num_g, num_d, gamma)
    expected = by_value(np.linalg.eigvals(matrix))
    # double roots are accurate to √eps of the matrix's size
    scale = max(1.0, float(np.abs(matrix).max()))
    assert_close(sum(found), complex(np.trace(matrix)), rtol=1e-12, atol=1e-12 * scale)
    assert_close(found, expected, rtol=1e-6, atol=1e-6 * scale)


@given(alpha=st.floats(0.01, 4), num_g=st.integers(1, 4), num_d=st.integers(1, 6))
def test_alternating_descent_turns_without_growing_exactly_up_to_alpha_2(alpha, num_g, num_d):
    h = alpha * dirac.alternating_step_limit(num_g, num_d) / 2
    radius = max(abs(value) for value in dirac.alternating_eigenvalues(h, num_g, num_d))
    if alpha <= 2:
        assert_close(radius, 1.0, rtol=0, atol=1e-7)  # √eps at α = 2
    elif alpha > 2 + 1e-9:
        assert radius > 1


def descend(h: float, num: int, non_saturating: bool, start: tuple[float, float], alternating: bool = False):
    """The recursion, D high on real samples, in plain floats: (θ, ψ) before each step and after the last."""
    theta, psi = start
    path = [(theta, psi)]
    for _ in range(num):
        to_theta = psi * sigmoid(-theta * psi if non_saturating else theta * psi)
        psi_next = psi - h * theta * sigmoid(theta * psi)
        if alternating:
            to_theta = psi_next * sigmoid(-theta * psi_next if non_saturating else theta * psi_next)
        theta, psi = theta + h * to_theta, psi_next
        path.append((theta, psi))
    return np.array(path)


@given(theta=st.floats(-3, 3), psi=st.floats(-3, 3), h=st.floats(0.001, 1))
def test_simultaneous_descent_grows_by_the_stated_factor_from_anywhere(theta, psi, h):
    before, after = (descend(h, 1, False, (theta, psi)) ** 2).sum(1)
    assert_close(after, before * dirac.simultaneous_growth(theta, psi, h), rtol=1e-12, atol=1e-300)


def test_minimax_from_the_papers_start_has_the_tabled_radius():
    growth, path = 2.0, descend(0.2, 500, False, (1.0, -1.0))
    for theta, psi in path[:-1]:
        growth *= dirac.simultaneous_growth(theta, psi, 0.2)
    assert_close(math.sqrt(growth), float(np.hypot(*path[-1])))
    assert_close(math.sqrt(growth), 3.0969, rtol=0, atol=5e-5)  # as printed


# ---- orbits


@pytest.mark.parametrize("radius", [0.01, 1.0, 2**0.5, 2.5])
def test_the_flow_of_the_minimax_game_comes_round_after_its_period(radius):
    def field(_: float, point: np.ndarray) -> list[float]:
        theta, psi = point
        return [psi * sigmoid(theta * psi), -theta * sigmoid(theta * psi)]

    start = [radius * math.cos(0.3), radius * math.sin(0.3)]
    found = solve_ivp(field, (0, dirac.orbit_period(radius)), start, rtol=1e-11, atol=1e-13)
    assert_close(found.y[:, -1].tolist(), start, rtol=0, atol=1e-8 * max(1, radius))  # the solver's error
    radii = np.hypot(*found.y)
    assert_close(radii.max(), radii.min(), rtol=1e-9, atol=0)  # an exact circle


@pytest.mark.parametrize(("h", "printed"), [(0.05, 0.3162), (0.1, 0.4471), (0.2, 0.6317), (0.4, 0.8905)])
def test_the_non_saturating_cycle_has_the_tabled_radius(h, printed):
    found = dirac.limit_cycle_radius(h)
    assert_close(found, printed, rtol=5e-3, atol=0)  # the stated accuracy
    path = descend(h, round(200 / h), True, (1.02 * found, 0.0))
    radii = np.hypot(*path[-round(100 / h) :].T)
    assert_close(float(radii.mean()), found, rtol=6e-3, atol=0)  # and the ripple of unfinished turns


@pytest.mark.parametrize(("h", "alternating"), [(0.01, False), (0.1, False), (0.1, True)])
def test_the_averaged_law_follows_the_recursion(h, alternating):
    start, num = 0.4, round(400 / h)
    radii = np.hypot(*descend(h, num, True, (start, 0.0), alternating).T)
    turn = round(4 * math.pi / h)
    for index in (num // 4, num // 2, num - turn):
        expected = dirac.averaged_radius((index + turn / 2) * h, start, 0.0 if alternating else h)
        # next orders in h and r² (a few percent of 0.4² and 0.1)
        assert_close(float(radii[index : index + turn].mean()), expected, rtol=0.02, atol=0)


def test_the_averaged_law_starts_where_it_should_and_ends_on_the_cycle():
    assert_close(dirac.averaged_radius(0.0, 0.7, 0.2), 0.7)
    assert_close(dirac.averaged_radius(1e6, 0.7, 0.2), dirac.limit_cycle_radius(0.2))
    assert_close(dirac.averaged_radius(30.0, 0.7), (0.7**-2 + 30 / 8) ** -0.5)
    assert_close(dirac.averaged_radius(30.0, 0.7, 1e-9), dirac.averaged_radius(30.0, 0.7), rtol=1e-7, atol=0)


def test_step_limits_of_the_dirac_gan_are_the_papers():
    assert_close(dirac.gradient_penalty_step_limit(0.3), 1.2)  # 4γ while it rotates
    assert_close(dirac.gradient_penalty_step_limit(1.25), 2.0)  # the eigenvalues are −1 and −¼
    assert_close(dirac.consensus_step_limit(2.0), 2.0)  # 2γ/(1 + γ²/4)


# ---- where it does not hold


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: dirac.gan_eigenvalues(0.0), r"slope must be above 0; got 0\. Give a positive number"),
        (lambda: dirac.gradient_penalty_eigenvalues(-1.0), r"gamma must be at least 0; got -1\. Give 0 or"),
        (lambda: dirac.instance_noise_eigenvalues(-0.1), r"std must be at least 0; got -0\.1"),
        (lambda: dirac.critical_noise(curvature=0.0), r"curvature must be below 0; got 0\. Without it noise"),
        (lambda: dirac.alternating_eigenvalues(0.1, 0, 1), r"num_generator_steps must be at least 1; got 0"),
        (lambda: dirac.alternating_eigenvalues(0.0), r"h must be above 0; got 0"),
        (lambda: dirac.limit_cycle_radius(math.nan), r"h must be above 0; got nan"),
        (lambda: dirac.averaged_radius(-1.0, 0.5), r"time must be at least 0"),
    ],
)
def test_a_formula_is_refused_outside_its_domain(call, message):
    with pytest.raises(ValueError, match=message):
        call()
