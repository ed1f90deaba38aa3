"""Sources: the same samples however they are stored, told apart by their bytes, never a tensor of all."""

from hashlib import sha256

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from saddle.data.dataset import Dataset, of_tensors
from saddle.data.pixels import digest, from_uint8, to_uint8
from saddle.data.sources import TensorSource, blocks, reach

LEVELS = torch.arange(2 * 5 * 4 * 3 * 3).reshape(10, 4, 3, 3)[:, :3].to(torch.uint8)  # (10, 3, 3, 3)
LABELS = torch.tensor([0, 2, 1, 0, 2, 1, 0, 0, 2, 2])
STORED = TensorSource(LEVELS, LABELS, 3)
FLOATS = TensorSource(from_uint8(LEVELS), LABELS, 3)
POINTS = TensorSource(torch.arange(10.0, dtype=torch.float64)[:, None] - 20)


@pytest.mark.parametrize("source", [STORED, FLOATS], ids=["levels", "floats"])
def test_images_are_taken_as_floats_however_they_are_stored(source):
    indices = torch.tensor([7, 0, 0, 9])
    samples, labels = source.take(indices)
    assert torch.equal(samples, LEVELS[indices].to(torch.float32) / 127.5 - 1)
    assert torch.equal(labels, torch.tensor([0, 0, 0, 2]))
    assert torch.equal(source.first(3), from_uint8(LEVELS[:3]))
    assert torch.equal(source.first(99), from_uint8(LEVELS))
    assert (len(source), source.event_shape, source.num_classes) == (10, (3, 3, 3), 3)
    assert samples.dtype == source.first(0).dtype == torch.float32


def test_every_level_comes_back_as_itself():
    every = TensorSource(torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16))
    found = every.first(1)
    assert (found.min().item(), found.max().item()) == (-1.0, 1.0)
    assert torch.equal(to_uint8(found), every.stored)


def test_points_without_labels_have_no_classes():
    samples, labels = POINTS.take(torch.tensor([3, 1]))
    assert samples.tolist() == [[-17.0], [-19.0]]
    assert (labels, POINTS.num_classes) == (None, None)


@pytest.mark.parametrize("size", [1, 3, 10, 99])
def test_blocks_are_the_samples_in_order_in_pieces(size):
    for num, expected in ((None, 10), (99, 10), (4, 4), (0, 0)):
        found = [*blocks(STORED, num, size)]
        assert all(len(block) == size for block in found[:-1])
        together = torch.cat(found) if found else torch.empty(0)
        assert torch.equal(together, from_uint8(LEVELS[:expected])) or expected == 0
        assert len(together) == expected


def test_the_reach_of_a_source_is_its_largest_number_of_either_sign():
    assert reach(POINTS) == 20
    assert reach(TensorSource(torch.tensor([[1.0], [-2.5], [2.0]]))) == 2.5
    assert reach(TensorSource(torch.zeros(1, 1, 2, 2, dtype=torch.uint8))) == 1


# ---- digests


def test_a_digest_is_of_shape_dtype_and_bytes_of_samples_and_labels():
    header = b"(10, 3, 3, 3) torch.uint8;"
    labels = b"(10,) torch.int64;" + LABELS.numpy().tobytes()
    assert STORED.digest() == sha256(header + LEVELS.numpy().tobytes() + labels).hexdigest()
    points = b"(10, 1) torch.float64;" + POINTS.stored.numpy().tobytes() + b"none;"
    assert POINTS.digest() == sha256(points).hexdigest()


def test_a_digest_in_pieces_is_that_of_the_whole():
    long = torch.arange(2 * 2345.0).reshape(2345, 2)
    whole = b"(2345, 2) torch.float64;" + long.numpy().tobytes() + b"none;"
    assert TensorSource(long).digest() == sha256(whole).hexdigest()
    assert TensorSource(long.t().contiguous().t()).digest() == sha256(whole).hexdigest()  # of another layout


def test_whatever_changes_a_sample_or_a_label_changes_the_digest():
    other_labels = LABELS.clone()
    other_labels[4] = 0
    changed = LEVELS.clone()
    changed[9, 2, 2, 2] += 1
    sources = [
        *(STORED, FLOATS, TensorSource(LEVELS), TensorSource(LEVELS, other_labels, 3)),
        *(TensorSource(changed, LABELS, 3), TensorSource(LEVELS[:9], LABELS[:9], 3)),
    ]
    assert len({source.digest() for source in sources}) == len(sources)


def test_metrics_tell_samples_by_what_they_are_and_not_by_how_they_are_stored():
    assert digest(blocks(STORED, 7, 2)) == digest(blocks(FLOATS, 7)) == digest([from_uint8(LEVELS[:7])])


def test_a_dataset_of_levels_is_told_by_both_splits_and_their_labels():
    data = Dataset("levels", STORED, TensorSource(LEVELS[:2], LABELS[:2], 3))
    pieces = [STORED.identity(), data.held_out.identity()]
    parts = [b"".join(one[kind]) for kind in (0, 1) for one in pieces]
    assert data.digest() == sha256(b"".join(parts)).hexdigest()
    assert (data.event_shape, data.num_classes) == ((3, 3, 3), 3)
    assert data.to("cpu").digest() == data.digest()


# ---- refusals


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.arange(4),), r"floats, or images \(N, C, H, W\) in uint8; got \(4,\) torch.int64"),
        ((LEVELS[:, 0],), r"floats, or images .* got \(10, 3, 3\) torch.uint8"),
        ((LEVELS, LABELS), "must be given together; got num_classes=None and labels"),
        ((LEVELS, None, 3), "must be given together; got num_classes=3 and no labels"),
        ((LEVELS, LABELS[:9], 3), r"one integer per sample, shape \(10,\); got \(9,\) torch.int64"),
        ((LEVELS, LABELS.float(), 3), r"one integer per sample, shape \(10,\); got \(10,\) torch.float32"),
        ((LEVELS, LABELS, 2), r"classes from 0 to 1, num_classes=2; got 0 to 2\. Number"),
        ((LEVELS, LABELS - 1, 3), r"classes from 0 to 2, num_classes=3; got -1 to 1"),
    ],
)
def test_a_source_refuses_what_it_cannot_hold(arguments, message):
    with pytest.raises(ValueError, match=message):
        TensorSource(*arguments)


def test_a_dataset_refuses_splits_of_unlike_classes():
    with pytest.raises(ValueError, match="must be of the same classes; got num_classes=3 and 2"):
        Dataset("levels", STORED, TensorSource(LEVELS[:1], LABELS[:1], 2))


def test_the_classes_of_two_tensors_are_those_of_both():
    data = of_tensors(
        "two", torch.zeros(3, 1), torch.ones(2, 1), torch.tensor([0, 1, 0]), torch.tensor([0, 4])
    )
    assert data.train.num_classes == data.held_out.num_classes == data.num_classes == 5


def test_the_same_samples_lie_in_a_quarter_of_the_memory():
    def size(of: Tensor) -> int:
        return of.element_size() * of.numel()

    assert 4 * size(STORED.stored) == size(FLOATS.stored)
    assert_close(STORED.first(10), FLOATS.first(10), atol=0, rtol=0)
