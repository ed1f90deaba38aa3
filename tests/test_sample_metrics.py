"""FID's and KID's other forms, histograms, two-sample tests, memorization, transport, scores: by oracle."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from saddle.data.points import Mixture, ring
from saddle.metrics import distances
from saddle.metrics.distances import kth_nearest, pairs_within
from saddle.metrics.frechet import FewSamples, class_fid, fid, fid_and_sizes, fid_infinity, moments
from saddle.metrics.histograms import prd, prd_curve
from saddle.metrics.inception import inception_score
from saddle.metrics.kernels import cmmd, kid, kid_and_error, kid_of_subsets
from saddle.metrics.memorization import authenticity, birthday_support, memorization
from saddle.metrics.modes import mode_covariance
from saddle.metrics.neighbours import density_coverage, prdc, precision_recall
from saddle.metrics.transport import exact_wasserstein, sliced_wasserstein
from saddle.metrics.two_sample import one_nearest_neighbour
from saddle.metrics.vendi import class_vendi, vendi

RING = ring(8, radius=1.0, std=0.01)
STOCHASTIC = {
    "fid_infinity": partial(fid_infinity, num_points=5),
    "kid_of_subsets": partial(kid_of_subsets, num_subsets=3, subset_size=20),
    "prd": partial(prd, num_clusters=5, num_runs=1),
    "sliced_wasserstein": partial(sliced_wasserstein, num_projections=4),
    "inception_score": partial(inception_score, num_splits=3),
}
few = settings(max_examples=20, deadline=None)  # no deadline: the first call warms torch up


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def mean_and_error(values: list[float]) -> tuple[float, float]:
    return float(np.mean(values)), float(np.std(values, ddof=1)) / len(values) ** 0.5


# Seeds


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


# Distances


def clouds(kind: str, width: int = 6) -> tuple[Tensor, Tensor]:
    """Sets on which float32 distances are far too coarse, and some on which they are not."""
    x, y = normal(90, width), normal(70, width, seed=1)
    if kind == "as of a network":
        scale = torch.arange(1, width + 1).rsqrt()
        return (scale * x).relu(), (scale * y + 0.02).relu()
    if kind == "far from zero":
        return x + 1e6, y + 1e6
    if kind == "tight clusters":
        at = 100 * normal(5, width, seed=2)
        return at[torch.arange(90) % 5] + 1e-4 * x, at[torch.arange(70) % 5] + 1e-4 * y
    if kind == "copies":
        return x[torch.arange(90) % 9], torch.cat([x[:9], y])[torch.arange(70) % 12]
    if kind == "an outlier":
        return torch.cat([x[:-1], 1e7 * x[-1:]]), y
    if kind == "beyond float32":
        return 1e25 * x, 1e25 * y
    return x, y


WIDTHS = [6, 520]  # of the wide ones first products are bfloat16, where the processor has it
KINDS = [
    "plain",
    "as of a network",
    "beyond float32",
    "far from zero",
    "tight clusters",
    "copies",
    "an outlier",
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("width", WIDTHS)
def test_nearest_neighbours_are_those_of_all_distances_in_float64(kind, dtype, width):
    x, y = (side.to(dtype) for side in clouds(kind, width))
    exact = partial(torch.cdist, compute_mode="donot_use_mm_for_euclid_dist")
    for other, table in ((None, exact(x.double(), x.double())), (y, exact(x.double(), y.double()))):
        if other is None:
            table.fill_diagonal_(torch.inf)
        found, which = kth_nearest(x, other, (1, 3, 5), block_size=32)
        expected = table.sort(dim=1).values[:, [0, 2, 4]].square()
        # what float64 itself leaves open of the matrix product, where copies make all candidates equal
        assert_close(
            found,
            expected,
            atol=1e-14 * float((x.double() - x.double().mean(0)).square().sum(1).max()),
            rtol=1e-9,
        )
        assert_close(table.gather(1, which).square(), expected, atol=1e-12 * float(expected.max()), rtol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("first", [torch.bfloat16, torch.float32])
def test_four_metrics_do_not_depend_on_coarse_blocks(kind, width, first, monkeypatch):
    x, y = clouds(kind, width)
    types = [torch.bfloat16, torch.float32, torch.float64]
    found = []
    for start in (types.index(first), types.index(torch.float64)):
        monkeypatch.setattr(distances, "coarse_dtypes", lambda *_, start=start: types[start:])
        found.append(prdc(x, y))
    assert found[0] == found[1]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("kind", ["plain", "as of a network", "an outlier", "rounded the same way"])
def test_distances_are_within_the_bounds_of_coarse_products(kind, dtype):
    x, y = clouds(kind, 700)
    if kind == "rounded the same way":  # every number half way between two of its type, all errors add up
        x = torch.ones(6, 700) + torch.finfo(dtype).eps * torch.tensor([0.49, 0.51, 1.49, 0, 0, 0])[:, None]
        x = torch.cat([x, -x])  # of mean 0
        y = x.flip(0)
    pair, rows = distances._Pair(x, y), torch.arange(len(x))
    bounds = pair.bounds(rows, dtype)
    lower, upper = bounds.of(rows[:, None], torch.arange(len(y))[None])
    true = (x[:, None] - y).square().sum(2)
    sizes = (x - x.mean(0)).square().sum(1)[:, None] + (y - x.mean(0)).square().sum(1)
    # float64's own bound holds only before the rounding of these differences
    assert bool((lower <= true + 1e-15 * sizes).all())
    assert bool((true <= upper + 1e-15 * sizes).all())
    assert bool(
        (upper - lower <= 10 * torch.finfo(dtype).eps * (1 + 700 * (dtype.itemsize > 2)) * sizes).all()
    )


def test_blocks_are_coarse_only_where_such_products_are_bounded_and_fast(monkeypatch):
    cpu = torch.device("cpu")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    assert distances.coarse_dtypes(2048, cpu) == [torch.bfloat16, torch.float32, torch.float64]
    assert distances.coarse_dtypes(64, cpu) == [torch.float32, torch.float64]
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_f": True})
    assert distances.coarse_dtypes(2048, cpu) == [torch.float32, torch.float64]
    assert distances.coarse_dtypes(2048, torch.device("cuda")) == [torch.float64]
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        assert distances.coarse_dtypes(2048, cpu) == [torch.float64]
    finally:
        torch.set_float32_matmul_precision(before)


def test_pairs_within_reach_are_all_found_once():
    x, y = normal(41, 3), normal(37, 3, seed=1)
    x_radii, y_radii = normal(41, seed=2).square(), normal(37, seed=3).square()
    table = torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist").square()
    in_row, in_column = torch.zeros(41, 37, dtype=torch.bool), torch.zeros(41, 37, dtype=torch.bool)
    for at in pairs_within(x, y, [x_radii], y_radii, block_size=7):
        in_row[at.rows[at.in_row[0]], at.columns[at.in_row[0]]] = True
        in_column[at.rows[at.in_column], at.columns[at.in_column]] = True
    assert torch.equal(in_row, table <= x_radii[:, None])
    assert torch.equal(in_column, table <= y_radii)


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


# FID


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


# KID, CMMD


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


def test_cmmd_is_the_double_mean_over_directions():
    real, fake = normal(12, 3), 0.5 + normal(9, 3, seed=1)

    def kernel(x: Tensor, y: Tensor) -> float:
        return math.exp(-float((x / x.norm() - y / y.norm()).square().sum()) / (2 * 10.0**2))

    def mean(a: Tensor, b: Tensor) -> float:
        return float(np.mean([kernel(x, y) for x in a for y in b]))

    expected = 1000 * (mean(real, real) + mean(fake, fake) - 2 * mean(real, fake))
    assert_close(cmmd(real, fake), expected, atol=1e-9, rtol=1e-9)  # 1e-9: thousand times rounding of 1
    assert_close(cmmd(real, 7 * real), 0.0, atol=1e-9, rtol=0)


# Inception Score


@pytest.mark.parametrize("seen", [1, 4, 10])
def test_sure_answers_spread_over_some_classes_score_their_number(seen):
    logits = 1e3 * torch.eye(10, dtype=torch.float64)[torch.arange(40 * seen) % seen]
    assert_close(inception_score(logits, logits, num_splits=1)["inception_score"], float(seen))


def test_answers_that_say_nothing_score_one():
    assert_close(
        inception_score(normal(9, 5), torch.zeros(30, 5)),
        {"inception_score": 1.0, "inception_score_std": 0.0},
    )


@pytest.mark.parametrize(("num", "splits"), [(100, 10), (103, 7)])
def test_inception_score_equals_torch_fidelity(num, splits):
    from torch_fidelity.metric_isc import isc_features_to_metric  # 0.4.0

    logits = 3 * normal(num, 12)
    expected = isc_features_to_metric(logits, splits=splits)
    found = inception_score(logits, logits, num_splits=splits)
    assert_close(found["inception_score"], expected["inception_score_mean"], atol=0, rtol=1e-9)
    assert_close(found["inception_score_std"], expected["inception_score_std"], atol=1e-12, rtol=1e-9)


def test_more_splits_than_samples_are_refused():
    with pytest.raises(ValueError, match="num_splits must be between 1 and the number of fakes, 5; got 10"):
        inception_score(normal(5, 3), normal(5, 3))


# PRD


def test_a_histogram_on_some_of_the_bins_has_precision_one_and_recall_their_share():
    p, q = np.full(8, 1 / 8), np.array([1 / 4] * 4 + [0] * 4)
    precision, recall = prd_curve(p, q)
    assert_close((precision.max(), recall.max()), (1.0, 0.5))
    assert_close(prd_curve([0.5, 0.5], [1.0, 0.0], 3)[0][1], 0.5)  # λ = 1: Σ min(p, q)


def test_prd_of_half_the_modes_has_its_closed_form():
    random = torch.Generator().manual_seed(0)
    real = RING.sample(800, random, equal_counts=True)[0]
    fake = Mixture(RING.centers[:4], RING.std).sample(800, random, equal_counts=True)[0]
    found = prd(real, fake, num_clusters=8, num_runs=1)
    # at λ = 2, α = 1 and β = ½: F_b = (1 + b²)·½/(b² + ½); a grid of 1,001 angles has λ = 2 to 0.3 %
    assert_close(found, {"f8": 65 * 0.5 / 64.5, "f1_8": 65 * 0.5 / (1 + 32)}, atol=0, rtol=0.005)


def test_prd_of_equal_sets_is_one():
    real = normal(200, 3)
    assert_close(prd(real, real, num_runs=1), {"f8": 1.0, "f1_8": 1.0}, atol=1e-9, rtol=0)


# One nearest neighbour


def test_one_nearest_neighbour_is_its_definition():
    real, fake = normal(30, 3), 0.5 + normal(30, 3, seed=1)
    both, kind = torch.cat([real, fake]), torch.arange(60) < 30
    table = torch.cdist(both, both).fill_diagonal_(torch.inf)
    right = (kind[table.argmin(1)] == kind).double()
    expected = {"one_nn": right.mean(), "one_nn_real": right[:30].mean(), "one_nn_fake": right[30:].mean()}
    assert_close(one_nearest_neighbour(real, fake), {name: float(value) for name, value in expected.items()})


def test_one_nearest_neighbour_is_chance_for_equal_distributions_and_zero_for_copies():
    found = [
        one_nearest_neighbour(normal(200, 3, seed=2 * s), normal(300, 3, seed=2 * s + 1))["one_nn"]
        for s in range(40)
    ]
    mean, error = mean_and_error(found)
    assert_close(mean, 0.5, atol=3 * error, rtol=0)
    real = normal(50, 3)
    assert one_nearest_neighbour(real, real + 1e-9)["one_nn"] == 0.0
    assert one_nearest_neighbour(real, real + 1e3)["one_nn"] == 1.0


def test_fakes_that_crowd_into_some_modes_show_on_the_fake_side():
    real = RING.sample(300, torch.Generator().manual_seed(0))[0]
    fake = Mixture(RING.centers[:2], RING.std).sample(300, torch.Generator().manual_seed(1))[0]
    found = one_nearest_neighbour(real, fake)
    # there, fakes are 4 times as dense as real samples: right for 4 of 5 fakes and, where both are, 1 of 5
    assert_close(found["one_nn_fake"], 0.8, atol=3 * (0.16 / 300) ** 0.5, rtol=0)
    assert_close(found["one_nn_real"], 0.75 + 0.25 * 0.2, atol=3 * (0.25 / 300) ** 0.5, rtol=0)


# Memorization


def test_authenticity_is_its_definition():
    train, fake = normal(40, 3), normal(30, 3, seed=1)
    own = torch.cdist(train, train).fill_diagonal_(torch.inf).min(1).values
    distance, which = torch.cdist(fake, train).min(1)
    assert_close(authenticity(train, fake), 100 * float((own[which] < distance).double().mean()))
    assert authenticity(train, train) == 0.0
    with pytest.raises(ValueError, match="real features must have at least 2 rows"):
        authenticity(train[:1], fake)


def test_memorization_is_a_half_for_fresh_samples_and_one_for_copies():
    found = []
    for seed in range(30):
        train, held_out, fake = (normal(200, 3, seed=3 * seed + k) for k in range(3))
        found.append(memorization(train, fake, held_out=held_out))
    mean, error = mean_and_error([one["nearer_train"] for one in found])
    assert_close(mean, 0.5, atol=3 * error, rtol=0)
    copies = memorization(train, train + 1e-6, held_out=held_out)
    assert copies["nearer_train"] == 1.0
    assert_close(copies["distance_train"], 3**0.5 * 1e-6, atol=0, rtol=1e-6)  # 1e-16 of rows of length 1
    expected = float(torch.cdist(train, held_out).min(1).values.mean())
    assert_close(copies["distance_held_out"], expected, atol=0, rtol=1e-5)


def test_ties_between_train_and_held_out_count_half():
    x = normal(20, 2)
    assert memorization(x, normal(9, 2, seed=1), held_out=x)["nearer_train"] == 0.5


def test_birthday_support_counts_the_things_there_are():
    things, found = 400, []
    real = normal(300, 2)
    for seed in range(60):
        which = torch.randint(things, (300,), generator=torch.Generator().manual_seed(seed))
        found.append(birthday_support(real, normal(things, 2, seed=1)[which] * 1e6, quantile=0.0))
    pairs, error = mean_and_error([one["birthday_pairs"] for one in found])
    assert_close(pairs, 300 * 299 / (2 * things), atol=3 * error, rtol=0)
    assert_close(found[0]["birthday_support"], 300 * 299 / 2 / found[0]["birthday_pairs"])


def test_half_of_all_batches_of_the_birthday_size_have_a_pair():
    things = 1000
    size = round(1.177 * things**0.5)
    draws = torch.randint(things, (300, size), generator=torch.Generator().manual_seed(0)).double()
    points = 10.0 * normal(size, 2)
    hit = [birthday_support(points, row[:, None].expand(-1, 2).contiguous(), quantile=0.0) for row in draws]
    # the real points lie ~1 apart at the closest; integers are equal or at least √2 apart
    threshold = torch.cdist(points, points).fill_diagonal_(torch.inf).min()
    assert float(threshold) < 2**0.5
    share = float(np.mean([one["birthday_pairs"] > 0 for one in hit]))
    expected = 1 - math.exp(-size * (size - 1) / (2 * things))
    assert_close(share, expected, atol=3 * 0.5 / 300**0.5, rtol=0)


def test_a_quantile_must_be_one():
    with pytest.raises(ValueError, match=r"quantile must lie in \[0, 1\]; got 2"):
        birthday_support(normal(9, 2), normal(9, 2), quantile=2)


# Transport


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


# Modes, Vendi


@pytest.mark.parametrize("factor", [0.25, 1.0])
def test_mode_covariance_is_one_for_a_perfect_sampler_and_less_for_one_too_sure(factor):
    fake = Mixture(RING.centers, RING.std * factor**0.5).sample(40_000, torch.Generator().manual_seed(0))[0]
    found = mode_covariance(fake, fake, mixture=RING)
    untruncated = factor if factor == 1 else factor / (1 - 4.5 * math.exp(-4.5) / (1 - math.exp(-4.5)))
    # ¼ of the variance: 3 std are then 6 of the samples' own, and nothing is cut off
    error = 1 / 40_000**0.5  # relative deviation of a sum of 2·40,000 squares
    assert_close(found["covariance_ratio"], untruncated, atol=0, rtol=4 * error)


def test_without_modes_the_covariance_is_as_wrong_as_can_be():
    found = mode_covariance(torch.zeros(9, 2), torch.zeros(9, 2), mixture=RING)
    assert found["covariance_ratio"] == 0
    assert found["covariance_log_ratio"] > 700


def test_class_vendi_is_vendi_of_each_class():
    fake, labels = normal(60, 4), torch.arange(60) % 3
    each = [vendi(fake, fake[labels == c]) for c in range(3)]
    expected = {"class_vendi": sum(each) / 3, "class_vendi_worst": min(each)}
    assert_close(class_vendi(fake, fake, fake_classes=labels), expected)
