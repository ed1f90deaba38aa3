"""Checkpoints: what is saved comes back to the bit, anything else is refused in words."""

import json
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils import _pytree as pytree

from saddle.data.sampling import draw_batches, normal_latents
from saddle.data.sources import TensorSource
from saddle.dynamics import Alternating, Simultaneous
from saddle.dynamics.averages import ExponentialAverage
from saddle.dynamics.optimizers import SGD, Adam, RMSProp
from saddle.game.game import Game
from saddle.game.losses import Hinge
from saddle.game.network import Network
from saddle.models import mlp
from saddle.records import checkpoints
from saddle.rounds.execution import TrainingState, eager, start

LATENTS = partial(normal_latents, size=3)
ADAM = Alternating(Adam(1e-2), Adam(1e-2))
AVERAGES = {"ema": ExponentialAverage(0.99)}
CPU = torch.device("cpu")


def game_of(width: int = 5) -> Game:
    return Game(
        Network(mlp.Generator(3, (2,), [width], 0.2)), Network(mlp.Discriminator((2,), [width], 0.2)), Hinge()
    )


def trained(game: Game, dynamics=ADAM, num_rounds: int = 3) -> TrainingState:
    state = start(game, dynamics, AVERAGES, CPU)
    for step in range(num_rounds):
        batches = draw_batches(
            TensorSource(torch.ones(4, 2)), LATENTS, game, 2, dynamics.num_batches, 0, step
        )
        state, _ = eager(game, dynamics, AVERAGES)(state, batches, step)
    return state


def fresh(game: Game, dynamics=ADAM) -> TrainingState:
    return start(game, dynamics, AVERAGES, CPU)


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, Game, TrainingState]:
    game = game_of()
    state, path = trained(game), tmp_path / "last.ckpt"
    checkpoints.save(path, game, 3, 6, state, owner="run-1")
    return path, game, state


@pytest.mark.parametrize("dynamics", [ADAM, Simultaneous(SGD(0.1, 0.5), RMSProp(0.1))], ids=repr)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_state_comes_back_to_the_bit(tmp_path, dynamics, dtype):
    torch.set_default_dtype(dtype)  # the fixture puts it back
    game = game_of()
    state, path = trained(game, dynamics), tmp_path / "last.ckpt"
    # the smallest and oddest numbers too
    state.players.generator[:5] = torch.tensor([-0.0, 5e-324, 1e-45, torch.inf, torch.nan])
    checkpoints.save(path, game, 3, 6, state)
    rounds, step, found = checkpoints.load(path, fresh(game, dynamics))
    assert (rounds, step) == (3, 6)
    assert pytree.tree_structure(found) == pytree.tree_structure(state)
    bits = torch.int32 if dtype == torch.float32 else torch.int64
    for one, expected in zip(pytree.tree_leaves(found), pytree.tree_leaves(state), strict=True):
        assert (one.dtype, one.shape) == (expected.dtype, expected.shape)
        assert torch.equal(one.contiguous().view(bits), expected.view(bits))


def test_training_goes_on_from_a_checkpoint_as_if_it_had_never_stopped(tmp_path):
    game, path = game_of(), tmp_path / "last.ckpt"
    checkpoints.save(path, game, 3, 3, trained(game))
    rounds, _, state = checkpoints.load(path, fresh(game))
    for step in range(rounds, 8):
        batches = draw_batches(TensorSource(torch.ones(4, 2)), LATENTS, game, 2, ADAM.num_batches, 0, step)
        state, _ = eager(game, ADAM, AVERAGES)(state, batches, step)
    for one, expected in zip(
        pytree.tree_leaves(state), pytree.tree_leaves(trained(game, num_rounds=8)), strict=True
    ):
        assert torch.equal(one, expected)


def test_a_checkpoint_needs_neither_trust_nor_saddle(saved):
    """The safe loader takes it, and no class of ours was ever declared safe to it."""
    path, game, state = saved
    assert not [one for one in torch.serialization.get_safe_globals() if "saddle" in str(one)]
    content = torch.load(path, weights_only=True)
    assert (content["format"], content["rounds"], content["step"], content["owner"]) == (1, 3, 6, "run-1")
    for name, network, vector in (
        ("generator", game.generator, state.players.generator),
        ("discriminator", game.discriminator, state.players.discriminator),
        ("averaged_generator", game.generator, state.evaluated),
    ):
        twin = game_of().generator.module if "generator" in name else game_of().discriminator.module
        twin.load_state_dict(content[name])  # strict: an ordinary state dict
        assert torch.equal(Network(twin).flatten(), vector)
        assert list(content[name]) == list(network.shapes)


def test_state_dicts_take_no_room_of_their_own(saved):
    path, *_ = saved
    content = torch.load(path, weights_only=True)
    del content["generator"], content["discriminator"], content["averaged_generator"]
    torch.save(content, path.with_name("leaves"))
    overhead = 6000  # names and shapes of a dozen tensors; grows with their number, not with their size
    assert path.stat().st_size < path.with_name("leaves").stat().st_size + overhead


def test_saving_replaces_whole_files_and_leaves_nothing_beside_them(saved):
    path, game, state = saved
    checkpoints.save(path, game, 4, 8, state, owner="run-1")
    assert [one.name for one in path.parent.iterdir()] == ["last.ckpt"]
    assert checkpoints.load(path, fresh(game), owner="run-1").rounds == 4


def test_a_save_that_fails_leaves_the_old_checkpoint(saved, monkeypatch):
    path, game, state = saved
    monkeypatch.setattr(torch, "save", lambda _, file: file.write(b"half") and 1 / 0)
    with pytest.raises(ZeroDivisionError):
        checkpoints.save(path, game, 4, 8, state)
    assert [one.name for one in path.parent.iterdir()] == ["last.ckpt"]
    assert checkpoints.load(path, fresh(game), owner="run-1").rounds == 3


def test_loading_does_not_share_memory_between_leaves_or_with_what_it_fits(saved):
    path, game, _ = saved
    like = fresh(game)
    before = [leaf.clone() for leaf in pytree.tree_leaves(like)]
    state = checkpoints.load(path, like, owner="run-1").state
    state.players.generator.zero_()
    assert state.evaluated.abs().sum() > 0
    assert all(map(torch.equal, pytree.tree_leaves(like), before))


# ---- refusals


def test_a_missing_checkpoint_is_refused(saved):
    path, game, _ = saved
    for wrong in (path.with_name("best.ckpt"), path.parent):
        with pytest.raises(
            ValueError, match=r"must exist to be loaded; there is no .*Give another run directory"
        ):
            checkpoints.load(wrong, fresh(game))


def test_a_truncated_checkpoint_is_refused_wherever_it_was_cut(saved):
    path, game, _ = saved
    whole = path.read_bytes()
    for size in (
        1,
        2,
        3,
        4,
        30,
        64,
        100,
        500,
        *range(1000, len(whole), 1777),
        len(whole) - 22,
        len(whole) - 1,
    ):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"must be a whole file written by Saddle; .* cannot be read"):
            checkpoints.load(path, fresh(game), owner="run-1")


def test_an_empty_checkpoint_is_refused(saved):
    path, game, _ = saved
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"must be a whole file written by Saddle; .* cannot be read"):
        checkpoints.load(path, fresh(game), owner="run-1")


FOREIGN = {
    "text": b"step,name,value\n1,loss,0.5\n",
    "json": json.dumps({"format": 1, "leaves": []}).encode(),
    "png": b"\x89PNG\r\n\x1a\n" + bytes(range(256)),
    "zeros": bytes(4096),
    "pickle of nothing": b"\x80\x02N.",
    "pickle opcodes": b"\x80\x02}q\x00.",
    "empty zip": b"PK\x05\x06" + bytes(18),
    "yaml": b"seed: 0\nmodel: mlp\n",
    "stack underflow": b"a.",
    "unknown memo": b"\x80\x02h\x07.",
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_file_is_refused(tmp_path, name):
    path = tmp_path / "last.ckpt"
    path.write_bytes(FOREIGN[name])
    with pytest.raises(
        ValueError, match=r"a checkpoint must be (a whole file written by Saddle|of Saddle's format 1); "
    ):
        checkpoints.load(path, fresh(game_of()))


class Surprise:
    """Its pickle would run code when it is loaded."""

    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("surprise"),))


def test_a_file_that_would_run_code_is_refused_and_runs_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "last.ckpt"
    torch.save({"format": 1, "leaves": [Surprise()]}, path)
    with pytest.raises(ValueError, match=r"must be a whole file written by Saddle"):
        checkpoints.load(path, fresh(game_of()))
    assert not (tmp_path / "surprise").exists()


def _linear_state() -> dict[str, torch.Tensor]:
    return nn.Linear(2, 2).state_dict()


@pytest.mark.parametrize(
    "make",
    [
        _linear_state,
        lambda: {"format": 2, "leaves": []},
        lambda: {"format": 1},
        lambda: torch.zeros(3),
        list,
    ],
)
def test_a_checkpoint_of_another_program_or_version_is_refused(tmp_path, make):
    path = tmp_path / "last.ckpt"
    torch.save(make(), path)
    with pytest.raises(
        ValueError, match=r"must be of Saddle's format 1; .* holds .*Resume with a checkpoint"
    ):
        checkpoints.load(path, fresh(game_of()))


def test_a_checkpoint_of_another_run_is_refused(saved):
    path, game, _ = saved
    with pytest.raises(
        ValueError, match=r"must belong to the run; .* was written by run 'run-1', this is run 'run-2'"
    ):
        checkpoints.load(path, fresh(game), owner="run-2")


FITS = r"must fit the run's networks, optimizers and dynamics; .* holds 12 tensors with \d+ numbers, the run "


def test_a_checkpoint_of_other_networks_or_rules_is_refused(saved):
    path, game, _ = saved
    for like in (
        fresh(game_of(6)),
        fresh(game, Alternating(SGD(0.1), SGD(0.1))),
        fresh(game, Alternating(Adam(0.1), RMSProp(0.1))),
    ):
        with pytest.raises(ValueError, match=FITS):
            checkpoints.load(path, like, owner="run-1")


def test_a_checkpoint_of_another_rule_with_as_much_memory_is_refused(tmp_path):
    game, path = game_of(), tmp_path / "last.ckpt"
    checkpoints.save(path, game, 3, 3, trained(game, Alternating(RMSProp(0.01), RMSProp(0.01))))
    with pytest.raises(ValueError, match="must fit the run's networks, optimizers and dynamics"):
        checkpoints.load(path, fresh(game, Alternating(SGD(0.01), SGD(0.01))))
