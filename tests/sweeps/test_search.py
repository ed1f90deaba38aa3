"""Searches: what the study is told of each run, and that no worker's death loses a trial."""

import os
import sqlite3
import sys
from functools import partial
from pathlib import Path

import pytest

from command_line import POINTS, call, environment
from saddle.commands import search as command
from saddle.records.record import open_record
from saddle.sweeps import trials
from saddle.sweeps.jobs import Job
from saddle.sweeps.launch import StopOnSignal
from saddle.sweeps.trials import Question, distributions, enrol

optuna = pytest.importorskip("optuna")

# A run whose numbers come from its words, without the seconds that importing torch takes.
STAND_IN = """
import math, signal, sys, time
from pathlib import Path
from saddle.metrics.values import HIGH, Value
from saddle.records.record import create, open_record
words = dict(word.split("=", 1) for word in sys.argv[1:])
folder = Path(words["hydra.run.dir"].strip("'"))
record = open_record(folder) if "resume" in words else create(folder, words["x"], {})
x = float(record.config.read_text())
def close(status, code):
    record.write_summary(status=status, exit_status=code, message=status, step=9, num_steps=9, images_seen=9,
                         meanings={"modes": Value(HIGH)}, time={"total": 1.0})
    record.report.write_text("report")
    sys.exit(code)
signal.signal(signal.SIGTERM, lambda *_: close("interrupted", 143))
if "resume" not in words:
    record.append(3, {"eval/kl": x, "eval/modes": -x})
if x > 10 and "resume" not in words:
    time.sleep(60)  # until it is pruned
record.append(9, {"eval/kl": math.nan if x == 2 else x * x, "eval/modes": 8 - x})
close("diverged" if x == 3 else "finished", int(x == 3))
"""


@pytest.fixture(autouse=True)
def _stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    program = (sys.executable, "-c", STAND_IN)
    monkeypatch.setattr(trials, "Job", partial(Job, program=program))
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def question(num_trials: int, *objectives: str, choices: list[float]) -> Question:
    return Question((), distributions({"x": {"choices": choices}}), objectives, "last", num_trials)


def study(folder: Path, choices: list[float], *directions: str, **options: object):
    sampler = optuna.samplers.GridSampler({"x": choices})
    storage = optuna.storages.RDBStorage(f"sqlite:///{folder / 'study.db'}")
    return optuna.create_study(
        study_name="s",
        storage=storage,
        directions=directions,
        sampler=sampler,
        load_if_exists=True,
        **options,
    )


def run(study, question: Question, folder: Path, jobs: int = 1) -> list[trials.Ended]:
    worker = enrol(folder)
    with worker.lock:
        return [*trials.search(study, question, folder, worker, jobs, StopOnSignal())]


def test_a_run_that_diverged_or_has_no_finite_number_fails_its_trial_and_no_other(tmp_path):
    choices = [1.0, 2.0, 3.0, 4.0]
    found = run(one := study(tmp_path, choices, "minimize"), question(4, "kl", choices=choices), tmp_path, 2)
    told = {trial.params["x"]: (trial.state.name, trial.values) for trial in one.trials}
    failed = ("FAIL", None)
    assert told == {1.0: ("COMPLETE", [1.0]), 2.0: failed, 3.0: failed, 4.0: ("COMPLETE", [16.0])}
    messages = {ended.status: ended.message for ended in found if ended.state == "fail"}
    assert messages == {"diverged": "diverged", "finished": "last of kl is not a finite number"}
    assert one.best_params == {"x": 1.0}
    assert run(one, question(4, "kl", choices=choices), tmp_path) == []  # the study has its trials


def test_several_objectives_give_the_pareto_front(tmp_path):
    choices = [1.0, 4.0]
    one = study(tmp_path, choices, "minimize", "maximize")
    run(one, question(2, "kl", "modes", choices=choices), tmp_path)
    assert [trial.values for trial in one.best_trials] == [[1.0, 7.0]]  # 16 and 4 are worse


def test_a_run_is_pruned_by_its_records_values(tmp_path):
    choices = [20.0]
    one = study(tmp_path, choices, "minimize", pruner=optuna.pruners.ThresholdPruner(upper=10))
    (ended,) = run(one, question(1, "kl", choices=choices), tmp_path)
    assert (ended.state, ended.status, ended.message) == ("pruned", "interrupted", None)
    assert one.trials[0].intermediate_values == {3: 20.0}
    assert open_record(ended.job.directory).read_summary()["status"] == "interrupted"


def test_a_trial_whose_worker_is_gone_is_resumed_by_the_next(tmp_path):
    choices = [1.0]
    one, asked = study(tmp_path, choices, "minimize"), question(1, "kl", choices=choices)
    gone = enrol(tmp_path)
    trial = one.ask(dict(asked.space))
    trial.set_user_attr(trials.WORKER, gone.number)
    assert run(one, asked, tmp_path) == []  # it is at work, for all we know
    gone.lock.close()
    (ended,) = run(one, asked, tmp_path)
    assert (ended.number, ended.state, ended.values) == (0, "complete", [1.0])
    assert [trial.state.name for trial in one.trials] == ["COMPLETE"]
    with (another := enrol(tmp_path)).lock:
        assert another.number == 3  # no number is used twice


class StopOnceARunHasBegun(StopOnSignal):
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def count(self) -> int:
        return int(any(self.folder.glob("*/summary.json")))


def test_a_search_that_is_stopped_lets_its_runs_save_and_the_next_goes_on_with_them(tmp_path):
    choices = [20.0]
    one, asked = study(tmp_path, choices, "minimize"), question(1, "kl", choices=choices)
    worker = enrol(tmp_path)
    with worker.lock:
        assert [*trials.search(one, asked, tmp_path, worker, 1, StopOnceARunHasBegun(tmp_path))] == []
    assert [trial.state.name for trial in one.trials] == ["RUNNING"]
    (ended,) = run(one, asked, tmp_path)
    assert (ended.number, ended.state, ended.values) == (0, "complete", [400.0])
    assert [row.step for row in open_record(ended.job.directory).rows()] == [3, 3, 9, 9]  # it was resumed


@pytest.mark.parametrize(
    ("space", "why"),
    [
        ({}, "must name at least one word"),
        ({"lr": {"low": 1.0}}, "search.space.lr must be"),
        ({"lr": {"low": 0.0, "high": 1.0, "log": True}}, "search.space.lr must be"),
        ({"lr": {"low": 2.0, "high": 1.0}}, "search.space.lr must be"),
        ({"lr": 3}, "search.space.lr must be"),
        ({"regularizer": {"choices": [["r1"]]}}, "write it as text"),
        ({"loss": {"choices": []}}, "search.space.loss must be"),
    ],
)
def test_a_space_that_cannot_be_searched_is_refused(space, why):
    with pytest.raises(ValueError, match=why):
        distributions(space)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["num_trials=0"], "num_trials must be a whole number between 1 and max_jobs=10000; got 0"),
        (["num_trials=100000"], "got 100000"),
        (["score=worst"], "score must be one of last, best, area; got worst"),
        (["objectives=[]"], "objectives must list metrics"),
        (
            ["metrics=points_full", "objectives=[one_nn]"],
            "better high or low; got one_nn, which is best at 0.5",
        ),
        (["jobs=0"], "jobs must be"),
        (["resume=somewhere"], "a search must begin its own runs"),
        (["search=ttu"], "Did you mean ttur"),
        (["+search.space.los.choices=[hinge]"], "los"),
        (["search=penalty", "+search.space.model.choices=[mlpp]"], "mlpp"),
        (["storage=nosuch://x"], "database must be one that Optuna can read"),
    ],
)
def test_a_search_that_cannot_be_is_refused(tmp_path, monkeypatch, capsys, words, why):
    monkeypatch.chdir(tmp_path)
    assert call(command.main, *POINTS, *words) == 2
    err = capsys.readouterr().err
    assert why in err
    assert err.count("saddle: ") == 1
    assert not [*tmp_path.rglob("config.yaml")]


def test_a_database_that_is_locked_or_broken_gets_one_message(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs" / "search" / "mine"
    folder.mkdir(parents=True)
    words = [*POINTS, "study=mine", "num_trials=1", "storage_timeout=0.05"]
    study_file = folder / "study.db"
    optuna.create_study(storage=f"sqlite:///{study_file}", study_name="another")
    with sqlite3.connect(study_file, isolation_level=None) as database:
        database.execute("BEGIN EXCLUSIVE")
        assert call(command.main, *words) == 2
        database.execute("ROLLBACK")
    database.close()
    locked = capsys.readouterr().err
    assert (
        "database is locked. Wait for the program that holds it, or give a longer storage_timeout" in locked
    )
    study_file.write_bytes(b"no database" * 1000)
    assert call(command.main, *words) == 2
    broken = capsys.readouterr().err
    assert "file is not a database. Restore the file, or move it away" in broken
    for err in (locked, broken):
        assert err.count("saddle: ") == 1
        assert "Traceback" not in err


@pytest.mark.slow
def test_a_search_trains_prints_the_best_and_keeps_to_its_question(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(trials, "Job", Job)  # a real run
    monkeypatch.chdir(tmp_path)
    words = [*POINTS, "study=mine", "objectives=[mmd]"]
    assert call(command.main, *words, "num_trials=1") == 0
    out = capsys.readouterr().out
    assert "best trial" in out
    assert "1 complete" in out
    (folder,) = (path.parent for path in tmp_path.glob("runs/search/mine/0000_*/summary.json"))
    record = open_record(folder)
    with sqlite3.connect(tmp_path / "runs" / "search" / "mine" / "study.db") as database:
        ((value,),) = database.execute("SELECT value FROM trial_values").fetchall()
    database.close()
    assert value == record.read_summary()["metrics"]["mmd"]["last"]
    lr = record.config.read_text().partition("lr: ")[2].split()[0]
    assert f"generator.lr-{float(lr):.4g}" in folder.name
    assert "jobs:" not in record.config.read_text()
    assert call(command.main, *words, "num_trials=1") == 0  # it has its trials
    assert call(command.main, *words, "num_trials=2", "loss=hinge") == 2
    err = capsys.readouterr().err
    assert "a study must keep its question; mine has other words" in err
    assert os.listdir(tmp_path / "runs") == ["search"]
