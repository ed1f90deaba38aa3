"""Clipping and projection around an update rule, and lazy penalties in the game."""

from dataclasses import dataclass, replace
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.func import vmap
from torch.testing import assert_close

from oracles import dirac_batch, dirac_gan, trajectory
from saddle.dynamics import Alternating, Simultaneous
from saddle.dynamics.extrapolation import ExtraGradient
from saddle.dynamics.optimizers import SGD, Adam, Bounded
from saddle.dynamics.second_order import CompetitiveGradientDescent
from saddle.game.calculus import FUNCTIONAL
from saddle.game.game import Batch, Game
from saddle.game.losses import NonSaturating, Wasserstein
from saddle.game.penalties.discriminator import r1, r2
from saddle.rounds.execution import eager, start

CPU = torch.device("cpu")


def test_a_rule_without_bounds_is_the_rule_itself():
    rule, params, gradient = Adam(0.1), torch.ones(3), torch.tensor([1.0, -2.0, 0.5])
    expected = rule.step(gradient, params, rule.init(params))
    found = Bounded(rule).step(gradient, params, Bounded(rule).init(params))
    assert torch.equal(found[0], expected[0])
    assert Bounded(rule).lr == rule.lr


@pytest.mark.parametrize("max_norm", [0.01, 1.0, 100.0])
def test_a_gradient_is_clipped_as_torch_clips_it(max_norm):
    gradient = torch.tensor([3.0, -4.0, 12.0])  # of length 13
    params = torch.nn.Parameter(torch.zeros(3))
    params.grad = gradient.clone()
    torch.nn.utils.clip_grad_norm_([params], max_norm)
    moved, _ = Bounded(SGD(1.0), max_gradient_norm=max_norm).step(
        gradient, torch.zeros(3), SGD(1.0).init(torch.zeros(3))
    )
    assert_close(moved, -params.grad, rtol=1e-14, atol=0)
    assert moved.norm() <= max_norm


def test_weights_are_projected_after_every_step_and_moments_are_not():
    rule = Bounded(SGD(1.0, momentum=0.5), max_weight=0.3)
    params, state = torch.tensor([0.1, -0.2]), rule.init(torch.zeros(2))
    params, state = rule.step(torch.tensor([0.1, 5.0]), params, state)
    assert_close(params, torch.tensor([0.0, -0.3]))
    assert_close(state.velocity, torch.tensor([0.1, 5.0]))


@pytest.mark.parametrize("name", ["max_gradient_norm", "max_weight"])
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
def test_a_bound_that_is_not_positive_is_refused(name, value):
    with pytest.raises(ValueError, match=rf"{name} must be positive; got .*null does not bound"):
        Bounded(SGD(0.1), **{name: value})


def test_a_clipped_wgan_circles_within_its_box():
    """Dirac-GAN, lr 0.2 from (1, 1), clip 1: neither in nor out, radius 1.00-1.27 (Mescheder et al. 2018)."""
    game = dirac_gan(Wasserstein())
    path = trajectory(game, Simultaneous(SGD(0.2), Bounded(SGD(0.2), max_weight=1.0)), 500)
    radius = path[-100:].norm(dim=1)
    assert_close([radius.min().item(), radius.max().item()], [1.00, 1.27], atol=0.005, rtol=0)  # as printed
    assert path[:, 1].abs().max() == 1.0
    free = trajectory(game, Simultaneous(SGD(0.2), SGD(0.2)), 500)
    assert free[-1].norm() > 1e4


def test_bounds_vary_over_an_ensemble():
    params, gradient = torch.zeros(2), torch.tensor([3.0, 4.0])

    def step(bound: Tensor) -> Tensor:
        rule = Bounded(SGD(1.0), max_gradient_norm=bound, max_weight=0.7 * bound)
        return rule.step(gradient, params, rule.init(params))[0]

    found = vmap(step)(torch.tensor([1.0, 2.0]))
    expected = [[-0.6, -0.7], [-1.2, -1.4]]
    assert_close(found, torch.tensor(expected), rtol=1e-6, atol=0)  # 1e-6 in torch's own denominator


@pytest.mark.parametrize("make", [ExtraGradient, CompetitiveGradientDescent])
def test_dynamics_that_look_ahead_or_ask_for_the_rate_take_bounded_rules(make):
    game, bound = dirac_gan(NonSaturating()), partial(Bounded, max_weight=0.9)
    path = trajectory(game, make(SGD(0.2), bound(SGD(0.2))), 5)
    assert path[1:, 1].abs().max() <= 0.9


# ---- lazy penalties


def play(game: Game, num_rounds: int, dynamics=None):
    dynamics = dynamics or Alternating(SGD(0.1), SGD(0.1))
    turn, state, rows = eager(game, dynamics, {}), start(game, dynamics, {}, CPU), []
    for index in range(num_rounds):
        state, logs = turn(state, (dirac_batch(2),) * dynamics.num_batches, index)
        rows.append(logs)
    return state, rows


def test_a_lazy_penalty_is_taken_every_n_rounds_with_n_times_its_weight():
    penalties = {"r1": partial(r1, gamma=0.5), "r2": partial(r2, gamma=0.25)}
    lazy = replace(dirac_gan(NonSaturating(), penalties), intervals={"regularizer.r1": 3})
    _, rows = play(lazy, 7)
    taken = [bool(row["penalty/r1"] > 0) for row in rows]
    assert taken == [True, False, False, True, False, False, True]
    assert all(row["penalty/r2"] > 0 for row in rows)
    assert_close(rows[0]["penalty/r1"], 3 * 0.5 * 0.5 * torch.ones(()))  # ½·γ·ψ², ψ = 1, three-fold

    by_hand = replace(lazy, intervals={})
    heavy = {**penalties, "r1": partial(r1, gamma=1.5)}
    without = {"r2": penalties["r2"]}
    state, dynamics = (
        start(by_hand, Alternating(SGD(0.1), SGD(0.1)), {}, CPU),
        Alternating(SGD(0.1), SGD(0.1)),
    )
    for index in range(7):
        game = replace(by_hand, penalties=without if index % 3 else heavy)
        state, _ = eager(game, dynamics, {})(state, (dirac_batch(2),) * 2, index)
    assert_close(torch.cat(play(lazy, 7)[0].players), torch.cat(state.players), rtol=1e-14, atol=0)


def test_what_is_not_due_costs_no_evaluation():
    calls = []

    def counted(discriminator, batch, fake):
        calls.append(1)
        return discriminator(fake).mean() * 0.0

    play(replace(dirac_gan(NonSaturating(), {"p": counted}), intervals={"regularizer.p": 4}), 8)
    assert len(calls) == 2


@dataclass(frozen=True)
class Counts:
    """A penalty that remembers how often it was taken."""

    def init(self, like: Tensor) -> Tensor:
        return torch.zeros((), dtype=like.dtype)

    def __call__(self, discriminator, batch: Batch, fake: Tensor, memory: Tensor) -> Tensor:
        return 0.0 * discriminator(fake).mean()

    def advance(self, memory: Tensor, logs: dict[str, Tensor]) -> Tensor:
        return memory + 1.0


def test_the_memory_of_a_lazy_penalty_advances_only_when_it_is_taken():
    game = replace(dirac_gan(NonSaturating(), {"p": Counts()}), intervals={"regularizer.p": 3})
    assert play(game, 7)[0].game["regularizer.p"] == 3


def test_a_lazy_penalty_breaks_the_convergence_of_the_dirac_gan():
    """γ = 1 and h = 0.5 converge; every 16 rounds the same weight is a kick of 16γ, which overshoots."""
    game = dirac_gan(NonSaturating(), {"r1": partial(r1, gamma=1.0)})
    dynamics = Simultaneous(SGD(0.5), SGD(0.5))
    steady, _ = play(game, 200, dynamics)
    kicked, _ = play(replace(game, intervals={"regularizer.r1": 16}), 200, dynamics)
    assert torch.cat(steady.players).norm() < 1e-6
    assert torch.cat(kicked.players).norm() > 0.1


def test_a_lazy_penalty_is_alike_both_ways_to_differentiate():
    game = replace(
        dirac_gan(NonSaturating(), {"r1": partial(r1, gamma=0.5)}), intervals={"regularizer.r1": 2}
    )
    found = [
        torch.cat(play(replace(game, calculus=calculus), 5)[0].players)
        for calculus in (game.calculus, FUNCTIONAL)
    ]
    assert_close(*found, rtol=1e-14, atol=0)
