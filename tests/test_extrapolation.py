"""Extragradient and its one-gradient kin: their operators on the bilinear game, and the papers' algorithms.

The games, operators and laws at the top serve the tests of the other dynamics too.
"""

import itertools
import math
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import vmap
from torch.testing import assert_close
from torch.utils import _pytree as pytree

from oracles import dirac_batch, dirac_gan, spectral_radius, trajectory
from saddle.calculus import AUTOGRAD, FUNCTIONAL, Calculus
from saddle.dynamics import Alternating, Simultaneous
from saddle.dynamics.extrapolation import ExtraGradient, Optimistic, PastExtraGradient
from saddle.execution import Dynamics
from saddle.game import Batch, Game, Players
from saddle.losses import NonSaturating, Relativistic, Wasserstein
from saddle.network import Network
from saddle.optimizers import SGD, Adam
from saddle.theory.bilinear import EXTRAGRADIENT, OPTIMISTIC

every_calculus = pytest.mark.parametrize("calculus", [AUTOGRAD, FUNCTIONAL], ids=["autograd", "functional"])
ROUND_OFF = {"atol": 1e-10, "rtol": 0.0}  # ten rounds of numbers below 10 lose at most five digits of sixteen
EXACT = {"atol": 1e-12, "rtol": 0.0}  # an operator of a few products, with simple eigenvalues


# ---- a small nonlinear game with three numbers a player, and the same game written out


class Curve(nn.Module):
    """G(z) = θ₁ + θ₂ tanh(θ₃z)."""

    def __init__(self) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.tensor([0.4, -0.7, 0.9]))

    def forward(self, latents: Tensor) -> Tensor:
        return self.theta[0] + self.theta[1] * torch.tanh(self.theta[2] * latents)


class Bend(nn.Module):
    """D(x) = ψ₁x + ψ₂ tanh(ψ₃x + 0.3)."""

    def __init__(self) -> None:
        super().__init__()
        self.psi = nn.Parameter(torch.tensor([0.5, 0.8, -1.1]))

    def forward(self, samples: Tensor) -> Tensor:
        x = samples.squeeze(-1)
        return self.psi[0] * x + self.psi[1] * torch.tanh(self.psi[2] * x + 0.3)


def small_game(calculus: Calculus = AUTOGRAD, loss: Any = None) -> Game:
    """Non-saturating, so not zero-sum: the two losses share no term that could hide a mix-up."""
    return Game(Network(Curve()), Network(Bend()), loss or NonSaturating(), calculus=calculus)


def small_batch(seed: int = 0) -> Batch:
    draw = torch.Generator().manual_seed(seed)
    real, latent = torch.randn(2, 6, 1, generator=draw)
    return Batch(real + 1.0, latent, torch.full((6,), 0.5))


def loss_by_hand_g(theta: Tensor, psi: Tensor, batch: Batch) -> Tensor:
    x = theta[0] + theta[1] * torch.tanh(theta[2] * batch.latent[:, 0])
    logits = psi[0] * x + psi[1] * torch.tanh(psi[2] * x + 0.3)
    return torch.log(1 + torch.exp(-logits)).mean()


def loss_by_hand_d(theta: Tensor, psi: Tensor, batch: Batch) -> Tensor:
    def logits(x: Tensor) -> Tensor:
        return psi[0] * x + psi[1] * torch.tanh(psi[2] * x + 0.3)

    fake = theta[0] + theta[1] * torch.tanh(theta[2] * batch.latent[:, 0])
    on_real, on_fake = logits(batch.real[:, 0]), logits(fake)
    return torch.log(1 + torch.exp(-on_real)).mean() + torch.log(1 + torch.exp(on_fake)).mean()


def gradient_by_hand(point: Tensor, batch: Batch) -> Tensor:
    """ξ at (θ, ψ) as one vector (6,), by autograd through the losses written out above."""
    theta, psi = (part.detach().requires_grad_() for part in point.split(3))
    (of_theta,) = torch.autograd.grad(loss_by_hand_g(theta, psi, batch), theta)
    (of_psi,) = torch.autograd.grad(loss_by_hand_d(theta, psi, batch), psi)
    return torch.cat([of_theta, of_psi])


def jacobian_by_hand(point: Tensor, batch: Batch) -> Tensor:
    """∂ξ/∂ω, shape (6, 6), from two dense Hessians."""

    def hessian(loss: Callable[..., Tensor]) -> Tensor:
        return torch.autograd.functional.hessian(lambda at: loss(at[:3], at[3:], batch), point)

    return torch.cat([hessian(loss_by_hand_g)[:3], hessian(loss_by_hand_d)[3:]])


# ---- games whose two losses are given functions of two vectors


class Vector(nn.Module):
    """A generator without latents: two equal rows of its own parameters."""

    def __init__(self, x: Tensor) -> None:
        super().__init__()
        self.x = nn.Parameter(x.clone())

    def forward(self, latents: Tensor) -> Tensor:
        return self.x.expand(2, -1)


class Payoffs(nn.Module):
    """Logits that carry (L_G, L_D) at (x, y), x being what the generator sent."""

    def __init__(self, y: Tensor, of_generator: Callable, of_discriminator: Callable) -> None:
        super().__init__()
        self.y = nn.Parameter(y.clone())
        self.losses = (of_generator, of_discriminator)

    def forward(self, samples: Tensor) -> Tensor:
        return torch.stack([loss(sample, self.y) for loss, sample in zip(self.losses, samples, strict=True)])


class Carried:
    """The losses that ``Payoffs`` puts in the fake logits."""

    paired: ClassVar[bool] = False

    def discriminator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        return fake_logits[1]

    def generator(self, fake_logits: Tensor, real_logits: Tensor | None = None) -> Tensor:
        return fake_logits[0]


def game_of(of_generator: Callable, of_discriminator: Callable, x: Tensor, y: Tensor) -> tuple[Game, Batch]:
    """The game in which G minimises of_generator(x, y) over x and D of_discriminator(x, y) over y."""
    game = Game(Network(Vector(x)), Network(Payoffs(y, of_generator, of_discriminator)), Carried())
    return game, Batch(torch.zeros(2, len(x)), torch.zeros(2, 1), torch.zeros(2))


# ---- what a dynamics is held to


def bilinear(sigma: float = 1.0) -> Game:
    """L_D = σθψ = −L_G, through the code that trains."""
    return dirac_gan(Wasserstein(), scale=sigma, calculus=AUTOGRAD)


def operator(dynamics: Dynamics, num_rounds: int = 1, game: Game | None = None) -> np.ndarray:
    """``num_rounds`` rounds on the bilinear game as a matrix on (players, memory).

    The game is linear in all that a dynamics remembers except its counters, which are numbers without
    an axis: rounds of training from each basis vector are the columns.
    """
    game = game or bilinear()
    batches = (dirac_batch(),) * dynamics.num_batches

    def play(players: Players, state: Any, num: int) -> tuple[Players, Any]:
        for _ in range(num):
            players, state, _ = dynamics.step(game, players, state, batches)
        return players, state

    # counters as they stand after a whole number of periods, with a past
    start = play(game.init(), dynamics.init(game.init()), num_rounds)
    leaves, tree = pytree.tree_flatten(start)
    moving = [index for index, leaf in enumerate(leaves) if leaf.ndim]
    sizes = [leaves[index].numel() for index in moving]
    columns = []
    for basis in torch.eye(sum(sizes)):
        placed = list(leaves)
        for index, part in zip(moving, basis.split(sizes), strict=True):
            placed[index] = part
        found = pytree.tree_leaves(play(*pytree.tree_unflatten(placed, tree), num_rounds))
        columns.append(torch.cat([found[index] for index in moving]))
    return torch.stack(columns, 1).detach().numpy()


def rate(dynamics: Dynamics, num_rounds: int = 1, game: Game | None = None) -> float:
    """By how much one round stretches, in the long run."""
    return spectral_radius(operator(dynamics, num_rounds, game)) ** (1 / num_rounds)


def both(make: Callable[..., Dynamics], *rules: Any) -> Dynamics:
    """``make`` with one rule for both players, or one each."""
    return make(*(rules * 2)[:2])


def play(game: Game, dynamics: Dynamics, num_rounds: int = 10, players: Players | None = None) -> Tensor:
    """Both players after each round on fresh batches, shape (num_rounds, P + Q)."""
    players = game.init() if players is None else players
    state, path = dynamics.init(players), []
    for turn in range(num_rounds):
        batches = tuple(small_batch(10 * turn + index) for index in range(dynamics.num_batches))
        players, state, _ = dynamics.step(game, players, state, batches)
        path.append(torch.cat(players))
    return torch.stack(path).detach()


def assert_lifts(make: Callable[[Any], Dynamics], num_rounds: int = 3) -> None:
    """Three members that differ in their start and their rates, under vmap, are three solo runs."""
    game, rates = small_game(FUNCTIONAL), torch.tensor([0.05, 0.1, 0.2])
    starts = Players(*(vector * torch.tensor([[1.0], [0.5], [-0.8]]) for vector in game.init()))

    def round_of(lr: Tensor, players: Players, state: Any, batches: tuple[Batch, ...]) -> Any:
        return make(lr).step(game, players, state, batches)

    players, state = starts, vmap(lambda lr, players: make(lr).init(players))(rates, starts)
    path = []
    for turn in range(num_rounds):
        batches = tuple(small_batch(10 * turn + index) for index in range(make(0.1).num_batches))
        players, state, logs = vmap(round_of, in_dims=(0, 0, 0, None))(rates, players, state, batches)
        path.append(torch.cat(players, 1))
    assert all(value.shape == (3,) for value in logs.values())
    for member, lr in enumerate(rates.tolist()):
        alone = play(game, make(lr), num_rounds, Players(*(vector[member] for vector in starts)))
        assert_close(torch.stack(path)[:, member], alone, **ROUND_OFF)


def assert_both_calculi_agree(dynamics: Dynamics) -> None:
    assert_close(play(small_game(AUTOGRAD), dynamics), play(small_game(FUNCTIONAL), dynamics), **ROUND_OFF)


def num_evaluations(dynamics: Dynamics, loss: Any = None) -> tuple[int, int]:
    """How often one round runs the generator and the discriminator, counted by hooks."""
    game, counts = small_game(loss=loss), [0, 0]
    for index, network in enumerate((game.generator, game.discriminator)):

        def count(*_: Any, index: int = index) -> None:
            counts[index] += 1

        network.module.register_forward_hook(count)
    batches = tuple(small_batch(index) for index in range(dynamics.num_batches))
    dynamics.step(game, game.init(), dynamics.init(game.init()), batches)
    return counts[0], counts[1]


def assert_pure(dynamics: Dynamics) -> None:
    """A round leaves its arguments alone, repeats itself, and logs detached scalars."""
    game = small_game()
    players = game.init()
    state = dynamics.init(players)
    batches = tuple(small_batch(index) for index in range(dynamics.num_batches))
    before = pytree.tree_map(torch.clone, (players, state))
    first, second = (dynamics.step(game, players, state, batches) for _ in range(2))
    assert_close(first, second, rtol=0, atol=0)
    assert_close((players, state), before, rtol=0, atol=0)
    assert not any(leaf.requires_grad for leaf in pytree.tree_leaves(first))
    assert {value.shape for value in first[2].values()} == {()}
    assert set(first[2]) >= {
        "loss/discriminator", "loss/generator", "diag/real_logit", "diag/fake_logit",
        "diag/generator_gradient_norm", "diag/discriminator_gradient_norm",
    }  # fmt: skip


# ---- the bilinear game

KINDS = [ExtraGradient, PastExtraGradient, Optimistic]
every_kind = pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
one_gradient = pytest.mark.parametrize("make", KINDS[1:], ids=lambda make: make.__name__)


@pytest.mark.parametrize(("s", "printed"), [(0.1, 0.995038), (0.2, 0.980612), (0.5, 0.901388)])
@pytest.mark.parametrize("sigma", [1.0, 2.5])
def test_extragradient_on_the_bilinear_game_contracts_by_the_published_factor(s, printed, sigma):
    found = rate(both(ExtraGradient, SGD(s / sigma)), game=bilinear(sigma))
    assert_close(found, EXTRAGRADIENT.radius(s), **EXACT)
    assert_close(found, printed, atol=1e-6, rtol=0)  # as printed


@one_gradient
@pytest.mark.parametrize(("s", "printed"), [(0.1, 0.994936), (0.2, 0.978906), (0.5, 0.707107)])
@pytest.mark.parametrize("sigma", [1.0, 2.5])
def test_one_gradient_methods_on_the_bilinear_game_contract_by_the_published_factor(make, s, printed, sigma):
    found = rate(both(make, SGD(s / sigma)), game=bilinear(sigma))
    # at s = ½ the root is double, and only accurate to √eps
    assert_close(found, OPTIMISTIC.radius(s), atol=1e-6 if s == 0.5 else 1e-12, rtol=0)
    assert_close(found, printed, atol=1e-6, rtol=0)  # as printed


def test_extragradient_is_stable_below_1_and_fastest_at_1_over_root_2():
    best = 1 / math.sqrt(2)
    fastest = rate(both(ExtraGradient, SGD(best)))
    assert_close(fastest, math.sqrt(0.75), **EXACT)
    assert fastest < min(rate(both(ExtraGradient, SGD(best + off))) for off in (-0.01, 0.01))
    assert rate(both(ExtraGradient, SGD(0.999))) < 1 < rate(both(ExtraGradient, SGD(1.001)))


@one_gradient
def test_one_gradient_methods_are_stable_below_1_over_root_3_and_fastest_at_a_half(make):
    edge = 1 / math.sqrt(3)
    assert rate(both(make, SGD(edge - 1e-3))) < 1 < rate(both(make, SGD(edge + 1e-3)))
    fastest = rate(both(make, SGD(0.5)))
    assert_close(fastest, 1 / math.sqrt(2), atol=1e-6, rtol=0)  # a double root, accurate to √eps
    assert fastest < min(rate(both(make, SGD(0.5 + off))) for off in (-0.01, 0.01))


def test_extragradient_shrinks_the_radius_by_the_same_factor_in_every_round():
    radius = trajectory(bilinear(), both(ExtraGradient, SGD(0.2)), 100).norm(dim=1)
    expected = torch.full((100,), math.sqrt(1 - 0.2**2 + 0.2**4))  # its operator is a scaled rotation
    assert_close(radius[1:] / radius[:-1], expected, **EXACT)


# ---- the papers' algorithms, written out


class AdamByHand:
    """Kingma and Ba 2015, algorithm 1, in its own letters."""

    def __init__(self, lr: float, beta1: float, beta2: float, eps: float = 1e-8) -> None:
        self.lr, self.beta1, self.beta2, self.eps = lr, beta1, beta2, eps
        self.m: Any = 0.0
        self.v: Any = 0.0
        self.t = 0

    def direction(self, g: Tensor) -> Tensor:
        self.t += 1
        self.m = self.beta1 * self.m + (1 - self.beta1) * g
        self.v = self.beta2 * self.v + (1 - self.beta2) * g * g
        m_hat, v_hat = self.m / (1 - self.beta1**self.t), self.v / (1 - self.beta2**self.t)
        return self.lr * m_hat / (v_hat.sqrt() + self.eps)


class MomentumByHand:
    """v ← βv + g; a step is η·v."""

    def __init__(self, lr: float, momentum: float = 0.0) -> None:
        self.lr, self.momentum, self.v = lr, momentum, 0.0

    def direction(self, g: Tensor) -> Tensor:
        self.v = self.momentum * self.v + g
        return self.lr * self.v


RULES = [  # the rule, and the same written out
    (SGD(0.1), lambda: MomentumByHand(0.1)),
    (SGD(0.05, -0.4), lambda: MomentumByHand(0.05, -0.4)),
    (Adam(0.05, 0.5, 0.9), lambda: AdamByHand(0.05, 0.5, 0.9)),
]
every_rule = pytest.mark.parametrize(("rule", "twin"), RULES, ids=["sgd", "momentum", "adam"])


def start_by_hand() -> Tensor:
    return torch.tensor([0.4, -0.7, 0.9, 0.5, 0.8, -1.1])


@every_rule
@every_calculus
def test_extragradient_is_algorithm_4_of_gidel(rule, twin, calculus):
    """With Adam it is ExtraAdam: moments and bias corrections advance twice a round, by 2t − 1 and 2t."""
    point, by_hand, path = start_by_hand(), twin(), []
    for turn in range(10):
        batch = small_batch(10 * turn)
        ahead = point - by_hand.direction(gradient_by_hand(point, batch))
        point = point - by_hand.direction(gradient_by_hand(ahead, batch))
        path.append(point)
    assert_close(play(small_game(calculus), both(ExtraGradient, rule)), torch.stack(path), **ROUND_OFF)


@every_rule
@every_calculus
def test_past_extragradient_is_popovs_method(rule, twin, calculus):
    """ω̃ₜ = ωₜ − ηξ(ω̃ₜ₋₁), ωₜ₊₁ = ωₜ − ηξ(ω̃ₜ), the look ahead from a copy of the rule's memory."""
    point, by_hand, past, path = start_by_hand(), twin(), None, []
    for turn in range(10):
        copy = twin()
        vars(copy).update(vars(by_hand))
        ahead = point if past is None else point - copy.direction(past)
        past = gradient_by_hand(ahead, small_batch(10 * turn))
        point = point - by_hand.direction(past)
        path.append(point)
    assert_close(play(small_game(calculus), both(PastExtraGradient, rule)), torch.stack(path), **ROUND_OFF)


@every_rule
@every_calculus
def test_optimistic_steps_along_twice_the_gradient_less_the_last(rule, twin, calculus):
    point, by_hand, past, path = start_by_hand(), twin(), None, []
    for turn in range(10):
        now = gradient_by_hand(point, small_batch(10 * turn))
        point = point - by_hand.direction(now if past is None else 2 * now - past)
        past = now
        path.append(point)
    assert_close(play(small_game(calculus), both(Optimistic, rule)), torch.stack(path), **ROUND_OFF)


@one_gradient
def test_the_first_round_has_no_past_and_is_plain_descent(make):
    for rule in (SGD(0.1, 0.9), Adam(0.1)):
        found, plain = (play(small_game(), both(kind, rule), 1) for kind in (make, Simultaneous))
        assert_close(found, plain, rtol=0, atol=0)


def test_the_points_at_which_past_extragradient_looks_are_iterates_of_optimistic_descent():
    """With SGD on one batch, from the second on: Popov's first past is 0, and Optimistic's is ξ₀."""
    game, batch, lr = small_game(), (small_batch(),), 0.1
    optimistic, popov = both(Optimistic, SGD(lr)), both(PastExtraGradient, SGD(lr))
    players, state, looks = game.init(), popov.init(game.init()), []
    for _ in range(10):
        looks.append((Players(*(a - lr * g for a, g in zip(players, state.past, strict=True))), state))
        players, state, _ = popov.step(game, players, state, batch)
    for (here, its_state), (there, _) in itertools.pairwise(looks[1:]):
        found, _, _ = optimistic.step(game, here, its_state, batch)
        assert_close(torch.cat(found), torch.cat(there), **EXACT)


def test_each_player_has_a_rule_of_its_own():
    for make in KINDS:
        first, second = play(small_game(), make(SGD(0.0), Adam(0.1)), 1)[0].split(3)
        assert_close(first, start_by_hand()[:3], rtol=0, atol=0)
        assert (second - start_by_hand()[3:]).abs().min() > 0.01


# ---- cost and laws


@pytest.mark.parametrize(
    ("make", "generator", "discriminator", "num_gradients"),
    [
        (Simultaneous, 2, 3, 2),  # L_D runs G once and D on real and fake; L_G both once
        (Alternating, 2, 3, 2),
        (ExtraGradient, 4, 6, 4),
        (PastExtraGradient, 2, 3, 2),
        (Optimistic, 2, 3, 2),
    ],
)
def test_a_round_runs_the_networks_as_its_gradients_need(make, generator, discriminator, num_gradients):
    dynamics = both(make, SGD(0.1))
    assert num_evaluations(dynamics) == (generator, discriminator)
    # a paired loss looks at real samples in the generator's step as well
    assert num_evaluations(dynamics, Relativistic()) == (generator, discriminator + num_gradients // 2)
    assert dynamics.num_gradients == num_gradients
    assert (dynamics.num_generator_steps, dynamics.num_discriminator_steps) == (1, 1)


@every_kind
@pytest.mark.parametrize("rule", [SGD, Adam])
def test_an_ensemble_of_three_is_three_solo_runs(make, rule):
    assert_lifts(lambda lr: both(make, rule(lr)))


@every_kind
@pytest.mark.parametrize("rule", [SGD(0.1, 0.5), Adam(0.1)], ids=["sgd", "adam"])
def test_autograd_and_torch_func_agree(make, rule):
    assert_both_calculi_agree(both(make, rule))


@every_kind
def test_a_round_is_pure(make):
    assert_pure(both(make, Adam(0.1)))


@every_calculus
def test_the_written_out_game_is_the_game(calculus):
    game, batch = small_game(calculus), small_batch(3)
    gradients, _ = game.gradients(game.init(), batch)
    assert_close(torch.cat(gradients), gradient_by_hand(start_by_hand(), batch), **EXACT)
