"""Metrics against closed forms, slow literal twins and other libraries; always real, then fake."""

import math
from functools import partial

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from saddle.data.points import Mixture, ring
from saddle.metrics.distances import squared_distances
from saddle.metrics.frechet import fid, frechet_distance
from saddle.metrics.kernels import cmmd, gaussian_mmd, kid, kid_and_error
from saddle.metrics.memorization import authenticity, birthday_support
from saddle.metrics.modes import class_modes, mixture_modes, mode_covariance
from saddle.metrics.neighbours import density_coverage, prdc, precision_recall
from saddle.metrics.transport import sliced_wasserstein
from saddle.metrics.vendi import vendi

RING = ring(8, radius=1.0, std=0.01)
MMD = partial(gaussian_mmd, bandwidths=[0.1, 1.0])
MODES = partial(mixture_modes, mixture=RING)
METRICS = {
    "fid": fid,
    "kid": kid,
    "kid_and_error": kid_and_error,
    "mmd": MMD,
    "cmmd": cmmd,
    "prdc": prdc,
    "authenticity": authenticity,
    "birthday_support": birthday_support,
    "sliced_wasserstein": partial(sliced_wasserstein, num_projections=8),
    "mode_covariance": partial(mode_covariance, mixture=RING),
    "precision_recall": precision_recall,
    "density_coverage": density_coverage,
    "vendi": vendi,
    "mixture_modes": MODES,
    "class_modes": class_modes,
}
seeds = st.integers(0, 99)
few = settings(max_examples=20, deadline=None)  # no deadline: the first call warms torch up


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def values(result: float | dict[str, float]) -> dict[str, float]:
    return result if isinstance(result, dict) else {"value": result}


def rotation(width: int, seed: int = 0) -> Tensor:
    return torch.linalg.qr(normal(width, width, seed=seed)).Q


# Laws of all metrics


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
@pytest.mark.parametrize("block_size", [1, 7, 1000])
def test_no_metric_depends_on_the_size_of_its_blocks(name, block_size):
    real, fake = normal(61, 5), 0.3 + normal(43, 5, seed=1)
    metric = METRICS[name]
    found = values(metric(real, fake, block_size=block_size))
    assert_close(found, values(metric(real, fake)), atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("where", ["at a real sample", "far away", "at zero"])
def test_a_generator_that_repeats_one_sample_gets_finite_numbers(name, where):
    real = normal(60, 2)
    sample = {"at a real sample": real[7], "far away": torch.full((2,), 1e3), "at zero": torch.zeros(2)}[
        where
    ]
    found = values(METRICS[name](real, sample.to(torch.float64).expand(50, 2)))
    assert all(math.isfinite(value) for value in found.values()), found


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("side", ["real", "fake"])
def test_a_value_that_is_not_finite_is_refused(name, bad, side):
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


# FID


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


# KID and MMD


def literal_mmd2(real: Tensor, fake: Tensor, kernel) -> float:
    within_real = [kernel(x, y) for i, x in enumerate(real) for j, y in enumerate(real) if i != j]
    within_fake = [kernel(x, y) for i, x in enumerate(fake) for j, y in enumerate(fake) if i != j]
    across = [kernel(x, y) for x in real for y in fake]
    return float(np.mean(within_real) + np.mean(within_fake) - 2 * np.mean(across))


def test_kid_is_the_papers_double_sum():
    real, fake = normal(12, 4), 0.5 + normal(9, 4, seed=1)
    expected = literal_mmd2(real, fake, lambda x, y: float((x @ y / 4 + 1) ** 3))
    assert_close(kid(real, fake), expected, atol=1e-12, rtol=1e-9)


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


def test_the_squared_distance_of_equal_rows_is_exactly_zero():
    x = 5 * normal(30, 64)
    assert (squared_distances(x, x).diagonal() == 0).all()
    expected = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist").square()
    assert_close(squared_distances(x, x), expected, atol=1e-9, rtol=1e-12)


# Precision, recall, density, coverage


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


# Vendi


def literal_vendi(fake: Tensor) -> float:
    unit = fake / fake.norm(dim=1, keepdim=True)
    eigenvalues = torch.linalg.eigvalsh(unit @ unit.mT / len(fake))  # the M × M matrix of the definition
    positive = eigenvalues[eigenvalues > 1e-12]
    return float(torch.exp(-(positive * positive.log()).sum()))


@pytest.mark.parametrize(("num", "width"), [(40, 5), (5, 40)])
def test_vendi_through_the_small_matrix_equals_the_definition(num, width):
    fake = 0.5 + normal(num, width)
    assert_close(vendi(fake, fake), literal_vendi(fake), atol=0, rtol=1e-9)


@pytest.mark.parametrize("count", [1, 3, 7])
def test_vendi_of_equal_blocks_counts_the_blocks(count):
    fake = torch.eye(8, dtype=torch.float64)[torch.arange(5 * count) % count]
    assert_close(vendi(fake, fake), float(count), atol=0, rtol=1e-9)


def test_vendi_takes_zero_rows_as_one_kind_of_its_own():
    fake = torch.cat([torch.eye(2), torch.zeros(1, 2)]).double()
    assert_close(vendi(fake, fake), 3.0, atol=0, rtol=1e-9)
    assert_close(vendi(fake, torch.zeros(9, 2)), 1.0, atol=0, rtol=1e-9)


@few
@given(exponent=st.integers(-290, 290), seed=seeds)
def test_vendi_does_not_depend_on_the_lengths_of_rows(exponent, seed):
    fake = normal(12, 3, seed=seed)
    scaled = fake.clone()
    scaled[:6] *= 10.0**exponent
    assert_close(vendi(scaled, scaled), vendi(fake, fake), atol=0, rtol=1e-9)


# Modes of a mixture


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


# Modes of a classifier


def logits_of(classes: list[int], num_classes: int = 4) -> Tensor:
    return torch.eye(num_classes, dtype=torch.float64)[torch.tensor(classes)]


def test_class_modes_worked_by_hand():
    real, fake = logits_of([0, 1, 2, 3]), logits_of([0, 0, 1, 1, 1, 1, 1, 1])
    kl = 0.25 * math.log(0.25 / 0.25) + 0.75 * math.log(0.75 / 0.25)
    assert_close(class_modes(real, fake), {"modes": 2.0, "kl": kl, "kl_floor": 3 / 16})


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
