"""GANModule: the one LightningModule. Lightning drives; games are played in pure functions.

It holds the members of an ensemble, or the one of a solo run. Lightning's "batch" is a chunk: a range of
rounds that some members play, in one ``training_step`` with no host synchronisation in between. Its
optimizer is a shell that runs the chunk. Its ``global_step`` counts chunks; the clock of a run is its
member's ``generator_steps``.

Members that stand at the same round play it in one lifted step. Those that a kill left behind the others
catch up first. One that has diverged is left alone, and stays in the step, whose shapes may be compiled.
"""

import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from pytorch_lightning import LightningModule

from saddle.game.game import Players
from saddle.rounds.execution import EAGER, Execution
from saddle.rounds.lifting import Together, together
from saddle.training.member import WEIGHTS_NORM, Diverged, Member


class ShellOptimizer(torch.optim.Optimizer):
    """What Lightning needs to count steps: it holds no parameter and only runs the closure."""

    def __init__(self) -> None:
        super().__init__([torch.nn.Parameter(torch.zeros(()))], {})

    def step(self, closure: Any = None) -> Any:
        return closure() if closure else None


class Chunk(NamedTuple):
    """Rounds to be played without a look at anything, and who plays them."""

    group: tuple[Member, ...]  # all stand at the first of the rounds
    rounds: range


class Pace(NamedTuple):
    """How many rounds a chunk has.

    Args:
        steps_per_execution: rounds in a chunk at most. Changes how often losses are read, not the training.
        periods: generator steps at whose multiples a chunk must end, so that something can happen there.
    """

    steps_per_execution: int
    periods: tuple[int, ...] = ()


class _Playing(NamedTuple):
    """Members in one step, and the state that they have reached together."""

    members: tuple[Member, ...]
    together: Together
    rounds: int
    state: Any


class GANModule(LightningModule):
    """The members of an ensemble under training, or one run.

    Args:
        members: one or more, alike but for numbers and seeds; see ``saddle.rounds.lifting``.
        pace: of all of them.
        execution: how a round is run.
    """

    def __init__(self, members: Sequence[Member], pace: Pace, execution: Execution = EAGER) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.members, self.pace, self.execution = tuple(members), pace, execution
        games = [member.method.game for member in self.members]
        # held here so that Lightning moves them to its device
        self.networks = torch.nn.ModuleList(
            network.module for game in games for network in (game.generator, game.discriminator)
        )
        self.stop_requested = False
        self._playing: _Playing | None = None

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return ShellOptimizer()

    def on_fit_start(self) -> None:
        # here, not in __init__: Lightning has moved the networks to the device by now
        self.begin()

    def begin(self) -> None:
        """Bring every member to the device; data that members share stay shared."""
        moved: dict[int, Any] = {}
        for member in self.members:
            given = id(member.dataset)
            member.dataset = moved.get(given, member.dataset)
            member.begin(self.device)
            member.dataset = moved.setdefault(given, member.dataset)

    def train_dataloader(self) -> Iterator[Chunk]:
        return self.chunks()

    def chunks(self) -> Iterator[Chunk]:
        """Yield what is to be played next until all members have ended or a stop is asked for.

        A chunk ends at or before every period's multiple, and where its members meet others. Lightning asks
        for a chunk before it has played the last one, so a member may have diverged by the time that its own
        comes.
        """
        per_round = self.members[0].method.dynamics.num_generator_steps
        periods = [self.pace.steps_per_execution, *(period // per_round for period in self.pace.periods)]
        at = {member: member.rounds for member in self.members}  # where each will stand by then
        while not self.stop_requested:
            live = [member for member in self.members if member.fault is None]
            if not (behind := [member for member in live if at[member] < member.last_round]):
                return
            first = min(at[member] for member in behind)
            group = tuple(member for member in behind if at[member] == first)
            ahead = [at[member] for member in live if at[member] > first]
            ends = [(first // period + 1) * period for period in periods]
            chunk = Chunk(group, range(first, min(group[0].last_round, *ends, *ahead)))
            at |= dict.fromkeys(group, chunk.rounds.stop)
            yield chunk

    def transfer_batch_to_device(self, batch: Chunk, device: torch.device, dataloader_idx: int) -> Chunk:
        return batch  # nothing in it lives on a device, and Lightning would try to rebuild it as a list

    def training_step(self, chunk: Chunk, batch_idx: int) -> None:
        self.optimizers().step(closure=lambda: self.play(chunk))  # type: ignore[union-attr]

    def play(self, chunk: Chunk) -> None:
        """Play a chunk, or forget it if the run is asked to stop meanwhile: resuming plays it again, alike.

        Each member is then where its rounds have led, or has a ``fault`` and stays where it was.
        """
        if not (group := [member for member in chunk.group if member.fault is None]):
            return
        began, rows = time.perf_counter(), []
        playing = self._prepared(group, chunk.rounds.start)
        state = playing.state
        for member in group:
            member.logs = None
        for index in chunk.rounds:
            if self.stop_requested:
                return
            batches = playing.together.join([member.draw(index) for member in playing.members])
            state, logs = playing.together.play(state, batches, index)
            rows.append(logs | _weight_norms(state.players))
        stacked = torch.stack([value for row in rows for value in row.values()])
        columns = stacked.double().view(len(stacked), -1).T.tolist()  # the chunk's one synchronisation
        self._playing = playing._replace(rounds=chunk.rounds.stop, state=state)
        seconds = (time.perf_counter() - began) / len(group)
        for place, member in enumerate(playing.members):
            if member.fault is not None:
                continue
            values = iter(columns[place])
            own = [dict(zip(row, values, strict=False)) for row in rows]
            member.seconds = seconds
            try:
                member.take(chunk.rounds, playing.together.part(state, place), own)
            except Diverged as error:
                member.fault = str(error)

    def _prepared(self, group: Sequence[Member], at: int) -> _Playing:
        """The step that these members play in: the last one, where they still play together."""
        last = self._playing
        if last and last.rounds == at and {*group} <= {*last.members}:
            return last
        states = [member.state for member in group]
        methods = [member.method for member in group]
        step = together(methods, self.execution, states[0].players.generator)
        return _Playing(tuple(group), step, at, step.join(states))

    def on_fit_end(self) -> None:
        """Put the trained parameters back into the modules."""
        for member in self.members:
            member.put_back()


def _weight_norms(players: Players) -> dict[str, torch.Tensor]:
    return {
        WEIGHTS_NORM["discriminator"]: torch.linalg.vector_norm(players.discriminator, dim=-1),
        WEIGHTS_NORM["generator"]: torch.linalg.vector_norm(players.generator, dim=-1),
    }
