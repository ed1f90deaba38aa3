"""Duality gaps of games that are solved by hand, and of a small GAN."""

from dataclasses import dataclass, replace
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from by_hand import small_batch, small_game
from oracles import dirac_batch, dirac_gan
from payoffs import game_of
from saddle.diagnosis.duality import duality_gap
from saddle.dynamics.optimizers import SGD, Adam
from saddle.game.losses import Minimax, NonSaturating, Wasserstein
from saddle.game.network import Network
from saddle.game.penalties.discriminator import r1
from saddle.models.normalization import SpectralNorm


def gap_of(game, batch, rule=None, **counts):
    rule = rule or SGD(0.5)
    return duality_gap(game, game.init(), lambda _: batch, [batch], rule, rule, **counts)


# ---- closed forms


def quadratic(a: float, b: float, c: float, x: float, y: float):
    """f = ½ax² + bxy − ½cy²: G minimises over x and D maximises over y."""

    def f(x: Tensor, y: Tensor) -> Tensor:
        return (0.5 * a * x * x + b * x * y - 0.5 * c * y * y).sum()

    return game_of(f, lambda x, y: -f(x, y), torch.tensor([x]), torch.tensor([y]))


@given(
    st.floats(0.5, 2), st.floats(-2, 2), st.floats(0.5, 2), st.floats(-3, 3), st.floats(-3, 3)
)  # fmt: skip
@settings(max_examples=10, deadline=None)
def test_the_gap_of_a_quadratic_game_is_its_closed_form(a, b, c, x, y):
    torch.set_default_dtype(torch.float64)
    # contracts each response by 1 − 0.5·(0.5 … 2) ≤ 0.75 a step: 0.75^100 = 3e-13
    found = gap_of(*quadratic(a, b, c, x, y), num_steps=100, evaluate_every=100)
    assert_close(
        found.gap, x**2 * (a / 2 + b**2 / (2 * c)) + y**2 * (c / 2 + b**2 / (2 * a)), atol=1e-9, rtol=1e-9
    )
    assert_close(found.upper, x**2 * (a / 2 + b**2 / (2 * c)), atol=1e-9, rtol=1e-9)
    assert_close(found.value, a * x**2 / 2 + b * x * y - c * y**2 / 2)
    assert found.gap >= 0


@dataclass(frozen=True)
class InBall:
    """Descent, then back into the ball of a given radius."""

    radius: float
    lr: float = 1.0

    def init(self, params: Tensor) -> None:
        return None

    def step(self, gradient: Tensor, params: Tensor, state: None) -> tuple[Tensor, None]:
        moved = params - self.lr * gradient
        return moved * (self.radius / moved.norm()).clamp(max=1.0), None


def test_the_gap_of_a_bilinear_game_on_balls_is_its_closed_form():
    draw = torch.Generator().manual_seed(0)
    matrix, x, y = (torch.randn(*shape, generator=draw) for shape in ((3, 2), (3,), (2,)))
    game, batch = game_of(lambda x, y: x @ matrix @ y, lambda x, y: -(x @ matrix @ y), x, y)
    # onto the sphere in one step, then within a factor 1/(1 + ‖Aᵀx‖) of the best direction a step
    found = gap_of(game, batch, InBall(5.0, lr=10.0), num_steps=200)
    assert_close(found.upper, 5.0 * (matrix.T @ x).norm().item(), atol=1e-6, rtol=0)
    assert_close(found.lower, -5.0 * (matrix @ y).norm().item(), atol=1e-6, rtol=0)
    assert_close(found.gap, found.upper - found.lower)


# ---- laws


@pytest.mark.parametrize("loss", [Minimax(), NonSaturating()], ids=["minimax", "non-saturating"])
def test_the_gap_of_the_dirac_gan_closes_at_its_equilibrium_and_not_beside_it(loss):
    """Whatever G's own loss: M is −L_D. At θ = 1, M(ψ) = log σ(0) + log σ(−ψ) − ½γψ²."""
    game = dirac_gan(loss, {"r1": partial(r1, gamma=0.5)}, (0.0, 0.0))
    assert_close(gap_of(game, dirac_batch(), num_steps=100).gap, 0.0, atol=1e-15, rtol=0)
    beside = dirac_gan(loss, {"r1": partial(r1, gamma=0.5)}, (1.0, 0.0))
    found = gap_of(beside, dirac_batch(), num_steps=300)
    # D' solves σ(ψ) = −γψ at θ = 1: by bisection
    low, high = -2.0, 0.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (
            (middle, high) if torch.sigmoid(torch.tensor(middle)) + 0.5 * middle < 0 else (low, middle)
        )
    best = torch.tensor(low)
    expected = torch.log(torch.tensor(0.5)) - torch.log1p(best.exp()) - 0.25 * best**2
    assert_close(found.upper, expected.item(), atol=1e-12, rtol=0)
    assert_close(found.lower, -2 * torch.log(torch.tensor(2.0)).item())  # D = 0 is blind to G


def test_overfitting_the_adversary_split_is_not_counted_and_the_gap_never_negative():
    game = small_game()
    for seed in range(5):
        evaluation = [small_batch(100 + seed)]
        found = duality_gap(
            game, game.init(), lambda _: small_batch(7), evaluation, Adam(0.1), Adam(0.1), 60, 7
        )
        assert found.gap >= 0
        assert found.steps.tolist() == [0, 7, 14, 21, 28, 35, 42, 49, 56, 60]
        assert found.upper == found.upper_curve.max() >= found.value == found.upper_curve[0]
        assert found.lower == found.lower_curve.min() <= found.value == found.lower_curve[0]


def test_responses_move_one_player_and_leave_the_game_alone():
    game = small_game()
    before = game.init()
    players = game.init()
    found = duality_gap(
        game, players, small_batch, [small_batch(50), small_batch(51)], SGD(0.1), SGD(0.2), 2, 1
    )
    assert all(torch.equal(a, b) for a, b in zip(players, before, strict=True))
    at = before
    for step in range(2):  # two steps of D' by hand
        gradient, _ = game.discriminator_gradient(at, small_batch(step))
        at = at._replace(discriminator=at.discriminator - 0.2 * gradient)
    expected = -sum(game.discriminator_loss(at, small_batch(seed))[0] for seed in (50, 51)) / 2
    assert_close(found.upper_curve[2], expected)
    at = before
    for step in range(2):  # and of G', which descends M = −L_D and not its own non-saturating loss
        theta = at.generator.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(
            -game.discriminator_loss(at._replace(generator=theta), small_batch(step))[0], theta
        )
        at = at._replace(generator=at.generator - 0.1 * gradient)
    expected = -sum(game.discriminator_loss(at, small_batch(seed))[0] for seed in (50, 51)) / 2
    assert_close(found.lower_curve[2], expected)


def test_spectral_norms_vectors_follow_the_response():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        critic = torch.nn.Sequential(SpectralNorm(torch.nn.Linear(1, 1)), torch.nn.Flatten(0))
    game = replace(small_game(loss=Wasserstein()), discriminator=Network(critic))
    memory = game.init_memory(game.init())
    found = gap_of(game.remember(memory), small_batch(), SGD(1.0), num_steps=20)
    # a slope of ±1, so M = |E x − E G(z)| at best
    batch = small_batch()
    expected = (batch.real.mean() - game.generate(game.init(), batch).mean()).abs()
    assert_close(found.upper, expected.item())


# ---- refusals


def test_an_unbounded_game_and_bad_counts_are_refused():
    game, batch = dirac_gan(Minimax()), dirac_batch()
    unbounded = game_of(lambda x, y: (x * y).sum(), lambda _, y: -(y**4).sum(), torch.ones(1), torch.ones(1))
    with pytest.raises(ValueError, match=r"M must stay finite; a best response left it at step 50 or before"):
        gap_of(*unbounded, num_steps=60)
    with pytest.raises(ValueError, match="num_steps must be at least 1; got 0"):
        gap_of(game, batch, num_steps=0)
    with pytest.raises(ValueError, match="at least one batch; got none"):
        duality_gap(game, game.init(), lambda _: batch, [], SGD(0.1), SGD(0.1))
