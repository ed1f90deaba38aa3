"""Consensus, symplectic adjustment, competitive descent, follow-the-ridge, against dense algebra."""

import math
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from oracles import dirac_batch, dirac_gan, sorted_eigenvalues, spectral_radius, step_jacobian, trajectory
from saddle.dynamics import Simultaneous, second_order
from saddle.dynamics.extrapolation import ExtraGradient, Optimistic
from saddle.dynamics.second_order import (
    CompetitiveGradientDescent,
    Consensus,
    FollowTheRidge,
    SymplecticGradientAdjustment,
    least_squares,
)
from saddle.game import Game, Players
from saddle.losses import Minimax, NonSaturating, Relativistic
from saddle.optimizers import SGD, Adam
from test_extrapolation import (
    EXACT,
    ROUND_OFF,
    AdamByHand,
    MomentumByHand,
    assert_both_calculi_agree,
    assert_lifts,
    assert_pure,
    bilinear,
    both,
    every_rule,
    game_of,
    gradient_by_hand,
    jacobian_by_hand,
    num_evaluations,
    operator,
    play,
    rate,
    small_batch,
    small_game,
    start_by_hand,
)

one_iteration = partial(CompetitiveGradientDescent, num_iterations=1)
METHODS = {
    "consensus": partial(Consensus, gamma=1.5),
    "sga": SymplecticGradientAdjustment,
    "cgd": partial(CompetitiveGradientDescent, num_iterations=3),
    "ridge": partial(FollowTheRidge, num_iterations=3, damping=0.1),
}
every_method = pytest.mark.parametrize("make", METHODS.values(), ids=METHODS)


def rounds(game: Game, batch, dynamics, num: int) -> Tensor:
    """Both players at the start and after each round on one batch, shape (num + 1, P + Q)."""
    players = game.init()
    state, path = dynamics.init(players), [torch.cat(players)]
    for _ in range(num):
        players, state, _ = dynamics.step(game, players, state, (batch,))
        path.append(torch.cat(players))
    return torch.stack(path).detach()


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
    radius = trajectory(game, dynamics, 50).norm(dim=1)
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


# ---- which points attract


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


def quadratic(a: float, b: float, c: float, x: float, y: float) -> tuple:
    """f = ax² + by² + cxy, G minimising and D maximising."""

    def f(x: Tensor, y: Tensor) -> Tensor:
        return (a * x * x + b * y * y + c * x * y).sum()

    return game_of(f, lambda x, y: -f(x, y), torch.tensor([x]), torch.tensor([y]))


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


# ---- random general-sum quadratics, several parameters a player


def random_quadratic(seed: int) -> tuple:
    """L_G = ½xᵀPx + xᵀQy + pᵀx, L_D = ½yᵀRy + yᵀSx + qᵀy, x in R³, y in R²; R well away from singular."""
    draw = torch.Generator().manual_seed(seed)
    p, q, r, s = (torch.randn(*shape, generator=draw) for shape in ((3, 3), (3, 2), (2, 2), (2, 3)))
    p, r = (p + p.T) / 2, torch.diag(torch.tensor([2.0, -1.0])) + 0.1 * (r + r.T)
    linear_x, linear_y, x, y = (torch.randn(num, generator=draw) for num in (3, 2, 3, 2))
    game, batch = game_of(
        lambda x, y: 0.5 * x @ p @ x + x @ q @ y + linear_x @ x,
        lambda x, y: 0.5 * y @ r @ y + y @ s @ x + linear_y @ y,
        x,
        y,
    )
    of_x, of_y = p @ x + q @ y + linear_x, r @ y + s @ x + linear_y
    return game, batch, (x, y), (of_x, of_y), (p, q, s, r)


@pytest.mark.parametrize("seed", range(4))
def test_competitive_descent_is_the_papers_formula(seed):
    """Schaefer and Anandkumar 2019, eqs. 3-4, by a dense solve."""
    game, batch, (x, y), (of_x, of_y), (_, q, s, _) = random_quadratic(seed)
    eta = 0.3
    found = rounds(game, batch, both(CompetitiveGradientDescent, SGD(eta)), 1)[1]
    step_x = torch.linalg.solve(torch.eye(3) - eta**2 * q @ s, of_x - eta * q @ of_y)
    step_y = torch.linalg.solve(torch.eye(2) - eta**2 * s @ q, of_y - eta * s @ of_x)
    assert_close(found, torch.cat([x - eta * step_x, y - eta * step_y]), **ROUND_OFF)


@pytest.mark.parametrize("seed", range(4))
def test_competitive_players_with_two_rates_are_at_the_nash_point_of_their_local_game(seed):
    """Δx minimises Δxᵀ∇ₓL_G + ΔxᵀD²ₓᵧL_G Δy + ‖Δx‖²/2η_G, and Δy its own."""
    game, batch, (x, y), (of_x, of_y), (_, q, s, _) = random_quadratic(seed)
    moved = rounds(game, batch, CompetitiveGradientDescent(SGD(0.4), SGD(0.1)), 1)[1]
    step_x, step_y = (moved - torch.cat([x, y])).split([3, 2])
    assert_close(step_x, -0.4 * (of_x + q @ step_y), **ROUND_OFF)
    assert_close(step_y, -0.1 * (of_y + s @ step_x), **ROUND_OFF)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("damping", [0.0, 0.5])
def test_follow_the_ridge_is_its_equation_by_a_dense_solve(seed, damping):
    game, batch, (x, y), (of_x, of_y), (_, _, s, r) = random_quadratic(seed)
    dynamics = FollowTheRidge(SGD(0.2), SGD(0.3), num_iterations=2, damping=damping)
    found = rounds(game, batch, dynamics, 1)[1]
    follow = torch.linalg.solve(r @ r + damping * torch.eye(2), r @ (s @ of_x))  # R⁻¹ without damping
    assert_close(found, torch.cat([x - 0.2 * of_x, y - 0.3 * of_y + 0.2 * follow]), **ROUND_OFF)


def test_a_player_on_the_ridge_stays_on_it():
    """∇_ψL_D = 0 is kept exactly on a quadratic: that is what the correction is for."""
    game, batch, (x, _), _, (*_, r) = random_quadratic(0)
    players = game.init()
    of_y = game.gradients(players, batch)[0].discriminator
    players = players._replace(discriminator=players.discriminator - torch.linalg.solve(r, of_y))
    dynamics = FollowTheRidge(SGD(0.05), SGD(0.05), num_iterations=2)
    for _ in range(10):
        players, _, _ = dynamics.step(game, players, dynamics.init(players), (batch,))
        gradients, _ = game.gradients(players, batch)
        assert_close(gradients.discriminator, torch.zeros(2), **ROUND_OFF)
    assert (players.generator - x).norm() > 0.1


# ---- literal twins on the small nonlinear game


def twin_path(rule_by_hand, direction) -> Tensor:
    point, path = start_by_hand(), []
    for turn in range(10):
        batch = small_batch(10 * turn)
        gradient, jacobian = gradient_by_hand(point, batch), jacobian_by_hand(point, batch)
        point = point - rule_by_hand.direction(direction(gradient, jacobian))
        path.append(point)
    return torch.stack(path)


@every_rule
def test_consensus_is_algorithm_2_of_mescheder(rule, twin):
    expected = twin_path(twin(), lambda gradient, jacobian: gradient + 1.5 * jacobian.T @ gradient)
    assert_close(play(small_game(), both(METHODS["consensus"], rule)), expected, **ROUND_OFF)


@every_rule
@pytest.mark.parametrize("align", [0.0, 1.0])
def test_sga_is_algorithm_1_of_balduzzi(rule, twin, align):
    signs = set()

    def direction(gradient: Tensor, jacobian: Tensor) -> Tensor:
        adjustment = (0.5 * (jacobian - jacobian.T)).T @ gradient
        of_size = jacobian.T @ gradient
        towards = (gradient @ of_size) * (adjustment @ of_size) / len(gradient) + epsilon
        sign = math.copysign(1.0, towards.item()) if align else 1.0
        signs.add(sign)
        return gradient + 2.0 * sign * adjustment

    # so small an ε that both signs occur on the way
    epsilon = 1e-6
    make = partial(SymplecticGradientAdjustment, weight=2.0, align=align, epsilon=epsilon)
    expected = twin_path(twin(), direction)
    assert_close(play(small_game(), both(make, rule)), expected, **ROUND_OFF)
    assert signs == ({-1.0, 1.0} if align else {1.0})


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_competitive_descent_is_its_formula_at_every_round(momentum):
    eta = 0.2

    def direction(gradient: Tensor, jacobian: Tensor) -> Tensor:
        mixed = jacobian.clone()
        mixed[:3, :3] = mixed[3:, 3:] = 0
        return torch.linalg.solve(torch.eye(6) + eta * mixed, gradient)

    expected = twin_path(MomentumByHand(eta, momentum), direction)
    found = play(small_game(), both(CompetitiveGradientDescent, SGD(eta, momentum)))
    assert_close(found, expected, **ROUND_OFF)


def test_follow_the_ridge_is_its_equation_at_every_round():
    """With Adam as the rule; the correction is added after its step, with G's rate."""
    point, by_hand, path = start_by_hand(), AdamByHand(0.05, 0.5, 0.9), []
    for turn in range(10):
        batch = small_batch(10 * turn)
        gradient, jacobian = gradient_by_hand(point, batch), jacobian_by_hand(point, batch)
        hessian, mixed = jacobian[3:, 3:], jacobian[3:, :3] @ gradient[:3]
        follow = torch.linalg.solve(hessian @ hessian + 0.1 * torch.eye(3), hessian @ mixed)
        point = point - by_hand.direction(gradient)
        point[3:] += 0.05 * follow
        path.append(point)
    found = play(small_game(), both(METHODS["ridge"], Adam(0.05, 0.5, 0.9)))
    assert_close(found, torch.stack(path), **ROUND_OFF)


# ---- the linear solver


def test_least_squares_is_exact_after_as_many_iterations_as_numbers_and_then_rests():
    draw = torch.Generator().manual_seed(0)
    matrix, target = torch.randn(5, 5, generator=draw) + 3 * torch.eye(5), torch.randn(5, generator=draw)

    def times(by: Tensor):
        return lambda vector: Players(*(by @ torch.cat(vector)).split([3, 2]))

    start = Players(torch.zeros(3), torch.zeros(2))
    for num_iterations in (5, 50):
        goal = Players(*target.split([3, 2]))
        found = least_squares(times(matrix), times(matrix.T), goal, start, num_iterations)
        # five iterations lose what the squared condition number takes; the rest of fifty mend it
        assert_close(torch.cat(found), torch.linalg.solve(matrix, target), **ROUND_OFF)
    resting = least_squares(times(matrix), times(matrix.T), start, start, 3)
    assert_close(torch.cat(resting), torch.zeros(5), rtol=0, atol=0)  # no 0/0


# ---- cost and laws


@pytest.mark.parametrize(
    ("make", "num_fields"),
    [
        (Consensus, 1),  # Jᵀξ pulls back through the gradient that is there
        (SymplecticGradientAdjustment, 2),  # Jξ is a forward product: the field once more
        (METHODS["cgd"], 3 + 2 * 3),
        (METHODS["ridge"], 5 + 2 * 3),
    ],
    ids=METHODS,
)
def test_a_round_runs_the_networks_as_often_as_it_evaluates_the_field(make, num_fields):
    dynamics = both(make, SGD(0.1))
    assert num_evaluations(dynamics) == (2 * num_fields, 3 * num_fields)
    assert num_evaluations(dynamics, Relativistic()) == (2 * num_fields, 4 * num_fields)
    assert (dynamics.num_batches, dynamics.num_generator_steps, dynamics.num_discriminator_steps) == (1, 1, 1)


@pytest.mark.parametrize(
    "make",
    [*METHODS.values(), one_iteration, FollowTheRidge],
    ids=[*METHODS, "cgd-1", "ridge-5"],
)
def test_the_stated_cost_counts_both_gradients_and_two_for_each_product(make, monkeypatch):
    num_products = 0
    forward, transposed = second_order.forward, second_order.transposed

    def counted(product):
        def call(*arguments):
            nonlocal num_products
            num_products += 1
            return product(*arguments)

        return call

    def counting_transposed(*arguments):
        gradients, pull_back, logs = transposed(*arguments)
        return gradients, counted(pull_back), logs

    monkeypatch.setattr(second_order, "forward", counted(forward))
    monkeypatch.setattr(second_order, "transposed", counting_transposed)
    dynamics = both(make, SGD(0.1))
    play(small_game(), dynamics, 1)
    assert dynamics.num_gradients == 2 + 2 * num_products


@every_method
@pytest.mark.parametrize("rule", [SGD, Adam])
def test_an_ensemble_of_three_is_three_solo_runs(make, rule):
    assert_lifts(lambda lr: both(make, rule(lr)))


@every_method
def test_autograd_and_torch_func_agree(make):
    assert_both_calculi_agree(both(make, Adam(0.1)))


@every_method
def test_a_round_is_pure(make):
    assert_pure(both(make, Adam(0.1)))


@pytest.mark.parametrize(
    "make",
    [partial(Consensus, gamma=0.0), partial(SymplecticGradientAdjustment, weight=0.0)],
    ids=["consensus", "sga"],
)
def test_a_weight_of_0_is_plain_descent(make):
    found, plain = (play(small_game(), both(kind, SGD(0.1))) for kind in (make, Simultaneous))
    assert_close(found, plain, **EXACT)


@pytest.mark.parametrize("make", [CompetitiveGradientDescent, METHODS["ridge"]], ids=["cgd", "ridge"])
def test_against_a_generator_that_stands_still_there_is_nothing_to_anticipate(make):
    found, plain = (play(small_game(), kind(SGD(0.0), SGD(0.1)), 3) for kind in (make, Simultaneous))
    assert_close(found, plain, **ROUND_OFF)


@pytest.mark.parametrize("make", [CompetitiveGradientDescent, FollowTheRidge])
@pytest.mark.parametrize("value", [0, -1, 2.5])
def test_a_solver_that_never_iterates_or_not_a_whole_number_of_times_is_refused(make, value):
    with pytest.raises(
        ValueError, match=rf"num_iterations must be a whole number of at least 1; got {value}\. Give"
    ):
        make(SGD(0.1), SGD(0.1), num_iterations=value)


@pytest.mark.parametrize(
    ("make", "value"),
    [(partial(Consensus, gamma=1.0), complex(0.8, 0.2)), (one_iteration, 1 / complex(1, -0.2))],
    ids=["consensus", "cgd"],
)
def test_eigenvalues_and_not_only_radii_are_those_of_the_formulas(make, value):
    """1 − s ± is, and (1 ± is)⁻¹ as for an implicit step; s = 0.2."""
    found = sorted_eigenvalues(torch.from_numpy(operator(both(make, SGD(0.2)))[:2, :2]))
    assert_close(found, torch.tensor([value.conjugate(), value]), **EXACT)
