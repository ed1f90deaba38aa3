"""``saddle-compare`` as a user meets it, and the tracker: reading from it, and pushing a report to it."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import wandb
from omegaconf import OmegaConf

from saddle.commands import compare as command_module
from saddle.records.record import open_record
from saddle.reports import csv_files
from saddle.reports.comparison import compare
from saddle.reports.remote import parse, select
from saddle.reports.selection import Selection, find, read, read_run
from synthetic import grid, record
from trackers import NOBODY, POINTS, history, messages


@pytest.fixture
def saddle_compare(tmp_path, monkeypatch, capsys):
    """``saddle_compare(*words)``: (exit status, stdout, stderr) in an empty folder, with no W&B account."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path.parent / f"{tmp_path.name}-home"))
    monkeypatch.setenv("NETRC", str(tmp_path.parent / "no-netrc"))
    monkeypatch.setenv("WANDB_BASE_URL", NOBODY)
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    wandb.teardown()  # it remembers the environment of its first use

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["saddle-compare", *words])
        try:
            command_module.main()
            status = 0
        except SystemExit as error:
            status = int(error.code or 0)
        wandb.teardown()  # as at the end of a process: only then is everything in the file
        found = capsys.readouterr()
        return status, found.out, found.err

    yield run
    wandb.teardown()


def test_one_command_prints_the_table_and_writes_all_files(saddle_compare, tmp_path):
    grid(tmp_path / "runs", num_seeds=3)
    status, out, _ = saddle_compare("runs", "metric=eval/fid", "x=optimizer.lr", "y=eval/recall", "out=made")
    assert status == 0
    assert "12 runs in 4 groups: 12 finished." in out
    assert "minimax" in out
    names = ["comparison.html", "groups.csv", "pairs.csv", "runs.csv", "table.tex"]
    figures = [f"{name}.{kind}" for name in ("curves", "profiles", "scatter") for kind in ("pdf", "png")]
    assert sorted(os.listdir("made")) == sorted([*names, *figures])
    with open("made/groups.csv", newline="") as file:
        assert {row["metric"] for row in csv.DictReader(file)} == {"fid"}
    before = {name: Path("made", name).read_bytes() for name in os.listdir("made")}
    assert saddle_compare("runs", "metric=fid", "x=optimizer.lr", "y=last/recall", "out=made")[0] == 0
    assert before == {name: Path("made", name).read_bytes() for name in os.listdir("made")}


def test_a_diagnostic_is_tabulated_and_may_be_an_axis(saddle_compare, tmp_path):
    for seed in range(3):
        record(tmp_path / "runs" / str(seed), seed=seed, radius=(0.5, 1 + seed / 4))
    words = ("columns=diag/spectral_radius,best/fid", "x=diag/spectral_radius", "y=fid")
    status, out, _ = saddle_compare("runs", *words)
    assert status == 0
    assert "diag/spectral_radius" in out
    assert "1.25 [1, 1.5]" in out
    page = Path("comparison/comparison.html").read_text()
    assert "<option selected>diag/spectral_radius</option>" in page
    assert "seed 2: 1.5" in page
    assert Path("comparison/scatter.png").exists()
    with open("comparison/groups.csv", newline="") as file:
        assert {row["diag/spectral_radius_mean"] for row in csv.DictReader(file)} == {"1.25"}


def test_help_names_every_option(saddle_compare):
    status, out, _ = saddle_compare("--help")
    assert status == 0
    for key in command_module.KEYS:
        assert key == "debug" or f"{key}=" in out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "that exist; got runs"),
        (["empty"], "must have runs; found none under empty"),
        (["nowhere/*"], "that exist; got nowhere/*"),
        (["made", "metrics=fid"], "an option must be one of group, wandb"),
        (["made", "metric=nope"], "the runs measured: fid, recall; got nope"),
        (["made", "x=nope"], "x, y and columns must be columns: seed, step"),
        (["made", "columns=fid,nope"], "x, y and columns must be columns: seed, step"),
        (["made", "group=nope"], "group must be that of a run; got nope, which none of 2 has"),
        (["made", "baseline=nope"], "words that one group alone has; got nope"),
        (["made", "wandb=me/saddle"], "from folders or from W&B; got made beside wandb="),
        (["wandb=saddle"], "must be entity/project"),
        (["made", "--push", "mode=online"], "must find a W&B key; got none"),
        (
            ["made", "out=made/a/metrics.csv"],
            "out must be a folder that can be made and written; got: [Errno 17]",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_one_message_and_nothing_is_written(
    saddle_compare, tmp_path, words, told
):
    (tmp_path / "empty").mkdir()
    record(tmp_path / "made" / "a")
    record(tmp_path / "made" / "b", loss="minimax")
    status, out, err = saddle_compare(*words)
    assert status == 2
    assert err.startswith("saddle: ")
    assert told in err.replace("\n", " ")
    assert "Traceback" not in err
    assert out == ""
    assert not (tmp_path / "comparison").exists()


def test_a_group_is_found_by_its_hash_also_in_a_record_that_does_not_name_it(saddle_compare, tmp_path):
    from saddle.records.questions import config_hash

    for seed in range(2):
        record(tmp_path / "runs" / f"a{seed}", seed=seed)
        record(tmp_path / "runs" / f"b{seed}", seed=seed, loss="minimax")
    group = config_hash(OmegaConf.load("runs/a0/config.yaml"))
    status, out, _ = saddle_compare(f"group={group}")
    assert status == 0
    assert "2 runs in 1 group" in out


def test_a_path_with_an_equals_sign_is_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    record(tmp_path / "loss=hinge")
    assert command_module.split(["loss=hinge", "out=x", "a/b=c"]) == (["loss=hinge", "a/b=c"], {"out": "x"})


def test_wandb_without_a_server_or_a_key_is_said_once_and_soon(saddle_compare, monkeypatch):
    monkeypatch.setattr("saddle.reports.remote.TIMEOUT", 2)
    status, _, err = saddle_compare("wandb=me/saddle?group=ab")
    assert status == 2
    assert "must be a project on a W&B server that answers; got: No API key configured" in err
    wandb.teardown()
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    status, _, err = saddle_compare("wandb=me/saddle?group=ab")
    assert status == 2
    assert f"Failed to verify credentials with {NOBODY}" in err
    assert "compare the runs' own folders" in err
    assert "Traceback" not in err


def test_a_query_becomes_filters_of_the_api():
    found = parse(
        "me/saddle?group=ab12&tags=paper&config.batch_size=64&config.loss._target_=saddle.game.losses.Hinge"
    )
    assert found.path == "me/saddle"
    assert found.filters == {
        "jobType": "train",
        "group": "ab12",
        "tags": {"$in": ["paper"]},
        "config.batch_size.value": 64,
        "config.loss._target_.value": "saddle.game.losses.Hinge",
    }
    with pytest.raises(ValueError, match="entity/project"):
        parse("a/b/c")


@pytest.mark.slow
def test_pushing_logs_table_page_and_figures_as_one_run_of_type_report(saddle_compare, tmp_path):
    grid(tmp_path / "runs", num_seeds=3)
    status, out, err = saddle_compare("runs", "out=made", "--push", "project=p")
    assert (status, err.strip().count("\n")) == (0, 0)
    (line,) = [line for line in out.splitlines() if line.startswith("pushed: wandb sync ")]
    assert Path(line.removeprefix("pushed: wandb sync ")).is_dir()
    here = SimpleNamespace(directory=tmp_path / "made")
    (run,) = messages(here, "run")
    assert (run.job_type, run.project) == ("report", "p")
    (row,) = history(here)
    assert {name.partition("/")[0] for name in row} >= {"comparison", "figures", "page"}
    (path,) = (tmp_path / "made").glob("wandb/offline-run-*/files/media/table/*.json")
    table = json.loads(path.read_text())
    written = [*csv.DictReader(io.StringIO((tmp_path / "made" / "groups.csv").read_text()))]
    assert len(table["data"]) == len(written) == 8
    column = table["columns"].index("last_mean")
    assert [row[column] for row in table["data"]] == [float(row["last_mean"]) for row in written]
    assert len([*(tmp_path / "made").glob("wandb/offline-run-*/files/media/images/figures/*.png")]) == 3


@pytest.fixture
def _float32_as_the_commands_have_it(_float64_by_default: None) -> None:
    torch.set_default_dtype(torch.float32)


@pytest.mark.slow
@pytest.mark.usefixtures("_float32_as_the_commands_have_it")
def test_a_run_read_from_the_tracker_gives_the_numbers_of_its_record(tracked, tmp_path):
    assert tracked(*POINTS, "hydra.run.dir=run", "seed=3") == 0
    mine = read_run(tmp_path / "run")
    local = open_record(tmp_path / "run")
    (message,) = messages(local, "run")
    tracked = SimpleNamespace(  # what wandb.Api() makes of such a run, from the file that would be uploaded
        path=["me", "saddle", message.run_id],
        config={
            item.key: json.loads(item.value_json) for item in message.config.update if item.key != "_wandb"
        },
        summary={"status": "finished", "verdict": mine.verdict, "_runtime": 2.0},
        state="finished",
        group=message.run_group,
        created_at="2026-01-01T00:00:00",
        scan_history=lambda: history(local),
    )
    (theirs,) = select([tracked], "me/saddle").runs
    assert theirs.config == mine.config
    assert theirs.seed == 3
    assert theirs.metrics == mine.metrics
    logged = {name: v for name, v in mine.series.items() if not name.startswith("held_out/")}
    assert theirs.series == logged
    assert (theirs.status, theirs.verdict, theirs.group) == (mine.status, mine.verdict, mine.group)
    assert theirs.summary["images_seen"] == mine.summary["images_seen"]
    there, here = (compare(Selection((run,), {})) for run in (theirs, mine))
    cells = [[show[0].value for show in found.blocks[0].estimates.values()] for found in (there, here)]
    assert cells[0] == cells[1]

    earlier = {key: value for key, value in tracked.config.items() if key != "meanings"}
    earlier["metrics"] |= {"higher_is_better": ["modes", "high_quality"], "floors": {"kl": "kl_floor"}}
    (before,) = select([SimpleNamespace(**{**vars(tracked), "config": earlier})], "me/saddle").runs
    assert before.metrics == mine.metrics  # of names that earlier versions knew
    assert before.config == mine.config

    stranger = SimpleNamespace(path=["me", "saddle", "x"], config={}, summary={}, state="finished")
    found = select([tracked, stranger], "me/saddle")
    assert found.unreadable == {"me/saddle/x": "it is not a run of Saddle: KeyError 'metrics'"}
    with pytest.raises(ValueError, match="wandb=me/saddle finds none"):
        select([], "me/saddle")


@pytest.mark.slow
@pytest.mark.usefixtures("_float32_as_the_commands_have_it")
def test_a_trained_run_records_its_choices_and_group(tracked, tmp_path):
    assert tracked("-m", *POINTS, "logger=none", "loss=hinge,minimax", "hydra.sweep.dir=sweep") == 0
    found = read(find([str(tmp_path / "sweep")]))
    assert [run.choices["loss"] for run in found.runs] == ["hinge", "minimax"]
    assert [group.label for group in compare(found).blocks[0].groups] == ["loss=hinge", "loss=minimax"]
    assert found.runs[0].group != found.runs[1].group


def test_comparing_starts_without_torch(tmp_path):
    record(tmp_path / "runs" / "a")
    code = (
        "import sys\nfrom saddle.commands.compare import compare\ncompare(['runs'])\n"
        "assert not {'torch', 'wandb', 'pytorch_lightning'} & {*sys.modules}"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr


def test_tables_are_made_of_what_the_selection_holds(tmp_path):
    record(tmp_path / "a")
    found = compare(read(find([str(tmp_path)])))
    assert [row["run"] for row in csv_files.run_rows(found)] == [str(tmp_path / "a")]
