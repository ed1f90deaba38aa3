"""The commands as a user meets them: what they refuse, what they leave behind, and that numbers come back."""

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from command_line import IMAGES, POINTS, Answer, assert_refused, call, environment, made
from saddle.commands import evaluate, sample, train
from saddle.commands.pipes import ending_with_its_reader
from saddle.data.images import mnist5k
from saddle.data.pixels import digest
from saddle.records.record import Record, open_record


@pytest.fixture(autouse=True)
def _float32_as_the_commands_have_it(_float64_by_default: None) -> None:
    torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="module")
def points_run(tmp_path_factory: pytest.TempPathFactory) -> Record:
    return made(tmp_path_factory, POINTS)


@pytest.fixture(scope="module")
def images_run(tmp_path_factory: pytest.TempPathFactory) -> Record:
    return made(tmp_path_factory, IMAGES)


@pytest.fixture
def run_copy(points_run: Record, tmp_path_factory: pytest.TempPathFactory) -> Record:
    """An unfinished copy of the run on points, free to be spoiled."""
    import shutil

    directory = tmp_path_factory.mktemp("copy") / "run"
    shutil.copytree(points_run.directory, directory)
    record = open_record(directory)
    record.config.write_text(record.config.read_text().replace("num_steps: 10\n", "num_steps: 20\n"))
    return record


def process(folder: Path, module: str, *words: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", module, *words]
    return subprocess.run(
        line, cwd=folder, env=environment(), capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize(
    ("words", "wanted", "nearest"),
    [
        ("loss=hinges", "hinges", "hinge"),
        ("data=mnist", "mnist", "mnist5k"),
        ("model=dcgan", "dcgan", "dcgan28"),
        ("regularizer=[r1,wgan]", "wgan", "wgan_gp"),
        ("logger=[wandb,tensorbord]", "tensorbord", "tensorboard"),
        ("dynamics=alternate", "alternate", "alternating"),
        ("optimizer=adams", "adams", "adam"),
        ("batchsize=3", "batchsize", "batch_size"),
        ("los=hinge", "los", "loss"),
        ("optimizer.generator.beta=0.5", "beta", "optimizer.generator.beta1"),
        ("regularizer=[wgan_gp] regularizer.wgan_gp.wait=1", "wait", "regularizer.wgan_gp.weight"),
        ("data=ring8 model=mlp data.num_trian=10", "num_trian", "data.num_train"),
    ],
)
def test_an_unknown_choice_or_key_is_refused_with_the_nearest_name(command, tmp_path, words, wanted, nearest):
    assert_refused(command(train.main, *words.split()), tmp_path, wanted, "Did you mean", nearest)


@pytest.mark.parametrize(
    ("words", "must", "got", "do"),
    [
        ("batch_size=0", "batch_size must be a whole number between 1 and the 4000", "got 0", "Choose"),
        ("batch_size=4001", "batch_size must be a whole number between 1 and the 4000", "got 4001", "Choose"),
        ("data=ring8 model=mlp data.num_train=50", "between 1 and the 50", "got 64", "Choose"),
        ("optimizer.generator.lr=-0.1", "lr must lie in", "got -0.1", "Choose"),
        ("optimizer.discriminator.lr=-2e-4", "lr must lie in", "got -0.0002", "Choose"),
        ("optimizer=sgd optimizer.generator.lr=-1", "lr must lie in", "got -1", "Choose"),
        ("optimizer=rmsprop optimizer.generator.lr=nan", "lr must lie in", "got nan", "Choose"),
        ("pack=3", "batch_size must be a multiple of pack=3", "got 64", "Take 63"),
        (
            "normalization@model.discriminator.normalization=batch",
            "sees each sample by itself",
            "got batch normalization in it and regularizer=[r1]",
            "leave the penalty out",
        ),
        ("regularizer.r1.gamma=-1", "regularizer.r1.gamma must be", "got -1", "Give"),
        ("regularizer=[r1,r2] regularizer.r2.gamma=-0.5", "regularizer.r2.gamma must be", "got -0.5", "Give"),
        ("regularizer=[wgan_gp] regularizer.wgan_gp.weight=-10", "wgan_gp.weight must", "got -10", "Give"),
        ("regularizer.r1.gamma=nan", "regularizer.r1.gamma must be", "got nan", "Give"),
        ("ema=1", "ema must lie in", "got 1", "0 turns averaging off"),
        ("num_steps=0", "num_steps must be a whole number", "got 0", "Give"),
        ("steps_per_execution=0", "steps_per_execution must be a whole number", "got 0", "Give"),
        ("evaluate_every=-5", "evaluate_every must be a whole number", "got -5", "Give"),
        ("checkpoint_every=2.5", "checkpoint_every must be a whole number", "got 2.5", "Give"),
        ("dynamics.num_discriminator_steps=0", "num_discriminator_steps must be", "got 0", "Give"),
        ("on_divergence=ignore", "on_divergence must be one of fail, record", "got ignore", "Choose"),
        ("trainer.devices=2", "a run must use one device", "got trainer.devices=2", "Start one run a device"),
        ("model=mlp", "(1, 28, 28) for mnist5k", "its generator makes (2,)", "Choose a model"),
        ("model=mlp8", "(1, 28, 28) for mnist5k", "its generator makes (1, 8, 8)", "Choose a model"),
        ("data=ring8", "(2,) for ring8", "its generator makes (1, 28, 28)", "Choose a model"),
        ("data=digits", "(1, 8, 8) for digits", "its generator makes (1, 28, 28)", "Choose a model"),
        ("data=ring8 model=mlp model.generator.event=[3]", "(2,) for ring8", "makes (3,)", "Choose a model"),
        (
            "data=ring8 model=mlp model.discriminator.event=[3]",
            "must accept samples",
            "got",
            "Choose a model",
        ),
        ("model.generator.num_latents=7", "must accept latents", "got", "Set model.generator.num_latents"),
        ("resume=elsewhere", "a run directory must hold", "elsewhere is not a directory", "Give"),
    ],
)
def test_a_number_or_part_that_cannot_work_is_refused(command, tmp_path, words, must, got, do):
    assert_refused(command(train.main, *words.split()), tmp_path, must, got, do)


def test_a_gpu_that_is_not_there_is_refused(command, tmp_path):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert_refused(command(train.main, *POINTS, "trainer=gpu"), tmp_path, "gpu")


def test_metrics_that_cannot_see_the_data_are_refused(command, tmp_path):
    assert_refused(command(train.main, *POINTS, "metrics=images"), tmp_path, "must", "got", "Choose")
    assert_refused(command(train.main, *IMAGES, "metrics=points"), tmp_path, "mixture")


def test_an_empty_resume_is_not_a_new_run(command, tmp_path):
    # resume=$UNSET in a shell
    assert_refused(command(train.main, *POINTS, "resume=''"), tmp_path, "resume")


@pytest.mark.parametrize("where", ["file/below/run", "/proc/run"])
def test_an_unwritable_run_directory_is_refused(command, tmp_path, monkeypatch, tmp_path_factory, where):
    outside = tmp_path_factory.mktemp("outside")
    (outside / "file").write_text("not a folder")
    directory = outside / where  # an absolute path replaces the folder
    answer = command(train.main, *POINTS, f"hydra.run.dir={directory}")
    assert_refused(answer, tmp_path, "run directory must", "got", "Give")
    assert (outside / "file").read_text() == "not a folder"


def test_a_run_directory_that_holds_a_run_is_refused(command, tmp_path, points_run):
    before = points_run.metrics.read_bytes()
    answer = command(train.main, *POINTS, f"hydra.run.dir={points_run.directory}")
    assert_refused(answer, tmp_path, "must have a directory to itself", "already holds", "Resume")
    assert points_run.metrics.read_bytes() == before


def test_debug_shows_the_traceback_of_refused_input(command, tmp_path):
    with pytest.raises(ValueError, match="batch_size must be a whole number"):
        command(train.main, "batch_size=0", "debug=true")


@pytest.mark.slow
def test_a_process_that_refuses_exits_with_2_and_prints_one_message(tmp_path):
    found = process(tmp_path, "saddle.commands.train", "batch_size=0", "data=ring8", "model=mlp")
    assert_refused(
        Answer(found.returncode, found.stdout, found.stderr), tmp_path, "batch_size must be a whole number"
    )
    found = process(tmp_path, "saddle.commands.train", "loss=hinges", "debug=true")
    assert found.returncode != 0
    assert "Traceback" in found.stderr


def test_a_finished_run_is_not_resumed(command, tmp_path, points_run):
    before = points_run.metrics.read_bytes()
    answer = command(train.main, f"resume={points_run.directory}")
    assert_refused(answer, tmp_path, "must be unfinished", "has made its 10 steps", "Give a larger num_steps")
    assert points_run.metrics.read_bytes() == before


@pytest.mark.parametrize("word", ["seed=3", "loss=hinge", "+new=1", "optimizer.generator.lr=1"])
def test_a_resumed_run_keeps_its_configuration(command, tmp_path, run_copy, word):
    answer = command(train.main, f"resume={run_copy.directory}", word)
    assert_refused(answer, tmp_path, "must keep its own configuration", word.lstrip("+"), "Drop it")


def spoil_missing(path: Path) -> None:
    path.unlink()


def spoil_truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def spoil_empty(path: Path) -> None:
    path.write_bytes(b"")


def spoil_text(path: Path) -> None:
    path.write_text("not a checkpoint\n")


def spoil_tensors(path: Path) -> None:
    torch.save({"weight": torch.zeros(3)}, path)


def spoil_list(path: Path) -> None:
    torch.save([torch.zeros(3)], path)


def spoil_object(path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), path)


def spoil_other_format(path: Path) -> None:
    torch.save({**torch.load(path, weights_only=True), "format": 99}, path)


def spoil_keys(path: Path) -> None:
    torch.save({"format": 1, "leaves": []}, path)


def spoil_shapes(path: Path) -> None:
    content = torch.load(path, weights_only=True)
    torch.save({**content, "leaves": content["leaves"][:-1]}, path)


@pytest.mark.parametrize(
    ("spoil", "must", "got", "do"),
    [
        (spoil_missing, "a checkpoint must exist", "there is no", "Give another run"),
        (spoil_truncated, "a checkpoint must be a whole file", "cannot be read", "Use another"),
        (spoil_empty, "a checkpoint must be a whole file", "cannot be read", "Use another"),
        (spoil_text, "a checkpoint must be a whole file", "cannot be read", "Use another"),
        (spoil_tensors, "a checkpoint must be of Saddle's format", "holds", "Resume with"),
        (spoil_list, "a checkpoint must be of Saddle's format", "holds", "Resume with"),
        (spoil_object, "a checkpoint must be", "", ""),
        (spoil_other_format, "a checkpoint must be of Saddle's format", "holds", "Resume with"),
        (spoil_keys, "a checkpoint must", "", ""),
        (spoil_shapes, "a checkpoint must fit", "holds", "Take the run's own"),
    ],
)
def test_a_run_whose_checkpoint_is_spoilt_is_not_resumed(command, tmp_path, run_copy, spoil, must, got, do):
    spoil(run_copy.checkpoint("last"))
    before = run_copy.metrics.read_bytes()
    answer = command(train.main, f"resume={run_copy.directory}")
    assert_refused(answer, tmp_path, must, got, do)
    assert run_copy.metrics.read_bytes() == before


def test_a_checkpoint_of_another_run_is_refused(command, tmp_path, run_copy, points_run, tmp_path_factory):
    other = made(tmp_path_factory, POINTS)  # the very same question, asked again
    run_copy.checkpoint("last").write_bytes(other.checkpoint("last").read_bytes())
    answer = command(train.main, f"resume={run_copy.directory}")
    assert_refused(answer, tmp_path, "must belong to the run", "was written by run", "Put the run's own")


def test_a_folder_that_is_no_run_is_not_resumed(command, tmp_path, tmp_path_factory):
    answer = command(train.main, f"resume={tmp_path_factory.mktemp('empty')}")
    assert_refused(answer, tmp_path, "a run directory must hold", "lacks config.yaml", "Give")


@pytest.mark.parametrize("main", [evaluate.main, sample.main])
def test_evaluate_and_sample_refuse_a_missing_run_or_checkpoint(command, tmp_path, points_run, main):
    extra = ["grid=out.png"] if main is sample.main else []
    assert_refused(
        command(main, "run=elsewhere", *extra), tmp_path, "a run directory must", "elsewhere", "Give"
    )
    answer = command(main, f"run={points_run.directory}", "checkpoint=best-fid", *extra)
    pieces = "best-kl, best-mmd, last", "got best-fid", "Choose"
    assert_refused(answer, tmp_path, "checkpoint must be one of the run's", *pieces)
    assert_refused(command(main, *extra), tmp_path, "run")  # it must be given
    assert_refused(command(main, "rum=elsewhere", *extra), tmp_path, "rum", "Did you mean run")


@pytest.mark.parametrize("spoil", [spoil_truncated, spoil_text, spoil_tensors, spoil_keys])
def test_evaluate_and_sample_refuse_a_spoilt_checkpoint(command, tmp_path, run_copy, spoil):
    spoil(run_copy.checkpoint("last"))
    for main, extra in ((evaluate.main, []), (sample.main, ["grid=out.png"])):
        answer = command(main, f"run={run_copy.directory}", *extra)
        assert_refused(answer, tmp_path, "a checkpoint must")


def test_sample_refuses_what_it_cannot_write(command, tmp_path, points_run, tmp_path_factory):
    run = f"run={points_run.directory}"
    for num in ("0", "-3", "2.5", "many"):
        answer = command(sample.main, run, f"num={num}", "grid=out.png")
        assert_refused(answer, tmp_path, "num must be", f"got {num}", "Give")
    assert_refused(command(sample.main, run), tmp_path, "grid or folder must", "got neither", "Say")
    answer = command(sample.main, run, "grid=no/such/folder/out.png")
    assert_refused(answer, tmp_path, "grid must lie in an existing folder", "got no/such", "Make")
    full = tmp_path_factory.mktemp("full")
    (full / "0.png").write_text("mine")
    answer = command(sample.main, run, f"folder={full}")
    assert_refused(answer, tmp_path, "folder must be new or empty", f"got {full}", "Name another")
    assert [path.name for path in full.iterdir()] == ["0.png"]
    answer = command(sample.main, run, f"folder={full / '0.png'}")
    assert_refused(answer, tmp_path, "folder must be", "0.png")


def test_evaluate_refuses_what_it_cannot_measure_or_write(command, tmp_path, points_run):
    run = f"run={points_run.directory}"
    for key in ("num_samples", "num_real"):
        for num in ("0", "1", "-3", "2.5"):
            answer = command(evaluate.main, run, f"{key}={num}")
            assert_refused(answer, tmp_path, f"{key} must be", f"got {num}", "Give")
    answer = command(evaluate.main, run, "output=no/such/out.json")
    assert_refused(answer, tmp_path, "output must lie in an existing folder", "got no/such", "Make")


@pytest.mark.slow
@pytest.mark.parametrize("word", ["--help", "--cfg"])
def test_asking_train_what_it_can_do_does_not_import_torch(tmp_path, word):
    script = (
        "import sys\nfrom saddle.commands import train\nsys.argv = ['saddle-train', *sys.argv[1:]]\n"
        "try:\n    train.main()\nexcept SystemExit as stop:\n    assert not stop.code, stop.code\n"
        "heavy = {'torch', 'pytorch_lightning', 'wandb', 'matplotlib', 'scipy'} & {*sys.modules}\n"
        "assert not heavy, heavy\n"
    )
    words = [word, "job"] if word == "--cfg" else [word]
    found = subprocess.run(
        [sys.executable, "-c", script, *words],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    assert "batch_size: 64" in found.stdout
    assert "saddle.game.losses.NonSaturating" in found.stdout
    assert list(tmp_path.iterdir()) == []


def numbers(record: Record, prefix: str, step: int) -> dict[str, float]:
    return {
        name.removeprefix(prefix): values[step]
        for name, values in record.series().items()
        if name.startswith(prefix) and step in values
    }


@pytest.mark.slow
def test_an_image_run_leaves_the_whole_run_directory_and_nothing_else(images_run):
    files = {
        str(path.relative_to(images_run.directory))
        for path in images_run.directory.rglob("*")
        if path.is_file()
    }
    assert files == {
        "config.yaml",
        "provenance.json",
        "metrics.csv",
        "summary.json",
        "report.html",
        "samples/real.png",
        "samples/step-000000.png",
        "samples/step-000002.png",
        "samples/step-000004.png",
        "checkpoints/last.ckpt",
        "checkpoints/best-fid.ckpt",
    }
    names = {row.name for row in images_run.rows()}
    assert not [name for name in names if name.startswith("time/")]
    assert {"loss/generator", "loss/discriminator", "penalty/r1", "images_seen"} <= names
    wanted = ["fid", "kid", "precision", "recall", "density", "coverage", "vendi", "modes", "kl", "kl_floor"]
    for step in (0, 2, 4):
        assert [*numbers(images_run, "eval/", step)] == wanted
    assert [*numbers(images_run, "eval_raw/", 4)] == wanted
    assert numbers(images_run, "eval_raw/", 0) == numbers(images_run, "eval_raw/", 2) == {}
    assert all(math.isfinite(row.value) for row in images_run.rows())


@pytest.mark.slow
def test_an_image_runs_summary_says_how_it_went(images_run):
    summary = images_run.read_summary()
    assert (summary["status"], summary["exit_status"], summary["step"]) == ("finished", 0, 4)
    assert summary["images_seen"] == 4 * 8
    assert {"total", "train", "evaluate", "checkpoint", "setup"} <= summary["time"].keys()
    parts = sum(seconds for part, seconds in summary["time"].items() if part != "total")
    assert 0 < parts <= summary["time"]["total"]
    fid = numbers(images_run, "eval/", 4)["fid"]
    assert summary["metrics"]["fid"]["last"] == fid
    assert summary["protocol"]["fake"]["num"] == 100
    data = mnist5k()
    assert images_run.read_provenance()["data_digest"] == data.digest()
    assert summary["protocol"]["real"]["sha256"] == digest([data.train.first(100)])
    assert summary["protocol"]["fingerprint"] != summary["protocol"]["raw_fingerprint"]
    report = images_run.report.read_text()
    assert "http://" not in report.replace("http://www.w3.org", "")  # self-contained: nothing is fetched
    assert 'src="data:image/png;base64,' in report or "<svg" in report


@pytest.mark.slow
def test_evaluate_gives_back_the_runs_own_last_numbers(command, tmp_path, images_run, points_run):
    for record, step in ((images_run, 4), (points_run, 10)):
        for averaged, prefix in ((True, "eval/"), (False, "eval_raw/")):
            output = tmp_path / "out.json"
            words = f"run={record.directory}", f"output={output}", f"averaged={averaged}"
            answer = command(evaluate.main, *words)
            assert answer.status == 0, answer.err
            assert "another protocol" not in answer.out
            found = json.loads(output.read_text())
            assert found["step"] == step
            assert found["metrics"] == numbers(record, prefix, step)
            stored = record.read_summary()["protocol"]
            key = "fingerprint" if averaged else "raw_fingerprint"
            assert found["protocol"]["fingerprint"] == stored[key]
            assert found["protocol"]["real"] == stored["real"]
            output.unlink()


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["kl", "mmd"])
def test_evaluate_gives_back_the_best_checkpoints_numbers(command, tmp_path, points_run, metric):
    best = points_run.read_summary()["best_checkpoints"][metric]
    output = tmp_path / "out.json"
    words = f"run={points_run.directory}", f"checkpoint=best-{metric}", f"output={output}"
    assert command(evaluate.main, *words).status == 0
    found = json.loads(output.read_text())
    assert (found["step"], found["metrics"][metric]) == (best["step"], best["value"])
    assert found["metrics"] == numbers(points_run, "eval/", best["step"])
    assert best["value"] == min(points_run.series()[f"eval/{metric}"].values())


@pytest.mark.slow
def test_evaluate_says_that_more_samples_are_another_protocol(command, tmp_path, points_run):
    output = tmp_path / "out.json"
    words = f"run={points_run.directory}", "num_samples=150", f"output={output}"
    answer = command(evaluate.main, *words)
    assert answer.status == 0
    assert "another protocol: they cannot be compared" in answer.out
    assert "recorded" not in answer.out.partition("fingerprint")[0]  # no column to compare with
    found = json.loads(output.read_text())
    assert found["protocol"]["fake"]["num"] == 150
    assert found["metrics"] != numbers(points_run, "eval/", 10)


@pytest.mark.slow
def test_sample_writes_a_grid_and_a_folder_of_digits(command, tmp_path, images_run):
    words = f"run={images_run.directory}", "num=11", "grid=grid.png", "folder=digits"
    answer = command(sample.main, *words)
    assert answer.status == 0, answer.err
    assert {path.name for path in tmp_path.iterdir()} == {"grid.png", "digits"}
    with Image.open(tmp_path / "grid.png") as grid:
        grid.load()
        assert min(grid.size) > 28
    files = sorted((tmp_path / "digits").iterdir())
    assert [path.name for path in files] == [f"{index:02d}.png" for index in range(11)]
    for path in files:
        with Image.open(path) as image:
            assert (image.size, image.mode) == ((28, 28), "L")
    again = command(sample.main, f"run={images_run.directory}", "num=3", "folder=again")
    assert again.status == 0
    for index in range(3):  # the first samples do not depend on how many there are
        first = np.asarray(Image.open(files[index]))
        assert np.array_equal(first, np.asarray(Image.open(tmp_path / "again" / f"{index}.png")))


@pytest.mark.slow
def test_sample_writes_points_as_an_array(command, tmp_path, points_run):
    words = f"run={points_run.directory}", "num=7", "folder=points", "grid=points.png"
    assert command(sample.main, *words).status == 0
    assert np.load(tmp_path / "points" / "points.npy").shape == (7, 2)
    with Image.open(tmp_path / "points.png") as picture:
        picture.verify()


@pytest.mark.slow
def test_two_runs_of_one_configuration_and_seed_agree_to_the_byte(points_run, tmp_path_factory):
    twin = made(tmp_path_factory, POINTS)
    assert twin.metrics.read_bytes() == points_run.metrics.read_bytes()
    other = made(tmp_path_factory, [*POINTS, "seed=1"])
    assert other.metrics.read_bytes() != points_run.metrics.read_bytes()


@pytest.mark.slow
def test_a_sweep_without_a_name_lies_under_what_varies_and_one_bad_job_stops_no_other(command, tmp_path):
    answer = command(train.main, "-m", *POINTS, "batch_size=0,16", "tags=[a]")
    assert answer.status == 1
    assert "batch_size must be a whole number" in answer.out
    (sweep,) = (tmp_path / "runs" / "sweep").iterdir()
    assert sweep.name.startswith("batch-size_")
    (job,) = sweep.glob("*/config.yaml")
    assert job.parent.name.startswith("batch-size-16_")
    assert OmegaConf.load(job).name == "ring8-mlp-non_saturating"
    assert open_record(job.parent).read_summary()["status"] == "finished"
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["sweep"]


def test_hydras_own_launcher_still_works(command, tmp_path):
    # in this process, one after another: for a debugger
    words = "hydra/launcher=basic", "hydra.sweep.dir=sweep"
    answer = command(train.main, "-m", *POINTS, "batch_size=0,16", *words)
    assert answer.status == 2
    assert "batch_size must be a whole number" in answer.err
    assert open_record(tmp_path / "sweep" / "1").read_summary()["status"] == "finished"
    assert not (tmp_path / "sweep" / "0" / "config.yaml").exists()


@pytest.mark.parametrize(
    "words",
    [
        "-m saddle.commands.compare --help",
        "-m saddle.commands.reproduce --help",
        "-m saddle.commands.search --help",
        "-m saddle.commands.train --help",
        "-m saddle.commands.train --cfg job",
        "-u -m saddle.commands.train --cfg job",  # unbuffered: each print fails, not the last flush
    ],
)
def test_a_command_whose_output_nobody_reads_ends_in_silence(tmp_path, words):
    reader, writer = os.pipe()
    os.close(reader)
    variables = {name: value for name, value in environment().items() if name != "PYTHONUNBUFFERED"}
    line = [sys.executable, *words.split()]
    with open(writer, "wb") as pipe:
        done = subprocess.run(
            line, cwd=tmp_path, env=variables, stdout=pipe, stderr=subprocess.PIPE, timeout=100, check=False
        )
    assert done.stderr == b""
    assert done.returncode == 128 + signal.SIGPIPE
    assert not [*tmp_path.iterdir()]


def test_a_pipe_that_breaks_elsewhere_is_an_error(capfd):
    with (
        pytest.raises(BrokenPipeError),
        ending_with_its_reader(),
    ):  # as of a socket: our output has its reader
        raise BrokenPipeError


@pytest.mark.parametrize("checkpoint_every", [10, 20])
def test_the_best_checkpoint_is_that_of_the_best_evaluation_however_seldom_others_are_saved(
    tmp_path, checkpoint_every
):
    words = [word for word in POINTS if not word.startswith(("checkpoint_every", "num_steps"))]
    words += [f"checkpoint_every={checkpoint_every}", "num_steps=20", f"hydra.run.dir={tmp_path / 'run'}"]
    assert call(train.main, *words) == 0
    record = open_record(tmp_path / "run")
    summary = record.read_summary()
    for metric in ("kl", "mmd"):
        held = torch.load(record.checkpoint(f"best-{metric}"), weights_only=True)
        best, kept = summary["metrics"][metric], summary["best_checkpoints"][metric]
        assert held["step"] == best["step_of_best"] == kept["step"]
        assert held["best"] == {metric: best["best"]} == {metric: kept["value"]}
