"""Saddle as Python code calls it: in a process of its own, a notebook, a thread, another's application."""

import json
import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

import saddle
from command_line import POINTS, environment
from saddle.commands import compare, evaluate, sample, train
from saddle.records.record import open_record

ROOT = Path(__file__).parents[2]
(README,) = re.findall(r"```python\n(import saddle\n.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
SHORT = README.replace("500", "50")  # as many steps


@pytest.fixture(autouse=True)
def _float32(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """As a user has it; relative paths lead to an empty folder."""
    monkeypatch.chdir(tmp_path)
    torch.set_default_dtype(torch.float32)  # a fixture of all tests sets it back


@pytest.fixture
def run():
    return saddle.train(POINTS, out="mine")


def test_a_run_is_the_same_as_the_command_makes_it(run, command, tmp_path):
    assert command(train.main, *POINTS, "hydra.run.dir=other").status == 0
    other = open_record(tmp_path / "other")
    assert run.directory == tmp_path / "mine"
    assert run.record.metrics.read_bytes() == other.metrics.read_bytes()
    assert run.config == other.read_config()
    assert run.record.read_provenance()["choices"] == other.read_provenance()["choices"]
    assert run.record.read_provenance()["group"] == other.read_provenance()["group"]
    assert run.series("eval/kl") == other.series()["eval/kl"]
    timeless = ("time", "started", "ended", "run_id")
    mine, theirs = run.summary, other.read_summary()
    assert {key: mine[key] for key in mine if key not in timeless} == {
        key: theirs[key] for key in theirs if key not in timeless
    }


def test_samples_are_those_of_the_command(run, command):
    assert command(sample.main, f"run={run.directory}", "num=40", "seed=3", "folder=drawn").status == 0
    (file,) = Path("drawn").iterdir()
    found = np.load(file)
    assert_close(saddle.load("mine").sample(40, seed=3), torch.from_numpy(found), rtol=0, atol=0)
    assert_close(run.sample(7, seed=3), torch.from_numpy(found[:7]), rtol=0, atol=0)
    assert not torch.equal(run.sample(7, seed=4), run.sample(7, seed=3))


def test_the_generator_maps_latents_to_samples(run):
    latents = run.latents(5, seed=2)
    points = run.generator(latents)
    assert latents.shape == (5, 64)
    assert points.shape == (5, 2)
    raw, best = saddle.load("mine", averaged=False), saddle.load("mine", checkpoint="best-kl")
    assert not torch.equal(raw.generator(latents), points)
    steps = run.summary["metrics"]["kl"]["step_of_best"], run.summary["step"]
    assert torch.equal(best.generator(latents), points) == (steps[0] == steps[1])


def test_scores_are_those_of_the_command(run, command):
    words = ["features=identity", "metrics=[one_nn,sliced_wasserstein]", "num_samples=100"]
    sides = ["fake=mine", "real=ring8:held_out", "num_real=100"]
    assert command(evaluate.main, *sides, *words, "output=s.json").status == 0
    found = saddle.evaluate("mine", "ring8:held_out", words=[*words, "num_real=100"])
    assert found.metrics == json.loads(Path("s.json").read_text())["metrics"]
    again = saddle.evaluate(run="mine")
    assert_close(again.metrics["kl"], run.series("eval/kl")[10], rtol=0, atol=0)


def test_a_comparison_gives_the_rows_of_the_commands_files(run, command):
    import csv

    saddle.train([*POINTS, "seed=1"], out="other")
    assert command(compare.main, ".", "metric=kl", "columns=seconds").status == 0
    found = saddle.compare(["."], metrics=["eval/kl"], columns=["seconds"])
    for name in ("groups", "pairs", "runs"):
        rows = getattr(found, name)
        with open(f"comparison/{name}.csv", newline="") as file:
            stored = list(csv.DictReader(file))
        assert [list(row) for row in rows] == [list(row) for row in stored]
        if name == "runs":
            assert [row["last/kl"] for row in rows] == [float(row["last/kl"]) for row in stored]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: saddle.train(["data=rnig8"]), "rnig8"),
        (lambda: saddle.train(["num_stesp=3"]), "num_stesp"),
        (lambda: saddle.train([*POINTS, "batch_size=0"]), "batch_size"),
        (lambda: saddle.train(["data=mnist5k", "model=mlp"]), "(1, 28, 28)"),
        (lambda: saddle.train([*POINTS, "data.mixture.centers=3"]), "centers"),
        (lambda: saddle.train([*POINTS, "on_divergence=shrug"]), "on_divergence"),
        (lambda: saddle.train(["resume=nothing"]), "nothing"),
        (lambda: saddle.train([*POINTS, "ensemble.seeds=2"]), "train_ensemble"),
        (lambda: saddle.train_ensemble(POINTS), "saddle.train"),
        (lambda: saddle.train_ensemble([*POINTS, "ensemble.seeds=0"]), "ensemble.seeds"),
        (lambda: saddle.load("nowhere"), "nowhere"),
        (lambda: saddle.evaluate("nowhere"), "real"),
        (lambda: saddle.evaluate("nowhere", "ring8", words=["features=points"]), "nowhere"),
        (lambda: saddle.evaluate("ring8", "ring8:held_out", words=["metrics=points"]), "data.mixture"),
        (lambda: saddle.evaluate("ring8", "ring8", words=["features=identity", "metrics=[fdi]"]), "fdi"),
        (lambda: saddle.evaluate(run="nowhere"), "nowhere"),
        (lambda: saddle.compare(["nowhere"]), "nowhere"),
    ],
)
def test_what_cannot_be_done_is_refused_and_leaves_nothing(call, words, tmp_path):
    with pytest.raises(saddle.Refused, match=re.escape(words)):
        call()
    assert list(tmp_path.iterdir()) == []


def test_what_a_run_does_not_have_is_refused(run):
    for call in (
        lambda: run.series("eval/fid"),
        lambda: saddle.load("mine", checkpoint="best-fid").generator,
        lambda: saddle.load("mine", averaged="median").sample(3),
        lambda: saddle.compare(["mine"], metrics=["fid"]),
    ):
        with pytest.raises(saddle.Refused, match=r"fid|median"):
            call()
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        saddle.trian  # noqa: B018


@pytest.mark.parametrize(
    ("call", "words"),
    [(saddle.train, []), (saddle.train_ensemble, ["ensemble.seeds=2"])],
    ids=["one", "many"],
)
def test_advice_is_a_warning_at_the_callers_line(call, words):
    with pytest.warns(UserWarning, match="sgd") as caught:
        call([*POINTS, "dynamics=runge_kutta4", *words], out="mine")
    assert {Path(one.filename).name for one in caught} == {"test_door.py"}


def test_a_diverged_run_is_returned_and_says_so():
    run = saddle.train([*POINTS, "optimizer=sgd", "optimizer.generator.lr=1e30"], out="mine")
    assert run.summary["status"] == "diverged"
    assert run.summary["exit_status"] == 1


def test_a_run_is_gone_on_with(run):
    more = saddle.train(["resume=mine", "num_steps=15"])
    assert more.directory == run.directory
    assert saddle.train([*POINTS, "num_steps=15"], out="whole").series("eval/kl") == more.series("eval/kl")


def test_an_ensemble_gives_its_members():
    words = [*POINTS, "ensemble.seeds=2"]
    members = saddle.train_ensemble(words, out="both")
    assert [one.config["seed"] for one in members] == [0, 1]
    assert [one.summary["status"] for one in members] == ["finished", "finished"]
    kept = [one.record.metrics.stat().st_mtime_ns for one in members]
    assert [one.record.metrics.stat().st_mtime_ns for one in saddle.train_ensemble(words, out="both")] == kept


def test_choices_of_ones_own_are_found(tmp_path):
    (tmp_path / "conf" / "data").mkdir(parents=True)
    text = (ROOT / "conf" / "data" / "ring8.yaml").read_text()
    (tmp_path / "conf" / "data" / "mine.yaml").write_text(text.replace("ring8", "mine"))
    words = [f"hydra.searchpath=[file://{tmp_path / 'conf'}]", "data=mine"]
    run = saddle.train([*POINTS, *words], out="mine")
    assert run.config["data"]["name"] == "mine"
    assert run.record.read_provenance()["choices"]["data"] == "mine"
    with pytest.raises(saddle.Refused, match="mine"):
        saddle.train([*POINTS, "data=mine"])
    given = ["features=identity", "metrics=[one_nn]", "num_samples=50", "num_real=50"]
    assert saddle.evaluate("mine", "mine:held_out", words=[words[0], *given]).metrics["one_nn"] > 0


def test_a_thread_trains_as_the_main_one_does(run):
    found = []
    worker = threading.Thread(target=lambda: found.append(saddle.train(POINTS, out="threaded")))
    worker.start()
    worker.join()
    assert found[0].record.metrics.read_bytes() == run.record.metrics.read_bytes()


APPLICATION = """
import hydra
import saddle

@hydra.main(config_path="conf", config_name="app", version_base="1.3")
def main(config):
    from hydra.core.hydra_config import HydraConfig
    before = HydraConfig.get().job.name
    run = saddle.train([*config.words], out=config.out)
    print(run.summary["status"], saddle.compare([config.out]).runs[0]["status"])
    assert HydraConfig.get().job.name == before == "application"

main()
"""


@pytest.mark.slow
def test_another_application_of_hydras_trains(tmp_path, run):
    (tmp_path / "conf").mkdir()
    content = {"words": POINTS, "out": "from_app", "hydra": {"run": {"dir": "app_run"}}}
    (tmp_path / "conf" / "app.yaml").write_text(json.dumps(content))
    (tmp_path / "application.py").write_text(APPLICATION)
    command = [sys.executable, "application.py"]
    done = subprocess.run(
        command, env=environment(), capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "finished finished"
    assert Path("from_app/metrics.csv").read_bytes() == run.record.metrics.read_bytes()


def test_importing_waits_for_nothing():
    program = "import sys, saddle; print(saddle.__version__, *{'torch', 'hydra', 'numpy'} & {*sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(), capture_output=True, text=True, check=True
    )
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", done.stdout)


@pytest.mark.slow
def test_the_readmes_lines_run_in_a_process_of_their_own(tmp_path):
    Path("first.py").write_text(f"{SHORT}print(points.shape, images.shape, run.summary['status'])\n")
    command = [sys.executable, "-W", "error::UserWarning", "first.py"]
    done = subprocess.run(
        command, env=environment(), capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "torch.Size([1000, 2]) torch.Size([16, 2]) finished"
    assert Path("runs/first/report.html").is_file()


@pytest.mark.slow
def test_the_readmes_lines_run_in_a_notebook(tmp_path, monkeypatch):
    import nbformat
    from nbclient import NotebookClient

    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    cells = [*SHORT.split("\n\n"), "run.summary['status'], points.shape"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    place = {"metadata": {"path": str(tmp_path)}}
    done = NotebookClient(notebook, timeout=200, kernel_name="python3", resources=place).execute()
    shown = [out for cell in done.cells for out in cell.outputs if out.output_type == "execute_result"]
    verdict, scores, rows, last = (out["data"]["text/plain"] for out in shown)
    assert "report.html" in verdict
    assert "one_nn" in scores
    assert "'metric': 'kl'" in rows
    assert last == "('finished', torch.Size([1000, 2]))"
