"""How much of what it once had a run may lose: the limits by which verdict and collapse judge.

They are limits of roles, not of names: what a metric tells, and which way it is better, says its ``Value``.
"""

from collections.abc import Collection, Mapping

from saddle.metrics.values import Role, Value, in_order

Course = Mapping[int, float]  # generator step -> finite number, steps ascending

# Two points make a difference; a course needs a third.
MIN_EVALUATIONS = 3

# Last over best. In a public benchmark's logs the last FID exceeds 1.25 times the best in 6 of 30 runs on
# CIFAR-10 and in 13 of 24 on Tiny ImageNet; evaluating one network twice differs by a few percent only.
COLLAPSE_RATIO = 1.25

# The least share of its best diversity that a run must end with: 18 modes after 25 are a collapse.
DIVERSITY_KEPT = 0.75

# Least loss of a fraction (recall, coverage): over four standard errors of a count on 2000 samples (0.011).
MIN_FRACTION_LOST = 0.05

# A perfect sampler brings some metrics to zero, where ratios explode. So a change is measured against the
# best value, but at least against this share of the range that the run passed through: for KL on a ring of
# 8 modes (at worst log 8) collapse is then called from 0.05 above the best.
RANGE_SHARE = 0.1


def leading(courses: Mapping[str, Course], meanings: Mapping[str, Value]) -> str | None:
    """Name the metric that a run is judged by: of quality, else the first that is better high; None without.

    Args:
        courses: metric -> its course; one without numbers does not count.
        meanings: metric -> what its values mean.
    """
    better_high = (name for name in courses if name in meanings and meanings[name].higher_is_better)
    candidates = [*in_order(courses, meanings, Role.QUALITY), *better_high]
    return next((name for name in candidates if courses[name]), None)


def scale(value: Value, numbers: Collection[float]) -> float:
    """Find what a change of a metric is measured against, from all that a run measured of it."""
    best, worst = min(numbers, key=value.badness), max(numbers, key=value.badness)
    passed = value.badness(worst) - value.badness(best)
    return max(abs(best), RANGE_SHARE * passed) if value.near_zero else abs(best)


def tolerance(value: Value, numbers: Collection[float]) -> float:
    """Say how far from its best a metric may end, from all that a run measured of it."""
    return (COLLAPSE_RATIO - 1) * scale(value, numbers)


def alike(value: Value, course: Course) -> list[int]:
    """List the steps at which the leading metric was as good as at its end, or better.

    Diversity is compared among these alone: the noise of an untrained generator can have a high recall.
    """
    limit = value.badness(list(course.values())[-1]) + tolerance(value, course.values())
    return [step for step, number in course.items() if value.badness(number) <= limit]


def is_lost(value: Value, best: float, number: float, limit: float | None) -> bool:
    """Say whether a metric that had been at its best is lost at a later number.

    Args:
        limit: how far from its best it may end; None for diversity beside a metric of quality, of which a
            share of the best must be kept.
    """
    if limit is not None:
        return value.badness(number) - value.badness(best) > limit
    enough = value.role is not Role.FRACTION or best - number > MIN_FRACTION_LOST
    return best > 0 and number < DIVERSITY_KEPT * best and enough
