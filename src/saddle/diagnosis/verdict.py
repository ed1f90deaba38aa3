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
from collections.abc import Collection, Iterable, Mapping

WORDS = ("diverged", "undecided", "collapsed", "improving", "settled")

# Two points make a difference; a course needs a third.
MIN_EVALUATIONS = 3

# Last over best. In a public benchmark's logs the last FID exceeds 1.25 times the best in 6 of 30 runs on
# CIFAR-10 and in 13 of 24 on Tiny ImageNet; evaluating one network twice differs by a few percent only.
COLLAPSE_RATIO = 1.25

# The least share of its best diversity that a run must end with: 18 modes after 25 are a collapse.
DIVERSITY_KEPT = 0.75

# Least loss of a fraction (recall, coverage): over four standard errors of a count on 2000 samples (0.011).
MIN_FRACTION_LOST = 0.05

# Relative progress in the last quarter of a run that is still improving: above noise between evaluations.
IMPROVEMENT = 0.05

# A perfect sampler brings these metrics to zero, where ratios explode. So a change is measured against the
# best value, but at least against this share of the range that the run passed through: for KL on a ring of
# 8 modes (at worst log 8) collapse is then called from 0.05 above the best.
NEAR_ZERO = ("mmd", "kl", "kid", "wasserstein")
RANGE_SHARE = 0.1

# Quality is judged by the first of these that was evaluated, all better low; diversity by each of the rest.
QUALITY = ("fid", "mmd", "kl", "kid", "wasserstein")
FRACTIONS = ("recall", "coverage")
COUNTS = ("modes", "vendi")


def verdict(
    series: Mapping[str, Mapping[int, float]],
    higher_is_better: Collection[str] = (),
    status: str = "finished",
    message: str | None = None,
) -> tuple[str, str]:
    """One of ``WORDS`` and the sentence that supports it.

    Args:
        series: name -> generator step -> value, steps ascending; ``loss/*`` and ``eval/*`` are read. A value
            that is missing or not finite is passed over, except in a loss.
        higher_is_better: metrics, named without ``eval/``, that are better high. Where nothing of
            ``QUALITY`` was evaluated, the first of these in the record stands in for it.
        status: of the run. Only "diverged" matters: an interrupted or failed run is judged as far as it came.
        message: why it diverged, if known.
    """
    blown_up = _first_infinite_loss(series)
    if status == "diverged" or blown_up:
        reason = (message or blown_up or "a number was not finite").rstrip(".")
        return "diverged", f"Training diverged: {reason}."

    metrics = {
        name.removeprefix("eval/"): {step: value for step, value in values.items() if math.isfinite(value)}
        for name, values in series.items()
        if name.startswith("eval/")
    }
    candidates = [*QUALITY, *(name for name in metrics if name in higher_is_better)]
    name = next((name for name in candidates if metrics.get(name)), None)
    if name is None:
        return "undecided", "No evaluation gave a number to judge the run by."
    num_evaluations = len(metrics[name])
    if num_evaluations < MIN_EVALUATIONS:
        return "undecided", f"A course needs {MIN_EVALUATIONS} evaluations; {name} has {num_evaluations}."

    sign = -1.0 if name in higher_is_better else 1.0
    values = {step: sign * value for step, value in metrics[name].items()}  # from here on lower is better
    step_of_best = min(values, key=values.__getitem__)
    best, last, worst = values[step_of_best], list(values.values())[-1], max(values.values())
    scale = max(abs(best), RANGE_SHARE * (worst - best)) if name in NEAR_ZERO else abs(best)
    tolerance = (COLLAPSE_RATIO - 1) * scale
    times = f"{last / best:.3g} times" if best * sign > 0 else "against"
    course = f"{name} ended at {sign * last:.4g}, " + (
        "its best" if last == best else f"{times} its best of {sign * best:.4g} at step {step_of_best}"
    )
    if last - best > tolerance:
        return "collapsed", f"{course}: more than {COLLAPSE_RATIO - 1:.0%} of ground lost."

    # Only against evaluations of like quality: the noise of an untrained generator can have a high recall.
    lost = _lost_diversity(metrics, [step for step, value in values.items() if value <= last + tolerance])
    if lost:
        return "collapsed", f"{lost}, at a like {name}."

    num_recent = max(1, num_evaluations // 4)
    earlier, recent = list(values.values())[:-num_recent], list(values.values())[-num_recent:]
    if min(earlier) - min(recent) > IMPROVEMENT * scale:
        before = sign * min(earlier)
        return "improving", f"{course}; before the last quarter the best was {before:.4g}: not done yet."
    return "settled", f"{course}; the last quarter brought no gain beyond {IMPROVEMENT:.0%}."


def _first_infinite_loss(series: Mapping[str, Mapping[int, float]]) -> str | None:
    for name, values in series.items():
        for step, value in values.items():
            if name.startswith("loss/") and not math.isfinite(value):
                return f"{name} was {value} at step {step}"
    return None


def _lost_diversity(metrics: Mapping[str, Mapping[int, float]], steps: Iterable[int]) -> str | None:
    """The first diversity metric that ended well below its best among ``steps``."""
    for name in (*FRACTIONS, *COUNTS):
        values = metrics.get(name, {})
        best = max((values[step] for step in steps if step in values), default=0.0)
        last = list(values.values())[-1] if values else best
        if best > 0 and last < DIVERSITY_KEPT * best and (name in COUNTS or best - last > MIN_FRACTION_LOST):
            return f"{name} ended at {last:.4g}, {last / best:.3g} times its best of {best:.4g}"
    return None
