"""Which numbers are let in, and how the others are refused."""

import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from saddle.game import ranges
from saddle.game.ranges import COUNT, FRACTION, Range, require, require_sizes

RANGES = [value for value in vars(ranges).values() if isinstance(value, Range)]
INTERVALS = [found for found in RANGES if found.words.startswith("lie in")]
every_range = pytest.mark.parametrize("within", RANGES, ids=lambda within: within.words)
END = r"-?(?:\d+|inf)"


def is_let_in(value: object, within: Range) -> bool:
    try:
        require("n", value, within)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("within", INTERVALS, ids=lambda within: within.words)
@given(value=st.floats() | st.integers() | st.sampled_from([-1.0, 0.0, -0.0, 1.0]))
def test_an_interval_lets_in_what_its_words_say(within, value):
    left, low, high, right = re.fullmatch(rf"lie in (\[|\()({END}), ({END})(\]|\))", within.words).groups()
    above = value >= float(low) if left == "[" else value > float(low)
    below = value <= float(high) if right == "]" else value < float(high)
    assert is_let_in(value, within) == (above and below)


@given(value=st.floats() | st.integers(-3, 3) | st.integers())
def test_the_other_ranges_let_in_what_their_words_say(value):
    found = {within.words: is_let_in(value, within) for within in RANGES if within not in INTERVALS}
    assert found == {
        "be finite": abs(value) < float("inf"),
        "be positive": value > 0,
        "be 0 or 1": value in (0, 1),
        "be a whole number of at least 1": isinstance(value, int) and value >= 1,
        "be a whole number of at least 0": isinstance(value, int) and value >= 0,
    }


@every_range
@pytest.mark.parametrize("value", ["many", None, [1], True, 1j])
def test_what_is_no_number_is_refused_by_the_same_sentence(within, value):
    with pytest.raises(ValueError, match=r"^n must .*; got .*, which is no number\. Give 1\.$"):
        require("n", value, within, "Give 1.")


@every_range
def test_nan_is_in_no_range(within):
    with pytest.raises(ValueError, match=r"^n must .*; got nan\. Choose a value in that range\.$"):
        require("n", float("nan"), within)


@every_range
def test_a_tensor_passes_for_it_holds_numbers_of_an_ensemble(within):
    require("n", torch.tensor([float("nan"), -7.5]), within)


@pytest.mark.parametrize("value", [np.float64(0.5), np.float32(0.5)])
def test_numbers_of_other_libraries_are_numbers(value):
    require("n", value, FRACTION)
    require("n", np.int64(3), COUNT)
    with pytest.raises(ValueError, match=r"got 1\.5"):
        require("n", value + 1, FRACTION)


@pytest.mark.parametrize("sizes", [[], [1], (3, 1), [np.int64(4)], torch.Size([2])])
def test_lists_of_sizes_are_let_in(sizes):
    require_sizes("hidden", sizes, "Give [8].")


@pytest.mark.parametrize("sizes", [[0], [8, -1], [2.0], [True], ["8"], "8", 8, None, [float("nan")]])
def test_other_lists_of_sizes_are_refused(sizes):
    shown = re.escape(repr(sizes))
    with pytest.raises(
        ValueError, match=rf"^hidden must be a list of whole numbers .*; got {shown}\. Give \[8\]\.$"
    ):
        require_sizes("hidden", sizes, "Give [8].")
