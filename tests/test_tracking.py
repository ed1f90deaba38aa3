"""Experiment trackers: offline unless asked, by the generator step, and never in the way of a run."""

import csv
import json
import struct
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import wandb
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from saddle.commands import train
from saddle.commands.compose import config_hash
from saddle.records import Record, open_record

pytestmark = pytest.mark.slow

POINTS = [
    "data=ring8",
    "model=mlp",
    "batch_size=16",
    "num_steps=8",
    "evaluate_every=4",
    "checkpoint_every=4",
    "steps_per_execution=3",
    "data.num_train=300",
    "data.num_held_out=100",
    "metrics.num_samples=100",
    "metrics.num_real=100",
    "model.generator.hidden=[16]",
    "model.discriminator.hidden=[16]",
]
NOBODY = "http://127.0.0.1:9"  # the discard port: nothing listens there
STEPS = [0, 3, 4, 6, 8]  # where chunks of 3 and evaluations every 4 steps log something


@pytest.fixture(autouse=True)
def _float32_as_the_commands_have_it(_float64_by_default: None) -> None:
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., int]]:
    """``command(*words)``: exit status of ``saddle-train`` in an empty folder, with no W&B account."""
    wandb.teardown()  # it remembers the environment of its first use
    monkeypatch.chdir(tmp_path)
    home = tmp_path.parent / f"{tmp_path.name}-home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("NETRC", str(home / "netrc"))
    monkeypatch.setenv("WANDB_BASE_URL", NOBODY)  # whatever goes wrong, nobody is called
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)

    def run(*words: str) -> int:
        GlobalHydra.instance().clear()
        monkeypatch.setattr(sys, "argv", ["saddle-train", *words])
        monkeypatch.setenv("HYDRA_FULL_ERROR", "1")  # the command sets it; this restores it
        try:
            train.main()
        except SystemExit as stop:
            return int(stop.code or 0)
        return 0

    return run


def messages(record: Record, kind: str) -> list[Any]:
    """The messages of one kind in W&B's offline file of a run.

    The file is a 7-byte header and LevelDB's log: blocks of 32 KiB with fragments of (crc, length,
    type, bytes), type 1 a whole message, 2 to 4 its first, middle and last part.
    """
    from wandb.proto import wandb_internal_pb2

    wandb.teardown()  # as at the end of a process: only then is everything in the file
    (path,) = record.directory.glob("wandb/offline-run-*/run-*.wandb")
    content, position, whole, found = path.read_bytes(), 7, b"", []
    while position + 7 <= len(content):
        if 32768 - position % 32768 < 7:  # too short for a fragment: padding
            position += 32768 - position % 32768
            continue
        _, length, part = struct.unpack_from("<IHB", content, position)
        whole += content[position + 7 : position + 7 + length]
        position += 7 + length
        if part in (1, 4):
            message = wandb_internal_pb2.Record.FromString(whole)
            whole = b""
            if message.WhichOneof("record_type") == kind:
                found.append(getattr(message, kind))
    return found


def values(items: Iterable[Any]) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def history(record: Record) -> list[dict[str, Any]]:
    """What W&B holds of a run, one dictionary a logged step."""
    return [values(message.item) for message in messages(record, "history")]


def test_wandb_is_offline_by_default_and_needs_no_key(command, tmp_path, capsys):
    assert command(*POINTS, "hydra.run.dir=run", "seed=3", "tags=[a,b]") == 0  # conf's own logger
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


def test_online_without_a_key_is_refused_before_anything_starts(command, tmp_path, capsys):
    assert command(*POINTS, "logger.mode=online") == 2
    found = capsys.readouterr()
    assert found.err.startswith("saddle: logger.mode=online must find a W&B key; got none")
    assert "wandb login" in found.err
    assert "Traceback" not in found.err
    assert "step 0" not in found.err
    assert list(tmp_path.iterdir()) == []


def test_online_without_a_server_trains_offline_and_says_so(command, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    assert command(*POINTS, "logger.mode=online", "logger.wandb.init_timeout=2", "hydra.run.dir=run") == 0
    found = capsys.readouterr()
    assert "W&B cannot be reached" in found.err
    assert "logged offline" in found.err
    assert "wandb sync" in found.err
    assert "Traceback" not in found.err
    record = open_record(tmp_path / "run")
    assert record.read_summary()["status"] == "finished"
    assert [row["generator_step"] for row in history(record) if "eval/mmd" in row] == [0, 4, 8]


def test_a_mode_that_wandb_does_not_know_is_refused(command, tmp_path, capsys):
    assert command(*POINTS, "logger.mode=onlin") == 2
    found = capsys.readouterr()
    assert found.err.startswith("saddle: ")
    assert "onlin" in found.err
    assert "Traceback" not in found.err
    assert list(tmp_path.iterdir()) == []


def test_a_resumed_run_goes_on_in_the_tracker_under_its_id(command, tmp_path):
    assert command(*POINTS, "hydra.run.dir=run") == 0
    assert command("resume=run", "num_steps=12") == 0
    files = sorted((tmp_path / "run" / "wandb").glob("offline-run-*/run-*.wandb"))
    identity = open_record(tmp_path / "run").read_provenance()["run_id"]
    assert {path.stem for path in files} == {f"run-{identity}"}


def test_several_loggers_at_once_hold_the_same_numbers(command, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert command(*POINTS, "logger=[csv,tensorboard]", "hydra.run.dir=run") == 0
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


def test_without_a_logger_the_record_is_the_same(command, tmp_path):
    assert command(*POINTS, "logger=none", "hydra.run.dir=none") == 0
    assert command(*POINTS, "logger=[csv]", "hydra.run.dir=csv") == 0
    first, second = open_record(tmp_path / "none"), open_record(tmp_path / "csv")
    assert first.metrics.read_bytes() == second.metrics.read_bytes()
    assert {path.name for path in first.directory.iterdir() if path.is_dir()} == {"checkpoints", "samples"}


def test_every_job_of_a_sweep_in_one_process_has_its_own_run(command, tmp_path):
    assert command("-m", *POINTS, "seed=0,1", "hydra/launcher=basic", "hydra.sweep.dir=sweep") == 0
    runs = [messages(open_record(tmp_path / "sweep" / job), "run")[0] for job in ("0", "1")]
    assert runs[0].run_id != runs[1].run_id
    assert runs[0].run_group == runs[1].run_group
    for job in ("0", "1"):
        logged = [row["generator_step"] for row in history(open_record(tmp_path / "sweep" / job))]
        assert sorted({*logged}) == STEPS


def test_the_trackers_summary_holds_best_last_and_verdict(command, tmp_path):
    assert command(*POINTS, "hydra.run.dir=run") == 0
    record = open_record(tmp_path / "run")
    found: dict[str, Any] = {}
    for message in messages(record, "summary"):
        found |= values(message.update)
    summary = record.read_summary()
    assert found["status"] == "finished"
    assert found["verdict"] == summary["verdict"]["word"]
    assert found["protocol"] == summary["protocol"]["fingerprint"]
    for metric in ("mmd", "modes"):
        assert found[f"last/{metric}"] == summary["metrics"][metric]["last"]
        assert found[f"best/{metric}"] == summary["metrics"][metric]["best"]
