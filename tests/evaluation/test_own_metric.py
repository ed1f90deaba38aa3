"""A metric of one's own, a function and a YAML file, is measured, ordered, judged by and shown as ours."""

import csv
import itertools
import json
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from command_line import POINTS, Command
from command_line import call as command_call
from command_line import command as command
from pages import Page
from saddle.commands import evaluate, train
from saddle.metrics.values import HIGH, Role, Value, metric
from saddle.records.record import open_record
from saddle.reports.comparison import compare
from saddle.reports.selection import find, read

CALLS = itertools.count(1)


@metric({"gap": Value(role=Role.QUALITY, rank=0), "wide": Value(HIGH, Role.COUNT), "even": Value(0.5)})
def grown(real: Tensor, fake: Tensor) -> dict[str, float]:
    """Ever more gap, the number of the call, ever more width, and evenness a half off."""
    number = float(next(CALLS))
    return {"gap": number, "wide": number, "even": 1.0}


def plain(real: Tensor, fake: Tensor) -> float:
    """A function that says nothing of its number."""
    return float(len(fake))


@pytest.fixture(autouse=True)
def _float32_as_the_commands_have_it(_float64_by_default: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "CALLS", itertools.count(1))
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def conf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of choices: a set of metrics for runs, and one metric for an evaluation."""
    folder = tmp_path_factory.mktemp("conf")
    (folder / "metrics").mkdir()
    entries = "".join(
        f"    {name}:\n      _target_: {__name__}.{name}\n      _partial_: true\n"
        for name in ("plain", "grown")
    )
    mine = f"defaults: [points, _self_]\nmeasures:\n  points:\n{entries}best: [gap, even]\n"
    (folder / "metrics" / "mine.yaml").write_text(mine)
    (folder / "metrics" / "own.yaml").write_text(f"measures:\n  features:\n{entries}")
    return folder


def test_a_run_measures_orders_judges_and_shows_it(command: Command, tmp_path: Path, conf: Path):
    answer = command(train.main, f"--config-dir={conf}", *POINTS, "metrics=mine", "hydra.run.dir=run")
    assert answer.status == 0, answer.err
    record = open_record(tmp_path / "run")
    summary = record.read_summary()
    # held-out samples came first; then evaluations at steps 0, 5, 10, and at 10 of the raw generator
    assert record.series()["eval/gap"] == {0: 2.0, 5: 3.0, 10: 4.0}
    assert (summary["metrics"]["gap"]["best"], summary["metrics"]["wide"]["best"]) == (2.0, 4.0)
    assert summary["verdict"] == {
        "word": "collapsed",
        "reason": "gap ended at 4, 2 times its best of 2 at step 0: more than 25% of ground lost.",
    }
    assert record.checkpoint("best-gap").exists()
    for shown in ("gap ↓", "wide ↑", "even →0.5", "plain ↓", "mmd ↓", "modes ↑"):
        assert shown in answer.out
        assert shown in Page(record.report.read_text("utf-8")).text
    (block,) = compare(read(find(["run"]))).blocks
    assert block.metrics[:5] == ("gap", "mmd", "kl", "modes", "wide")  # quality by rank, then diversity
    assert {*block.metrics[5:]} == {"high_quality", "plain", "even"}
    assert (block.quality, block.diversity) == ("gap", "modes")
    assert block.collapse(0, "gap") == (1.0, 5)


def test_an_evaluation_measures_and_shows_it(command: Command, tmp_path: Path, conf: Path):
    words = "fake=ring8:held_out", "real=ring8", "features=identity", "metrics=[own,prdc]"
    sizes = "num_samples=50", "num_real=60", "output=[out.csv,out.json]"
    answer = command(evaluate.main, f"--config-dir={conf}", *words, *sizes)
    assert answer.status == 0, answer.err
    for shown in ("gap ↓", "wide ↑", "even →0.5", "plain ↓", "recall ↑"):
        assert shown in answer.out
    with open(tmp_path / "out.csv", newline="") as file:
        told = {row["metric"]: row["higher_is_better"] for row in csv.DictReader(file)}
    assert {told.pop(name) for name in ("precision", "recall", "density", "coverage")} == {"true"}
    assert told == {"gap": "false", "wide": "true", "even": "", "plain": "false"}
    settings = json.loads((tmp_path / "out.json").read_text())["protocol"]["metrics"]
    ours = {"precision_recall": "precision_recall(k=3)", "density_coverage": "density_coverage(k=5)"}
    assert settings == {"plain": "plain()", "grown": "grown()", **ours}


def test_a_configuration_may_say_what_a_function_does_not(tmp_path: Path, conf: Path):
    text = (conf / "metrics" / "mine.yaml").read_text()
    (conf / "metrics" / "mine.yaml").write_text(f"{text}higher_is_better: [plain]\nfloors: {{plain: even}}\n")
    words = f"--config-dir={conf}", *POINTS, "metrics=mine", f"hydra.run.dir={tmp_path}/run"
    assert command_call(train.main, *words) == 0
    metrics = open_record(tmp_path / "run").read_summary()["metrics"]
    assert (metrics["plain"]["higher_is_better"], metrics["plain"]["floor"]) == (True, 1.0)
    assert "even" not in metrics  # a floor is no metric itself
    assert metrics["modes"]["higher_is_better"]
