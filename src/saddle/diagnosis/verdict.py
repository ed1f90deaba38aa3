"""One word on how a run went, from its record alone, and one sentence with the numbers behind it.

diverged
    A loss in the record is not finite, or the run stopped itself for such a number.
undecided
    Fewer than three evaluations: nothing can be said about a course.
collapsed
    The last evaluation is much worse than the best, in quality or in diversity. A table of bests hides it.
improving
    The best evaluation is among the last, and better than all before by more than noise: train longer.
settled
    None of these. The numbers stopped changing; that does *not* say that they are good.

Only what a record holds is judged: rotation, spectra and gradients have diagnostics of their own.
"""

import math
from collections.abc import Iterable, Mapping

from saddle.diagnosis.limits import (
    COLLAPSE_RATIO,
    MIN_EVALUATIONS,
    Course,
    alike,
    is_lost,
    leading,
    scale,
    tolerance,
)
from saddle.metrics.values import DIVERSITY, Value, in_order

WORDS = ("diverged", "undecided", "collapsed", "improving", "settled")

# Relative progress in the last quarter of a run that is still improving: above noise between evaluations.
IMPROVEMENT = 0.05


def verdict(
    series: Mapping[str, Mapping[int, float]],
    meanings: Mapping[str, Value] | None = None,
    status: str = "finished",
    message: str | None = None,
) -> tuple[str, str]:
    """One of ``WORDS`` and the sentence that supports it.

    Args:
        series: name -> generator step -> value, steps ascending; ``loss/*`` and ``eval/*`` are read. A value
            that is missing or not finite is passed over, except in a loss.
        meanings: metric, named without ``eval/``, -> what its values mean. The run is judged by the metric
            of quality that ranks first; without one, by the first in the record that is better high.
        status: of the run. Only "diverged" matters: an interrupted or failed run is judged as far as it came.
        message: why it diverged, if known.
    """
    blown_up = _first_infinite_loss(series)
    if status == "diverged" or blown_up:
        reason = (message or blown_up or "a number was not finite").rstrip(".")
        return "diverged", f"Training diverged: {reason}."

    courses = {
        name.removeprefix("eval/"): {step: value for step, value in values.items() if math.isfinite(value)}
        for name, values in series.items()
        if name.startswith("eval/")
    }
    known = meanings or {}
    name = leading(courses, known)
    if name is None:
        return "undecided", "No evaluation gave a number to judge the run by."
    course, value = courses[name], known[name]
    num_evaluations = len(course)
    if num_evaluations < MIN_EVALUATIONS:
        return "undecided", f"A course needs {MIN_EVALUATIONS} evaluations; {name} has {num_evaluations}."

    numbers = [*course.values()]
    step_of_best = min(course, key=lambda step: value.badness(course[step]))
    best, last = course[step_of_best], numbers[-1]
    times = f"{last / best:.3g} times" if best > 0 else "against"
    told = f"{name} ended at {last:.4g}, " + (
        "its best" if last == best else f"{times} its best of {best:.4g} at step {step_of_best}"
    )
    if is_lost(value, best, last, tolerance(value, numbers)):
        return "collapsed", f"{told}: more than {COLLAPSE_RATIO - 1:.0%} of ground lost."

    lost = _lost_diversity(courses, known, alike(value, course))
    if lost:
        return "collapsed", f"{lost}, at a like {name}."

    num_recent = max(1, num_evaluations // 4)
    parts = numbers[:-num_recent], numbers[-num_recent:]
    earlier, recent = (min(part, key=value.badness) for part in parts)
    if value.badness(earlier) - value.badness(recent) > IMPROVEMENT * scale(value, numbers):
        return "improving", f"{told}; before the last quarter the best was {earlier:.4g}: not done yet."
    return "settled", f"{told}; the last quarter brought no gain beyond {IMPROVEMENT:.0%}."


def _first_infinite_loss(series: Mapping[str, Mapping[int, float]]) -> str | None:
    for name, values in series.items():
        for step, value in values.items():
            if name.startswith("loss/") and not math.isfinite(value):
                return f"{name} was {value} at step {step}"
    return None


def _lost_diversity(
    courses: Mapping[str, Course], meanings: Mapping[str, Value], steps: Iterable[int]
) -> str | None:
    """Tell of the first diversity metric that ended well below its best among ``steps``."""
    for name in in_order(courses, meanings, *DIVERSITY):
        course = courses[name]
        best = max((course[step] for step in steps if step in course), default=0.0)
        last = list(course.values())[-1] if course else best
        if is_lost(meanings[name], best, last, None):
            return f"{name} ended at {last:.4g}, {last / best:.3g} times its best of {best:.4g}"
    return None
