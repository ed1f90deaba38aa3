"""Training for claims: the experiments of ``conf``, all seeds at once, through the rounds that a run plays.

The rounds of several seeds are lifted as an ensemble's are: each member draws the batches of the run with its
seed, follows its schedules, and equals it up to round-off.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from saddle.data.dataset import Dataset
from saddle.data.sampling import LatentLaw, draw_batches
from saddle.game.calculus import Logs
from saddle.game.game import Batch, Game, Players
from saddle.rounds.execution import EAGER, Dynamics, TrainingState
from saddle.rounds.lifting import stack, together
from saddle.training.member import Member

Draw = Callable[[int, int], tuple[Batch, ...]]  # seed, round -> the batches of that round


@dataclass(frozen=True)
class Arm:
    """What a configuration of ``saddle-train`` plays, and every seed's players before the first round."""

    members: tuple[Member, ...]  # one a seed
    start: TrainingState  # stacked, (seeds, ...)

    @property
    def game(self) -> Game:
        """The game, which is the same for all seeds."""
        return self.members[0].method.game

    @property
    def dynamics(self) -> Dynamics:
        """Who moves when."""
        return self.members[0].method.dynamics

    @property
    def dataset(self) -> Dataset:
        """The data, on the device."""
        return self.members[0].dataset

    @property
    def latents(self) -> LatentLaw:
        """The law of the latents."""
        return self.members[0].latents

    @property
    def num_rounds(self) -> int:
        """How many rounds the configuration asks for."""
        return self.members[0].last_round


class Seen(NamedTuple):
    """A look at all seeds after some rounds."""

    num_rounds: int
    players: Players  # (seeds, P) and (seeds, Q)


def arm(words: Sequence[str], seeds: Sequence[int]) -> Arm:
    """Assemble an experiment once for every seed; on a GPU where there is one.

    Raises:
        Refused: what ``saddle-train`` refuses.
    """
    from saddle.training.assembly import assemble
    from saddle.training.configuration import of_words, own_config

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    members: list[Member] = []
    for seed in seeds:
        experiment = assemble(own_config(of_words([*words, f"seed={seed}", "name=claim"]).config))
        member = experiment.member
        member.method = member.method._replace(averages={})
        member.dataset = members[0].dataset if members else member.dataset
        member.begin(device)
        members.append(member)
    return Arm(tuple(members), stack([member.state for member in members]))


def train(
    of: Arm,
    looks: Sequence[int],
    draw: Draw | None = None,
    every: Callable[[int, Logs], None] | None = None,
) -> Iterator[Seen]:
    """Play rounds and yield the players after each number of rounds in ``looks``, ascending.

    Args:
        draw: (seed, round) -> batches; None: those of the run with that seed.
        every: called after each round with its index and what it logged, name -> (seeds,).
    """
    draw = draw or drawn(of)
    methods = [member.method for member in of.members]
    step = together(methods, EAGER, of.start.players.generator[0])
    state, done = step.join([member.state for member in of.members]), 0
    for look in looks:
        for index in range(done, look):
            batches = step.join([draw(member.seed, index) for member in of.members])
            state, logs = step.play(state, batches, index)
            if every is not None:
                every(index, {name: value.reshape(len(methods)) for name, value in logs.items()})
        done = look
        yield Seen(look, stack([step.part(state.players, place) for place in range(len(methods))]))


def drawn(of: Arm) -> Draw:
    """Give the batches that training draws."""
    by_seed = {member.seed: member for member in of.members}
    return lambda seed, index: by_seed[seed].draw(index)


def samples(of: Arm, players: Players, num: int, purpose: int = -1) -> Tensor:
    """Generated samples of every seed, (seeds, num, *event), from latents of their own."""
    game = of.game
    (batch,) = draw_batches(of.dataset.train, of.latents, game, num, 1, 0, purpose)
    with torch.no_grad():
        found = [game.generate(member(players, i), batch) for i in range(len(of.members))]
        return torch.stack(found)


def member(tree: Any, index: int) -> Any:
    """One seed's part of a stacked tree."""
    return pytree.tree_map(lambda leaf: leaf[index], tree)
