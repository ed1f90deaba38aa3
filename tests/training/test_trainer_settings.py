"""Of Lightning's trainer a run takes where it computes; what would cut it short or be ignored is refused."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from pytorch_lightning import Trainer
from torch.testing import assert_close

from command_line import POINTS, assert_refused, call
from compositions import composed
from saddle.commands import train
from saddle.records.outcome import Outcome
from saddle.records.record import open_record
from saddle.records.sweep_index import read
from saddle.training import runs, trainer_settings
from saddle.training.assembly import assemble

PLAIN = {"accelerator": "cpu", "devices": 1, "precision": "32-true"}


@pytest.fixture(autouse=True)
def _float32_as_the_commands_have_it(_float64_by_default: None) -> None:
    torch.set_default_dtype(torch.float32)


def check(**settings: Any) -> None:
    trainer_settings.check(OmegaConf.create({**PLAIN, **settings}))


@pytest.mark.parametrize(
    ("key", "value", "instead"),
    [
        ("max_steps", 1, "Take num_steps instead"),
        ("max_epochs", 3, "Take num_steps instead"),
        ("max_time", "00:00:00:01", "Take num_steps instead"),
        ("limit_train_batches", 1, "Take num_steps instead"),
        ("fast_dev_run", True, "Take num_steps instead"),
        ("overfit_batches", 1, "Take num_steps instead"),
        ("gradient_clip_val", 1.0, r"Take update\.PLAYER\.max_gradient_norm instead"),
        ("accumulate_grad_batches", 2, "Take batch_size instead"),
        ("val_check_interval", 10, "Take evaluate_every instead"),
        ("enable_checkpointing", True, "Take checkpoint_every instead"),
        ("logger", False, r"Take logger=\[\.\.\.\] instead"),
        ("default_root_dir", "x", r"Take hydra\.run\.dir instead"),
        ("strategy", "ddp", "Take a run for each device instead"),
        ("profiler", "simple", "Drop it"),
    ],
)
def test_a_key_that_means_nothing_to_a_run_is_refused_with_what_does(key, value, instead):
    with pytest.raises(
        ValueError, match=rf"must take .* only accelerator, .* got trainer\.{key}\. {instead}"
    ):
        check(**{key: value})


def test_every_key_is_one_of_lightnings_or_was_asked_for():
    known = {*Trainer.__init__.__wrapped__.__code__.co_varnames}  # type: ignore[attr-defined]
    assert known >= {*trainer_settings.TAKEN, *trainer_settings.INSTEAD} - {"seed"}


@pytest.mark.parametrize("key", ["deterministic", "benchmark", "detect_anomaly"])
def test_a_switch_is_true_or_false(key):
    check(**{key: False})
    with pytest.raises(ValueError, match=rf"trainer\.{key} must be true or false; got abc"):
        check(**{key: "abc"})


@pytest.mark.parametrize("precision", ["32-true", "32", 32, "bf16-mixed"])
def test_precisions_that_work_are_taken(precision):
    check(precision=precision)


@pytest.mark.parametrize(
    ("precision", "reason"),
    [
        ("16-mixed", r"half precision: .* got trainer\.precision=16-mixed\. Take 32-true or bf16-mixed"),
        ("64-true", r"float32: .* must be 32-true or bf16-mixed; got 64-true"),
        ("bf16-true", r"float32: .* got bf16-true"),
        ("transformer-engine", r"float32: .* got transformer-engine"),
        (None, r"float32: .* got null"),
    ],
)
def test_other_precisions_are_refused_before_lightning_sees_them(precision, reason):
    with pytest.raises(ValueError, match=reason):  # not Lightning's warning, an error in tests
        check(precision=precision)


@pytest.mark.parametrize("devices", ["auto", 2, -1, True, [0]])
def test_a_run_has_one_device(devices):
    with pytest.raises(ValueError, match=r"got trainer\.devices=.*\. Take trainer\.devices=1\."):
        check(devices=devices)
    with pytest.raises(ValueError, match=r"got trainer\.devices=auto"):
        trainer_settings.check(OmegaConf.create({"accelerator": "cpu"}))  # as Lightning would take it


@pytest.mark.parametrize("accelerator", ["tpu", "abacus"])
def test_an_accelerator_that_is_not_there_is_refused(accelerator):
    with pytest.raises(ValueError, match=r"this machine can meet; got: .* Choose trainer=default or trainer"):
        check(accelerator=accelerator)


def test_a_refused_trainer_leaves_nothing_behind(command, tmp_path):
    answer = command(train.main, *POINTS, "+trainer.max_time=1", "+trainer.gradient_clip_val=1")
    got = "got trainer.max_time, trainer.gradient_clip_val"
    assert_refused(answer, tmp_path, got, "Take num_steps, update.PLAYER.max_gradient_norm instead")
    answer = command(train.main, *POINTS, "ensemble.seeds=2", "trainer.precision=64-true")
    assert_refused(answer, tmp_path, "must be 32-true or bf16-mixed", "got 64-true")


def test_a_run_is_finished_only_when_its_steps_are_made():
    member = assemble(composed("data=ring8", "model=mlp")).member
    recorder: Any = SimpleNamespace(member=member, record=SimpleNamespace(directory=Path("somewhere")))
    stop: Any = SimpleNamespace(received=None)

    def outcome(rounds: int) -> Outcome:  # after a trainer that ends too early, or does not
        member.rounds = rounds
        return runs._outcome(recorder, stop)

    assert outcome(member.num_steps) == Outcome("finished", 0)
    found = outcome(1)
    assert (found.status, found.exit_status) == ("failed", 1)
    assert found.message == (
        f"training ended by itself at generator step 1 of {member.num_steps}; resume=somewhere goes on"
    )


def test_an_ensemble_in_mixed_precision_trains_as_solo_runs_do_and_measures_in_float32(tmp_path):
    words = [*POINTS, "trainer.precision=bf16-mixed"]
    assert call(train.main, *words, "ensemble.seeds=2", f"hydra.sweep.dir={tmp_path / 'e'}") == 0
    assert call(train.main, *words, "seed=1", f"hydra.run.dir={tmp_path / 'mixed'}") == 0
    assert call(train.main, *POINTS, "seed=1", f"hydra.run.dir={tmp_path / 'full'}") == 0
    member = open_record(tmp_path / "e" / read(tmp_path / "e" / "index.csv")[1]["directory"]).series()
    mixed, full = (open_record(tmp_path / name).series() for name in ("mixed", "full"))
    assert member.keys() == mixed.keys()
    for name in ("loss/generator", "loss/discriminator", "eval/mmd"):
        # a few roundings of bfloat16, of 2⁻⁹ each; 1e-4 was seen
        assert_close([*member[name].values()], [*mixed[name].values()], rtol=1e-2, atol=0.0)
    # what one loss is says that bfloat16 was at work: means over chunks of at most 3 rounds
    assert member["loss/generator"][3] != full["loss/generator"][3]
    assert member["eval/mmd"][0] == full["eval/mmd"][0]  # the same untrained generator, the same precision
