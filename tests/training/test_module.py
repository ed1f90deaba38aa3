"""GANModule: chunks of rounds, divergence by name, stopping, and training that its chunks do not change."""

import math
from dataclasses import dataclass
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
from saddle.rounds.execution import TrainingState, eager, start
from saddle.training.module import Diverged, GANModule

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
    module = GANModule(
        game or small_game(),
        dynamics or Alternating(Adam(1e-2, 0.5), Adam(2e-2, 0.5), 2, 1),
        AVERAGES,
        data or dataset(),
        latents,
        batch_size=4,
        seed=3,
        num_steps=num_steps,
        steps_per_execution=steps_per_execution,
        periods=periods,
    )
    module.on_fit_start()
    return module


def chunks(module: GANModule) -> list[range]:
    return list(module.train_dataloader())


def run(module: GANModule) -> list[dict[str, float]]:
    logs = []
    for chunk in module.train_dataloader():
        module.play(chunk)
        assert module.logs is not None
        logs.append(module.logs)
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
    module.rounds = begin
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
    module.rounds = 20
    assert module.finished
    assert chunks(module) == []


def test_no_chunk_follows_once_stop_is_requested():
    module = module_of(20, 5)
    found = []
    for chunk in module.train_dataloader():
        found.append(chunk)
        module.stop_requested = True
    assert found == [range(5)]


@pytest.mark.parametrize(("num_d", "num_g"), [(1, 1), (5, 1), (2, 3)])
def test_the_clock_counts_generator_steps_and_images_those_of_the_discriminator(num_d, num_g):
    module = module_of(4 * num_g, 2, dynamics=Alternating(SGD(0.01), SGD(0.01), num_d, num_g))
    assert (module.generator_steps, module.images_seen, module.finished) == (0, 0, False)
    run(module)
    assert (module.rounds, module.generator_steps, module.images_seen) == (4, 4 * num_g, 4 * num_d * 4)
    assert module.finished


# ---- training


@pytest.mark.parametrize(("steps_per_execution", "periods"), [(1, ()), (7, ()), (100, ()), (7, (5, 3))])
def test_chunks_do_not_change_the_training_by_a_bit(steps_per_execution, periods):
    module = module_of(20, steps_per_execution, periods)
    run(module)
    must_equal(module.state, by_hand(20)[0])


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
    for chunk in chunks(first)[:2]:
        first.play(chunk)
    second = module_of(20, 100)
    second.training_state, second.rounds = first.state, first.rounds
    second.on_fit_start()
    run(second)
    must_equal(second.state, by_hand(20)[0])


def test_playing_never_writes_to_a_state():
    module = module_of(20, 20)
    before = module.state
    copies = [leaf.clone() for leaf in pytree.tree_leaves(before)]
    run(module)
    assert all(map(torch.equal, pytree.tree_leaves(before), copies))


def test_the_state_cannot_be_read_before_fit():
    module = module_of()
    module.training_state = None
    with pytest.raises(RuntimeError, match="exists once fit has begun; read it from a callback"):
        module.state  # noqa: B018


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
    assert (module.rounds, module.logs) == (5, None)
    assert law.num_calls == call  # no further round was played
    must_equal(module.state, by_hand(5)[0])
    module.stop_requested = False
    run(module)
    must_equal(module.state, by_hand(20)[0])


def test_a_stop_in_the_last_round_of_a_chunk_keeps_it():
    law = StopAt(10)
    module = law.module = module_of(20, 5, latents=law)
    for chunk in module.train_dataloader():
        module.play(chunk)
    assert module.rounds == 10
    assert module.logs is not None


# ---- divergence


class Count(NamedTuple):
    num_steps: Tensor


@dataclass(frozen=True)
class BreaksAt:
    """Keeps its player where it is, and makes it infinite in one step."""

    step_number: int

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
    assert (module.rounds, module.logs) == (10, None)
    assert all(leaf.isfinite().all() for leaf in pytree.tree_leaves(module.state))


def test_a_run_that_explodes_is_named_at_the_round_that_a_hand_calculation_gives():
    """θ' = θ + hψ, ψ' = ψ − hθ with h = 1e60: after k rounds |θ|, |ψ| are 1e60 to the k.

    The first product of two that overflows is ψθ of the players after 3 rounds, in the losses of round 4.
    """
    module = diverging(Simultaneous(SGD(1e60), SGD(1e60)))
    with pytest.raises(
        Diverged, match=r"the discriminator's loss/discriminator became (-inf|inf|nan) at generator step 4"
    ):
        run(module)


# ---- under Lightning


class Notes(Callback):
    def __init__(self) -> None:
        self.steps: list[int] = []

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        self.steps.append(module.generator_steps)


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
    must_equal(module.state, expected)
    for network, vector in zip(
        (module.game.generator, module.game.discriminator), expected.players, strict=True
    ):
        assert torch.equal(network.flatten(), vector)


def test_lightning_ends_at_a_requested_stop():
    law = StopAt(8)
    module = law.module = module_of(20, 5, latents=law)
    lightning(module)
    assert module.rounds == 5
    must_equal(module.state, by_hand(5)[0])
