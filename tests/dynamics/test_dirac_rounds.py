"""The Dirac-GAN under every dynamics: a round's Jacobian at the equilibrium is that of the method on paper.

At (0, 0) the game's gradient has the Jacobian J = [[0, −½], [½, γ]] with R1, for minimax and non-saturating
losses alike, so that every method is a 2 × 2 matrix made of J, or two such side by side where it remembers.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.linalg import inv, matrix_power
from torch.testing import assert_close

from compositions import choices
from oracles import dirac_batch, dirac_gan, spectral_radius
from saddle.diagnosis.linearize import jacobian, training_rounds
from saddle.dynamics import Alternating, Simultaneous
from saddle.dynamics.extrapolation import ExtraGradient, Optimistic, PastExtraGradient
from saddle.dynamics.lookahead import Lookahead
from saddle.dynamics.optimizers import SGD
from saddle.dynamics.runge_kutta import RungeKutta2, RungeKutta4
from saddle.dynamics.second_order import (
    CompetitiveGradientDescent,
    Consensus,
    FollowTheRidge,
    SymplecticGradientAdjustment,
)
from saddle.dynamics.unrolled import Unrolled
from saddle.game.losses import Minimax, NonSaturating
from saddle.game.penalties.discriminator import r1
from saddle.theory import dirac

ONE = np.eye(2)
# beside the equilibrium: at it conjugate gradients (CGD, the ridge) divide 0 by 0. Third derivatives move the
# Jacobian by some START² = 1e-12
START = (1e-6, -2e-6)
LOSSES = [Minimax(), NonSaturating()]


def published(gamma: float) -> np.ndarray:
    """J, the Jacobian of the gradient, which is descended."""
    return np.array([[0.0, -0.5], [0.5, gamma]])


def alternating(h: float, gamma: float) -> np.ndarray:
    of_d = ONE - h * np.diag([0.0, 1.0]) @ published(gamma)
    return (ONE - h * np.diag([1.0, 0.0]) @ published(gamma)) @ of_d


def optimistic(h: float, gamma: float) -> np.ndarray:
    """(ω, ω₋) -> (ω − h(2Jω − Jω₋), ω)."""
    j = h * published(gamma)
    return np.block([[ONE - 2 * j, j], [ONE, 0 * ONE]])


def past_extragradient(h: float, gamma: float) -> np.ndarray:
    """(ω, g) -> (ω − h·g', g') with g' = J(ω − h·g) the gradient ahead."""
    j = published(gamma)
    return np.block([[ONE - h * j, h**2 * j], [j, -h * j]])


def taylor(order: int, h: float, gamma: float) -> np.ndarray:
    """Σ (−hJ)ⁿ/n!: what a Runge-Kutta method of that order makes of a linear field."""
    term, total = ONE, ONE
    for n in range(1, order + 1):
        term = term @ (-h * published(gamma)) / n
        total = total + term
    return total


def cgd(h: float, gamma: float) -> np.ndarray:
    """ω − h·d, where (I + hJ_off)d = Jω."""
    j = published(gamma)
    return ONE - h * inv(ONE + h * (j - np.diag(np.diag(j)))) @ j


def sga(h: float, gamma: float) -> np.ndarray:
    j = published(gamma)
    return ONE - h * (ONE + 0.7 * ((j - j.T) / 2).T) @ j


def ridge(h: float, gamma: float) -> np.ndarray:
    """D's row also makes up for G's move: + h·H⁻¹·½·(∇_θL_G), H = γ."""
    j = published(gamma)
    return ONE - h * np.array([[1.0, 0.0], [-0.5 / gamma, 1.0]]) @ j


def unrolled(h: float, gamma: float, k: int = 3) -> np.ndarray:
    """G descends −½θψₖ(θ), ψₖ = aᵏψ + bθ after k steps ψ ← (1 − hγ)ψ − ½hθ of D."""
    a = 1 - h * gamma
    b = -0.5 * h * sum(a**i for i in range(k))
    return ONE - h * np.array([[-b, -0.5 * a**k], [0.5, gamma]])


# a choice of conf/dynamics -> how it is made of a rule, its matrix, and of how many rounds that is
METHODS: dict[str, tuple[Callable[..., Any], Callable[[float, float], np.ndarray], int]] = {
    "simultaneous": (Simultaneous, lambda h, gamma: ONE - h * published(gamma), 1),
    "alternating": (Alternating, alternating, 1),
    "extragradient": (
        ExtraGradient,
        lambda h, gamma: ONE - h * published(gamma) @ (ONE - h * published(gamma)),
        1,
    ),
    "past_extragradient": (PastExtraGradient, past_extragradient, 1),
    "optimistic": (Optimistic, optimistic, 1),
    "consensus": (
        partial(Consensus, gamma=0.7),
        lambda h, gamma: ONE - h * (ONE + 0.7 * published(gamma).T) @ published(gamma),
        1,
    ),
    "sga": (partial(SymplecticGradientAdjustment, weight=0.7), sga, 1),
    "cgd": (CompetitiveGradientDescent, cgd, 1),
    "runge_kutta2": (RungeKutta2, partial(taylor, 2), 1),
    "runge_kutta4": (RungeKutta4, partial(taylor, 4), 1),
    "unrolled": (partial(Unrolled, num_unrolled_steps=3), unrolled, 1),
    "follow_the_ridge": (partial(FollowTheRidge, num_iterations=1), ridge, 1),
    "lookahead": (
        lambda *rules: Lookahead(Simultaneous(*rules), 4, 0.3),
        lambda h, gamma: 0.7 * ONE + 0.3 * matrix_power(ONE - h * published(gamma), 4),
        4,
    ),
}


# γ is not 1, where J is defective; without a penalty the ridge is not defined, since D's own curvature is 0
CASES = [(name, gamma) for name in METHODS for gamma in (0.0, 0.3, 2.0)]
CASES.remove(("follow_the_ridge", 0.0))


def test_every_dynamics_is_here():
    assert {*METHODS} == {*choices("dynamics")}


@pytest.mark.parametrize("loss", LOSSES, ids=["minimax", "non-saturating"])
@pytest.mark.parametrize(("name", "gamma"), CASES)
def test_a_round_at_the_dirac_gans_equilibrium_has_the_methods_radius(name, gamma, loss):
    make, matrix, num_rounds = METHODS[name]
    h = 0.4
    game = dirac_gan(loss, {"r1": partial(r1, gamma=gamma)}, START)
    dynamics = make(SGD(h), SGD(h))
    players, batches = game.init(), (dirac_batch(),) * dynamics.num_batches
    state = dynamics.init(players)
    if num_rounds == 1:  # a second round, since methods with a past begin without one
        players, state, _ = dynamics.step(game, players, state, batches)
    found = jacobian(training_rounds(game, dynamics, players, state, [batches] * num_rounds))
    assert_close(spectral_radius(found), spectral_radius(matrix(h, gamma)), atol=1e-10, rtol=0)


@pytest.mark.parametrize("gamma", [0.0, 0.3, 2.0])
def test_the_matrix_on_paper_has_the_published_eigenvalues(gamma):
    found = np.sort_complex(-np.linalg.eigvals(published(gamma)).astype(complex))
    assert_close(found, np.sort_complex(np.array(dirac.gradient_penalty_eigenvalues(gamma))))
