"""One code path: rounds by autograd, by torch.func and lifted over members are the same rounds."""

import itertools
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import vmap
from torch.testing import assert_close

from game_parts import EVENTS, LOSSES, NETWORKS, PENALTIES, bind_game, data, seeded
from oracles import Bowl, dirac_batch, dirac_gan
from saddle.data.sampling import draw_batches, normal_latents
from saddle.data.sources import TensorSource
from saddle.dynamics import Alternating, Simultaneous
from saddle.dynamics.averages import ExponentialAverage
from saddle.dynamics.optimizers import SGD, Adam, RMSProp
from saddle.game.calculus import AUTOGRAD, FUNCTIONAL
from saddle.game.game import Batch, Game
from saddle.game.losses import Hinge, LeastSquares, Minimax, NonSaturating, Relativistic, Wasserstein
from saddle.game.network import Network
from saddle.game.penalties.discriminator import r1, wgan_gp
from saddle.rounds.execution import TrainingState, eager, start

# where a gradient is exactly 0, as for a bias before BatchNorm, a rule divides round-off of 1e-16 by its ε
OPTIMIZERS = [partial(SGD, momentum=-0.3), partial(RMSProp, eps=1e-6), partial(Adam, beta1=0.5, eps=1e-6)]
# 1e-16/ε, which is 1e-10, times a learning rate below 0.1, a few times
ROUND_OFF = {"atol": 1e-10, "rtol": 1e-10}
LATENTS = partial(normal_latents, size=3)
DYNAMICS = [Simultaneous, partial(Alternating, num_discriminator_steps=2)]


def play(
    game: Game, dynamics: Any, real: Tensor, rounds: int, seed: int = 0
) -> tuple[TrainingState, dict[str, Tensor]]:
    state = start(game, dynamics, {"ema": ExponentialAverage(0.9)}, torch.device("cpu"))
    logs: dict[str, Tensor] = {}
    for step in range(rounds):
        batches = draw_batches(TensorSource(real), LATENTS, game, 6, dynamics.num_batches, seed, step)
        state, logs = eager(game, dynamics, {"ema": ExponentialAverage(0.9)})(state, batches, 0)
    return state, logs


# every pair of a network, a loss, penalties and a rule; not the product of all four
PAIRS = [
    ("points", loss, penalties, OPTIMIZERS[(i + j) % 3])
    for (i, loss), (j, penalties) in itertools.product(enumerate(LOSSES), enumerate(PENALTIES))
]
PAIRS += zip(itertools.repeat("images"), LOSSES, itertools.cycle(PENALTIES), OPTIMIZERS * 2, strict=False)


@pytest.mark.parametrize(
    ("networks", "loss", "penalties", "make_rule"),
    PAIRS,
    ids=[f"{networks}-{type(loss).__name__}-{penalties}" for networks, loss, penalties, _ in PAIRS],
)
def test_both_ways_to_differentiate_train_alike(networks, loss, penalties, make_rule):
    modules, real = seeded(NETWORKS[networks]), data(EVENTS[networks])
    for make_dynamics in DYNAMICS:
        dynamics = make_dynamics(make_rule(lr=1e-2), make_rule(lr=2e-2))
        (ours, logs), (again, _), (functional, functional_logs) = (
            play(bind_game(modules, loss, PENALTIES[penalties], calculus), dynamics, real, rounds=3)
            for calculus in (AUTOGRAD, AUTOGRAD, FUNCTIONAL)
        )
        assert torch.equal(torch.cat(ours.players), torch.cat(again.players))
        assert torch.cat(ours.players).isfinite().all()
        assert_close(functional.players, ours.players, **ROUND_OFF)
        assert_close(functional.averages, ours.averages, **ROUND_OFF)
        assert_close(functional_logs, logs, **ROUND_OFF)


def _stack(trees: list[Any]) -> Any:
    return torch.utils._pytree.tree_map(lambda *leaves: torch.stack(leaves), *trees)


def _member(tree: Any, index: int) -> Any:
    return torch.utils._pytree.tree_map(lambda leaf: leaf[index], tree)


@pytest.mark.parametrize("make_dynamics", DYNAMICS, ids=["simultaneous", "alternating"])
@pytest.mark.parametrize("make_rule", OPTIMIZERS, ids=["sgd", "rmsprop", "adam"])
@pytest.mark.parametrize(
    ("networks", "loss", "penalties"),
    [  # every network, loss and penalty at least once
        ("points", Minimax(), "none"),
        ("points", NonSaturating(), "r1"),
        ("points", Wasserstein(), "wgan_gp"),
        ("images", LeastSquares(), "r1+r2"),
        ("images", Hinge(), "wgan_gp"),
        ("images", Relativistic(), "all"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_a_member_of_a_lifted_round_equals_the_solo_run(networks, loss, penalties, make_rule, make_dynamics):
    """Members differ in weights, batches and learning rate."""
    modules, real, rates = (
        seeded(NETWORKS[networks]),
        data(EVENTS[networks]),
        torch.tensor([0.01, 0.02, 0.04]),
    )
    game = bind_game(modules, loss, PENALTIES[penalties], FUNCTIONAL)
    averages = {"ema": ExponentialAverage(0.9)}

    def dynamics_of(rate: Any) -> Any:
        return make_dynamics(make_rule(lr=rate), make_rule(lr=2 * rate))

    def advance(rate: Any, state: TrainingState, batches: tuple[Batch, ...]) -> Any:
        return eager(game, dynamics_of(rate), averages)(state, batches, 0)

    states, batches = [], []
    for seed in range(3):
        fresh = bind_game(seeded(NETWORKS[networks], seed), loss, {}, FUNCTIONAL)
        states.append(start(fresh, dynamics_of(0.01), averages, torch.device("cpu")))
        batches.append([
            draw_batches(TensorSource(real), LATENTS, game, 6, dynamics_of(0.01).num_batches, seed, step)
            for step in range(2)
        ])  # fmt: skip
    lifted = _stack(states)
    for step in range(2):
        lifted, lifted_logs = vmap(advance)(rates, lifted, _stack([one[step] for one in batches]))
    for index, state in enumerate(states):
        for step in range(2):
            state, logs = advance(rates[index].item(), state, batches[index][step])
        assert_close(_member(lifted, index), state, **ROUND_OFF)
        assert_close(_member(lifted_logs, index), logs, **ROUND_OFF)


def test_hyperparameters_can_be_lifted_with_the_round():
    """One value a member of what is not in a network: penalties' weights, targets, moments' decays."""
    batch = dirac_batch(3)._replace(real=torch.tensor([[0.5], [-1.0], [2.0]]))

    def advance(gamma: Any, weight: Any, target: Any, decay: Any) -> Any:
        penalties = {"r1": partial(r1, gamma=gamma), "gp": partial(wgan_gp, weight=weight, target=target)}
        game = replace(dirac_gan(LeastSquares(target, -target), penalties), discriminator=Network(Bowl(0.5)))
        rule = Adam(0.1 * decay, decay, decay, decay), RMSProp(0.1, decay, decay)
        dynamics, players = Alternating(*rule), game.init()
        return dynamics.step(game, players, dynamics.init(players), (batch, batch))

    values = [(0.1, 0.2, 0.3, 0.4), (1.0, 0.5, 2.0, 0.9), (0.0, 3.0, 1.0, 0.5)]
    lifted = vmap(advance)(*torch.tensor(values).T)
    for index, value in enumerate(values):
        assert_close(_member(lifted, index), advance(*value))
