"""``saddle-evaluate fake=... real=...``: every kind of side, what is refused, and what is written."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from torch.testing import assert_close

from command_line import POINTS, Command, assert_refused, command, made
from saddle.commands import evaluate
from saddle.data.images import digits
from saddle.data.pixels import digest, from_uint8, to_uint8
from saddle.features.extractors import digit_classifier
from saddle.features.files import read
from saddle.metrics.frechet import fid
from saddle.records.record import Record
from saddle.training.restore import restore
from samples import pictures

__all__ = ["command"]  # a fixture

FAKE, REAL = pictures(12, 1, 0.6), pictures(14, 0, 0.3)
FLAT = "features=flatten"
METRICS = "metrics=[fid,kid,prdc,vendi]"
QUICK = "metrics=[kid,prdc]"


@pytest.fixture(autouse=True)
def _float32_and_a_cache_of_its_own(
    _float64_by_default: None, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    torch.set_default_dtype(torch.float32)
    monkeypatch.setenv("SADDLE_CACHE", str(tmp_path_factory.mktemp("cache")))


def save_images(folder: Path, images: np.ndarray) -> Path:
    folder.mkdir()
    for index, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{index:03d}.png")
    return folder


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders fake and real, the same as arrays, and digits as a folder."""
    top = tmp_path_factory.mktemp("samples")
    for name, images in (("fake", FAKE), ("real", REAL)):
        save_images(top / name, images)
        np.savez(top / f"{name}.npz", images)
        np.save(top / f"{name}.npy", images.transpose(0, 3, 1, 2))
        floats = from_uint8(torch.from_numpy(images)).numpy()
        np.save(top / f"{name}_floats.npy", floats)
    save_images(top / "digits", to_uint8(digits().train.first(60))[:, 0].numpy())
    return top


@pytest.fixture(scope="module")
def points_run(tmp_path_factory: pytest.TempPathFactory) -> Record:
    return made(tmp_path_factory, POINTS)


def scored(command: Command, *words: str) -> dict[str, Any]:
    """What the command writes as JSON."""
    output = Path("out.json").absolute()
    answer = command(evaluate.main, *words, f"output={output}", "device=cpu")
    assert answer.status == 0, answer.err
    found = json.loads(output.read_text())
    output.unlink()
    return found


def test_two_folders_are_scored_and_written_as_table_json_and_csv(command, tmp_path, samples):
    words = f"fake={samples}/fake", f"real={samples}/real", FLAT, METRICS, "output=[a.json,a.csv]"
    answer = command(evaluate.main, *words)
    assert answer.status == 0, answer.err
    found = json.loads((tmp_path / "a.json").read_text())
    flat = [from_uint8(torch.from_numpy(x)).permute(0, 3, 1, 2).flatten(1) for x in (REAL, FAKE)]
    # eigenvalues of singular covariances, rounded otherwise when another library thread sums them
    assert_close(found["metrics"]["fid"], fid(*flat), rtol=1e-6, atol=0)
    names = ["fid", "kid", "precision", "recall", "density", "coverage", "vendi"]
    assert [*found["metrics"]] == names
    assert (found["protocol"]["real"]["num"], found["protocol"]["fake"]["num"]) == (14, 12)
    with open(tmp_path / "a.csv", newline="") as file:
        rows = [*csv.DictReader(file)]
    assert [row["metric"] for row in rows] == names
    for row in rows:
        assert float(row["value"]) == found["metrics"][row["metric"]]
        assert row["fingerprint"] == found["protocol"]["fingerprint"]
        assert row["metric"] in answer.out
    better = {row["metric"] for row in rows if row["higher_is_better"] == "true"}
    assert better == {"precision", "recall", "density", "coverage", "vendi"}
    assert found["protocol"]["fingerprint"] in answer.out
    assert {path.name for path in tmp_path.iterdir()} == {"a.json", "a.csv"}


@pytest.mark.parametrize("kind", [".npz", ".npy", "_floats.npy"])
def test_an_array_scores_as_the_folder_of_the_same_images(command, samples, kind):
    folder = scored(command, f"fake={samples}/fake", f"real={samples}/real", FLAT, QUICK)
    array = scored(command, f"fake={samples}/fake{kind}", f"real={samples}/real{kind}", FLAT, QUICK)
    assert array["metrics"] == folder["metrics"]
    assert array["protocol"]["fingerprint"] == folder["protocol"]["fingerprint"]


def test_a_folder_of_a_datasets_images_is_that_dataset(command, samples):
    words = "fake=digits:held_out", "num_samples=50", "features=digits", "metrics=[fid,class_modes]"
    folder = scored(command, *words, f"real={samples}/digits")
    dataset = scored(command, *words, "real=digits", "num_real=60")
    assert folder["metrics"] == dataset["metrics"]
    assert folder["protocol"]["fingerprint"] == dataset["protocol"]["fingerprint"]
    data, extractor = digits(), digit_classifier("digits")
    expected = fid(
        extractor(data.train.first(60))["features"], extractor(data.held_out.first(50))["features"]
    )
    assert_close(dataset["metrics"]["fid"], expected, rtol=1e-6, atol=0)  # 60 images: a singular covariance
    assert dataset["protocol"]["real"]["sha256"] == digest([data.train.first(60)])


@pytest.mark.slow
def test_a_run_and_its_checkpoint_are_scored_by_metrics_of_ones_own(command, points_run):
    words = "real=ring8", "num_real=90", "features=identity", "metrics=[precision_recall]"
    run = scored(command, f"fake={points_run.directory}", *words)
    last = scored(command, f"fake={points_run.checkpoint('last')}", *words)
    assert run["metrics"] == last["metrics"]
    _, experiment, _, params, _ = restore(str(points_run.directory), "last", True)
    assert run["protocol"]["fake"]["num"] == experiment.evaluator.num_samples
    samples = experiment.sampler(params, 100)
    from saddle.metrics.neighbours import precision_recall

    real = experiment.dataset.train.first(90)  # of the run's own, smaller set: another draw of the same law
    assert {*precision_recall(real, samples)} == {*run["metrics"]}
    raw = scored(command, f"fake={points_run.directory}", "averaged=false", *words)
    assert raw["protocol"]["fake"]["averaging"] == "none"
    assert raw["protocol"]["fingerprint"] != run["protocol"]["fingerprint"]
    assert any("checkpoint last at generator step 10" in note for note in run["notes"])


@pytest.mark.slow
def test_a_generators_own_metrics_and_memorization_belong_to_a_checkpoint(command, points_run):
    words = "real=ring8", "num_real=90", "held_out=ring8:held_out", "features=identity"
    metrics = "metrics=[memorization,log_condition,path_length]"
    found = scored(command, f"fake={points_run.checkpoint('last')}", *words, metrics)
    assert found["metrics"].keys() == {
        *("nearer_train", "nearer_train_se", "distance_train", "distance_held_out"),
        *("log_condition", "log_condition_std", "path_length", "path_length_se"),
    }
    assert 0 <= found["metrics"]["nearer_train"] <= 1
    assert found["metrics"]["path_length"] > 0
    assert found["held_out"] == "ring8:held_out"
    again = scored(command, f"fake={points_run.directory}", *words, metrics)
    assert again["metrics"] == found["metrics"]


def test_images_themselves_are_measured_where_a_metric_asks_for_them(command, tmp_path, samples):
    from saddle.metrics.images import ms_ssim_diversity

    words = f"fake={samples}/fake", f"real={samples}/real", FLAT, "metrics=[ms_ssim,kid]"
    found = scored(command, *words, f"save_features={tmp_path}/kept")
    fake = from_uint8(torch.from_numpy(FAKE)).permute(0, 3, 1, 2)
    # float32 convolutions in another order of the batch
    assert_close(found["metrics"]["ms_ssim"], ms_ssim_diversity(fake, fake), rtol=1e-5, atol=0)
    assert {*read(tmp_path / "kept" / "fake.safetensors").features} == {"features"}  # no images among them


@pytest.mark.parametrize(
    "flag", [["save_features=kept"], ["--save-features", "kept"], ["--save-features=kept"]]
)
def test_saved_features_give_the_same_numbers_without_another_pass(command, samples, flag):
    words = f"fake={samples}/fake", f"real={samples}/real", FLAT, QUICK
    first = scored(command, *words, *flag)
    again = scored(command, "fake=kept/fake.safetensors", "real=kept/real.safetensors", QUICK)  # no Inception
    assert again["metrics"] == first["metrics"]
    assert again["protocol"]["fingerprint"] == first["protocol"]["fingerprint"]
    mixed = scored(command, "fake=kept/fake.safetensors", f"real={samples}/real", FLAT, QUICK)
    assert mixed["metrics"] == first["metrics"]


def test_features_of_two_extractors_are_not_compared(command, tmp_path, samples):
    both = f"fake={samples}/digits", f"real={samples}/digits"
    scored(command, *both, FLAT, "metrics=[vendi]", "save_features=kept")
    answer = command(
        evaluate.main, "fake=kept/fake.safetensors", both[1], "features=digits", "metrics=[vendi]"
    )
    assert answer.status == 2
    assert "both sides must be features of one extractor" in answer.err


def test_real_features_are_kept_by_content_and_reused(command, samples, tmp_path_factory, monkeypatch):
    """Through a costly extractor: pixels by way of a module."""
    cache = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("SADDLE_CACHE", str(cache))
    module = "features=module", "+features.network._target_=torch.nn.Identity", "metrics=[kid]"
    first = scored(command, f"fake={samples}/fake", f"real={samples}/real", *module)
    (kept,) = (cache / "real").iterdir()
    before = kept.stat().st_mtime_ns
    again = scored(command, f"fake={samples}/fake", f"real={samples}/real.npz", *module)
    assert again["metrics"] == first["metrics"]
    assert [*(cache / "real").iterdir()] == [kept]
    assert kept.stat().st_mtime_ns == before
    other = scored(command, f"fake={samples}/fake", f"real={samples}/real", "num_real=13", *module)
    assert other["metrics"] != first["metrics"]
    assert len([*(cache / "real").iterdir()]) == 2


def test_ignored_files_are_counted_in_the_notes(command, tmp_path_factory, samples):
    folder = save_images(tmp_path_factory.mktemp("more") / "fake", FAKE)
    (folder / "notes.txt").write_text("about")
    found = scored(command, f"fake={folder}", f"real={samples}/real", FLAT, "metrics=[vendi]")
    assert found["notes"] == [f"{folder}: 1 files that are no images were ignored"]


def test_resize_brings_both_folders_to_one_square_and_is_in_the_protocol(command, tmp_path, samples):
    small = f"fake={samples}/digits", f"real={samples}/real", FLAT, "metrics=[vendi]"
    answer = command(evaluate.main, *small)
    assert_refused(answer, tmp_path, "must be of one size; got (3, 16, 16)", "(1, 8, 8)", "resize=SIDE")
    module = "features=module", "+features.network._target_=torch.nn.Identity", "metrics=[vendi]"
    found = scored(command, *small[:2], *module, "resize=8")
    assert found["protocol"]["real"]["resize"] == "bicubic, antialiased, to 8x8"


@pytest.mark.parametrize(
    ("words", "pieces"),
    [
        ("", ("fake and real must be given, or run", "got fake=None real=None", "Say")),
        ("fake=digits", ("fake and real must be given", "real=None", "Say")),
        ("run=x fake=digits", ("run has metrics of its own", "got fake beside it", "Say")),
        ("run=x features.batch_size=2", ("run has metrics of its own", "got features beside it")),
        ("fake=digits real=digits checkpoint=best", ("checkpoint must go with run", "Say")),
        ("fake=nowhere real=digits", ("fake must be a folder of images", "digits", "there is no nowhere")),
        ("fake=digits:test real=digits", ("split must be one of train, held_out", "digits:test", "Say")),
        ("fake=digits real=ring8", ("must be of one size", "(2,) in ring8", "(1, 8, 8) in digits")),
        ("fake=digits real=digits num_real=99999", ("must hold at least 99999", "holds 14", "Lower")),
        ("fake=digits real=digits num_samples=1", ("num_samples must be a whole number of at least 2",)),
        ("fake=digits real=digits output=a.txt", ("output must end in .json or .csv", "a.txt", "Rename")),
        ("fake=digits real=digits output=no/a.csv", ("output must lie in an existing folder", "no/a.csv")),
        ("fake=digits real=digits save_features=no/such", ("save_features must be a folder", "no/such")),
        ("fake=digits real=digits metrics=[fidd]", ("metrics/fidd", "Did you mean fid")),
        ("fake=digits real=digits metrics=[]", ("metrics must name at least one", "Say")),
        ("fake=digits real=digits metrics=[class_modes]", ("must have the layer logits", "have features")),
        ("fake=digits real=digits metrics=[memorization]", ("must have real samples", "Say held_out")),
        ("fake=digits real=digits metrics=[path_length]", ("must have the generator", "Give a run")),
        ("fake=digits real=digits num_real=3 metrics=[prdc]", ("must have at least 4 rows", "got 3")),
    ],
)  # fmt: skip
def test_what_cannot_be_scored_is_refused(command, tmp_path, words, pieces):
    features = [] if "features" in words.replace("save_features", "") or "run=" in words else [FLAT]
    assert_refused(command(evaluate.main, *words.split(), *features), tmp_path, *pieces)


def test_files_of_unknown_kind_and_checkpoints_outside_a_run_are_refused(command, tmp_path, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for name, piece in (("a.png", "for images give their folder"), ("a.ckpt", "must lie in checkpoints/")):
        (elsewhere / name).write_bytes(b"x")
        assert_refused(
            command(evaluate.main, f"fake={elsewhere / name}", "real=digits", FLAT), tmp_path, piece
        )


def test_missing_weights_are_found_out_before_anything_is_read(command, tmp_path, monkeypatch, samples):
    monkeypatch.setattr("saddle.data.folder.read_folder", lambda *_: pytest.fail("was read"))
    words = f"fake={samples}/fake", f"real={samples}/real", "features.weights=nowhere.pth"
    assert_refused(command(evaluate.main, *words), tmp_path, "must be a file", "nowhere.pth", "Give its path")


def test_long_loops_show_what_they_do_how_far_they_are_and_the_time_left_on_a_terminal_only():
    for is_terminal in (True, False):
        screen = io.StringIO()
        with evaluate._progress(Console(file=screen, force_terminal=is_terminal, width=100)) as track:
            assert [*track(range(3), "features of [x]", 3)] == [0, 1, 2]
        assert ("features of [x]" in screen.getvalue()) == is_terminal
        assert ("3/3" in screen.getvalue()) == is_terminal
        assert ("left" in screen.getvalue()) == is_terminal


def test_help_tells_a_stranger_what_to_say(command):
    answer = command(evaluate.main, "--help")
    assert answer.status == 0
    for piece in (
        "fake=./samples real=./data/train",
        "a folder of images",
        ".npz",
        "checkpoints/",
        "mnist5k",
    ):
        assert piece in answer.out
