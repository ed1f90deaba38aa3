"""Intervals by half-sampling hold what they say, also for metrics that drawing with replacement breaks."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from saddle.metrics.frechet import fid
from saddle.metrics.intervals import Interval, intervals
from saddle.metrics.kernels import kid
from saddle.metrics.neighbours import prdc
from saddle.metrics.vendi import vendi


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def pair(seed: int, num: int = 300) -> tuple[Tensor, Tensor]:
    return normal(num, 4, seed=2 * seed), 0.5 + 0.8 * normal(num, 4, seed=2 * seed + 1)


def difference(real: Tensor, fake: Tensor) -> float:
    return float(fake[:, 0].mean() - real[:, 0].mean())


def test_the_standard_error_of_a_difference_of_means_is_the_textbooks():
    real, fake = pair(0)
    found = intervals(difference, real, fake, num_halves=800)["value"]
    expected = float((real[:, 0].var() / 300 + fake[:, 0].var() / 300).sqrt())
    assert_close(found.standard_error, expected, atol=0, rtol=3 / 1600**0.5)  # of a spread over 800 halves
    assert_close(found.high - found.value, 1.959964 * found.standard_error, atol=0, rtol=1e-6)
    assert_close(found.value - found.low, found.high - found.value)


@pytest.mark.parametrize(
    ("metric", "name"),
    [
        (fid, "value"),
        (kid, "value"),
        (vendi, "value"),
        (prdc, "precision"),
        (prdc, "recall"),
        (prdc, "coverage"),
    ],
)
def test_the_standard_error_is_the_spread_over_fresh_samples(metric, name):
    def value(seed: int) -> float:
        found = metric(*pair(seed))
        return found if isinstance(found, float) else found[name]

    spread = float(np.std([value(seed) for seed in range(1, 81)], ddof=1))
    errors = [intervals(metric, *pair(seed), num_halves=40)[name].standard_error for seed in range(3)]
    # a spread of 80 is known to 8 %, a mean of three errors to 8 %: 3·11 %, and the halves' own bias
    assert_close(float(np.mean(errors)), spread, atol=0, rtol=0.4)


def test_ninety_percent_of_intervals_hold_the_truth():
    held = []
    for seed in range(200):
        found = intervals(difference, *pair(seed, 100), num_halves=60, level=0.9)["value"]
        held.append(found.low <= 0.5 <= found.high)
    assert_close(float(np.mean(held)), 0.9, atol=3 * (0.09 / 200) ** 0.5, rtol=0)


def test_intervals_come_from_their_own_seed():
    state = torch.random.get_rng_state()
    one = intervals(difference, *pair(0), num_halves=5, seed=1)
    assert intervals(difference, *pair(0), num_halves=5, seed=1) == one
    assert intervals(difference, *pair(0), num_halves=5, seed=2) != one
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_constant_has_no_uncertainty():
    assert intervals(lambda _, __: {"a": 2.0}, *pair(0))["a"] == Interval(2.0, 0.0, 2.0, 2.0)


@pytest.mark.parametrize("choice", [{"num_halves": 1}, {"level": 1.0}])
def test_an_interval_needs_two_halves_and_a_level(choice):
    with pytest.raises(ValueError, match="num_halves must be at least 2 and level in"):
        partial(intervals, difference, *pair(0))(**choice)
