"""What several seeds say together: intervals, comparisons and profiles that hold for few and rough runs.

Means have 95 % bias-corrected and accelerated bootstrap intervals (Efron 1987, by scipy). The interquartile
mean, the probability of improvement and performance profiles follow Agarwal et al. 2021, arXiv:2108.13264.

A run that diverged has no last value but is not unknown either: it is the worst there is. In all that goes
by rank it is given as an infinity on the bad side; a mean leaves it out, and says over how many it is.
Resampling draws from a generator of its own, so a table is the same whenever it is made.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

LEVEL = 0.95
NUM_RESAMPLES = 9999  # scipy's own choice: the ends of an interval then move by 2 % of its width
NUM_PAIR_RESAMPLES = 2000  # rliable's choice for probabilities
MAX_ELEMENTS = 1_000_000  # of an array of resamples: 8 MB, of which scipy holds several


class Estimate(NamedTuple):
    """A mean over runs with its interval; ``low`` and ``high`` are None where one run cannot give one."""

    value: float
    low: float | None
    high: float | None
    num_runs: int


class Improvement(NamedTuple):
    """That a run of one group is better than one of another; ties count half."""

    probability: float
    low: float
    high: float
    p_value: float  # two-sided, that the two are alike: Wilcoxon signed-rank if paired, else Mann-Whitney
    paired: bool


def mean_intervals(
    groups: Sequence[ArrayLike], *, seed: int = 0, num_resamples: int = NUM_RESAMPLES
) -> list[Estimate | None]:
    """The mean of each group with its 95 % BCa bootstrap interval.

    Groups of one size are resampled together, which is what makes hundreds of them quick.

    Args:
        groups: values of the runs of each; those that are not finite are left out.
        seed: of the resampling.

    Returns:
        None for a group without values. One value has no interval; values that are all equal have the
        interval of no width that they support.
    """
    finite = [values[np.isfinite(values)] for values in (np.asarray(group, float) for group in groups)]
    found: list[Estimate | None] = [None] * len(finite)
    by_count: dict[int, list[int]] = {}
    for index, values in enumerate(finite):
        if len(values) == 1:
            found[index] = Estimate(float(values[0]), None, None, 1)
        elif len(values) and np.ptp(values) == 0:
            found[index] = Estimate(float(values[0]), float(values[0]), float(values[0]), len(values))
        elif len(values):
            by_count.setdefault(len(values), []).append(index)
    most = max(1, MAX_ELEMENTS // num_resamples)  # groups resampled at once
    for count, all_indices in by_count.items():
        for indices in (all_indices[i : i + most] for i in range(0, len(all_indices), most)):
            rows = np.stack([finite[index] for index in indices])  # (K, count)
            low, high = _bca(rows, seed, num_resamples)
            for position, index in enumerate(indices):
                mean = float(rows[position].mean())
                found[index] = Estimate(mean, float(low[position]), float(high[position]), count)
    return found


def _bca(rows: NDArray, seed: int, num_resamples: int) -> tuple[NDArray, NDArray]:
    """Ends of the interval of each row's mean."""
    scale = 2.0 ** np.ceil(np.log2(np.abs(rows).max(1, keepdims=True)))  # a power of two: exact
    found = stats.bootstrap(
        (rows / scale,),
        _rounded_mean,
        axis=1,
        confidence_level=LEVEL,
        n_resamples=num_resamples,
        batch=max(1, MAX_ELEMENTS // rows.size),
        method="BCa",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    low, high = (np.atleast_1d(end) * scale[:, 0] for end in found)
    return low, high


def _rounded_mean(values: NDArray, axis: int) -> NDArray:
    """The bias correction asks how many resamples have just the mean that was observed. Rounding, which
    depends on the order of a sum, must not answer that."""
    return np.round(values.mean(axis), 12)


def interquartile_mean(values: ArrayLike) -> float | None:
    """Mean of the middle half: a quarter of the runs, rounded down, is cut at either end.

    A few diverged runs, given as infinities, are cut; more of them make it infinite. None without values.
    """
    ordered = np.sort(np.asarray(values, float))
    cut = len(ordered) // 4
    middle = ordered[cut : len(ordered) - cut]
    return float(middle.mean()) if len(middle) else None


def improvement(
    first: ArrayLike, second: ArrayLike, *, higher_is_better: bool, paired: bool, seed: int = 0
) -> Improvement:
    """Probability that a run of the first group is better than one of the second: P(X > Y) + ½P(X = Y).

    Unpaired it is U/(nm), the Mann-Whitney statistic over its greatest value; paired, the share of pairs
    won. Its interval is the percentile bootstrap over runs (over pairs, if paired), as rliable has it.

    Args:
        first, second: (N,), (M,), at least one value each, infinities for diverged runs, none NaN.
        higher_is_better: else a lower value wins.
        paired: the i-th values of both share a seed.
    """
    x, y = (np.asarray(values, float) * (1 if higher_is_better else -1) for values in (first, second))
    rng = np.random.default_rng(seed)
    if paired:
        wins = (x > y) + 0.5 * (x == y)  # (N,)
        resampled = wins[rng.integers(len(x), size=(NUM_PAIR_RESAMPLES, len(x)))].mean(1)
        p_value = _signed_rank_p(x, y, seed)
    else:
        # pairs (i, j) weigh as often as both were drawn
        wins = (x[:, None] > y) + 0.5 * (x[:, None] == y)  # (N, M)
        drawn_x = rng.multinomial(len(x), np.full(len(x), 1 / len(x)), NUM_PAIR_RESAMPLES)
        drawn_y = rng.multinomial(len(y), np.full(len(y), 1 / len(y)), NUM_PAIR_RESAMPLES)
        resampled = ((drawn_x @ wins) * drawn_y).sum(1) / wins.size
        p_value = _rank_sum_p(x, y, seed)
    low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Improvement(float(wins.mean()), float(low), float(high), p_value, paired)


def _rank_sum_p(x: NDArray, y: NDArray, seed: int) -> float:
    both = np.concatenate([x, y])
    tied = len(np.unique(both)) < len(both)
    if tied and min(len(x), len(y)) == 1:  # a single run that equals another says nothing, nor can scipy
        return 1.0
    return float(stats.mannwhitneyu(x, y, method=_exactly(seed) if tied else "auto").pvalue)


def _signed_rank_p(x: NDArray, y: NDArray, seed: int) -> float:
    """Wilcoxon's test; pairs of two diverged runs are ties, a pair with one is the greatest difference."""
    with np.errstate(invalid="ignore"):
        difference = np.where(x == y, 0.0, x - y)
    finite = np.abs(difference[np.isfinite(difference)])
    beyond = 2 * finite.max(initial=1.0)  # only ranks count
    difference = np.clip(difference, -beyond, beyond)
    difference = difference[difference != 0]  # Wilcoxon's own treatment of ties
    if len(difference) == 0:
        return 1.0
    tied = len(np.unique(np.abs(difference))) < len(difference)
    return float(stats.wilcoxon(difference, method=_exactly(seed) if tied else "auto").pvalue)


def _exactly(seed: int) -> stats.PermutationMethod:
    """For samples with ties, where scipy would approximate: all permutations, or as many at random."""
    return stats.PermutationMethod(NUM_RESAMPLES, rng=np.random.default_rng(seed))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number: the k-th smallest of m times m − k + 1, made monotone.

    Bounds the chance of any false finding among all. Source: Holm 1979, Scand. J. Statist. 6.
    """
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    corrected, highest = [0.0] * len(p_values), 0.0
    for position, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - position) * p_values[index]))
        corrected[index] = highest
    return corrected


class Profile(NamedTuple):
    """Share of runs at least as good as each threshold, with a pointwise 95 % interval."""

    thresholds: list[float]
    share: list[float]
    low: list[float]
    high: list[float]


def profile(values: ArrayLike, thresholds: Sequence[float], *, higher_is_better: bool) -> Profile:
    """Performance profile of one group; a diverged run, an infinity, reaches no threshold.

    The interval is that of the bootstrap over runs without drawing: of n runs resampled, the number that
    reach a threshold which a share p reaches is binomial (n, p).
    """
    runs, tau = np.asarray(values, float), np.asarray(thresholds, float)
    reached = (runs[:, None] >= tau if higher_is_better else runs[:, None] <= tau).mean(0)
    ends = [stats.binom.ppf(q, len(runs), reached) / len(runs) for q in ((1 - LEVEL) / 2, (1 + LEVEL) / 2)]
    return Profile(list(map(float, tau)), reached.tolist(), ends[0].tolist(), ends[1].tolist())


def pareto_front(points: Sequence[tuple[float, float]], higher_is_better: tuple[bool, bool]) -> list[int]:
    """Indices of the points that no other one beats, by the first coordinate from its best.

    One point beats another if it is no worse in both and better in one; those that are not finite lose.
    """
    signs = [1 if higher else -1 for higher in higher_is_better]
    good = {
        index: tuple(sign * value for sign, value in zip(signs, point, strict=True))
        for index, point in enumerate(points)
        if all(math.isfinite(value) for value in point)
    }
    front = [
        index
        for index, (a, b) in good.items()
        if not any(c >= a and d >= b and (c > a or d > b) for c, d in good.values())
    ]
    return sorted(front, key=lambda index: good[index], reverse=True)
