"""Array files: every layout that can be meant in one way only is taken, every other refused."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from saddle.data.arrays import read_array
from saddle.data.pixels import from_uint8, to_uint8
from samples import pictures

IMAGES = pictures(5, 0, 0.5)  # (5, 16, 16, 3)
FIRST = torch.from_numpy(IMAGES).permute(0, 3, 1, 2)


def read(path, num=None):
    return torch.cat([*read_array(path, num).batches(2)])


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (IMAGES, FIRST),
        (FIRST.numpy(), FIRST),
        (IMAGES[..., :1], FIRST[:, :1]),
        (IMAGES[..., 0], FIRST[:, :1]),
        (from_uint8(FIRST).numpy(), FIRST),
        (from_uint8(FIRST).permute(0, 2, 3, 1).numpy(), FIRST),
        (from_uint8(FIRST).double().numpy(), FIRST),
        (from_uint8(FIRST)[:, 0].numpy(), FIRST[:, :1]),
    ],
    ids=["NHWC", "NCHW", "grey NHWC", "grey NHW", "float NCHW", "float NHWC", "float64 NCHW", "float NHW"],
)
@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_a_layout_that_can_be_meant_in_one_way_is_taken(tmp_path, stored, expected, suffix):
    path = tmp_path / f"samples.{suffix}"
    (np.save if suffix == "npy" else np.savez)(path, stored)
    assert torch.equal(to_uint8(read(path)), expected)
    assert torch.equal(to_uint8(read(path, 3)), expected[:3])


def test_a_published_sample_batch_gives_its_images_not_its_labels(tmp_path):
    path = tmp_path / "batch.npz"
    np.savez(path, IMAGES, np.arange(5))  # arr_0, arr_1
    assert torch.equal(to_uint8(read(path)), FIRST)
    np.savez(path, samples=IMAGES)
    assert torch.equal(to_uint8(read(path)), FIRST)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_matrix_is_points_as_they_are(tmp_path, dtype):
    points = np.random.default_rng(0).normal(size=(7, 2)).astype(dtype)
    np.save(tmp_path / "points.npy", points)
    assert_close(read(tmp_path / "points.npy"), torch.from_numpy(points), atol=0, rtol=0)


FLOATS = from_uint8(FIRST).numpy()


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (
            (FLOATS + 1) / 2,
            r"must lie in \[-1, 1\] with some value below 0; .* range \[0.*, .*\], which could",
        ),
        ((FLOATS + 1) * 127.5, r"must lie in \[-1, 1\]"),
        (FLOATS * 2, r"range \[-.*which could be another scale. Store uint8, or rescale"),
        (np.where(FLOATS > 0.9, np.nan, FLOATS), r"range \[nan, nan\]"),
        (np.zeros((4, 3, 9, 3), np.uint8), r"holds \(4, 3, 9, 3\): either axis could be the channels"),
        (np.zeros((4, 8, 8, 4), np.uint8), r"neither axis 1 nor axis 3 has 1 or 3 channels"),
        (np.zeros((4, 8, 8, 3), np.int64), r"must be uint8 images, or floats; .* is int64"),
        (np.zeros((4, 8), np.uint8), r"must be uint8 images, or floats; .* is uint8 \(4, 8\)"),
        (np.zeros(4), r"must hold samples along its first axis, \(N, ...\); .* holds \(4,\)"),
        (np.zeros((0, 2)), r"must hold samples along its first axis"),
        (np.array([{"a": 1}] * 4, dtype=object), r"must be readable without unpickling"),
    ],
)
def test_an_array_that_could_mean_two_things_is_refused(tmp_path, stored, message):
    path = tmp_path / "samples.npy"
    np.save(path, stored, allow_pickle=True)
    with pytest.raises(ValueError, match=message):
        read_array(path)


def test_files_that_hold_no_one_array_are_refused(tmp_path):
    np.savez(tmp_path / "two.npz", a=IMAGES, b=IMAGES)
    with pytest.raises(ValueError, match=r"must hold arr_0 or a single array; .* holds a, b"):
        read_array(tmp_path / "two.npz")
    np.savez(tmp_path / "cut.npz", IMAGES)
    whole = (tmp_path / "cut.npz").read_bytes()
    for content in (b"", b"no array at all", whole[: len(whole) // 2]):
        (tmp_path / "cut.npz").write_bytes(content)
        with pytest.raises(ValueError, match=r"must be readable without unpickling"):
            read_array(tmp_path / "cut.npz")
    np.save(tmp_path / "few.npy", IMAGES)
    with pytest.raises(ValueError, match=r"must hold at least 9 samples; .* holds 5"):
        read_array(tmp_path / "few.npy", 9)
