"""Precision, recall, density and coverage against their definitions and other libraries."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from saddle.data.points import Mixture
from saddle.metrics.neighbours import density_coverage, prdc, precision_recall
from samples import RING, every_place, normal, one_sample


def literal_prdc(real: Tensor, fake: Tensor, k: int) -> dict[str, float]:
    """The definitions, one distance at a time."""

    def distance(x: Tensor, y: Tensor) -> float:
        return math.dist(x.tolist(), y.tolist())

    def radius(rows: Tensor, i: int) -> float:
        return sorted(distance(rows[i], rows[j]) for j in range(len(rows)) if j != i)[k - 1]

    real_radii = [radius(real, i) for i in range(len(real))]
    fake_radii = [radius(fake, j) for j in range(len(fake))]
    inside = [[distance(x, y) <= r for y in fake] for x, r in zip(real, real_radii, strict=True)]
    recalled = [any(distance(x, y) <= r for y, r in zip(fake, fake_radii, strict=True)) for x in real]
    return {
        "precision": float(np.mean(np.any(inside, axis=0))),
        "recall": float(np.mean(recalled)),
        "density": float(np.sum(inside)) / (k * len(fake)),
        "coverage": float(np.mean(np.any(inside, axis=1))),
    }


@pytest.mark.parametrize("k", [1, 3, 5])
def test_neighbour_metrics_are_their_definitions(k):
    real, fake = normal(31, 3), 0.5 + 0.7 * normal(22, 3, seed=1)
    found = precision_recall(real, fake, k=k) | density_coverage(real, fake, k=k)
    assert_close(found, literal_prdc(real, fake, k))


@every_place
def test_neighbour_metrics_of_one_sample_are_their_definitions(where):
    real, fake = one_sample(where)
    found = precision_recall(real, fake, k=3) | density_coverage(real, fake, k=3)
    expected = literal_prdc(real, fake, 3)
    assert_close(found, expected)
    assert_close(prdc(real, fake, k=3, density_k=3), expected)


def test_precision_and_recall_equal_torch_fidelity():
    from torch_fidelity.metric_prc import calculate_precision_recall_part  # 0.4.0: generated first

    real, fake = normal(120, 8), 0.4 + 0.8 * normal(90, 8, seed=1)
    precision, recall = calculate_precision_recall_part(fake, real)
    expected = {"precision": precision, "recall": recall}
    assert_close(precision_recall(real, fake), expected, atol=1e-6, rtol=0)  # its means are float32


def test_a_collapsed_generator_has_high_precision_and_low_recall():
    real = RING.sample(400, torch.Generator().manual_seed(0))[0]
    fake = real[:1] + 1e-6 * normal(400, 2)
    found = precision_recall(real, fake) | density_coverage(real, fake)
    assert found["precision"] > 0.99
    assert found["density"] > 0.5
    assert found["recall"] < 0.01
    assert found["coverage"] < 0.05


def test_a_generator_of_half_the_modes_recalls_half():
    random = torch.Generator().manual_seed(0)
    real = RING.sample(1000, random)[0]
    fake = Mixture(RING.centers[:4], RING.std).sample(1000, random)[0]
    found = precision_recall(real, fake, k=5) | density_coverage(real, fake, k=5)
    # 0.05 is 3 standard errors of half of 1,000 real samples
    assert_close(
        found, {"precision": 0.99, "recall": 0.5, "density": 1.0, "coverage": 0.5}, atol=0.05, rtol=0
    )


def test_equal_distributions_have_density_one_and_the_expected_coverage():
    num_real, num_fake, k = 400, 300, 5
    found = [
        density_coverage(normal(num_real, 4, seed=2 * s), normal(num_fake, 4, seed=2 * s + 1), k=k)
        for s in range(40)
    ]
    expected = 1 - math.prod((num_real - j) / (num_fake + num_real - j) for j in range(1, k + 1))
    for name, value in (("density", 1.0), ("coverage", expected)):
        each = [one[name] for one in found]
        error = float(np.std(each, ddof=1)) / 40**0.5
        assert_close(float(np.mean(each)), value, atol=3 * error, rtol=0)


def test_exact_copies_of_the_data_have_everything():
    real = normal(50, 64)
    found = precision_recall(real, real) | density_coverage(real, real)
    # a ball of k = 5 holds its own centre too: density (k + 1)/k
    assert_close(found, {"precision": 1.0, "recall": 1.0, "density": 1.2, "coverage": 1.0})


def test_a_ball_holds_its_surface():
    real = torch.arange(6, dtype=torch.float64)[:, None] * 2  # every ball of k = 1 has radius 2
    fake = torch.tensor([[-2.0], [-2.0], [12.0]], dtype=torch.float64)  # radii 0, 0 and 14
    assert_close(precision_recall(real, fake, k=1), {"precision": 1.0, "recall": 1.0})
    assert_close(density_coverage(real, fake, k=1), {"density": 1.0, "coverage": 1 / 3})


@pytest.mark.parametrize("metric", [precision_recall, density_coverage])
def test_a_ball_must_reach_to_some_neighbour(metric):
    with pytest.raises(ValueError, match="k must be at least 1; got 0"):
        metric(normal(9, 2), normal(9, 2), k=0)


def test_the_four_of_one_pass_are_those_of_two():
    real, fake = normal(80, 4), 0.4 + 0.8 * normal(60, 4, seed=1)
    assert prdc(real, fake, k=3, density_k=5) == precision_recall(real, fake, k=3) | density_coverage(
        real, fake, k=5
    )


def test_the_four_equal_the_package_prdc(capsys):
    from prdc import compute_prdc  # 0.2

    real, fake = normal(300, 16).float(), (0.1 + 0.9 * normal(250, 16, seed=1)).float()
    expected = {name: float(value) for name, value in compute_prdc(real.numpy(), fake.numpy(), 5).items()}
    assert_close(prdc(real, fake, k=5, density_k=5), expected, atol=1e-12, rtol=0)
    capsys.readouterr()  # the package prints


def test_a_collapsed_generator_has_high_precision_and_low_recall_in_this_order_of_arguments():
    real = RING.sample(400, torch.Generator().manual_seed(0))[0]
    fake = real[:1] + 1e-4 * normal(400, 2)
    found, swapped = prdc(real, fake), prdc(fake, real)
    assert found["precision"] > 0.99
    assert found["recall"] < 0.01
    assert (swapped["precision"], swapped["recall"]) == (found["recall"], found["precision"])
