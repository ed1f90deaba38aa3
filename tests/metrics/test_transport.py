"""Exact and sliced Wasserstein distances against permutations, shifts and each other."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from saddle.metrics.transport import exact_wasserstein, sliced_wasserstein
from samples import every_place, few, normal, one_sample


@few
@given(seed=st.integers(0, 99), num=st.integers(1, 12))
def test_exact_wasserstein_is_the_least_over_all_permutations(seed, num):
    num = min(num, 6)
    from itertools import permutations

    real, fake = normal(num, 2, seed=seed), normal(num, 2, seed=seed + 100)
    costs = [float((real - fake[list(order)]).square().sum(1).mean()) for order in permutations(range(num))]
    assert_close(exact_wasserstein(real, fake), min(costs) ** 0.5, atol=1e-12, rtol=1e-9)


def test_exact_wasserstein_of_a_shift_is_its_length():
    real = normal(100, 3)
    assert_close(exact_wasserstein(real, real[torch.randperm(100)] + torch.tensor([3.0, 0.0, 4.0])), 5.0)


def test_too_many_points_for_an_assignment_are_refused():
    with pytest.raises(ValueError, match="at most 5000 samples a side; got 5001"):
        exact_wasserstein(torch.zeros(5001, 1), torch.zeros(5001, 1))


def test_in_one_dimension_slices_are_exact():
    real, fake = normal(30, 1), 0.5 + 2 * normal(30, 1, seed=1)
    assert_close(sliced_wasserstein(real, fake, num_projections=1), exact_wasserstein(real, fake))


@few
@given(num_x=st.integers(1, 9), num_y=st.integers(1, 9), seed=st.integers(0, 99))
def test_slices_of_unequal_numbers_are_those_of_repeated_samples(num_x, num_y, seed):
    x, y = normal(num_x, 1, seed=seed), normal(num_y, 1, seed=seed + 100)
    repeated = x.repeat_interleave(num_y, 0), y.repeat_interleave(num_x, 0)
    assert_close(
        sliced_wasserstein(x, y, num_projections=1), exact_wasserstein(*repeated), atol=1e-9, rtol=1e-9
    )


def test_sliced_wasserstein_of_a_shift_is_its_mean_over_directions():
    real, shift = normal(50, 5), torch.tensor([2.0, 0, 0, 1.0, 0])
    found = sliced_wasserstein(real, real + shift, num_projections=4000)
    # E(θ·μ)² = ‖μ‖²/d; its relative deviation over directions is √(2(d−1)/(d+2)) = 1.07
    assert_close(found**2, 1.0, atol=3 * 1.07 / 4000**0.5, rtol=0)
    with pytest.raises(ValueError, match="num_projections must be at least 1"):
        sliced_wasserstein(real, real, num_projections=0)


@every_place
def test_sliced_wasserstein_to_one_sample_is_the_mean_distance_over_directions(where):
    real, fake = one_sample(where)
    found = sliced_wasserstein(real, fake, num_projections=4000)
    # no other coupling there is than all to one: E(θ·(x − s))² = E‖x − s‖²/d, with d = 2 known to √½
    expected = float((real - fake[0]).square().sum(1).mean()) / 2
    assert_close(found**2, expected, atol=0, rtol=3 * 0.5**0.5 / 4000**0.5)
