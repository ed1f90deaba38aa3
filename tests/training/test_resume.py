"""Runs that are killed or stopped: what they leave is whole, and going on changes no bit.

The processes are those of ``lives``, and one that starts from nothing.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

import saddle
from lives import RUN, Life, tensors, words_for
from saddle.records.record import Record, open_record

pytestmark = pytest.mark.slow


def complete(directory: Path) -> bool:
    """Whether nothing is left to resume: a kill can come between the last act and the end of the process."""
    if not (directory / "report.html").exists():
        return False
    return bool(open_record(directory).read_summary()["status"] == "finished")


def assert_same_end(record: Record, reference: Record) -> None:
    """Weights and memory to the bit, metrics.csv to the byte, and the same files."""
    assert record.metrics.read_bytes() == reference.metrics.read_bytes()
    for name in ("last", "best-kl", "best-mmd"):
        found, wanted = tensors(record.checkpoint(name)), tensors(reference.checkpoint(name))
        assert (found["step"], found["rounds"]) == (wanted["step"], wanted["rounds"])
        assert len(found["leaves"]) == len(wanted["leaves"])
        for one, other in zip(found["leaves"], wanted["leaves"], strict=True):
            assert torch.equal(one, other)
    assert files(record) == files(reference)
    for step, path in reference.read_samples().items():
        assert record.sample(step).read_bytes() == path.read_bytes()
    summary, wanted = record.read_summary(), reference.read_summary()
    del summary["time"], wanted["time"]
    assert summary == wanted


def files(record: Record) -> set[str]:
    return {str(path.relative_to(record.directory)) for path in record.directory.rglob("*")}


class Undisturbed(NamedTuple):
    record: Record
    seconds: float  # from the birth of its process to the end


@pytest.fixture(scope="module")
def undisturbed(processes, tmp_path_factory) -> Undisturbed:
    """The run as it goes when nobody stops it."""
    folder = tmp_path_factory.mktemp("undisturbed")
    began = time.perf_counter()
    with Life(processes, words_for(folder / "run"), folder) as life:
        assert life.end() == 0, life.log.read_text()
    return Undisturbed(open_record(folder / "run"), time.perf_counter() - began)


@pytest.fixture
def reference(undisturbed) -> Record:
    return undisturbed.record


def test_a_run_killed_at_ten_random_moments_ends_like_one_that_was_not(processes, undisturbed, tmp_path):
    chance = random.Random(0)
    directory = tmp_path / "run"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if "PYTHONPATH" in environment:
        environment["PYTHONPATH"] = str(Path(saddle.__file__).parents[1])
    line = [sys.executable, "-m", "saddle.commands.train", *words_for(directory)]
    with open(tmp_path / "log", "w") as log, subprocess.Popen(line, env=environment, stderr=log) as process:
        time.sleep(chance.uniform(0.2, 2.0))  # while it imports
        process.kill()
        assert process.wait(30) == -signal.SIGKILL
    kills, steps = 1, []
    while True:
        with Life(processes, words_for(directory), tmp_path) as life:
            if kills < 10:
                time.sleep(chance.uniform(0.03, 0.8) * undisturbed.seconds)
                life.send(signal.SIGKILL)
            status = life.end()
        if status == -signal.SIGKILL:
            kills += 1
            if (directory / "summary.json").exists():
                steps.append(open_record(directory).read_summary()["step"])
            if not complete(directory):
                continue
        else:
            assert status == 0, life.log.read_text()
        assert_same_end(open_record(directory), undisturbed.record)
        if kills == 10:
            break
        shutil.rmtree(directory)  # complete before its tenth death: another run
    assert len({*steps}) >= 3, f"the kills came too early or too late to mean anything: {steps}"


class DieAtWrite:
    """Kill the process at its n-th flush to disk or rename: between the two lies a half-made file."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __call__(self) -> None:
        left = self.number

        def fatal(function: Callable[..., Any]) -> Callable[..., Any]:
            def call(*arguments: Any, **keywords: Any) -> Any:
                nonlocal left
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return function(*arguments, **keywords)

            return call

        os.fsync, os.replace = fatal(os.fsync), fatal(os.replace)  # type: ignore[assignment]


def test_a_run_killed_in_the_middle_of_its_writes_ends_like_one_that_was_not(processes, reference, tmp_path):
    directory = tmp_path / "run"
    chance = random.Random(1)
    numbers = [1, 4, 7, 8, 11, 13, 14, 15, 16, 1, 2, 3]  # making the record, step 0, first checkpoint, resume
    lives = 0
    while True:
        number = numbers[lives] if lives < len(numbers) else chance.randint(20, 60)
        with Life(processes, words_for(directory), tmp_path, DieAtWrite(number)) as life:
            status = life.end()
        lives += 1
        assert status in (0, -signal.SIGKILL), life.log.read_text()
        if status == 0 or complete(directory):
            break
        assert lives < 60
        if (directory / "summary.json").exists():
            with open(directory / "metrics.csv", "ab") as file:
                file.write(b"9999,loss/gener")  # as a kill leaves a line that it tore
    assert lives > len(numbers)
    assert_same_end(open_record(directory), reference)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_run_stopped_by_a_signal_says_so_and_goes_on_to_the_same_end(
    processes, reference, tmp_path, number, status
):
    directory = tmp_path / "run"
    with Life(processes, words_for(directory), tmp_path) as life:
        wait_for(lambda: "\n35," in (directory / "metrics.csv").read_text() if directory.exists() else False)
        life.send(number)
        assert life.end() == status, life.log.read_text()
    output = life.log.read_text()
    assert "Traceback" not in output
    assert f"stopped by {number.name} at generator step" in output
    record = open_record(directory)
    summary = record.read_summary()
    assert (summary["status"], summary["exit_status"]) == ("interrupted", status)
    assert 35 <= summary["step"] < 160
    assert tensors(record.checkpoint("last"))["step"] == summary["step"]
    assert max(row.step for row in record.rows()) == summary["step"]
    assert record.report.exists()
    with Life(processes, [f"resume={directory}"], tmp_path) as life:
        assert life.end() == 0, life.log.read_text()
    assert_same_end(record, reference)


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if condition():
                return
        except FileNotFoundError:
            pass
        time.sleep(0.005)
    raise AssertionError(f"nothing came of it in {seconds} s")


class SignalSelf:
    """Send the process a signal as it enters a function."""

    def __init__(self, number: signal.Signals, owner: str, name: str) -> None:
        self.number, self.owner, self.name = number, owner, name

    def __call__(self) -> None:
        import importlib

        module, _, kind = self.owner.partition(":")
        owner: Any = importlib.import_module(module)
        if kind:
            owner = getattr(owner, kind)
        function = getattr(owner, self.name)
        number = self.number

        def call(*arguments: Any, **keywords: Any) -> Any:
            os.kill(os.getpid(), number)
            return function(*arguments, **keywords)

        setattr(owner, self.name, call)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_during_the_first_evaluation_stops_the_run_as_cleanly(
    processes, reference, tmp_path, number, status
):
    directory = tmp_path / "run"
    hook = SignalSelf(number, "saddle.evaluation.evaluator:Evaluator", "of_held_out")
    with Life(processes, words_for(directory), tmp_path, hook) as life:
        assert life.end() == status, life.log.read_text()
    assert "Traceback" not in life.log.read_text()
    summary = open_record(directory).read_summary()
    assert (summary["status"], summary["exit_status"], summary["step"]) == ("interrupted", status, 0)
    with Life(processes, [f"resume={directory}"], tmp_path) as life:
        assert life.end() == 0, life.log.read_text()
    assert_same_end(open_record(directory), reference)


def die_after_the_last_checkpoint() -> None:
    from saddle.records.record import Record

    write_summary = Record.write_summary

    def call(record: Record, **content: Any) -> Any:
        if content["step"] == 160:
            os.kill(os.getpid(), signal.SIGKILL)
        return write_summary(record, **content)

    Record.write_summary = call  # type: ignore[method-assign,assignment]


@pytest.mark.parametrize(
    "hook",
    [die_after_the_last_checkpoint, SignalSelf(signal.SIGKILL, "saddle.training.recorder", "write_report")],
)
def test_a_run_killed_after_its_last_step_is_finished_by_resuming(processes, reference, tmp_path, hook):
    directory = tmp_path / "run"
    with Life(processes, words_for(directory), tmp_path, hook) as life:
        assert life.end() == -signal.SIGKILL
    record = open_record(directory)
    assert tensors(record.checkpoint("last"))["step"] == 160
    assert not record.report.exists()
    with Life(processes, [f"resume={directory}"], tmp_path) as life:
        assert life.end() == 0, life.log.read_text()
    assert_same_end(record, reference)


def test_seconds_of_all_sessions_add_up(reference, processes, tmp_path):
    directory = tmp_path / "run"
    shutil.copytree(reference.directory, directory)
    before = open_record(directory).read_summary()["time"]
    with Life(processes, [f"resume={directory}", "num_steps=200"], tmp_path) as life:
        assert life.end() == 0, life.log.read_text()
    record = open_record(directory)
    after = record.read_summary()
    assert (after["status"], after["step"], after["num_steps"]) == ("finished", 200, 200)
    for part in ("total", "train", "evaluate"):
        assert after["time"][part] > before[part]
    assert record.metrics.read_bytes().startswith(reference.metrics.read_bytes())


def test_steps_per_execution_does_not_change_the_training(reference, processes, tmp_path):
    words = [*RUN, "steps_per_execution=50", f"hydra.run.dir={tmp_path / 'run'}"]
    with Life(processes, words, tmp_path) as life:
        assert life.end() == 0, life.log.read_text()
    record = open_record(tmp_path / "run")
    pairs = zip(
        tensors(record.checkpoint("last"))["leaves"],
        tensors(reference.checkpoint("last"))["leaves"],
        strict=True,
    )
    assert all(torch.equal(one, other) for one, other in pairs)
    for name, values in reference.series().items():
        if name.startswith("eval"):
            assert record.series()[name] == values
    # a chunk ends at every period's multiple and at its own
    assert [*record.series()["loss/generator"]] == sorted({*range(20, 161, 20), 50, 150})
