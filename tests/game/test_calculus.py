"""The one place where gradients are averaged: parts of a batch, averaged there, train as the whole batch."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from torch.utils import _pytree as pytree

from by_hand import small_batch, small_game
from game_parts import bind_game, seeded
from saddle.data.sampling import draw_batches, normal_latents
from saddle.data.sources import TensorSource
from saddle.diagnosis.duality import duality_gap
from saddle.dynamics.descent import Alternating
from saddle.dynamics.extrapolation import ExtraGradient
from saddle.dynamics.lookahead import Lookahead
from saddle.dynamics.optimizers import SGD, Adam
from saddle.dynamics.second_order import Consensus
from saddle.dynamics.unrolled import Unrolled
from saddle.game.calculus import AUTOGRAD, FUNCTIONAL, Calculus, Logs
from saddle.game.game import Batch, Game
from saddle.game.losses import Hinge, LeastSquares, Minimax, NonSaturating, Relativistic, Wasserstein
from saddle.game.penalties.consistency import BalancedConsistency
from saddle.game.penalties.discriminator import LeCam, r1, wgan_gp
from saddle.game.penalties.generator import PathLength, nagarajan_kolter
from saddle.models import mlp
from saddle.rounds.execution import TrainingState, rounds, start

GradientOf = Callable[[Batch], tuple[Tensor, Logs]]
LATENTS = partial(normal_latents, size=3)
every_calculus = pytest.mark.parametrize("calculus", [AUTOGRAD, FUNCTIONAL], ids=["autograd", "functional"])
# sums of 12 numbers in another order: 1e-16 a gradient, ten rounds on, of rules that magnify nothing
ROUND_OFF = {"atol": 1e-12, "rtol": 0}
RULES = SGD(0.05, 0.3), Adam(0.01, eps=1e-2)


def in_parts(num: int, gradient_of: GradientOf, batch: Batch) -> tuple[Tensor, Logs]:
    """Means of the gradients and logs of ``num`` equal parts of a batch."""
    parts = [pytree.tree_map(lambda leaf, index=index: leaf.chunk(num)[index], batch) for index in range(num)]
    gradients, logs = zip(*map(gradient_of, parts), strict=True)
    return torch.stack(gradients).mean(0), {
        name: torch.stack([one[name] for one in logs]).mean() for name in logs[0]
    }


def split(calculus: Calculus, num: int) -> Calculus:
    return calculus._replace(reduce=partial(in_parts, num))


def networks() -> tuple[mlp.Generator, mlp.Discriminator]:
    return mlp.Generator(3, (2,), [6], 0.2), mlp.Discriminator((2,), [6], 0.2, dropout=0.3)


def play(game: Game, dynamics: Any, num: int = 10) -> tuple[TrainingState, Logs]:
    samples = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
    state, turn = start(game, dynamics, {}, torch.device("cpu")), rounds(game, dynamics, {})
    logs: Logs = {}
    for index in range(num):
        batches = draw_batches(TensorSource(samples), LATENTS, game, 12, dynamics.num_batches, 0, index)
        state, logs = turn(state, batches, index)
    return state, logs


LOSSES = [NonSaturating(), Minimax(), LeastSquares(), Wasserstein(), Hinge(), Relativistic()]
PENALTIES: list[dict[str, Any]] = [
    {},
    {"r1": partial(r1, gamma=0.3), "wgan_gp": partial(wgan_gp, weight=0.2)},
    {"bcr": BalancedConsistency(0.5, 0.3), "lecam": LeCam(0.3)},
]


@every_calculus
@pytest.mark.parametrize("dynamics", [Alternating, ExtraGradient])
@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_parts_of_a_batch_train_as_the_whole_where_losses_are_means(loss, dynamics, calculus):
    """State, memory of the game's parts, and logs."""
    penalties = PENALTIES[LOSSES.index(loss) % 3]
    found = [
        play(bind_game(seeded(networks), loss, penalties, one), dynamics(*RULES))
        for one in (calculus, split(calculus, 2), split(calculus, 4))
    ]
    for one in found[1:]:
        assert_close(one, found[0], **ROUND_OFF)


METHODS = {
    "lookahead": Lookahead(Alternating(*RULES), k=3),
    "consensus": Consensus(*RULES, gamma=0.5),
    "unrolled": Unrolled(*RULES, num_unrolled_steps=2),
}


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_methods_that_differentiate_gradients_take_the_mean_ones(method):
    """One that unrolls D unrolls it on the whole batch, whatever part of it G's loss is of."""
    games = [
        bind_game(seeded(networks), Minimax(), PENALTIES[1], one) for one in (AUTOGRAD, split(AUTOGRAD, 3))
    ]
    assert_close(play(games[1], method), play(games[0], method), **ROUND_OFF)


@every_calculus
def test_penalties_on_the_generator_and_packs_train_in_parts_too(calculus):
    def game(one: Calculus) -> Game:
        pair = seeded(lambda: (networks()[0], mlp.Discriminator((2,), [6], 0.2, pack=2)))
        terms = {"path": PathLength(0.1)}
        return replace(bind_game(pair, NonSaturating(), {}, one), generator_penalties=terms, pack=2)

    whole, *found = (
        play(game(one), Alternating(*RULES)) for one in (calculus, split(calculus, 2), split(calculus, 3))
    )
    for one in found:
        assert_close(one, whole, **ROUND_OFF)


# ---- who reduces


class Counted:
    """A reduction that counts how often it is asked, and by which sizes of batches."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def __call__(self, gradient_of: GradientOf, batch: Batch) -> tuple[Tensor, Logs]:
        self.sizes.append(len(batch.real))
        return gradient_of(batch)


def test_the_reduction_outlives_a_change_of_derivatives():
    counted = Counted()
    game = small_game(AUTOGRAD._replace(reduce=counted)).functional()
    assert game.calculus.derivative is FUNCTIONAL.derivative
    assert game.calculus.slope is FUNCTIONAL.slope
    game.gradients(game.init(), small_batch())
    assert counted.sizes == [6, 6]


def test_whoever_takes_a_gradient_has_it_reduced():
    counted, batch = Counted(), small_batch()
    game = small_game(AUTOGRAD._replace(reduce=counted))
    rules = SGD(0.1), SGD(0.1)
    duality_gap(game, game.init(), lambda _: batch, [batch], *rules, num_steps=3, evaluate_every=3)
    assert len(counted.sizes) == 6  # three steps of either response
    counted.sizes.clear()
    penalized = replace(game, generator_penalties={"nk": partial(nagarajan_kolter, eta=0.1)})
    penalized.generator_gradient(game.init(), batch)
    assert len(counted.sizes) == 2  # the generator's, and in it the discriminator's


def test_without_a_reduction_a_gradient_is_the_derivative_on_the_whole_batch():
    game, batch = small_game(), small_batch()
    players = game.init()
    found, logs = game.generator_gradient(players, batch)
    expected, same = AUTOGRAD.derivative(
        lambda vector: game.generator_loss(players._replace(generator=vector), batch), players.generator
    )
    assert torch.equal(found, expected)
    assert logs == same
