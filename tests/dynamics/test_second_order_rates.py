"""Second-order dynamics on the bilinear game and the Dirac-GAN: published rates and eigenvalues."""

from functools import partial

import pytest
import torch
from torch.testing import assert_close

from dynamics_laws import EXACT, bilinear, both, operator, rate
from oracles import dirac_batch, dirac_gan, sorted_eigenvalues, spectral_radius, step_jacobian, trajectory
from saddle.dynamics import Simultaneous
from saddle.dynamics.extrapolation import ExtraGradient, Optimistic
from saddle.dynamics.optimizers import SGD
from saddle.dynamics.second_order import CompetitiveGradientDescent, Consensus, SymplecticGradientAdjustment
from saddle.game.game import Game
from saddle.game.losses import Minimax, NonSaturating

one_iteration = partial(CompetitiveGradientDescent, num_iterations=1)


# ---- the bilinear game


@pytest.mark.parametrize(("s", "printed"), [(0.1, 0.905539), (0.2, 0.824621), (0.5, 0.707107)])
@pytest.mark.parametrize("make", [Consensus, SymplecticGradientAdjustment], ids=["consensus", "sga"])
def test_consensus_and_sga_contract_the_bilinear_game_by_the_published_factor(make, s, printed):
    named = {"gamma": 1.0} if make is Consensus else {"weight": 1.0}
    found = rate(both(partial(make, **named), SGD(s)))
    assert_close(found, abs(complex(1 - s, s)), **EXACT)
    assert_close(found, printed, atol=1e-6, rtol=0)  # as printed


@pytest.mark.parametrize("sigma", [0.5, 2.0])
@pytest.mark.parametrize("weight", [0.3, 1.0])
def test_their_pull_grows_with_the_square_of_the_coupling(sigma, weight):
    expected = abs(complex(1 - 0.2 * weight * sigma**2, 0.2 * sigma))  # 1 − ηγσ² ± iησ
    for make in (partial(Consensus, gamma=weight), partial(SymplecticGradientAdjustment, weight=weight)):
        assert_close(rate(both(make, SGD(0.2)), game=bilinear(sigma)), expected, **EXACT)


@pytest.mark.parametrize(("s", "printed"), [(0.1, 0.995037), (0.2, 0.980581), (0.5, 0.894427)])
@pytest.mark.parametrize("sigma", [1.0, 2.5])
def test_competitive_descent_contracts_the_bilinear_game_at_any_s(s, printed, sigma):
    # one iteration suffices: all singular values of the operator are √(1 + s²); further ones rest
    for num_iterations in (1, 3):
        dynamics = both(partial(CompetitiveGradientDescent, num_iterations=num_iterations), SGD(s / sigma))
        found = rate(dynamics, game=bilinear(sigma))
        assert_close(found, (1 + s**2) ** -0.5, **EXACT)
        assert_close(found, printed, atol=1e-6, rtol=0)  # as printed
    path = trajectory(bilinear(sigma), both(one_iteration, SGD(s / sigma)), 10).norm(dim=1)
    assert_close(path[1:] / path[:-1], torch.full((10,), found), **EXACT)  # its operator is a scaled rotation


def test_a_wide_stride_only_hastens_competitive_descent():
    for s in (2.0, 20.0):
        assert_close(rate(both(one_iteration, SGD(s))), (1 + s**2) ** -0.5, **EXACT)


ZOO = {  # |λ| at s = 0.2, 0.6, 1.2 as printed for η = 0.2, γ = 1, f = αxy with α = 1, 3, 6
    "descent": (Simultaneous, (1.020, 1.166, 1.562)),
    "optimistic": (Optimistic, (0.979, 1.057, 2.345)),
    "consensus": (partial(Consensus, gamma=1.0), (0.825, 1.000, 6.315)),
    "sga": (SymplecticGradientAdjustment, (0.825, 1.000, 6.315)),
    "extragradient": (ExtraGradient, (0.981, 0.877, 1.278)),  # LCGD's eigenvalues
    "cgd": (one_iteration, (0.981, 0.857, 0.640)),
}


@pytest.mark.parametrize(("make", "printed"), ZOO.values(), ids=ZOO)
@pytest.mark.parametrize(("index", "alpha"), [(0, 1.0), (1, 3.0), (2, 6.0)])
def test_only_competitive_descent_survives_the_strongest_coupling(make, printed, index, alpha):
    dynamics, game = both(make, SGD(0.2)), dirac_gan_at_half(alpha)
    found = rate(dynamics, game=game)
    assert_close(found, printed[index], atol=5e-4, rtol=0)  # three digits are printed
    radius = trajectory(game, dynamics, 20).norm(dim=1)
    if printed[index] != 1.0:  # consensus at α = 3 turns on a circle
        assert (radius[-1] < radius[0]).item() == (printed[index] < 1)
    if alpha == 6.0:
        assert (radius[-1] < radius[0]).item() == (make is one_iteration)


def dirac_gan_at_half(alpha: float) -> Game:
    """f = αxy from (½, ½)."""
    game = bilinear(alpha)
    for network in (game.generator, game.discriminator):
        for parameter in network.module.parameters():
            parameter.data.fill_(0.5)
    return game


@pytest.mark.parametrize(
    ("make", "value"),
    [(partial(Consensus, gamma=1.0), complex(0.8, 0.2)), (one_iteration, 1 / complex(1, -0.2))],
    ids=["consensus", "cgd"],
)
def test_eigenvalues_and_not_only_radii_are_those_of_the_formulas(make, value):
    """1 − s ± is, and (1 ± is)⁻¹ as for an implicit step; s = 0.2."""
    found = sorted_eigenvalues(torch.from_numpy(operator(both(make, SGD(0.2)))[:2, :2]))
    assert_close(found, torch.tensor([value.conjugate(), value]), **EXACT)


# ---- the Dirac-GAN


@pytest.mark.parametrize("loss", [Minimax(), NonSaturating()], ids=lambda loss: type(loss).__name__)
@pytest.mark.parametrize("gamma", [0.3, 1.0])
def test_consensus_gives_the_dirac_gan_its_published_eigenvalues(loss, gamma):
    h, game = 0.2, dirac_gan(loss, start=(0.0, 0.0))
    step = step_jacobian(game, both(partial(Consensus, gamma=gamma), SGD(h)), (dirac_batch(),))
    found = (sorted_eigenvalues(step[:2, :2]) - 1) / h  # of the field, from 1 + hλ
    expected = torch.tensor([complex(-gamma / 4, -0.5), complex(-gamma / 4, 0.5)])
    assert_close(found, expected, **EXACT)
    assert spectral_radius(step) < 1


def test_sga_is_consensus_where_the_dirac_gan_only_turns():
    game, h = dirac_gan(Minimax(), start=(0.0, 0.0)), 0.2
    step = step_jacobian(game, both(SymplecticGradientAdjustment, SGD(h)), (dirac_batch(),))
    assert_close(spectral_radius(step), abs(1 + h * complex(-0.25, 0.5)), **EXACT)


def test_consensus_is_at_the_tabled_radius_after_500_steps():
    dynamics = both(partial(Consensus, gamma=1.0), SGD(0.2))
    found = trajectory(dirac_gan(Minimax()), dynamics, 500)[-1].norm().item()
    assert_close(found, 2.6e-10, atol=0.05e-10, rtol=0)  # half a unit of the last printed digit


def test_competitive_descent_contracts_the_dirac_gan_like_an_implicit_step():
    game = dirac_gan(Minimax(), start=(1e-5, -1e-5))
    radius = trajectory(game, both(one_iteration, SGD(0.2)), 20).norm(dim=1)
    expected = torch.full((20,), (1 + 0.1**2) ** -0.5)  # s = h·f'(0)
    # θψ = 1e-10 bends f' by a relative 5e-11 and adds diagonal terms of that size
    assert_close(radius[1:] / radius[:-1], expected, atol=1e-9, rtol=0)
