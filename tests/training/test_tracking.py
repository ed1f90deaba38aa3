"""Experiment trackers: offline unless asked, by the generator step, and never in the way of a run."""

import csv
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from saddle.records.record import open_record
from saddle.training.assembly import config_hash
from trackers import NOBODY, POINTS, history, messages, stored

pytestmark = pytest.mark.slow

STEPS = [0, 3, 4, 6, 8]  # where chunks of 3 and evaluations every 4 steps log something


@pytest.fixture(autouse=True)
def _float32_as_the_commands_have_it(_float64_by_default: None) -> None:
    torch.set_default_dtype(torch.float32)


def test_wandb_is_offline_by_default_and_needs_no_key(tracked, tmp_path, capsys):
    assert tracked(*POINTS, "hydra.run.dir=run", "seed=3", "tags=[a,b]") == 0  # conf's own logger
    assert NOBODY not in capsys.readouterr().err
    record = open_record(tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    run = messages(record, "run")[0]
    assert run.run_id == record.read_provenance()["run_id"]
    assert (run.job_type, [*run.tags]) == ("train", ["a", "b"])
    assert run.run_group == config_hash(OmegaConf.load(record.config))
    rows = history(record)
    logged = [row["generator_step"] for row in rows]
    assert sorted({*logged}) == STEPS
    assert logged == sorted(logged)
    found = {name: values for name, values in record.series().items() if name.startswith(("eval", "loss"))}
    for name, values in found.items():
        in_tracker = {row["generator_step"]: row[name] for row in rows if name in row}
        assert in_tracker == pytest.approx(values, rel=1e-12), name
    assert any("samples" in key for row in rows for key in row)


def test_online_without_a_key_is_refused_before_anything_starts(tracked, tmp_path, capsys):
    assert tracked(*POINTS, "logger.mode=online") == 2
    found = capsys.readouterr()
    assert found.err.startswith("saddle: logger.mode=online must find a W&B key; got none")
    assert "wandb login" in found.err
    assert "Traceback" not in found.err
    assert "step 0" not in found.err
    assert list(tmp_path.iterdir()) == []


def test_online_without_a_server_trains_offline_and_says_so(tracked, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    assert tracked(*POINTS, "logger.mode=online", "logger.wandb.init_timeout=2", "hydra.run.dir=run") == 0
    found = capsys.readouterr()
    assert "W&B cannot be reached" in found.err
    assert "logged offline" in found.err
    assert "wandb sync" in found.err
    assert "Traceback" not in found.err
    record = open_record(tmp_path / "run")
    assert record.read_summary()["status"] == "finished"
    assert [row["generator_step"] for row in history(record) if "eval/mmd" in row] == [0, 4, 8]


def test_a_mode_that_wandb_does_not_know_is_refused(tracked, tmp_path, capsys):
    assert tracked(*POINTS, "logger.mode=onlin") == 2
    found = capsys.readouterr()
    assert found.err.startswith("saddle: ")
    assert "onlin" in found.err
    assert "Traceback" not in found.err
    assert list(tmp_path.iterdir()) == []


def test_a_resumed_run_goes_on_in_the_tracker_under_its_id(tracked, tmp_path):
    assert tracked(*POINTS, "hydra.run.dir=run") == 0
    assert tracked("resume=run", "num_steps=12") == 0
    files = sorted((tmp_path / "run" / "wandb").glob("offline-run-*/run-*.wandb"))
    identity = open_record(tmp_path / "run").read_provenance()["run_id"]
    assert {path.stem for path in files} == {f"run-{identity}"}


def test_several_loggers_at_once_hold_the_same_numbers(tracked, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert tracked(*POINTS, "logger=[csv,tensorboard]", "hydra.run.dir=run") == 0
    record = open_record(tmp_path / "run")
    assert {path.name for path in record.directory.iterdir() if path.is_dir()} == {
        "checkpoints",
        "samples",
        "csv",
        "tensorboard",
    }
    events = EventAccumulator(str(record.directory / "tensorboard"))
    events.Reload()
    assert events.Tags()["images"] == ["samples"]
    assert [event.step for event in events.Images("samples")] == [0, 4, 8]
    with open(record.directory / "csv" / "metrics.csv", newline="") as file:
        table = list(csv.DictReader(file))
    for name, values in record.series().items():
        if name.startswith("held_out/"):
            continue
        scalars = {event.step: event.value for event in events.Scalars(name)}
        assert scalars == pytest.approx(values, rel=1e-6), name  # TensorBoard keeps float32
        column = {int(row["step"]): float(row[name]) for row in table if row[name]}
        assert column == pytest.approx(values, rel=1e-12), name
    assert "time/seconds_per_step" in events.Tags()["scalars"]


def test_without_a_logger_the_record_is_the_same(tracked, tmp_path):
    assert tracked(*POINTS, "logger=none", "hydra.run.dir=none") == 0
    assert tracked(*POINTS, "logger=[csv]", "hydra.run.dir=csv") == 0
    first, second = open_record(tmp_path / "none"), open_record(tmp_path / "csv")
    assert first.metrics.read_bytes() == second.metrics.read_bytes()
    assert {path.name for path in first.directory.iterdir() if path.is_dir()} == {"checkpoints", "samples"}


def test_every_job_of_a_sweep_in_one_process_has_its_own_run(tracked, tmp_path):
    assert tracked("-m", *POINTS, "seed=0,1", "hydra/launcher=basic", "hydra.sweep.dir=sweep") == 0
    runs = [messages(open_record(tmp_path / "sweep" / job), "run")[0] for job in ("0", "1")]
    assert runs[0].run_id != runs[1].run_id
    assert runs[0].run_group == runs[1].run_group
    for job in ("0", "1"):
        logged = [row["generator_step"] for row in history(open_record(tmp_path / "sweep" / job))]
        assert sorted({*logged}) == STEPS


def test_the_trackers_summary_holds_best_last_and_verdict(tracked, tmp_path):
    assert tracked(*POINTS, "hydra.run.dir=run") == 0
    record = open_record(tmp_path / "run")
    found: dict[str, Any] = {}
    for message in messages(record, "summary"):
        found |= stored(message.update)
    summary = record.read_summary()
    assert found["status"] == "finished"
    assert found["verdict"] == summary["verdict"]["word"]
    assert found["protocol"] == summary["protocol"]["fingerprint"]
    for metric in ("mmd", "modes"):
        assert found[f"last/{metric}"] == summary["metrics"][metric]["last"]
        assert found[f"best/{metric}"] == summary["metrics"][metric]["best"]
