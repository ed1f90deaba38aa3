"""Modes of mixtures and of classifiers: values worked by hand, and what a perfect sampler gets."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from saddle.data.points import Mixture, ring
from saddle.metrics.modes import class_modes, mixture_modes, mode_covariance
from samples import RING, normal

MODES = partial(mixture_modes, mixture=RING)


# ---- modes of a mixture


def test_a_perfect_sampler_of_the_ring_is_a_ninth_of_a_percent_short_of_99():
    random = torch.Generator().manual_seed(0)
    fake = RING.sample(200_000, random)[0]
    found = MODES(fake, fake)
    assert found["modes"] == 8
    share = 1 - math.exp(-4.5)
    error = 100 * (share * (1 - share) / 200_000) ** 0.5
    assert_close(found["high_quality"], 100 * share, atol=4 * error, rtol=0)


def test_the_kl_of_a_perfect_sampler_has_its_floor_as_mean():
    found = []
    for seed in range(200):
        fake = RING.sample(2500, torch.Generator().manual_seed(seed))[0]
        found.append(MODES(fake, fake))
    kls = [one["kl"] for one in found]
    error = float(np.std(kls, ddof=1)) / 200**0.5
    assert_close(float(np.mean(kls)), 7 / (2 * 2500 * 0.98889), atol=3 * error, rtol=0)
    assert_close(found[0]["kl_floor"], 7 / (2 * round(found[0]["high_quality"] * 25)))


def test_mode_counts_of_three_points_worked_by_hand():
    # at mode 0; 2.9 std from mode 2; 3.1 std from mode 4
    fake = torch.tensor([[1.0, 0.0], [0.029, 1.0], [-1.0, 0.031]], dtype=torch.float64)
    found = MODES(fake, fake)
    expected = {"modes": 2.0, "high_quality": 200 / 3, "kl": math.log(8) - math.log(2), "kl_floor": 7 / 4}
    assert_close(found, expected)


@pytest.mark.parametrize("covered", [1, 4, 8])
def test_kl_of_equal_use_of_some_modes_is_the_log_of_the_missing_factor(covered):
    fake = RING.centers[torch.arange(80) % covered]
    found = MODES(fake, fake)
    assert (found["modes"], found["high_quality"]) == (covered, 100.0)
    assert_close(found["kl"], math.log(8 / covered))


def test_kl_is_to_the_mixtures_own_weights_where_it_has_some():
    mixture = ring(7, 1.0, 0.01, weights=[2, 1, 1, 1, 1, 1, 1])
    fake = mixture.centers[torch.tensor([0, 0, 1, 2, 3, 4, 5, 6])]
    assert_close(mixture_modes(fake, fake, mixture=mixture)["kl"], 0.0)


def test_without_any_sample_of_high_quality_kl_is_the_largest_there_is():
    fake = torch.zeros(10, 2, dtype=torch.float64)
    expected = {"modes": 0.0, "high_quality": 0.0, "kl": math.log(8), "kl_floor": math.log(8)}
    assert_close(MODES(fake, fake), expected)


def test_points_of_another_dimension_than_the_mixture_are_refused():
    with pytest.raises(ValueError, match="the mixture's dimension 2; got 3"):
        MODES(normal(5, 3), normal(5, 3))


@pytest.mark.parametrize("factor", [0.25, 1.0])
def test_mode_covariance_is_one_for_a_perfect_sampler_and_less_for_one_too_sure(factor):
    fake = Mixture(RING.centers, RING.std * factor**0.5).sample(40_000, torch.Generator().manual_seed(0))[0]
    found = mode_covariance(fake, fake, mixture=RING)
    untruncated = factor if factor == 1 else factor / (1 - 4.5 * math.exp(-4.5) / (1 - math.exp(-4.5)))
    # ¼ of the variance: 3 std are then 6 of the samples' own, and nothing is cut off
    error = 1 / 40_000**0.5  # relative deviation of a sum of 2·40,000 squares
    assert_close(found["covariance_ratio"], untruncated, atol=0, rtol=4 * error)


def test_a_mode_of_one_point_has_no_covariance():
    fake = RING.centers[:1].expand(50, 2)
    found = mode_covariance(fake, fake, mixture=RING)
    smallest = torch.finfo(torch.float64).tiny
    assert_close(found, {"covariance_ratio": 0.0, "covariance_log_ratio": -math.log(smallest)})


def test_without_modes_the_covariance_is_as_wrong_as_can_be():
    found = mode_covariance(torch.zeros(9, 2), torch.zeros(9, 2), mixture=RING)
    assert found["covariance_ratio"] == 0
    assert found["covariance_log_ratio"] > 700


# ---- modes of a classifier


def logits_of(classes: list[int], num_classes: int = 4) -> Tensor:
    return torch.eye(num_classes, dtype=torch.float64)[torch.tensor(classes)]


def test_class_modes_worked_by_hand():
    real, fake = logits_of([0, 1, 2, 3]), logits_of([0, 0, 1, 1, 1, 1, 1, 1])
    kl = 0.25 * math.log(0.25 / 0.25) + 0.75 * math.log(0.75 / 0.25)
    assert_close(class_modes(real, fake), {"modes": 2.0, "kl": kl, "kl_floor": 3 / 16})


@pytest.mark.parametrize("share", [1, 2, 5])
def test_kl_of_one_class_alone_is_the_log_of_its_share_of_the_real_images(share):
    real = logits_of([0] * share + [1, 2, 3])
    found = class_modes(real, logits_of([0] * 9))
    assert_close(found, {"modes": 1.0, "kl": math.log((share + 3) / share), "kl_floor": 3 / 18})


def test_the_reference_is_what_the_classifier_says_of_the_real_images():
    unbalanced = logits_of([0, 0, 0, 1, 2, 3])
    assert_close(class_modes(unbalanced, unbalanced)["kl"], 0.0)
    assert class_modes(unbalanced, logits_of([0, 1, 2, 3]))["kl"] > 0.05


def test_drawing_real_images_at_random_has_the_floor_as_mean():
    real = logits_of([0] * 10 + [1] * 20 + [2] * 30 + [3] * 40)
    found = []
    for seed in range(300):
        chosen = torch.randint(100, (500,), generator=torch.Generator().manual_seed(seed))
        found.append(class_modes(real, real[chosen])["kl"])
    error = float(np.std(found, ddof=1)) / 300**0.5
    assert_close(float(np.mean(found)), 3 / 1000, atol=3 * error, rtol=0)


def test_a_class_without_real_images_is_refused():
    with pytest.raises(ValueError, match=r"every class must occur among the real images.*none of \[3\]"):
        class_modes(logits_of([0, 1, 2]), logits_of([0, 3]))
