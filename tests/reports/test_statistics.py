"""Statistics against scipy, literal twins, exhaustive resampling and values worked by hand."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import stats

from saddle.reports.statistics import (
    NUM_RESAMPLES,
    holm,
    improvement,
    interquartile_mean,
    mean_intervals,
    pareto_front,
    profile,
)

VALUES = st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=9)


def literal_bca(values: np.ndarray, seed: int) -> tuple[float, float]:
    """Efron 1987, step by step, with the draws that scipy makes."""
    rng, n = np.random.default_rng(seed), len(values)
    means = values[rng.integers(0, n, (NUM_RESAMPLES, n))].mean(1)
    equal = np.isclose(means, values.mean(), rtol=1e-11, atol=0).mean()
    below = (means < values.mean() * (1 - 1e-11)).mean()
    z0 = stats.norm.ppf(below + equal / 2)
    left_out = np.array([np.delete(values, i).mean() for i in range(n)])
    u = left_out.mean() - left_out
    a = (u**3).sum() / (6 * (u**2).sum() ** 1.5)
    ends = []
    for level in (0.025, 0.975):
        z = z0 + stats.norm.ppf(level)
        ends.append(np.quantile(means, stats.norm.cdf(z0 + z / (1 - a * z))))
    return ends[0], ends[1]


def test_intervals_are_efrons_whether_groups_come_alone_or_together():
    rng = np.random.default_rng(0)
    groups = [rng.exponential(size=n) for n in (3, 8, 8, 20)]
    together = mean_intervals(groups, seed=5)
    for group, found in zip(groups, together, strict=True):
        assert found == mean_intervals([group], seed=5)[0]
        assert (found.value, found.num_runs) == (pytest.approx(group.mean(), rel=1e-14), len(group))
        # means are rounded to 12 digits before they are compared
        assert_allclose((found.low, found.high), literal_bca(group, 5), rtol=1e-9)


def test_ninety_five_percent_of_intervals_hold_the_mean():
    rng = np.random.default_rng(1)
    found = mean_intervals(list(rng.normal(size=(600, 30))), num_resamples=999)
    covered = np.mean([estimate.low <= 0 <= estimate.high for estimate in found])
    # nominal .95; a bootstrap of 30 falls short by about .015; five standard errors of 600 trials are .045
    assert 0.89 < covered < 0.98


def test_what_gives_no_interval_is_told_apart_from_what_gives_one_of_no_width():
    none, one, equal, with_bad = mean_intervals([[], [3.0], [2.0, 2.0, 2.0], [1.0, math.nan, 3.0, math.inf]])
    assert none is None
    assert one == (3.0, None, None, 1)
    assert equal == (2.0, 2.0, 2.0, 3)
    assert (with_bad.value, with_bad.num_runs) == (2.0, 2)
    assert 1.0 <= with_bad.low < with_bad.high <= 3.0


def test_an_interval_moves_and_stretches_with_its_values():
    values = np.array([1.0, 2.0, 4.0, 8.0, 9.0])
    plain, moved = mean_intervals([values, 0.1 + 7 * values])
    # means are rounded to 12 digits before they are compared
    assert_allclose((moved.low - 0.1, moved.high - 0.1), (7 * plain.low, 7 * plain.high), rtol=1e-9)


@given(VALUES)
def test_the_interquartile_mean_is_scipys_trimmed_mean(values):
    assert_allclose(interquartile_mean(values), stats.trim_mean(values, 0.25), rtol=1e-12, atol=1e-12)


def test_a_quarter_of_diverged_runs_leaves_the_interquartile_mean_finite():
    assert interquartile_mean([1.0, 2.0, 3.0, math.inf]) == 2.5
    assert interquartile_mean([1.0, 2.0, math.inf, math.inf]) == math.inf
    assert interquartile_mean([]) is None


@settings(max_examples=30)
@given(VALUES, VALUES, st.booleans())
def test_improvement_is_mann_whitneys_u_and_one_minus_that_of_the_other_side(first, second, higher):
    found = improvement(first, second, higher_is_better=higher, paired=False)
    u = stats.mannwhitneyu(first, second).statistic / (len(first) * len(second))
    assert_allclose(found.probability, u if higher else 1 - u, atol=1e-12)
    back = improvement(second, first, higher_is_better=higher, paired=False)
    assert_allclose(found.probability + back.probability, 1, atol=1e-12)
    assert found.low <= found.probability + 1e-12
    assert found.probability - 1e-12 <= found.high


def test_paired_improvement_counts_pairs_won_with_half_for_ties():
    found = improvement([1, 5, 3, 4], [2, 1, 3, 9], higher_is_better=False, paired=True)
    assert found.probability == (1 + 0 + 0.5 + 1) / 4
    assert found.paired


@pytest.mark.parametrize(
    ("first", "second", "paired", "p_value"),
    [
        ([1, 2, 3], [4, 5, 6], False, 2 / math.comb(6, 3)),  # one of 20 orders, on either side
        ([1, 1, 2], [2, 3, 3], False, 4 / 20),  # ties: 2 of 20 divisions are as extreme, on either side
        ([1, 2, 3, 4, 5], [2, 4, 6, 8, 10], True, 2 / 2**5),
        ([1, 2, 3, 4, 5], [2, 3, 4, 5, 6], True, 2 / 2**5),  # equal differences
        ([1, 2, math.inf], [1, 2, math.inf], True, 1.0),
        ([1, 2, 3, 4], [2, 3, 5, math.inf], True, 2 / 2**4),  # one diverged
        ([math.inf] * 3, [math.inf] * 3, False, 1.0),
    ],
)
def test_p_values_of_few_runs_are_exact_with_ties_and_diverged_runs_too(first, second, paired, p_value):
    found = improvement(first, second, higher_is_better=False, paired=paired)
    assert_allclose(found.p_value, p_value, rtol=1e-12)


def test_holm_multiplies_the_smallest_by_their_number_and_stays_monotone():
    assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02], rtol=1e-12)
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize("higher", [False, True])
def test_a_profile_is_the_share_of_runs_as_good_and_its_band_that_of_all_resamples(higher):
    worst = -math.inf if higher else math.inf
    runs = np.array([2.0, 3.0, worst])
    found = profile(runs, [1.0, 2.0, 2.5, 3.0], higher_is_better=higher)
    reached = [[run >= t if higher else run <= t for run in runs] for t in (1.0, 2.0, 2.5, 3.0)]
    assert_allclose(found.share, np.mean(reached, 1), rtol=1e-15)
    resamples = [*itertools.product(range(3), repeat=3)]
    for i, row in enumerate(reached):
        shares = sorted(np.mean([row[j] for j in drawn]) for drawn in resamples)
        for level, end in ((0.025, found.low[i]), (0.975, found.high[i])):
            assert_allclose(end, np.quantile(shares, level, method="inverted_cdf"), atol=1e-12)


def test_the_front_holds_what_nothing_beats_in_order_of_the_first_coordinate():
    points = [(3.0, 0.9), (1.0, 0.2), (2.0, 0.5), (2.0, 0.4), (5.0, 0.9), (math.inf, 1.0), (1.0, 0.2)]
    assert pareto_front(points, (False, True)) == [1, 6, 2, 0]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=12), st.booleans())
def test_each_point_is_on_the_front_or_beaten_by_one_that_is(points, higher):
    front = pareto_front(points, (higher, False))
    sign = 1 if higher else -1
    for index, (a, b) in enumerate(points):
        beaten = [
            j for j in front if sign * points[j][0] >= sign * a and points[j][1] <= b and points[j] != (a, b)
        ]
        assert (index in front) != bool(beaten)
