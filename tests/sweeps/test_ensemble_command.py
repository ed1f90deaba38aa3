"""``saddle-train ensemble...``: a record a member that nothing downstream can tell from a solo run's."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch.testing import assert_close

from command_line import POINTS, assert_refused, call
from comparisons import parsed, written
from saddle.commands import train
from saddle.records.record import Record, open_record
from saddle.records.sweep_index import read
from saddle.training import module

AXES = "ensemble.vary={regularizer.r1.gamma:[0.1,1],optimizer.discriminator.lr:[0.001]}"


@pytest.fixture(autouse=True)
def _float32_as_the_commands_have_it(_float64_by_default: None) -> None:
    torch.set_default_dtype(torch.float32)


def records(sweep: Path) -> list[Record]:
    """In the order of the index."""
    return [open_record(sweep / row["directory"]) for row in read(sweep / "index.csv")]


def must_be_alike(found: Record, expected: Record) -> None:
    """Rows and weights to the round-off of a few float32 steps; configuration and the rest to the word."""
    ours, theirs = (record.series() for record in (found, expected))
    assert ours.keys() == theirs.keys()
    for name, values in theirs.items():
        assert ours[name].keys() == values.keys()
        steps = values.keys()
        assert_close(
            [ours[name][s] for s in steps], [values[s] for s in steps], rtol=1e-3, atol=1e-4, msg=name
        )
    leaves = [
        torch.load(record.checkpoint("last"), weights_only=True)["leaves"] for record in (found, expected)
    ]
    assert_close(*leaves, rtol=1e-4, atol=1e-5)
    configs = [OmegaConf.load(record.config) for record in (found, expected)]
    assert configs[0] == configs[1]
    assert {path.name for path in found.directory.rglob("*")} == {
        path.name for path in expected.directory.rglob("*")
    }
    summaries = [record.read_summary() for record in (found, expected)]
    for key in ("status", "exit_status", "step", "images_seen", "protocol"):
        assert summaries[0][key] == summaries[1][key], key
    origins = [record.read_provenance() for record in (found, expected)]
    assert origins[0].keys() - origins[1].keys() == {"ensemble"}
    for key in ("group", "choices", "data_digest", "git"):
        assert origins[0][key] == origins[1][key], key


def test_members_leave_the_records_of_solo_runs(tmp_path):
    sweep = tmp_path / "sweep"
    assert call(train.main, *POINTS, "ensemble.seeds=[3,5]", AXES, f"hydra.sweep.dir={sweep}") == 0
    found = records(sweep)
    assert len(found) == 4
    assert [row["status"] for row in read(sweep / "index.csv")] == ["finished"] * 4
    assert not (tmp_path / "runs").exists()
    words = ["regularizer.r1.gamma=1", "optimizer.discriminator.lr=0.001", "seed=5"]
    # the words of the member, as its record and the index have them, train the same run alone
    assert found[-1].read_provenance()["command_line"][1:] == [*POINTS, *words]
    assert read(sweep / "index.csv")[-1]["words"] == " ".join([*POINTS, *words])
    assert call(train.main, *POINTS, *words, f"hydra.run.dir={tmp_path / 'alone'}") == 0
    must_be_alike(found[-1], open_record(tmp_path / "alone"))
    # and one member goes on as an ordinary run does
    assert call(train.main, f"resume={found[0].directory}", "num_steps=15") == 0
    assert found[0].read_summary()["step"] == 15


def test_an_ensemble_and_a_multirun_of_one_question_give_the_same_comparison(tmp_path):
    wide = "data.mixture.std=0.4"  # so that modes are hit
    words = [*POINTS, wide, "num_steps=40", "evaluate_every=40", "checkpoint_every=40"]
    axes = "ensemble.vary={optimizer.generator.lr:[1e-3,2e-3]}"
    sweep, alone = tmp_path / "ensemble", tmp_path / "multirun"
    assert call(train.main, *words, axes, "ensemble.seeds=3", f"hydra.sweep.dir={sweep}") == 0
    axes = ["optimizer.generator.lr=1e-3,2e-3", "seed=range(3)"]
    basic = "hydra/launcher=basic"  # in this process: the same jobs, and torch is imported once
    assert call(train.main, "-m", *words, *axes, basic, f"hydra.sweep.dir={alone}") == 0
    found, expected = (
        {name: parsed(text) for name, text in written(folder).items()} for folder in (sweep, alone)
    )
    assert [row["group"] for row in expected["runs"]] == [
        f"optimizer.generator.lr={lr}" for lr in (0.001, 0.002) for _ in range(3)
    ]
    assert [len(table) for table in expected.values()] == [2 * 4, 1 * 4, 2 * 3]  # four metrics
    assert len({row["last/kl"] for row in expected["runs"]}) > 3  # nothing is equal for want of a difference
    for name, table in expected.items():
        assert [[*row] for row in found[name]] == [[*row] for row in table], name
        for ours, theirs in zip(found[name], table, strict=True):
            for column, cell in theirs.items():
                try:
                    number = float(cell)
                except ValueError:  # a label, a fingerprint, a status, or nothing
                    assert ours[column] == cell, column
                else:
                    # 40 steps in float32: vmap sums in another order, and has the learning rate as float32;
                    # 1e-8 was seen
                    assert_close(float(ours[column]), number, rtol=1e-5, atol=1e-6, msg=column)


def stopping_at(monkeypatch: pytest.MonkeyPatch, index: int) -> None:
    """SIGTERM while the round ``index`` is played, in the next ensemble."""
    together = module.together

    def watched(*arguments: Any) -> Any:
        step = together(*arguments)

        def stop(state: Any, batches: Any, number: int) -> Any:
            if number == index:
                os.kill(os.getpid(), signal.SIGTERM)
            return step.play(state, batches, number)

        return step._replace(play=stop)

    monkeypatch.setattr(module, "together", watched)


def test_an_interrupted_ensemble_goes_on_where_its_members_are(tmp_path, monkeypatch):
    words = [*POINTS, "ensemble.seeds=3"]
    assert call(train.main, *words, f"hydra.sweep.dir={tmp_path / 'whole'}") == 0
    sweep = tmp_path / "sweep"
    with monkeypatch.context() as patch:
        stopping_at(patch, 7)
        assert call(train.main, *words, f"hydra.sweep.dir={sweep}") == 143
    found = records(sweep)
    assert [row["status"] for row in read(sweep / "index.csv")] == ["interrupted"] * 3
    assert {record.read_summary()["step"] for record in found} == {6}
    # one member is ahead of the others, as a kill between two checkpoints leaves it
    assert call(train.main, f"resume={found[1].directory}") == 0
    assert call(train.main, *words, f"hydra.sweep.dir={sweep}") == 0
    assert [row["status"] for row in read(sweep / "index.csv")] == ["finished"] * 3
    for member, whole in zip(found, records(tmp_path / "whole"), strict=True):
        names = member.series().keys()
        assert names == whole.series().keys()
        for name in names:
            ours, theirs = member.series()[name], whole.series()[name]
            assert_close([*ours.values()], [*theirs.values()], rtol=1e-3, atol=1e-4, msg=name)
    before = [record.metrics.stat().st_mtime_ns for record in found]
    assert call(train.main, *words, f"hydra.sweep.dir={sweep}") == 0  # nothing is left to do
    assert [record.metrics.stat().st_mtime_ns for record in found] == before


def test_members_that_are_behind_catch_up_first(tmp_path, monkeypatch):
    words = [*POINTS, "ensemble.seeds=2", f"hydra.sweep.dir={tmp_path / 'sweep'}"]
    with monkeypatch.context() as patch:
        stopping_at(patch, 3)
        assert call(train.main, *words) == 143
    first, second = records(tmp_path / "sweep")
    assert first.read_summary()["step"] == 3
    # what the second one's checkpoint would be, had it been saved at step 6
    assert call(train.main, f"resume={second.directory}", "num_steps=6") == 0
    text = second.config.read_text().replace("num_steps: 6\n", "num_steps: 10\n")
    second.config.write_text(text)
    second.report.unlink()
    assert call(train.main, *words) == 0
    assert [record.read_summary()["step"] for record in (first, second)] == [10, 10]
    assert {*first.series()["loss/generator"]} == {3, 5, 6, 9, 10}


@pytest.mark.parametrize("word", ["+trainer.detect_anomaly=true", "trainer.precision=bf16-mixed"])
def test_an_ensemble_takes_what_a_run_takes_of_lightnings_trainer(tmp_path, word):
    assert call(train.main, *POINTS, "ensemble.seeds=2", word, f"hydra.sweep.dir={tmp_path}") == 0
    assert [record.read_summary()["status"] for record in records(tmp_path)] == ["finished"] * 2


def test_a_member_whose_record_cannot_be_read_is_refused_and_left_as_it_is(
    command, tmp_path, tmp_path_factory
):
    folder = tmp_path_factory.mktemp("ensemble")
    words = [*POINTS, "ensemble.seeds=2", f"hydra.sweep.dir={folder}"]
    assert call(train.main, *words) == 0
    first, _ = records(folder)
    first.summary.write_text(first.summary.read_text().replace('"format": 1', '"format": 2'))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    answer = command(train.main, *words)
    assert_refused(answer, tmp_path, f"{first.summary} must have format 1; got 2", "that wrote it")
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_member_that_diverges_is_marked_and_the_others_go_on(tmp_path, capsys):
    words = [*POINTS, "ensemble.vary={optimizer.discriminator.lr:[0.001,1e30]}"]
    assert call(train.main, *words, f"hydra.sweep.dir={tmp_path}") == 1
    sound, spoiled = records(tmp_path)
    assert (sound.read_summary()["status"], sound.read_summary()["step"]) == ("finished", 10)
    summary = spoiled.read_summary()
    assert (summary["status"], summary["exit_status"]) == ("diverged", 1)
    assert (
        call(train.main, *POINTS, "optimizer.discriminator.lr=1e30", f"hydra.run.dir={tmp_path / 'a'}") == 1
    )
    alone = open_record(tmp_path / "a").read_summary()
    assert summary["message"].partition("The last")[0] == alone["message"].partition("The last")[0]
    assert "at generator step" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "pieces"),
    [
        (
            ["ensemble.vary={regularizer.r1.gama:[0.1,1]}"],
            ["there is no regularizer.r1.gama", "Did you mean regularizer.r1.gamma"],
        ),
        (
            ["ensemble.vary={regularizer.r1:[0.1,1]}"],
            ["regularizer.r1 holds several", "Did you mean regularizer.r1.gamma"],
        ),
        (
            ["ensemble.vary={batch_size:[8,16]}", "ensemble.seeds=2"],
            ["must share batch_size", "got 8 and 16", "-m data=ring8", "batch_size=8,16 seed=0,1"],
        ),
        (
            ["ensemble.vary={model.generator.hidden:[[8],[16]]}"],
            ["the same shapes", "'model.generator.hidden=[8],[16]' seed=0"],
        ),
        (
            ["ensemble.vary={dynamics.num_discriminator_steps:[1,2]}"],
            ["a whole number there decides", "dynamics.num_discriminator_steps=1,2 seed=0"],
        ),
        (
            ["ensemble.vary={model.discriminator.negative_slope:[0.1,0.2]}"],
            ["decides the function", "negative_slope=0.1,0.2 seed=0"],
        ),
        (
            [
                "regularizer=[cr]",
                "data=digits",
                "model=mlp8",
                "ensemble.vary={regularizer.cr.translation:[0.1,0.3]}",
            ],
            ["only calculate with its numbers", "regularizer.cr.translation=0.1,0.3"],
        ),
        (["ensemble.vary={optimizer.generator.lr:[0.1,-1]}"], ["lr must lie in", "got -1"]),
        (["ensemble.vary={optimizer.generator.lr:0.1}"], ["must give each key a list", "Take"]),
        (["ensemble.seeds=0"], ["must be a number of seeds", "got []"]),
        (["ensemble.seeds=[1,1]"], ["different ones", "got [1,1]"]),
        (["ensemble.seeds=2", "seed=3"], ["given once", "Drop one"]),
        (["ensemble.seeds=20", "max_jobs=10"], ["at most max_jobs=10", "got 20"]),
        (["ensemble.members=[0.1]"], ["must list the keys and values of each", "Take"]),
        (["-m", "ensemble.seeds=2", "seed=0,1"], ["must be of single runs", "Drop -m"]),
    ],
    ids=lambda value: value[0] if isinstance(value, list) and "=" in value[0] else "",
)
def test_what_cannot_be_lifted_is_refused_with_the_sweep_that_can(command, tmp_path, words, pieces):
    points = POINTS
    if "data=digits" in words:
        dropped = ("data", "model", "metrics.num_real")
        points = [word for word in POINTS if not word.startswith(dropped)]
    answer = command(train.main, *words, *points)  # -m must come first
    assert_refused(answer, tmp_path, *pieces)


def test_members_may_be_given_one_by_one(tmp_path):
    given = "ensemble.members=[{regularizer.r1.gamma:0.1,ema:0.9},{optimizer.generator.lr:0.01}]"
    assert call(train.main, *POINTS, given, "ensemble.seeds=2", f"hydra.sweep.dir={tmp_path}") == 0
    configs: list[Any] = [OmegaConf.load(record.config) for record in records(tmp_path)]
    numbers = [
        (one.regularizer.r1.gamma, one.average.ema.beta, one.optimizer.generator.lr, one.seed)
        for one in configs
    ]
    assert numbers == [
        (0.1, 0.9, 0.002, 0),
        (0.1, 0.9, 0.002, 1),
        (0.2, 0.999, 0.01, 0),
        (0.2, 0.999, 0.01, 1),
    ]
