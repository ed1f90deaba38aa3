"""Samples to features: quantization in one place, and what the shipped classifiers know."""

import copy
import json
import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from torch.testing import assert_close

from saddle.data.images import digits, mnist5k
from saddle.data.pixels import digest, from_uint8, to_uint8
from saddle.features.extractors import digit_classifier, points
from saddle.metrics.protocol import Extraction

ROOT = Path(__file__).parents[2]
WEIGHTS = ROOT / "src" / "saddle" / "features" / "weights"


def noise_images(num: int, side: int = 28, seed: int = 0) -> torch.Tensor:
    uniform = torch.rand(
        num, 1, side, side, generator=torch.Generator().manual_seed(seed), dtype=torch.float32
    )
    return uniform * 2 - 1


# Quantization


def test_every_level_survives_the_way_to_floats_and_back():
    levels = torch.arange(256).to(torch.uint8)
    assert torch.equal(to_uint8(from_uint8(levels)), levels)
    assert torch.equal(to_uint8(from_uint8(levels).double()), levels)


def test_quantization_rounds_to_the_nearest_level_and_clamps():
    levels = torch.tensor([99.4, 99.6, -3.0, 300.0, 0.0, 255.0], dtype=torch.float64)
    assert to_uint8(levels / 127.5 - 1).tolist() == [99, 100, 0, 255, 0, 255]


@settings(deadline=None)  # the first call warms torch up
@given(value=st.floats(-1, 1))
def test_quantization_moves_no_pixel_by_more_than_half_a_level(value):
    pixel = torch.tensor([value], dtype=torch.float64)
    moved = (from_uint8(to_uint8(pixel)).double() - pixel).abs().item()
    assert moved <= 0.5 / 127.5 + 1e-7  # 1e-7: the levels are float32


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_an_image_that_is_not_finite_is_refused(bad):
    image = torch.zeros(1, 1, 2, 2)
    image[0, 0, 0, 1] = bad
    with pytest.raises(ValueError, match="must be finite to be quantized; got 1 NaN or infinite of 4"):
        to_uint8(image)


# Digests


def test_a_digest_is_of_the_samples_not_of_how_they_are_dealt_or_stored():
    images = noise_images(5)
    whole = digest([images])
    assert digest(images.split(2)) == whole
    assert digest([from_uint8(to_uint8(images))]) == whole  # a PNG file holds no more
    assert digest([images.flip(0)]) != whole
    assert digest([images[:4]]) != whole
    assert digest([images.flatten(2)[..., None].reshape(5, 1, 14, 56)]) != whole
    points_ = images.flatten(1)
    assert digest([points_]) == digest(points_.split(3))
    assert digest([points_]) != digest([points_.double()])


# Points


def test_points_are_their_own_features():
    samples = torch.randn(5, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    features = points().to("cpu")(samples)
    assert features.keys() == {"points"}
    assert_close(features["points"], samples.detach())
    assert not features["points"].requires_grad
    assert points().describe().quantization == "none"


def test_images_are_not_points():
    with pytest.raises(ValueError, match=r"points must be a matrix \(N, d\); got shape \(2, 1, 8, 8\)"):
        points()(torch.zeros(2, 1, 8, 8))


# The classifiers


@pytest.fixture(scope="module", params=["mnist5k", "digits"])
def shipped(request, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SADDLE_CACHE", str(tmp_path_factory.mktemp("cache")))
        data = {"mnist5k": mnist5k, "digits": digits}[request.param]()
    return digit_classifier(request.param), data


def test_the_shipped_weights_read_unseen_digits_as_well_as_they_say(shipped):
    extractor, data = shipped
    images, labels = data.held_out.take(torch.arange(len(data.held_out)))
    guesses = extractor(images)["logits"].argmax(1)
    num_right = int((guesses == labels).sum())
    with safe_open(WEIGHTS / f"{extractor.name}.safetensors", framework="pt") as stored:
        made_from = json.loads(stored.metadata()["made_from"])
    assert num_right / len(guesses) >= 0.98
    # One digit of slack: another machine's rounding may turn a coin-flip digit.
    assert abs(num_right - made_from["held_out_right"]) <= 1
    assert made_from["data_sha256"] == data.digest()


def test_features_of_the_training_images_have_mean_zero_and_mean_variance_one(shipped):
    extractor, data = shipped
    features = extractor(data.train.first(len(data.train)))["features"].double()
    assert_close(features.mean(0), torch.zeros(64).double(), atol=1e-4, rtol=0)  # float32 means of thousands
    assert_close(features.var(0).mean().item(), 1.0, atol=1e-3, rtol=0)


def test_the_weights_are_small_and_the_description_names_them(shipped):
    extractor, _ = shipped
    blob = (WEIGHTS / f"{extractor.name}.safetensors").read_bytes()
    assert len(blob) < 500_000
    assert extractor.describe() == Extraction(
        name=f"digit_classifier/{extractor.name}",
        weights_sha256=sha256(blob).hexdigest(),
        layers="features (64, standardized), logits (10)",
        quantization="uint8, clamp and round to nearest",
    )


def test_features_do_not_depend_on_the_batch_size(shipped):
    extractor, data = shipped
    samples = data.held_out.first(23)
    whole = extractor(samples)
    assert {layer: tuple(f.shape) for layer, f in whole.items()} == {"features": (23, 64), "logits": (23, 10)}
    for batch_size in (1, 7):
        pieces = digit_classifier(extractor.name, batch_size=batch_size)(samples)
        for layer in whole:  # float32 rounding of sums of a few hundred terms of size 1 to 10
            assert_close(pieces[layer], whole[layer], atol=1e-4, rtol=1e-5)


def test_features_are_float32_and_carry_no_gradient_even_where_the_default_is_float64():
    images = noise_images(2).requires_grad_()
    extractor = digit_classifier("mnist5k")
    for features in (extractor(images), extractor(images.double())):
        for layer in features.values():
            assert layer.dtype == torch.float32
            assert not layer.requires_grad


def test_mixed_precision_around_the_extractor_changes_nothing():
    extractor, images = digit_classifier("mnist5k"), noise_images(2)
    plain = extractor(images)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = extractor(images)
    assert_close(mixed, plain, atol=0, rtol=0)


def test_the_classifier_sees_quantized_images_only():
    extractor, images = digit_classifier("mnist5k"), noise_images(2)
    nudged = from_uint8(to_uint8(images)) + 0.3 / 127.5  # less than half a level
    assert_close(extractor(nudged), extractor(images), atol=0, rtol=0)


def test_extraction_draws_no_random_numbers_and_leaves_the_network_as_it_was():
    extractor = digit_classifier("mnist5k")
    before = copy.deepcopy(extractor.network.state_dict())
    state = torch.random.get_rng_state()
    extractor(noise_images(2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert_close(extractor.network.state_dict(), before, atol=0, rtol=0)


def test_moving_an_extractor_leaves_the_first_where_it_is():
    extractor = digit_classifier("mnist5k")
    moved = extractor.to("meta")
    assert {p.device.type for p in extractor.network.parameters()} == {"cpu"}
    assert {p.device.type for p in moved.network.parameters()} == {"meta"}
    assert moved.describe() == extractor.describe()


def test_images_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"mnist5k must see images of shape \(1, 28, 28\); got \(1, 8, 8\)"):
        digit_classifier("mnist5k")(noise_images(2, side=8))


def test_unknown_weights_are_refused_with_the_known_ones_named():
    with pytest.raises(ValueError, match="weights must be one of digits, mnist5k; got 'cifar'"):
        digit_classifier("cifar")


# The script that makes the weights


def run_script(*arguments: str) -> subprocess.CompletedProcess[str]:
    script = ROOT / "scripts" / "train_classifier.py"
    path = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, str(script), *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        check=False,
    )


def test_help_answers_without_torch():
    code = "import sys, runpy; sys.modules['torch'] = None; sys.argv = ['x', '--help']; "
    code += f"runpy.run_path({str(ROOT / 'scripts' / 'train_classifier.py')!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "held-out" in done.stdout


def test_weights_that_read_badly_are_not_stored(tmp_path):
    done = run_script("digits", "--epochs", "1", "--output", str(tmp_path))
    assert done.returncode == 1, done.stderr
    assert "Not stored: the held-out accuracy must be at least 97%" in done.stdout
    assert not list(tmp_path.iterdir())
