"""How every dynamics is tried: as an operator on the bilinear game, by its path, and by laws of any round."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.func import vmap
from torch.testing import assert_close
from torch.utils import _pytree as pytree

from by_hand import small_batch, small_game
from oracles import dirac_batch, dirac_gan, spectral_radius
from saddle.game.calculus import AUTOGRAD, FUNCTIONAL
from saddle.game.game import Batch, Game, Players
from saddle.game.losses import Wasserstein
from saddle.rounds.execution import Dynamics

every_calculus = pytest.mark.parametrize("calculus", [AUTOGRAD, FUNCTIONAL], ids=["autograd", "functional"])
ROUND_OFF = {"atol": 1e-10, "rtol": 0.0}  # ten rounds of numbers below 10 lose at most five digits of sixteen
EXACT = {"atol": 1e-12, "rtol": 0.0}  # an operator of a few products, with simple eigenvalues


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


def rounds(game: Game, batch, dynamics, num: int) -> Tensor:
    """Both players at the start and after each round on one batch, shape (num + 1, P + Q)."""
    players = game.init()
    state, path = dynamics.init(players), [torch.cat(players)]
    for _ in range(num):
        players, state, _ = dynamics.step(game, players, state, (batch,))
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
