"""FID, its forms and its bias, against closed forms and other libraries."""

import numpy as np
import pytest
import scipy.linalg
import torch
from torch.testing import assert_close

from saddle.metrics.frechet import (
    FewSamples,
    class_fid,
    fid,
    fid_and_sizes,
    fid_infinity,
    frechet_distance,
    moments,
)
from samples import every_place, mean_and_error, normal, one_sample


def test_frechet_distance_of_gaussians_has_its_closed_forms():
    eye, zero = torch.eye(4, dtype=torch.float64), torch.zeros(4, dtype=torch.float64)
    mean = torch.tensor([1.0, -2.0, 0.5, 0.0], dtype=torch.float64)
    a, b = (torch.tensor(x, dtype=torch.float64) for x in ([1.0, 4.0, 9.0, 0.0], [4.0, 1.0, 2.0, 3.0]))
    assert_close(frechet_distance(zero, eye, mean, eye), 5.25)  # ‖μ‖²
    assert_close(frechet_distance(zero, eye, zero, 9 * eye), 16.0)  # d(1 − s)², s = 3
    expected = float((a.sqrt() - b.sqrt()).square().sum())  # also where a is singular
    assert_close(frechet_distance(zero, a.diag(), zero, b.diag()), expected)


def test_frechet_distance_of_full_covariances_equals_the_general_matrix_root():
    a, b = (normal(9, 5, seed=s) for s in (0, 1))
    a, b = a.mT @ a, b.mT @ b
    root = scipy.linalg.sqrtm((a @ b).numpy())  # scipy 1.17
    expected = float(a.trace() + b.trace()) - 2 * float(np.trace(root).real)
    zero = torch.zeros(5, dtype=torch.float64)
    assert_close(frechet_distance(zero, a, zero, b), expected, atol=0, rtol=1e-9)


def test_fid_of_a_shifted_copy_is_the_squared_shift():
    real = normal(100, 6)
    # 1e-6: each singular direction would cost √eps; here none is, and rounding is far below
    assert_close(fid(real, real + 2.0), 24.0, atol=1e-6, rtol=0)
    assert_close(fid(real, real), 0.0, atol=1e-6, rtol=0)


@every_place
def test_fid_of_one_sample_is_its_mean_squared_distance_to_the_real_ones(where):
    real, fake = one_sample(where)
    # E‖x − s‖² with the variance that divides by N − 1
    expected = float((real.mean(0) - fake[0]).square().sum() + real.var(0).sum())
    assert_close(fid(real, fake), expected, atol=1e-6, rtol=1e-12)  # two singular directions, each √eps


def test_fid_with_fewer_samples_than_features_is_finite_and_zero_for_equal_sets():
    real = normal(10, 30)
    assert_close(fid(real, real), 0.0, atol=1e-5, rtol=0)  # 20 null directions, each off by √(1e-16 · 10)


def test_fid_of_equal_distributions_has_the_bias_of_its_sample_size():
    num, width = 500, 16
    found = [fid(normal(num, width, seed=2 * s), normal(num, width, seed=2 * s + 1)) for s in range(40)]
    one_side = width / num + width * (width + 1) / (4 * num)
    assert_close(
        float(np.mean(found)), 2 * one_side, atol=0, rtol=0.05
    )  # first order in 1/N, as is the claim


def test_fid_equals_torchmetrics():
    from torchmetrics.image.fid import _compute_fid  # torchmetrics 1.9

    real, fake = normal(200, 8), 0.4 + 1.3 * normal(150, 8, seed=1)
    expected = _compute_fid(real.mean(0), real.mT.cov(), fake.mean(0), fake.mT.cov())
    assert_close(fid(real, fake), float(expected), atol=0, rtol=1e-9)


def test_fid_of_so_few_samples_that_it_is_mostly_bias_says_so_and_how_many():
    with pytest.warns(
        FewSamples, match=r"at least 5 samples a feature; got N = 49 real and 90 fake for d = 10"
    ):
        fid(normal(49, 10), normal(90, 10))


def test_fid_reports_its_sample_sizes():
    found = fid_and_sizes(normal(50, 3), normal(70, 3, seed=1))
    assert (found["fid_num_real"], found["fid_num_fake"]) == (50, 70)
    assert found["fid"] == fid(normal(50, 3), normal(70, 3, seed=1))


def test_fid_against_the_true_moments_has_the_bias_of_one_side():
    from saddle.metrics.frechet import frechet_distance

    num, width = 500, 16
    eye, zero = torch.eye(width, dtype=torch.float64), torch.zeros(width, dtype=torch.float64)
    found = []
    for seed in range(40):
        part = moments(normal(num, width, seed=seed))
        found.append(frechet_distance(zero, eye, part.mean, part.covariance))
    expected = width / num + width * (width + 1) / (4 * num)
    assert_close(float(np.mean(found)), expected, atol=0, rtol=0.05)  # first order in 1/N, as is the claim


def test_fid_equals_torch_fidelity():
    from torch_fidelity import metric_fid  # 0.4.0

    real, fake = normal(300, 12), 0.2 + 1.2 * normal(250, 12, seed=1)
    sides = [metric_fid.fid_features_to_statistics(x) for x in (fake, real)]
    expected = metric_fid.fid_statistics_to_metric(*sides, verbose=False)["frechet_inception_distance"]
    assert_close(fid(real, fake), expected, atol=0, rtol=1e-9)


def test_moments_in_blocks_of_float32_rows_are_those_of_float64():
    x = (100 + normal(77, 5)).float()
    found = moments(x, block_size=10)
    assert found.num == 77
    assert_close(found.mean, x.double().mean(0))
    assert_close(found.covariance, x.double().mT.cov(), atol=1e-12, rtol=1e-12)


def test_fid_infinity_takes_out_the_bias_of_the_fakes_number():
    real = normal(20_000, 8, seed=1)  # its own bias is d/N + d(d+1)/4N = 0.0013
    found = [fid_infinity(real, normal(1000, 8, seed=s), seed=s) for s in range(2, 22)]
    mean, error = mean_and_error([one["fid_infinity"] for one in found])
    assert_close(mean, 0.0013, atol=3 * error + 3e-4, rtol=0)  # 3e-4: the second order at n = 100
    assert float(np.mean([fid(real, normal(1000, 8, seed=s)) for s in range(2, 7)])) > 0.02


def test_fid_infinity_is_the_intercept_of_numpys_line(monkeypatch):
    real, fake = normal(200, 3), 0.5 + normal(100, 3, seed=1)
    # all of a permutation, in its order: then the subset of size n is known
    monkeypatch.setattr(torch, "randperm", lambda num, **_: torch.arange(num))
    sizes = [10, 40, 70, 100]
    values = [fid(real, fake[:n]) for n in sizes]
    (_, intercept), covariance = np.polyfit(1 / np.array(sizes), values, 1, cov=True)
    found = fid_infinity(real, fake, num_points=4)
    assert_close(
        found, {"fid_infinity": intercept, "fid_infinity_se": covariance[1, 1] ** 0.5}, atol=1e-9, rtol=1e-9
    )


@pytest.mark.parametrize(
    "choice", [{"num_points": 2}, {"smallest_fraction": 0.01}, {"smallest_fraction": 1.0}]
)
def test_fid_infinity_needs_a_line(choice):
    with pytest.raises(ValueError, match="at least 3 different sizes"):
        fid_infinity(normal(50, 2), normal(50, 2), **choice)


def test_class_fid_is_the_mean_of_fids_within_classes():
    real, fake = normal(90, 2), 0.5 + normal(60, 2, seed=1)
    labels = torch.arange(90) % 3, torch.arange(60) % 2  # class 2 has no fakes
    each = [fid(real[labels[0] == c], fake[labels[1] == c]) for c in (0, 1)]
    found = class_fid(real, fake, real_classes=labels[0], fake_classes=labels[1])
    assert_close(found, {"class_fid": sum(each) / 2, "class_fid_worst": max(each), "classes_missing": 1.0})


def test_class_fid_sees_exchanged_classes_and_fid_does_not():
    labels = torch.arange(400) % 2
    real = 10.0 * labels[:, None] + normal(400, 2)
    assert_close(fid(real, real), 0.0, atol=1e-9, rtol=0)
    found = class_fid(real, real, real_classes=labels, fake_classes=1 - labels)
    assert_close(found["class_fid"], 200.0, atol=0, rtol=0.05)  # ‖(10, 10)‖², means known to 1/√200


def test_labels_must_be_one_integer_a_row():
    x, labels = normal(9, 2), torch.arange(9)
    with pytest.raises(ValueError, match="fake classes must be one integer for each of 9 rows"):
        class_fid(x, x, real_classes=labels, fake_classes=x)
    with pytest.raises(ValueError, match="some class must have two real and two fake samples"):
        class_fid(x, x, real_classes=labels, fake_classes=labels)
