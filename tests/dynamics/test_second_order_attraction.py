"""Which points attract symplectic adjustment and follow-the-ridge, by the papers' examples."""

from functools import partial

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from dynamics_laws import EXACT, ROUND_OFF, both, rounds
from oracles import sorted_eigenvalues, spectral_radius
from payoffs import game_of, quadratic
from saddle.dynamics import Simultaneous
from saddle.dynamics.optimizers import SGD
from saddle.dynamics.second_order import Consensus, FollowTheRidge, SymplecticGradientAdjustment


def saddle_of(s: float, x: float, y: float) -> tuple:
    """ξ = (sx + y, sy − x): J = sI + A, a stable point for s > 0 and an unstable one for s < 0."""
    return game_of(
        lambda x, y: (0.5 * s * x * x + x * y).sum(),
        lambda x, y: (0.5 * s * y * y - x * y).sum(),
        torch.tensor([x]),
        torch.tensor([y]),
    )


@pytest.mark.parametrize(
    ("s", "radius", "align", "sign"),
    [
        (1.0, 3.0, 1.0, 1.0),  # stable: towards
        (-1.0, 3.0, 1.0, -1.0),  # unstable: away
        (-1.0, 0.3, 1.0, 1.0),  # ⟨ξ, h⟩⟨Aᵀξ, h⟩/n = −2r⁴ is above −ε
        (-1.0, 3.0, 0.0, 1.0),  # not asked to align
    ],
)
def test_alignment_turns_the_adjustment_round_at_unstable_points(s, radius, align, sign):
    x, y = 0.6 * radius, 0.8 * radius
    game, batch = saddle_of(s, x, y)
    dynamics = both(partial(SymplecticGradientAdjustment, weight=0.7, align=align), SGD(0.1))
    found = rounds(game, batch, dynamics, 1)[1]
    gradient, adjustment = torch.tensor([s * x + y, s * y - x]), torch.tensor([x - s * y, y + s * x])
    assert_close(found, torch.tensor([x, y]) - 0.1 * (gradient + sign * 0.7 * adjustment), **EXACT)


def test_alignment_leaves_an_unstable_point_that_unaligned_adjustment_and_consensus_approach():
    game, batch = saddle_of(-0.5, 3.0, 4.0)
    ends = {}
    for name, make in {
        "aligned": SymplecticGradientAdjustment,
        "unaligned": partial(SymplecticGradientAdjustment, align=0.0),
        "consensus": partial(Consensus, gamma=1.0),
    }.items():
        radius = rounds(game, batch, both(make, SGD(0.1)), 3).norm(dim=1)
        ends[name] = (radius[-1] > radius[0]).item()
    # ξ = Jω with J = −½ ± i; unaligned: −½ + 1 > 0, and JᵀJ = 1.25 > ½ for consensus
    assert ends == {"aligned": True, "unaligned": False, "consensus": False}


QUADRATICS = {  # a, b, c and start; the double eigenvalue λ of a round 1 + ηλ, for descent and for the ridge
    "f1, a local minimax point": ((-3.0, -1.0, 4.0, 5.0, 7.0), 2.0, -2.0),
    "f2, not one": ((3.0, 1.0, 4.0, 6.0, 5.0), -2.0, 2.0),
}
ridge = partial(FollowTheRidge, num_iterations=1)  # one number a player: exact


def matrix_of_round(of_point, dynamics, size: float = 1.0) -> Tensor:
    """A round as a matrix on (x, y): from (size, 0) and from (0, size)."""
    columns = [rounds(*of_point(*at), dynamics, 1)[1] / size for at in ((size, 0.0), (0.0, size))]
    return torch.stack(columns, 1)


@pytest.mark.parametrize(("numbers", "of_descent", "of_ridge"), QUADRATICS.values(), ids=QUADRATICS)
def test_follow_the_ridge_converges_to_local_minimax_points_alone(numbers, of_descent, of_ridge):
    for make, value in ((Simultaneous, of_descent), (ridge, of_ridge)):
        dynamics = both(make, SGD(0.05))
        matrix = matrix_of_round(lambda x, y: quadratic(*numbers[:3], x, y), dynamics)
        # a double eigenvalue is only accurate to √eps, but its trace and determinant are exact
        factor = 1 + 0.05 * value
        assert_close(matrix.trace().item(), 2 * factor, **EXACT)
        assert_close(matrix.det().item(), factor**2, **EXACT)
        path = rounds(*quadratic(*numbers), dynamics, 20)
        assert_close(path[1:], path[:-1] @ matrix.T)
        # after the table's 1000 rounds, 0.9^1000 = 2e-46 or 1.1^1000 = 2e41, times a polynomial in 1000
        end = (torch.linalg.matrix_power(matrix, 1000) @ path[0]).norm()
        assert (end < 1e-40) if value < 0 else (end > 1e40)


def f3(x: Tensor, y: Tensor) -> Tensor:
    """The authors' third game: 0 is a local minimax point, where f ≈ −5x² − y² + 6xy."""
    inner = 4 * x**2 - (y - 3 * x + 0.05 * x**3) ** 2 - 0.1 * y**4
    return (inner * torch.exp(-0.01 * (x**2 + y**2))).sum()


def third_game(x: float, y: float) -> tuple:
    return game_of(f3, lambda x, y: -f3(x, y), torch.tensor([x]), torch.tensor([y]))


def test_follow_the_ridge_is_its_equation_on_the_authors_third_game():
    """x' = x − η∂f/∂x, y' = y + η∂f/∂y + η f_yy⁻¹ f_yx ∂f/∂x, from their start (7, 5)."""
    path = rounds(*third_game(7.0, 5.0), both(ridge, SGD(0.05)), 10)
    x, y = 7.0, 5.0
    for turn in range(10):
        point = torch.tensor([x, y])
        grad = torch.autograd.functional.jacobian(lambda at: f3(at[:1], at[1:]), point)
        hessian = torch.autograd.functional.hessian(lambda at: f3(at[:1], at[1:]), point)
        x, y = (
            x - 0.05 * grad[0].item(),
            y + 0.05 * grad[1].item() + 0.05 * (hessian[1, 0] / hessian[1, 1] * grad[0]).item(),
        )
        assert_close(path[turn + 1], torch.tensor([x, y]), **ROUND_OFF)


def test_the_ridge_attracts_at_the_rates_of_both_players_curvatures():
    """1 − ηλ with λ = 8, of f along the ridge y = 3x where it is 4x², and λ = 2 = −f_yy; descent leaves."""
    near = matrix_of_round(third_game, both(ridge, SGD(0.05)), size=1e-6)  # f is even: bends by 1e-12
    assert_close(sorted_eigenvalues(near).real, torch.tensor([0.6, 0.9]), atol=1e-9, rtol=0)
    assert spectral_radius(matrix_of_round(third_game, both(Simultaneous, SGD(0.05)), size=1e-6)) > 1
