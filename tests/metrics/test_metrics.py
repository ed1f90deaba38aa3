"""Laws of all metrics; always real, then fake."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from torch import Tensor
from torch.testing import assert_close

from saddle.metrics.frechet import fid, fid_infinity
from saddle.metrics.histograms import prd
from saddle.metrics.inception import inception_score
from saddle.metrics.kernels import cmmd, gaussian_mmd, kid, kid_and_error, kid_of_subsets
from saddle.metrics.memorization import authenticity, birthday_support
from saddle.metrics.modes import class_modes, mixture_modes, mode_covariance
from saddle.metrics.neighbours import density_coverage, prdc, precision_recall
from saddle.metrics.transport import sliced_wasserstein
from saddle.metrics.vendi import vendi
from samples import RING, few, normal, seeds

METRICS = {
    "fid": fid,
    "kid": kid,
    "kid_and_error": kid_and_error,
    "mmd": partial(gaussian_mmd, bandwidths=[0.1, 1.0]),
    "cmmd": cmmd,
    "prdc": prdc,
    "authenticity": authenticity,
    "birthday_support": birthday_support,
    "sliced_wasserstein": partial(sliced_wasserstein, num_projections=8),
    "mode_covariance": partial(mode_covariance, mixture=RING),
    "precision_recall": precision_recall,
    "density_coverage": density_coverage,
    "vendi": vendi,
    "mixture_modes": partial(mixture_modes, mixture=RING),
    "class_modes": class_modes,
}


def values(result: float | dict[str, float]) -> dict[str, float]:
    return result if isinstance(result, dict) else {"value": result}


def rotation(width: int, seed: int = 0) -> Tensor:
    return torch.linalg.qr(normal(width, width, seed=seed)).Q


@pytest.mark.parametrize("name", METRICS)
@few
@given(seed=seeds)
def test_no_metric_depends_on_the_order_of_rows(name, seed):
    real, fake = normal(40, 2, seed=seed), normal(30, 2, seed=seed + 100)
    shuffle = torch.Generator().manual_seed(seed)
    other_real = real[torch.randperm(40, generator=shuffle)]
    other_fake = fake[torch.randperm(30, generator=shuffle)]
    metric = METRICS[name]
    found = values(metric(other_real, other_fake))
    assert_close(found, values(metric(real, fake)), atol=1e-10, rtol=1e-9)  # sums in another order


ROTATED = [
    name
    for name in METRICS
    if name not in ("sliced_wasserstein", "mode_covariance", "mixture_modes", "class_modes")
]


@pytest.mark.parametrize("name", ROTATED)
@few
@given(seed=seeds)
def test_no_metric_of_features_depends_on_a_rotation_of_their_space(name, seed):
    real, fake, turn = normal(40, 3, seed=seed), 0.5 + normal(30, 3, seed=seed + 100), rotation(3, seed)
    metric = METRICS[name]
    found = values(metric(real @ turn, fake @ turn))
    assert_close(found, values(metric(real, fake)), atol=1e-10, rtol=1e-9)


@pytest.mark.parametrize("name", ["fid", "kid", "mmd", "cmmd", "sliced_wasserstein"])
def test_distances_are_symmetric(name):
    real, fake = normal(50, 3), normal(50, 3, seed=1)
    if name == "mmd":  # its unit is the spread of the real side: give both sides the same
        fake = (fake - fake.mean(0)) * ((real - real.mean(0)).norm() / (fake - fake.mean(0)).norm())
    assert_close(METRICS[name](real, fake), METRICS[name](fake, real), atol=1e-12, rtol=1e-9)


BLOCKED = ["kid", "kid_and_error", "mmd", "cmmd", "precision_recall", "density_coverage", "prdc", "vendi"]
BLOCKED += ["authenticity", "birthday_support"]


@pytest.mark.parametrize("name", BLOCKED)
@pytest.mark.parametrize("block_size", [1, 7])  # without one said, all of these rows are one block
def test_no_metric_depends_on_the_size_of_its_blocks(name, block_size):
    real, fake = normal(61, 5), 0.3 + normal(43, 5, seed=1)
    metric = METRICS[name]
    found = values(metric(real, fake, block_size=block_size))
    assert_close(found, values(metric(real, fake)), atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize(("side", "bad"), [("real", math.nan), ("fake", math.inf)])
def test_a_value_that_is_not_finite_is_refused(name, side, bad):
    features = {"real": normal(20, 2), "fake": normal(20, 2, seed=1)}
    features[side][3, 1] = bad
    with pytest.raises(ValueError, match=f"{side} features must be finite; got NaN or infinity in 1 of 20"):
        METRICS[name](features["real"], features["fake"])


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("fid", 2),
        ("kid", 2),
        ("mmd", 2),
        ("cmmd", 1),
        ("prdc", 6),
        ("authenticity", 1),
        ("birthday_support", 2),
        ("sliced_wasserstein", 1),
        ("precision_recall", 4),
        ("density_coverage", 6),
        ("vendi", 1),
        ("mixture_modes", 1),
        ("class_modes", 1),
    ],
)
def test_too_few_samples_are_refused(name, least):
    METRICS[name](normal(20, 2), normal(least, 2))
    with pytest.raises(ValueError, match=f"fake features must have at least {least} rows.*got {least - 1}"):
        METRICS[name](normal(20, 2), normal(least - 1, 2))


@pytest.mark.parametrize("name", METRICS)
def test_matrices_of_unlike_width_are_refused(name):
    with pytest.raises(ValueError, match=r"of one width; got shapes \(9, 2\) and \(9, 3\)"):
        METRICS[name](normal(9, 2), normal(9, 3))


@pytest.mark.parametrize("name", METRICS)
def test_float32_features_give_the_float64_value_and_no_random_number_is_drawn(name):
    real, fake = normal(50, 2).float(), normal(40, 2, seed=1).float()
    state = torch.random.get_rng_state()
    found = values(METRICS[name](real, fake))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert_close(found, values(METRICS[name](real.double(), fake.double())), atol=0, rtol=0)


STOCHASTIC = {
    "fid_infinity": partial(fid_infinity, num_points=5),
    "kid_of_subsets": partial(kid_of_subsets, num_subsets=3, subset_size=20),
    "prd": partial(prd, num_clusters=5, num_runs=1),
    "sliced_wasserstein": partial(sliced_wasserstein, num_projections=4),
    "inception_score": partial(inception_score, num_splits=3),
}


@pytest.mark.parametrize("name", STOCHASTIC)
def test_what_is_drawn_comes_from_the_metrics_own_seed(name):
    real, fake, metric = normal(60, 4), 0.3 + normal(50, 4, seed=1), STOCHASTIC[name]
    states = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    one = metric(real, fake, seed=1)
    torch.manual_seed(7)
    np.random.seed(7)  # noqa: NPY002
    assert metric(real, fake, seed=1) == one
    assert metric(real, fake, seed=2) != one
    torch.random.set_rng_state(states[0])
    np.random.seed(3)  # noqa: NPY002
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    metric(real, fake, seed=1)
    assert torch.equal(torch.random.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
