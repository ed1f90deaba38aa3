"""``saddle-reproduce``: what it runs, keeps, refuses and exits with. Claims here are of no paper."""

import csv
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from claims_written import written
from saddle.claims import job, runner
from saddle.claims.claim import read_claim
from saddle.claims.judging import Result, Verdict
from saddle.commands import reproduce as command
from saddle.commands.reproduce import reproduce, status
from saddle.game.refusals import Refused

MODULE = """
import os
from saddle.claims.measured import Measured

def count(asked, folder, value=0.5):
    for seed in asked.seeds:
        open(os.path.join(folder, f"{seed}-{os.getpid()}"), "w").close()
    asked.progress(0.5)
    return Measured({"q": [value] * len(asked.seeds)})

def breaks(asked, folder):
    raise ValueError("the game is lost")
"""


@pytest.fixture
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "ran").mkdir()
    (tmp_path / "measures_of_the_tests.py").write_text(MODULE)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(runner.__file__).parents[2]}")
    return tmp_path


def claim(conf: Path, name: str, function: str = "count", **changes: Any) -> None:
    settings = changes.pop("settings", {})
    measure = {"_target_": f"measures_of_the_tests.{function}", "folder": str(conf / "ran"), **settings}
    written(conf, name, measure=measure, **changes)


def run(conf: Path, *words: str, fresh: bool = False) -> list[Result]:
    return reproduce([*words, f"out={conf / 'out'}"], fresh, conf, conf / "kept")


def num_runs(conf: Path) -> int:
    return len([*(conf / "ran").iterdir()])


@pytest.mark.slow
def test_a_claim_is_measured_once_and_again_when_it_asks_for_something_else(conf):
    claim(conf, "mine", seeds=[0, 1], split=True)
    (result,) = run(conf, "mine")
    assert (result.verdict, status([result]), num_runs(conf)) == (
        Verdict.REPRODUCED,
        0,
        2,
    )  # a process a seed
    claim(conf, "mine", seeds=[0, 1], split=True, title="reworded",
          quantities={"q": {"paper": 0.5, "source": "pilot", "at_most": 0.4}})  # fmt: skip
    (result,) = run(conf, "mine")  # judged anew, not measured
    assert (result.verdict, status([result]), num_runs(conf)) == (Verdict.NOT_REPRODUCED, 1, 2)
    run(conf, "mine", fresh=True)
    assert num_runs(conf) == 4
    claim(conf, "mine", seeds=[0, 1], split=True, settings={"value": 0.45})
    run(conf, "mine")
    assert num_runs(conf) == 6


@pytest.mark.slow
def test_an_interrupted_claim_goes_on_with_the_seeds_that_are_missing(conf):
    claim(conf, "mine", seeds=[0, 1], split=True)
    run(conf, "mine")
    (conf / "kept").rglob("seed-1.json").__next__().unlink()
    (result,) = run(conf, "mine")
    assert num_runs(conf) == 3
    assert result.verdict is Verdict.REPRODUCED


@pytest.mark.slow
def test_a_claim_that_breaks_says_why_and_fails_without_stopping_others(conf, capsys):
    claim(conf, "broken", "breaks")
    claim(conf, "good")
    claim(conf, "wants", needs=["a GPU nobody has"])
    broken, good, wants = run(conf, "tag=exact")
    assert (good.verdict, broken.verdict, wants.verdict) == (
        Verdict.REPRODUCED, Verdict.NOT_RUN, Verdict.NOT_RUN,
    )  # fmt: skip
    assert "the game is lost" in broken.reason
    assert wants.reason == "needs a GPU nobody has"
    assert (status([good, wants]), status([broken])) == (0, 1)
    with open(conf / "out" / "claims.csv") as file:
        rows = [*csv.DictReader(file)]
    assert [(row["claim"], row["claim_verdict"]) for row in rows] == [
        ("broken", "not run"), ("good", "reproduced"), ("wants", "not run"),
    ]  # fmt: skip
    assert json.loads((conf / "out" / "provenance.json").read_text())["verdicts"]["good"] == "reproduced"
    page = (conf / "out" / "claims.html").read_text()
    assert "needs a GPU nobody has" in page
    assert "the game is lost" in page
    assert "1 reproduced, 2 not run" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["mien"], r"a claim must be one of mine; got mien\. Did you mean mine\?"),
        (["tag=exakt"], r"a tag must be one of all, exact; got exakt\. Did you mean exact"),
        (["tags=exact"], r"an option must be one of tag, .*; got tags=exact\. Did you mean tag"),
        (["jobs=0"], "jobs must be a whole number of at least 1; got 0"),
    ],
)
def test_unknown_words_are_refused_before_anything_runs(conf, words, message):
    claim(conf, "mine")
    with pytest.raises(Refused, match=message):
        run(conf, *words)
    assert not (conf / "kept").exists()


def test_a_broken_claim_file_is_refused_with_status_2(conf, monkeypatch, capsys):
    claim(conf, "mine", cost=None)
    monkeypatch.setattr(command, "config_directory", lambda: conf)
    monkeypatch.setattr(sys, "argv", ["saddle-reproduce", "mine"])
    with pytest.raises(SystemExit) as exit_:
        command.main()
    assert exit_.value.code == 2
    assert "mine.yaml has no cost. Give it." in capsys.readouterr().err


def test_a_failing_claim_exits_1(monkeypatch):
    monkeypatch.setattr(command, "reproduce", lambda *_, **__: [])
    monkeypatch.setattr(command, "status", lambda _: 1)
    monkeypatch.setattr(sys, "argv", ["saddle-reproduce"])
    with pytest.raises(SystemExit) as exit_:
        command.main()
    assert exit_.value.code == 1


def test_comments_and_docstrings_do_not_change_a_modules_digest():
    source = 'def f(x):\n    """Text."""\n    return x + 1\n'
    assert job._digest(source) == job._digest("def f(x):  # why\n    return (x + 1)\n")
    assert job._digest(source) != job._digest(source.replace("1", "2"))
    assert (
        job.code_digest("saddle.game.game")
        == job.code_digest("saddle.game.game")
        != job.code_digest("saddle.game.losses")
    )
    assert job.code_digest("saddle.no_such_module") == "none"


def test_a_result_counts_until_its_code_or_choices_change(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.yaml").write_text("x: 1")
    content = {
        "versions": job.versions(),
        "code": {"saddle.game.game": job.code_digest("saddle.game.game")},
        "conf": job.conf_digest(tmp_path),
    }
    assert job.is_current(content, tmp_path)
    assert not job.is_current(content | {"versions": {"torch": "0"}}, tmp_path)
    assert not job.is_current(content | {"code": {"saddle.game.game": "other"}}, tmp_path)
    written(tmp_path)  # a claim is no choice
    assert job.is_current(content, tmp_path)
    (tmp_path / "data" / "a.yaml").write_text("x: 2")
    assert not job.is_current(content, tmp_path)
    assert job.is_current(content | {"conf": None}, tmp_path)


def test_a_half_written_result_is_no_result(tmp_path):
    (task,) = runner.tasks(read_claim(written(tmp_path)), tmp_path)
    assert runner.read(task, tmp_path) is None
    task.result.parent.mkdir(parents=True)
    task.result.write_text('{"versions": ')
    assert runner.read(task, tmp_path) is None
