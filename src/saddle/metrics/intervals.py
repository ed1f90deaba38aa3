"""Confidence intervals of any metric over the samples it was computed from.

By half-sampling: the metric of random halves of either side, drawn *without* replacement. The spread over
halves estimates that of the full-size value, as the two factors cancel: a half has twice the variance, and
halves of one set vary about it by half of theirs. The usual bootstrap, with replacement, does not serve
here: a row drawn twice is its own nearest neighbour at distance 0, and adds to an unbiased MMD and to FID.

Limits: only what the samples themselves leave open is covered, not the training of another generator.
For estimates whose first-order variance vanishes (an MMD between equal distributions) intervals are too
wide. The interval is centred at the full-size value and not corrected for the metric's bias.

Source: Shao and Wu 1989, Ann. Stat. 17, 1176-1197 (delete-d jackknife, d = N/2); Politis, Romano
and Wolf 1999, Subsampling, ch. 2.
"""

import warnings
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from saddle.game.randomness import generator
from saddle.game.refusals import Refused
from saddle.metrics.frechet import FewSamples

Metric = Callable[[Tensor, Tensor], float | Mapping[str, float]]


class Interval(NamedTuple):
    """A value with its uncertainty."""

    value: float
    standard_error: float
    low: float
    high: float


def intervals(
    metric: Metric, real: Tensor, fake: Tensor, *, num_halves: int = 100, level: float = 0.95, seed: int = 0
) -> dict[str, Interval]:
    """Each value of a metric with its standard error and normal confidence interval.

    Args:
        metric: of two feature matrices, its options bound. One with a seed keeps it: the interval is of the
            samples, not of the seed.
        real: (N, d), at least twice as many rows as the metric needs.
        fake: (M, d), likewise.
        num_halves: evaluations of half size; the standard error is itself known to about 1/√(2·num_halves).
        level: of the interval, in (0, 1).
        seed: of the halves.

    Returns:
        Name -> interval; a metric that returns a number has the name "value".

    Raises:
        ValueError: fewer than two halves, a level outside (0, 1); or as the metric on half of the rows.
    """
    if num_halves < 2 or not 0 < level < 1:
        raise Refused(
            f"num_halves must be at least 2 and level in (0, 1); got {num_halves} and {level}. "
            "Try 100 and 0.95."
        )
    full = _named(metric(real, fake))
    found: dict[str, list[float]] = {name: [] for name in full}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FewSamples)  # the full-size value has said so where it holds
        for index in range(num_halves):
            random = generator(seed, "intervals", index)
            halves = (
                side[torch.randperm(len(side), generator=random)[: len(side) // 2].to(side.device)]
                for side in (real, fake)
            )
            for name, value in _named(metric(*halves)).items():
                found[name].append(value)
    tail = torch.tensor((1 + level) / 2, dtype=torch.float64)
    width = float(torch.special.ndtri(tail))
    result = {}
    for name, value in full.items():
        error = float(torch.tensor(found[name], dtype=torch.float64).std())
        result[name] = Interval(value, error, value - width * error, value + width * error)
    return result


def _named(value: float | Mapping[str, float]) -> Mapping[str, float]:
    return value if isinstance(value, Mapping) else {"value": value}
