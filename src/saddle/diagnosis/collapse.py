"""When a metric was lost for good: the step, by the limits of the verdict.

A run's verdict says *collapsed* if its quality metric or one of its diversity metrics did; here each metric
is asked by itself.
"""

import math
from collections.abc import Mapping

from saddle.diagnosis.limits import MIN_EVALUATIONS, Course, alike, is_lost, leading, tolerance
from saddle.metrics.values import DIVERSITY, Value


def collapse_step(
    name: str, metrics: Mapping[str, Course], meanings: Mapping[str, Value] | None = None
) -> int | None:
    """First evaluation from which on a metric stayed below what counts as kept; None if it ended well.

    A metric has collapsed once it ends more than a quarter of its best away from it (of what `limits.scale`
    says for metrics that a perfect sampler brings to zero), one of diversity once it ends below three
    quarters of it. For diversity only evaluations of like quality count, as the noise of an untrained
    generator can have a high recall. Fewer than three evaluations of quality are no course, and never a
    collapse.

    Args:
        name: of the metric, without ``eval/``.
        metrics: every metric of the run, without ``eval/``. Values that are not finite are passed over.
        meanings: metric -> what its values mean; one that is missing is better low and has no role.
    """
    known = meanings or {}
    courses = {metric: _finite(values) for metric, values in metrics.items()}
    course, judge = courses.get(name, {}), leading(courses, known)
    if judge is None or not course or len(courses[judge]) < MIN_EVALUATIONS:
        return None
    value, considered = known.get(name, Value()), course
    limit: float | None = tolerance(value, course.values())
    if value.role in DIVERSITY and name != judge:
        limit = None
        steps = {*alike(known[judge], courses[judge])}
        considered = {step: number for step, number in course.items() if step in steps}
    if not considered:
        return None
    best = min(considered.values(), key=value.badness)
    step_lost = None
    for step, number in reversed(course.items()):
        if not is_lost(value, best, number, limit):
            break
        step_lost = step
    return step_lost


def _finite(values: Course) -> dict[int, float]:
    return {step: value for step, value in values.items() if math.isfinite(value)}
