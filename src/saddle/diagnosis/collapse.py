"""When a metric was lost for good: the step, by the limits of the verdict.

A run's verdict says *collapsed* if its quality metric or one of its diversity metrics did; here each metric
is asked by itself.
"""

import math
from collections.abc import Collection, Mapping

from saddle.diagnosis.verdict import (
    COLLAPSE_RATIO,
    COUNTS,
    DIVERSITY_KEPT,
    FRACTIONS,
    MIN_EVALUATIONS,
    MIN_FRACTION_LOST,
    NEAR_ZERO,
    QUALITY,
    RANGE_SHARE,
)

Values = Mapping[int, float]  # generator step -> value, steps ascending


def collapse_step(
    name: str, metrics: Mapping[str, Values], higher_is_better: Collection[str] = ()
) -> int | None:
    """First evaluation from which on a metric stayed below what counts as kept; None if it ended well.

    A metric better low has collapsed once it ends more than a quarter above its best (of what `NEAR_ZERO`
    says for metrics that a perfect sampler brings to zero), one better high once it ends below three
    quarters of it. For diversity only evaluations of like quality count, as the noise of an untrained
    generator can have a high recall. Fewer than three evaluations of quality are no course, and never a
    collapse.

    Args:
        name: of the metric, without ``eval/``.
        metrics: every metric of the run, without ``eval/``. Values that are not finite are passed over.
        higher_is_better: names; the others are better low.
    """
    found = {metric: _finite(values) for metric, values in metrics.items()}
    values = found.get(name, {})
    quality = next((metric for metric in (*QUALITY, *found) if _leads(metric, found, higher_is_better)), None)
    if quality is None or not values or len(found[quality]) < MIN_EVALUATIONS:
        return None
    considered = values
    if name in (*FRACTIONS, *COUNTS) and name != quality:
        limit = _limit(quality, found[quality], quality in higher_is_better)
        sign = -1 if quality in higher_is_better else 1
        end = sign * _last(found[quality])
        alike = {step for step, value in found[quality].items() if sign * value <= end + limit}
        considered = {step: value for step, value in values.items() if step in alike}
    if not considered:
        return None
    higher = name in higher_is_better
    best = max(considered.values()) if higher else min(considered.values())
    limit = _limit(name, values, higher)

    def lost(value: float) -> bool:
        if not higher:
            return value - best > limit
        if name in (*FRACTIONS, *COUNTS):
            enough = name in COUNTS or best - value > MIN_FRACTION_LOST or name == quality
            return best > 0 and value < DIVERSITY_KEPT * best and enough
        return best - value > limit

    step_lost = None
    for step, value in reversed(values.items()):
        if not lost(value):
            break
        step_lost = step
    return step_lost


def _leads(metric: str, found: Mapping[str, Values], higher_is_better: Collection[str]) -> bool:
    """Whether the verdict may judge a run by this metric."""
    return bool(found.get(metric)) and (metric in QUALITY or metric in higher_is_better)


def _limit(name: str, values: Values, higher: bool) -> float:
    """How far from the best a metric may end."""
    best, worst = min(values.values()), max(values.values())
    if higher:
        best, worst = worst, best
    scale = max(abs(best), RANGE_SHARE * abs(worst - best)) if name in NEAR_ZERO else abs(best)
    return (COLLAPSE_RATIO - 1) * scale


def _finite(values: Values) -> dict[int, float]:
    return {step: value for step, value in values.items() if math.isfinite(value)}


def _last(values: Values) -> float:
    return list(values.values())[-1]
