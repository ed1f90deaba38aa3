"""Lookahead for games: pull both players back towards where they were k rounds ago."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from saddle.game.calculus import Logs
from saddle.game.game import Batch, Game, Players
from saddle.game.ranges import COUNT, POSITIVE_FRACTION_OR_ONE, require


class LookaheadState(NamedTuple):
    inner: Any  # of the wrapped dynamics
    slow: Players
    rounds: Tensor  # (), since the last pull


@dataclass(frozen=True)
class Lookahead:
    """Lookahead-minimax around any dynamics: every k rounds ω ← ω_slow + α(ω − ω_slow), ω_slow ← ω.

    Both players are pulled at once. Costs what the wrapped dynamics costs; its moments are kept. On the
    bilinear game around ``Simultaneous``, |λ| of k rounds is |1 − α + α(1 + is)ᵏ|.

    Source: Chavdarova et al. 2021, arXiv:2006.14567, algorithm 1.
    """

    inner: Any  # a dynamics
    k: int = 5
    alpha: float = 0.5

    def __post_init__(self) -> None:
        require("lookahead's k", self.k, COUNT, "Give such a number of rounds; 5 is usual.")
        require("lookahead's alpha", self.alpha, POSITIVE_FRACTION_OR_ONE, "0.5 is usual.")

    @property
    def num_batches(self) -> int:
        return self.inner.num_batches

    @property
    def num_generator_steps(self) -> int:
        return self.inner.num_generator_steps

    @property
    def num_discriminator_steps(self) -> int:
        return self.inner.num_discriminator_steps

    @property
    def num_gradients(self) -> int:
        return self.inner.num_gradients

    def init(self, players: Players) -> LookaheadState:
        zero = torch.zeros((), dtype=players.generator.dtype, device=players.generator.device)
        return LookaheadState(self.inner.init(players), players, zero)

    def step(
        self, game: Game, players: Players, state: LookaheadState, batches: tuple[Batch, ...]
    ) -> tuple[Players, LookaheadState, Logs]:
        players, inner, logs = self.inner.step(game, players, state.inner, batches)
        rounds = state.rounds + 1
        due = rounds == self.k
        pulled = pytree.tree_map(lambda slow, fast: slow + self.alpha * (fast - slow), state.slow, players)
        # where, not if: under vmap the count is a tensor of the whole ensemble
        players = pytree.tree_map(lambda there, here: torch.where(due, there, here), pulled, players)
        slow = pytree.tree_map(lambda there, here: torch.where(due, there, here), pulled, state.slow)
        return players, LookaheadState(inner, slow, torch.where(due, 0.0, rounds)), logs
