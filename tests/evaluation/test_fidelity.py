"""Two folders of PNG files, scored by ``saddle-evaluate``, by torch-fidelity's command and by torchmetrics.

torch-fidelity 0.4.0, torchmetrics 1.9.0, on an Inception of random weights.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from command_line import call
from saddle.commands import evaluate
from saddle.features import files as feature_files
from saddle.metrics.inception import inception_score
from saddle.metrics.kernels import kid_of_subsets
from samples import pictures

pytestmark = pytest.mark.slow

NUM = 20  # a side; an Inception takes a fifth of a second an image
EARLY = "64"  # layer with fewer features than images have values: its covariance matters to every digit


class Scores(NamedTuple):
    ours: dict[str, float]
    theirs: dict[str, float]
    features: Path  # fake.safetensors and real.safetensors


def save_images(folder: Path, images: np.ndarray) -> None:
    folder.mkdir()
    for index, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{index:03d}.png")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Fake and real: both are half smooth; of the others, the fake ones are all noise, the real "
    "ones are not."""
    top = tmp_path_factory.mktemp("folders")
    fake = np.concatenate([pictures(NUM // 2, 1, 0.1), pictures(NUM // 2, 2, 1.0)])
    save_images(top / "fake", fake)
    save_images(top / "real", np.concatenate([pictures(NUM // 2, 0, 0.1), pictures(NUM // 2, 5, 0.6)]))
    return top / "fake", top / "real"


@pytest.fixture(scope="module")
def scores(
    folders: tuple[Path, Path], inception_weights: Path, tmp_path_factory: pytest.TempPathFactory
) -> Scores:
    fake, real = folders
    out = tmp_path_factory.mktemp("out")
    line = [
        *(sys.executable, "-m", "torch_fidelity.fidelity", "--input1", str(fake), "--input2", str(real)),
        *("--cpu", "--json", "--silent", "--isc", "--fid", "--kid", "--prc", "--save-cpu-ram", "--no-cache"),
        *("--feature-extractor", "inception-v3-compat", "--feature-layer-fid", EARLY),
        *("--feature-extractor-weights-path", str(inception_weights)),
        # one split and one subset of everything: no shuffle, no draw
        *("--isc-splits", "1", "--kid-subsets", "1", "--kid-subset-size", str(NUM)),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(line, capture_output=True, text=True, env=environment, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    theirs = json.loads(done.stdout)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SADDLE_CACHE", str(out / "cache"))
        words = [
            *(f"fake={fake}", f"real={real}", "features=inception", f"features.weights={inception_weights}"),
            *(f"+features.layers.early='{EARLY}'", "metrics=[fid,kid,precision_recall]", "device=cpu"),
            "+metrics.measures.early.early_fid._target_=saddle.metrics.frechet.fid",
            "+metrics.measures.early.early_fid._partial_=true",
            *(f"output={out / 'out.json'}", f"save_features={out / 'features'}"),
        ]
        assert call(evaluate.main, *words) == 0
    ours = json.loads((out / "out.json").read_text())["metrics"]
    return Scores(ours, theirs, out / "features")


def test_fid_is_torch_fidelitys(scores):
    # float32 means on their side: 2⁻²⁴ of the mean, twenty times the difference of means, is near 1e-6
    expected = scores.theirs["frechet_inception_distance"]
    assert_close(scores.ours["early_fid"], expected, rtol=1e-6, atol=0)


def test_fid_of_fewer_images_than_features_is_torch_fidelitys_up_to_its_rounding(scores):
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    sides = [feature_files.read(scores.features / f"{side}.safetensors") for side in ("fake", "real")]
    statistics = [fid_features_to_statistics(side.features["features"]) for side in sides]
    theirs = fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    # two thousand eigenvalues that should be 0 are ±1e-16 of the largest, and each enters by its root
    assert_close(scores.ours["fid"], theirs, rtol=1e-5, atol=0)


def test_kid_is_torch_fidelitys(scores):
    # their kernel matrices are float32, each entry exact to 1e-7
    assert_close(scores.ours["kid"], scores.theirs["kernel_inception_distance_mean"], rtol=1e-6, atol=0)


def test_precision_and_recall_are_torch_fidelitys(scores):
    for name in ("precision", "recall"):
        # their means are float32
        assert_close(scores.ours[name], scores.theirs[name], rtol=1e-6, atol=0)
    assert 0 < scores.ours["precision"] < 1


def test_the_inception_score_of_the_logits_is_torch_fidelitys(scores):
    logits = feature_files.read(scores.features / "fake.safetensors").features["logits"]
    found = inception_score(logits, logits, num_splits=1)
    assert_close(found["inception_score"], scores.theirs["inception_score_mean"], rtol=1e-6, atol=0)


def test_kid_over_torch_fidelitys_subsets_is_torch_fidelitys(scores):
    from torch_fidelity.metric_kid import kid_features_to_metric

    fake, real = (
        feature_files.read(scores.features / f"{side}.safetensors").features["features"]
        for side in ("fake", "real")
    )
    size = NUM // 2
    options = {"kid_subsets": 4, "kid_subset_size": size, "rng_seed": 7, "verbose": False}
    theirs = kid_features_to_metric(fake.double(), real.double(), **options)
    ours = kid_of_subsets(real, fake, num_subsets=4, subset_size=size, seed=7)
    for name, form in (("kid_subsets", "mean"), ("kid_subsets_std", "std")):
        assert_close(ours[name], theirs[f"kernel_inception_distance_{form}"], rtol=1e-10, atol=0)


def test_fid_is_torchmetrics_without_antialiasing(scores, folders, inception_weights):
    from torchmetrics.image.fid import FrechetInceptionDistance

    metric = FrechetInceptionDistance(
        int(EARLY), feature_extractor_weights_path=str(inception_weights), antialias=False
    )
    for folder, is_real in zip(folders, (False, True), strict=True):
        images = np.stack([np.asarray(Image.open(path)) for path in sorted(folder.iterdir())])
        metric.update(torch.from_numpy(images).permute(0, 3, 1, 2), real=is_real)
    # its result is float32
    assert_close(scores.ours["early_fid"], float(metric.compute()), rtol=1e-6, atol=0)
