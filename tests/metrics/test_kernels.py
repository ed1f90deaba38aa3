"""KID, Gaussian MMD and CMMD against double sums, closed forms and other libraries."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from saddle.metrics.kernels import cmmd, gaussian_mmd, kid, kid_and_error, kid_of_subsets
from samples import every_place, few, normal, one_sample

MMD = partial(gaussian_mmd, bandwidths=[0.1, 1.0])


def literal_mmd2(real: Tensor, fake: Tensor, kernel) -> float:
    within_real = [kernel(x, y) for i, x in enumerate(real) for j, y in enumerate(real) if i != j]
    within_fake = [kernel(x, y) for i, x in enumerate(fake) for j, y in enumerate(fake) if i != j]
    across = [kernel(x, y) for x in real for y in fake]
    return float(np.mean(within_real) + np.mean(within_fake) - 2 * np.mean(across))


def test_kid_is_the_papers_double_sum():
    real, fake = normal(12, 4), 0.5 + normal(9, 4, seed=1)
    expected = literal_mmd2(real, fake, lambda x, y: float((x @ y / 4 + 1) ** 3))
    assert_close(kid(real, fake), expected, atol=1e-12, rtol=1e-9)


@every_place
def test_kid_and_mmd_of_one_sample_are_the_papers_double_sums(where):
    real, fake = one_sample(where)
    scale = float((real - real.mean(0)).square().mean().sqrt())

    def gaussian(x: Tensor, y: Tensor) -> float:
        squared = float((x - y).square().sum()) / scale**2
        return float(np.mean([math.exp(-squared / (2 * b**2)) for b in (0.1, 1.0)]))

    def cubic(x: Tensor, y: Tensor) -> float:
        return float((x @ y / 2 + 1) ** 3)

    assert_close(MMD(real, fake), literal_mmd2(real, fake, gaussian), atol=1e-12, rtol=1e-9)
    found = kid_and_error(real, fake)
    assert_close(found["kid"], literal_mmd2(real, fake, cubic), atol=1e-12, rtol=1e-9)
    # the fakes have no spread of their own
    own = [
        np.mean([cubic(x, y) for j, y in enumerate(real) if j != i]) - cubic(x, fake[0])
        for i, x in enumerate(real)
    ]
    assert_close(found["kid_se"], 2 * float(np.std(own, ddof=1)) / 30**0.5, atol=1e-12, rtol=1e-9)


@pytest.mark.parametrize(
    ("width", "shift2", "expected"), [(8, 1.0, 0.494141), (8, 4.0, 2.796875), (8, 0.0, 0.0)]
)
def test_kid_of_shifted_gaussians_has_its_closed_form_as_mean(width, shift2, expected):
    shift = torch.zeros(width, dtype=torch.float64)
    shift[0] = shift2**0.5
    u, d = shift2, width
    assert_close(
        3 * u / d + 3 * u**2 / d**2 + u**3 / d**3 + 6 * u**2 / d**3 + 3 * u / d**2 + 6 * u / d**3,
        expected,
        atol=1e-6,  # digits printed
        rtol=0,
    )
    found = [
        kid(normal(300, width, seed=2 * s), normal(300, width, seed=2 * s + 1) + shift) for s in range(60)
    ]
    error = float(np.std(found, ddof=1)) / 60**0.5
    assert_close(float(np.mean(found)), expected, atol=3 * error, rtol=0)


def test_kid_equals_torchmetrics_on_the_whole_set():
    from torchmetrics.image.kid import poly_mmd  # torchmetrics 1.9; equal sizes only

    real, fake = normal(80, 6), 0.3 + normal(80, 6, seed=1)
    assert_close(kid(real, fake), float(poly_mmd(real, fake)), atol=1e-12, rtol=1e-9)


def test_gaussian_mmd_is_the_double_sum_in_units_of_the_real_spread():
    real, fake = 3 + 5 * normal(12, 2), 7 * normal(9, 2, seed=1)
    scale = float((real - real.mean(0)).square().mean().sqrt())

    def kernel(x: Tensor, y: Tensor) -> float:
        squared = float((x - y).square().sum())
        return float(np.mean([math.exp(-squared / (2 * (b * scale) ** 2)) for b in (0.1, 1.0)]))

    assert_close(MMD(real, fake), literal_mmd2(real, fake, kernel), atol=1e-12, rtol=1e-9)


@few
@given(scale=st.floats(1e-3, 1e3), shift=st.floats(-10, 10))
def test_gaussian_mmd_does_not_depend_on_the_unit_of_the_data(scale, shift):
    real, fake = normal(30, 2), 0.5 + normal(20, 2, seed=1)
    found = MMD(scale * real + shift, scale * fake + shift)
    # cancellation: a shift of 10 at a scale of 1e-3 loses 4 of 16 digits, the squared bandwidth 2 more
    assert_close(found, MMD(real, fake), atol=1e-9, rtol=1e-9)


def test_both_estimates_are_zero_on_average_for_equal_distributions():
    for metric in (kid, MMD):
        found = [metric(normal(50, 3, seed=2 * s), normal(40, 3, seed=2 * s + 1)) for s in range(200)]
        error = float(np.std(found, ddof=1)) / 200**0.5
        assert_close(float(np.mean(found)), 0.0, atol=3 * error, rtol=0)


def test_two_far_point_masses_have_the_largest_gaussian_mmd():
    fake = torch.full((10, 2), 1e6, dtype=torch.float64)
    real = torch.tensor([[0.0, 1.0], [0.0, -1.0]], dtype=torch.float64)
    within_real = np.mean([math.exp(-4 / (2 * 0.5 * b**2)) for b in (0.1, 1.0)])  # spread √½, distance 2
    assert_close(MMD(real, fake), float(within_real) + 1.0)


@pytest.mark.parametrize("bandwidths", [[], [0.0], [1.0, -1.0]])
def test_bandwidths_that_are_not_positive_are_refused(bandwidths):
    with pytest.raises(ValueError, match="bandwidths must be positive numbers, at least one"):
        gaussian_mmd(normal(4, 2), normal(4, 2), bandwidths=bandwidths)


def test_gaussian_mmd_refuses_real_samples_without_spread():
    with pytest.raises(ValueError, match="real samples must differ"):
        MMD(torch.ones(4, 2), normal(4, 2))


def test_kid_with_its_error_is_kid():
    real, fake = normal(50, 4), 0.5 + normal(40, 4, seed=1)
    assert kid_and_error(real, fake)["kid"] == kid(real, fake)


@pytest.mark.parametrize(("shift", "factor"), [(1.0, 1.0), (0.0, 2**0.5)])
def test_kids_standard_error_is_the_spread_of_kid(shift, factor):
    found = [
        kid_and_error(normal(200, 4, seed=2 * s), normal(200, 4, seed=2 * s + 1) + shift) for s in range(150)
    ]
    spread = float(np.std([one["kid"] for one in found], ddof=1))
    # the spread of 150 is known to 1/√300; the mean of squared errors better than that
    error = float(np.mean([one["kid_se"] ** 2 for one in found])) ** 0.5
    assert_close(error, factor * spread, atol=0, rtol=3 / 300**0.5)


def test_kid_of_subsets_equals_torch_fidelity():
    from torch_fidelity.metric_kid import kid_features_to_metric  # 0.4.0: generated first

    real, fake = normal(120, 8), 0.3 + normal(90, 8, seed=1)
    expected = kid_features_to_metric(
        fake, real, kid_subsets=10, kid_subset_size=50, kid_kernel="poly", kid_kernel_poly_degree=3,
        kid_kernel_poly_gamma=None, kid_kernel_poly_coef0=1.0, rng_seed=2020, verbose=False,
    )  # fmt: skip
    found = kid_of_subsets(real, fake, num_subsets=10, subset_size=50)
    assert_close(found["kid_subsets"], expected["kernel_inception_distance_mean"], atol=0, rtol=1e-9)
    assert_close(found["kid_subsets_std"], expected["kernel_inception_distance_std"], atol=0, rtol=1e-9)


def test_one_subset_of_everything_is_kid():
    real, fake = normal(40, 4), 0.5 + normal(40, 4, seed=1)
    assert_close(kid_of_subsets(real, fake, num_subsets=1, subset_size=40)["kid_subsets"], kid(real, fake))


def test_subsets_larger_than_the_set_are_refused():
    with pytest.raises(ValueError, match="at least 1000 rows for this metric; got 40"):
        kid_of_subsets(normal(40, 2), normal(40, 2))


def literal_cmmd(real: Tensor, fake: Tensor) -> float:
    def direction(x: Tensor) -> Tensor:
        return x / x.norm() if x.norm() else x

    def mean(a: Tensor, b: Tensor) -> float:
        squared = [(direction(x) - direction(y)).square().sum() for x in a for y in b]
        return float(np.mean([math.exp(-float(one) / (2 * 10.0**2)) for one in squared]))

    return 1000 * (mean(real, real) + mean(fake, fake) - 2 * mean(real, fake))


def test_cmmd_is_the_double_mean_over_directions():
    real, fake = normal(12, 3), 0.5 + normal(9, 3, seed=1)
    # 1e-9: thousand times rounding of 1
    assert_close(cmmd(real, fake), literal_cmmd(real, fake), atol=1e-9, rtol=1e-9)
    assert_close(cmmd(real, 7 * real), 0.0, atol=1e-9, rtol=0)


@every_place
def test_cmmd_of_one_sample_is_the_double_mean_and_a_zero_row_has_no_direction(where):
    real, fake = one_sample(where)
    assert_close(cmmd(real, fake), literal_cmmd(real, fake), atol=1e-9, rtol=1e-9)
