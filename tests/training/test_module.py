"""GANModule: chunks of rounds, divergence by name, stopping, and training that its chunks do not change."""

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import pytest
import torch
from pytorch_lightning import Callback, Trainer
from torch import Tensor
from torch.testing import assert_close
from torch.utils import _pytree as pytree

from oracles import dirac_gan
from saddle.data.dataset import Dataset, of_tensors
from saddle.data.sampling import draw_batches, normal_latents
from saddle.dynamics import Alternating, Simultaneous
from saddle.dynamics.averages import ExponentialAverage
from saddle.dynamics.optimizers import SGD, Adam
from saddle.game.calculus import AUTOGRAD
from saddle.game.game import Game
from saddle.game.losses import NonSaturating, Wasserstein
from saddle.game.network import Network
from saddle.game.penalties.discriminator import r1
from saddle.models import mlp
from saddle.models.normalization import BATCH
from saddle.rounds.execution import Method, TrainingState, eager, start
from saddle.training.member import Diverged, Member
from saddle.training.module import GANModule, Pace

LATENTS = partial(normal_latents, size=3)
AVERAGES = {"ema": ExponentialAverage(0.99)}


def dataset() -> Dataset:
    points = torch.randn(32, 2, generator=torch.Generator().manual_seed(0))
    return of_tensors("points", points, points[:4])


def small_game() -> Game:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        networks = (
            Network(mlp.Generator(3, (2,), [6], 0.2, BATCH)),
            Network(mlp.Discriminator((2,), [6], 0.2, dropout=0.3)),
        )
    return Game(*networks, NonSaturating(), {"r1": partial(r1, gamma=0.5)})


def module_of(
    num_steps: int = 20,
    steps_per_execution: int = 7,
    periods: tuple[int, ...] = (),
    dynamics: Any = None,
    game: Game | None = None,
    data: Dataset | None = None,
    latents: Any = LATENTS,
) -> GANModule:
    dynamics = dynamics or Alternating(Adam(1e-2, 0.5), Adam(2e-2, 0.5), 2, 1)
    method = Method(game or small_game(), dynamics, AVERAGES)
    member = Member(method, data or dataset(), latents, batch_size=4, seed=3, num_steps=num_steps)
    module = GANModule([member], Pace(steps_per_execution, periods))
    module.on_fit_start()
    return module


def only(module: GANModule) -> Member:
    (member,) = module.members
    return member


def chunks(module: GANModule) -> list[range]:
    return [chunk.rounds for chunk in module.train_dataloader()]


def run(module: GANModule) -> list[dict[str, float]]:
    logs = []
    for chunk in module.train_dataloader():
        module.play(chunk)
        if (fault := only(module).fault) is not None:
            raise Diverged(fault)
        found = only(module).logs
        assert found is not None
        logs.append(found)
    return logs


def must_equal(found: TrainingState, expected: TrainingState) -> None:
    """To the bit."""
    pairs = zip(pytree.tree_leaves(found), pytree.tree_leaves(expected), strict=True)
    assert all(torch.equal(*pair) for pair in pairs)


def by_hand(num_rounds: int) -> tuple[TrainingState, list[dict[str, Tensor]]]:
    """The training loop without Lightning, chunks or clock."""
    game, dynamics = small_game(), Alternating(Adam(1e-2, 0.5), Adam(2e-2, 0.5), 2, 1)
    state, rows = start(game, dynamics, AVERAGES, torch.device("cpu")), []
    for step in range(num_rounds):
        batches = draw_batches(dataset().train, LATENTS, game, 4, dynamics.num_batches, 3, step)
        state, logs = eager(game, dynamics, AVERAGES)(state, batches, step)
        norms = {f"diag/{player}_norm": vector.norm() for player, vector in state.players._asdict().items()}
        rows.append(logs | norms)
    return state, rows


# ---- chunks


@pytest.mark.parametrize("steps_per_execution", [1, 3, 7, 100])
@pytest.mark.parametrize("periods", [(), (5,), (4, 6), (1,), (1000,)])
@pytest.mark.parametrize("begin", [0, 3])
def test_chunks_cover_every_round_once_and_end_wherever_something_happens(
    steps_per_execution, periods, begin
):
    module = module_of(20, steps_per_execution, periods)
    only(module).rounds = begin
    found = chunks(module)
    assert [index for chunk in found for index in chunk] == list(range(begin, 20))
    ends = {chunk.stop for chunk in found}
    assert ends >= {20, *(step for period in periods for step in range(period, 21, period) if step > begin)}
    assert all(len(chunk) <= steps_per_execution for chunk in found)
    # and nowhere else: a run that resumes at any of them has the same chunks from there on
    assert ends == {20} | {
        step
        for period in (steps_per_execution, *periods)
        for step in range(period, 21, period)
        if step > begin
    }


def test_periods_count_generator_steps_also_where_a_round_makes_several():
    module = module_of(24, 100, periods=(6, 8), dynamics=Alternating(SGD(0.0), SGD(0.0), 1, 2))
    assert [2 * chunk.stop for chunk in chunks(module)] == [6, 8, 12, 16, 18, 24]


def test_a_finished_run_has_no_chunks_left():
    module = module_of(20)
    only(module).rounds = 20
    assert only(module).finished
    assert chunks(module) == []


def test_no_chunk_follows_once_stop_is_requested():
    module = module_of(20, 5)
    found = []
    for chunk in module.train_dataloader():
        found.append(chunk)
        module.stop_requested = True
    assert [chunk.rounds for chunk in found] == [range(5)]


@pytest.mark.parametrize(("num_d", "num_g"), [(1, 1), (5, 1), (2, 3)])
def test_the_clock_counts_generator_steps_and_images_those_of_the_discriminator(num_d, num_g):
    module = module_of(4 * num_g, 2, dynamics=Alternating(SGD(0.01), SGD(0.01), num_d, num_g))
    member = only(module)
    assert (member.generator_steps, member.images_seen, member.finished) == (0, 0, False)
    run(module)
    assert (member.rounds, member.generator_steps, member.images_seen) == (4, 4 * num_g, 4 * num_d * 4)
    assert member.finished


# ---- training


@pytest.mark.parametrize(("steps_per_execution", "periods"), [(1, ()), (7, ()), (100, ()), (7, (5, 3))])
def test_chunks_do_not_change_the_training_by_a_bit(steps_per_execution, periods):
    module = module_of(20, steps_per_execution, periods)
    run(module)
    must_equal(only(module).state, by_hand(20)[0])


def test_logs_are_the_means_over_the_chunk():
    _, rows = by_hand(20)
    module = module_of(20, 7)
    found = run(module)
    for logs, chunk in zip(found, chunks(module_of(20, 7)), strict=True):
        assert set(logs) == set(rows[0])
        for name, value in logs.items():
            assert_close(value, math.fsum(rows[index][name].item() for index in chunk) / len(chunk))


def test_a_state_given_before_fit_is_gone_on_from():
    first = module_of(20, 5)
    for chunk in list(first.chunks())[:2]:
        first.play(chunk)
    second = module_of(20, 100)
    only(second).training_state, only(second).rounds = only(first).state, only(first).rounds
    second.on_fit_start()
    run(second)
    must_equal(only(second).state, by_hand(20)[0])


def test_playing_never_writes_to_a_state():
    module = module_of(20, 20)
    before = only(module).state
    copies = [leaf.clone() for leaf in pytree.tree_leaves(before)]
    run(module)
    assert all(map(torch.equal, pytree.tree_leaves(before), copies))


def test_the_state_cannot_be_read_before_training_begins():
    member = only(module_of())
    member.training_state = None
    with pytest.raises(RuntimeError, match=r"exists once training has begun; read it after begin\(\)"):
        member.state  # noqa: B018


# ---- stopping


@dataclass
class StopAt:
    """A latent law that asks the module to stop when it is called for the ``call``-th time."""

    call: int
    module: GANModule | None = None
    num_calls: int = 0

    def __call__(self, num: int, random: torch.Generator) -> Tensor:
        self.num_calls += 1
        if self.num_calls == self.call and self.module is not None:
            self.module.stop_requested = True
        return LATENTS(num, random)


@pytest.mark.parametrize("call", [6, 7, 9])  # rounds of the second chunk, but for its last one
def test_a_stop_drops_the_unfinished_chunk_and_resuming_plays_it_again_alike(call):
    law = StopAt(call)
    module = law.module = module_of(20, 5, latents=law)
    for chunk in module.train_dataloader():
        module.play(chunk)
    assert (only(module).rounds, only(module).logs) == (5, None)
    assert law.num_calls == call  # no further round was played
    must_equal(only(module).state, by_hand(5)[0])
    module.stop_requested = False
    run(module)
    must_equal(only(module).state, by_hand(20)[0])


def test_a_stop_in_the_last_round_of_a_chunk_keeps_it():
    law = StopAt(10)
    module = law.module = module_of(20, 5, latents=law)
    for chunk in module.train_dataloader():
        module.play(chunk)
    assert only(module).rounds == 10
    assert only(module).logs is not None


# ---- divergence


class Count(NamedTuple):
    num_steps: Tensor


@dataclass(frozen=True)
class BreaksAt:
    """Keeps its player where it is, and makes it infinite in one step."""

    step_number: float

    def init(self, params: Tensor) -> Count:
        return Count(torch.zeros(()))

    def step(self, gradient: Tensor, params: Tensor, state: Count) -> tuple[Tensor, Count]:
        now = state.num_steps + 1
        return torch.where(now == self.step_number, math.inf, params), Count(now)


def breaking(make: Any, player: str, step: int) -> Any:
    rules = {"generator": SGD(0.0), "discriminator": SGD(0.0), player: BreaksAt(step)}
    return make(**rules)


def dirac_data() -> Dataset:
    return of_tensors("dirac", torch.zeros(1, 1), torch.zeros(1, 1))


def diverging(dynamics: Any, steps_per_execution: int = 10) -> GANModule:
    game = dirac_gan(Wasserstein(), calculus=AUTOGRAD)
    return module_of(40, steps_per_execution, dynamics=dynamics, game=game, data=dirac_data())


@pytest.mark.parametrize("steps_per_execution", [1, 10, 40])
@pytest.mark.parametrize("step", [1, 7, 20, 21, 40])
@pytest.mark.parametrize(
    ("make", "player"),
    [
        (Simultaneous, "generator"),
        (Simultaneous, "discriminator"),
        (Alternating, "generator"),
        (Alternating, "discriminator"),
    ],
)
def test_divergence_names_the_player_and_the_step_inside_the_chunk(make, player, step, steps_per_execution):
    module = diverging(breaking(make, player, step), steps_per_execution)
    with pytest.raises(
        Diverged,
        match=rf"must stay finite; the {player}'s weights became (inf|nan) at generator step {step}\. "
        rf".*optimizer\.{player}\.lr",
    ):
        run(module)


def test_divergence_counts_generator_steps():
    module = diverging(breaking(partial(Alternating, num_generator_steps=2), "generator", 6))
    with pytest.raises(Diverged, match=r"generator step 6\."):
        run(module)


def test_a_chunk_that_diverges_is_not_kept():
    module = diverging(breaking(Simultaneous, "generator", 17))
    with pytest.raises(Diverged, match=r"generator step 17\."):
        run(module)
    assert (only(module).rounds, only(module).logs) == (10, None)
    assert all(leaf.isfinite().all() for leaf in pytree.tree_leaves(only(module).state))


def test_a_run_that_explodes_is_named_at_the_round_that_a_hand_calculation_gives():
    """θ' = θ + hψ, ψ' = ψ − hθ with h = 1e60: after k rounds |θ|, |ψ| are 1e60 to the k.

    The first product of two that overflows is ψθ of the players after 3 rounds, in the losses of round 4.
    """
    module = diverging(Simultaneous(SGD(1e60), SGD(1e60)))
    with pytest.raises(
        Diverged, match=r"the discriminator's loss/discriminator became (-inf|inf|nan) at generator step 4"
    ):
        run(module)


# ---- many members


def members_of(*starts: int, breaks: int | None = None) -> GANModule:
    """Members that stand at these rounds, of seeds 0, 1, ...; the second breaks at a step if asked to."""
    members = []
    for seed, first in enumerate(starts):
        rules = Adam(1e-2, 0.5), Adam(2e-2 * (1 + seed), 0.5)
        dynamics: Any = Alternating(*rules)
        if breaks is not None:
            step = torch.inf if seed != 1 else breaks
            dynamics = Alternating(BreaksAt(step), SGD(0.0))
        member = Member(Method(small_game(), dynamics, {}), dataset(), LATENTS, 4, seed, 20)
        alone = GANModule([replace(member, num_steps=first)], Pace(100))
        alone.begin()
        for chunk in alone.chunks():
            alone.play(chunk)
        members.append(replace(only(alone), num_steps=20, dataset=member.dataset))
    module = GANModule(members, Pace(6))
    module.begin()
    return module


def test_members_behind_catch_up_and_all_end_as_alone():
    module = members_of(4, 10, 0)
    played = []
    for chunk in module.train_dataloader():
        played.append((tuple(member.seed for member in chunk.group), chunk.rounds))
        module.play(chunk)
    assert played == [
        ((2,), range(4)),
        *(((0, 2), range(4, 6)), ((0, 2), range(6, 10))),
        *(((0, 1, 2), range(10, 12)), ((0, 1, 2), range(12, 18)), ((0, 1, 2), range(18, 20))),
    ]
    for member in module.members:
        alone = members_of(*[0] * 3).members[member.seed]
        solo = GANModule([alone], Pace(100))
        run(solo)
        pairs = zip(*(pytree.tree_leaves(one.state) for one in (member, alone)), strict=True)
        for ours, theirs in pairs:  # of float64, over 20 rounds of Adam
            assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_a_member_that_diverges_is_left_where_it_was_and_the_others_go_on():
    module = members_of(0, 0, 0, breaks=8)
    for chunk in module.train_dataloader():
        module.play(chunk)
    first, broken, last = module.members
    assert (first.rounds, broken.rounds, last.rounds) == (20, 6, 20)
    assert first.fault is None is last.fault
    assert broken.fault is not None
    assert "the generator's weights became inf at generator step 8." in broken.fault


def test_members_share_their_data_on_the_device():
    shared = dataset()
    module = members_of(0, 0)
    for member in module.members:
        member.dataset = shared
    module.begin()
    assert module.members[0].dataset is module.members[1].dataset


# ---- under Lightning


class Notes(Callback):
    def __init__(self) -> None:
        self.steps: list[int] = []

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        self.steps.append(only(module).generator_steps)


def lightning(module: GANModule, *callbacks: Callback) -> Trainer:
    trainer = Trainer(
        accelerator="cpu", devices=1, max_epochs=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, callbacks=list(callbacks),
    )  # fmt: skip
    trainer.fit(module)
    return trainer


def test_lightning_plays_the_same_game_and_puts_the_result_into_the_modules():
    notes = Notes()
    module = module_of(20, 7, periods=(10,))
    lightning(module, notes)
    assert notes.steps == [7, 10, 14, 20]
    expected, _ = by_hand(20)
    must_equal(only(module).state, expected)
    game = only(module).method.game
    for network, vector in zip((game.generator, game.discriminator), expected.players, strict=True):
        assert torch.equal(network.flatten(), vector)


def test_lightning_ends_at_a_requested_stop():
    law = StopAt(8)
    module = law.module = module_of(20, 5, latents=law)
    lightning(module)
    assert only(module).rounds == 5
    must_equal(only(module).state, by_hand(5)[0])
