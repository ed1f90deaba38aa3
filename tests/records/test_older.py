"""Records of earlier versions are resumed, evaluated and compared as what they were."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from command_line import POINTS, Command
from command_line import command as command
from meanings import MEANINGS
from saddle.commands import compare as compare_command
from saddle.commands import evaluate, train
from saddle.metrics.values import HIGH, LOW, Role, Value
from saddle.records import older
from saddle.records.record import Record, open_record
from saddle.reports.comparison import compare
from saddle.reports.selection import find, read
from synthetic import record

# modules of an earlier version -> where what they held lies today
NAMED_THEN = {
    "saddle.game.losses.": "saddle.losses.",
    "saddle.game.penalties.discriminator.": "saddle.regularizers.",
    "saddle.dynamics.optimizers.": "saddle.optimizers.",
    "saddle.dynamics.averages.": "saddle.averages.",
    "saddle.dynamics.schedules.": "saddle.schedules.",
    "saddle.features.extractors.": "saddle.features.",
    "saddle.rounds.execution.": "saddle.execution.",
}
TOLD_THEN = (
    *("higher_is_better", "best", "step_of_best", "last", "last_step", "last_over_best", "area"),
    *("num_evaluations", "floor"),
)


def as_written_then(made: Record) -> None:
    """Rewrite a record of metrics=points as an earlier version would have written it."""
    text = made.config.read_text()
    for today, then in NAMED_THEN.items():
        text = text.replace(today, then)
    config = yaml.safe_load(text)
    config["metrics"] |= {"higher_is_better": ["modes", "high_quality"], "floors": {"kl": "kl_floor"}}
    made.config.write_text(yaml.safe_dump(config, sort_keys=False))
    summary = made.read_summary()
    summary["metrics"] = {
        name: {key: found[key] for key in TOLD_THEN} for name, found in summary["metrics"].items()
    }
    made.summary.write_text(json.dumps(summary))


@pytest.fixture
def _float32_as_the_commands_have_it(_float64_by_default: None) -> None:
    torch.set_default_dtype(torch.float32)


@pytest.mark.slow
@pytest.mark.usefixtures("_float32_as_the_commands_have_it")
def test_an_earlier_run_is_evaluated_resumed_and_compared_with_one_of_today(command: Command, tmp_path: Path):
    for name, seed in (("then", 0), ("now", 1)):
        assert command(train.main, *POINTS, f"seed={seed}", f"hydra.run.dir={name}").status == 0
    then = open_record(tmp_path / "then")
    before = then.read_summary()
    as_written_then(then)
    assert "saddle.losses." in then.config.read_text()

    (block,) = compare(read(find(["then", "now"]))).blocks
    assert [[run.seed for run in group.runs] for group in block.groups] == [[0, 1]]  # one question
    alone = [compare(read(find([name]))).blocks[0] for name in ("then", "now")]
    assert alone[0].metrics == alone[1].metrics == block.metrics
    assert alone[0].meanings == alone[1].meanings

    answer = command(evaluate.main, "run=then", "output=out.json")
    assert answer.status == 0, answer.err
    last = {name: found["last"] for name, found in before["metrics"].items()}
    measured = json.loads((tmp_path / "out.json").read_text())["metrics"]
    assert {name: measured[name] for name in last} == pytest.approx(last, rel=1e-5)  # other batches, float32

    answer = command(train.main, "resume=then", "num_steps=20")
    assert answer.status == 0, answer.err
    assert "saddle.losses." in then.config.read_text()  # a record is not rewritten
    assert command(train.main, *POINTS, "num_steps=20", "hydra.run.dir=whole").status == 0
    whole = open_record(tmp_path / "whole")
    # the first session measured the raw generator at its own end
    assert [row for row in then.rows() if not (row.name.startswith("eval_raw") and row.step == 10)] == [
        *whole.rows()
    ]
    assert then.read_summary()["metrics"] == whole.read_summary()["metrics"]
    assert then.read_summary()["verdict"] == whole.read_summary()["verdict"]


def test_an_earlier_summary_is_read_by_the_names_that_it_knew(tmp_path: Path):
    """The tables of a comparison are those of the same runs with a summary of today."""
    texts = []
    for version in ("today", "then"):
        for seed in range(3):
            for loss in ("hinge", "minimax"):
                made = record(
                    tmp_path / version / f"{loss}{seed}", loss=loss, seed=seed, fid=(9, 4, 3 + seed)
                )
                if version == "then":
                    summary = made.read_summary()
                    for name, found in summary["metrics"].items():
                        summary["metrics"][name] = {key: found[key] for key in TOLD_THEN}
                    made.summary.write_text(json.dumps(summary))
        folder = tmp_path / version / "comparison"
        compare_command.compare([str(tmp_path / version), f"out={folder}"])
        names = ("groups.csv", "pairs.csv", "table.tex")
        texts.append([(folder / name).read_text() for name in names])
    assert texts[0] == texts[1]


def test_a_summary_of_today_says_itself_what_its_metrics_mean():
    stored = {"kl": Value(HIGH, Role.COUNT, 3).stored(), "fid": {"higher_is_better": False}}
    found = older.meanings(stored)
    assert found["kl"] == Value(HIGH, Role.COUNT, 3)  # whatever that name once meant
    assert found["fid"] == MEANINGS["fid"]


def test_a_name_that_had_another_direction_has_that_alone():
    found = older.meanings({"modes": {"higher_is_better": False}, "odd": {"higher_is_better": True}})
    assert found == {"modes": Value(LOW), "odd": Value(HIGH)}


def test_an_earlier_configuration_names_what_is_better_high_and_floors():
    found = older.configured({"higher_is_better": ["modes", "mine"], "floors": {"kl": "least"}})
    assert found["modes"] == MEANINGS["modes"]
    assert found["mine"] == Value(HIGH)
    assert found["kl"] == Value(role=Role.QUALITY, rank=2, near_zero=True, floor="least")
    assert found["recall"] == Value(LOW)  # it was not named there
    assert older.configured({"best": ["fid"]}) == older.MEANT


@pytest.mark.parametrize(
    ("metrics", "left"),
    [
        ({"higher_is_better": ["modes", "high_quality"], "floors": {"kl": "kl_floor"}, "best": ["kl"]}, {}),
        ({"higher_is_better": [], "floors": {}, "best": ["kl"]}, {}),
        ({"higher_is_better": ["modes", "mine"], "best": ["kl"]}, {"higher_is_better": ["mine"]}),
        ({"floors": {"kl": "least"}, "best": ["kl"]}, {"floors": {"kl": "least"}}),
        ({"best": ["kl"]}, {}),
    ],
)
def test_a_question_is_asked_without_what_metrics_say_themselves_today(metrics: Any, left: Any):
    config = {"seed": 3, "metrics": metrics, "loss": {"_target_": "saddle.losses.Hinge"}}
    before = json.loads(json.dumps(config))
    found = older.asked(config)
    assert found == {
        "seed": 3,
        "metrics": {"best": ["kl"], **left},
        "loss": {"_target_": "saddle.game.losses.Hinge"},
    }
    assert config == before


@pytest.mark.parametrize("read_as_asked", [older.asked, older.upgraded])
def test_reading_twice_changes_nothing_more(read_as_asked: Callable[[Any], Any]):
    metrics = {"higher_is_better": ["mine"], "measures": {"a": {"_target_": "saddle.features.flatten"}}}
    once = read_as_asked({"metrics": metrics, "num_steps": 3})
    assert read_as_asked(once) == once
