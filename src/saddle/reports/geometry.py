"""What the figures of a block show, before anything is drawn: the page and the files show the same."""

import math
from collections.abc import Sequence

from saddle.reports.blocks import Block
from saddle.reports.plots import Dot, Line
from saddle.reports.statistics import pareto_front

MAX_BANDED = 4  # profiles: their bands are wide for few seeds, and more of them would hide the lines


def curve_lines(block: Block, metric: str) -> list[Line]:
    """Of each drawn group, the mean over its finished runs against the generator step."""
    found = []
    for style, group in enumerate(block.drawn):
        curve = block.curve(group, metric)
        means = [point.value for point in curve.points]
        lows, highs = [point.low for point in curve.points], [point.high for point in curve.points]
        found.append(Line(group, style, block.groups[group].label, curve.steps, means, lows, highs))
    return [line for line in found if line.x]


def profile_lines(block: Block, metric: str) -> list[Line]:
    """Of each drawn group, the share of runs at least as good as a value, from the best value to the worst.

    Between two values that were reached the share is that of the better one: steps hold towards the worse.
    """
    found_profiles = block.profiles(metric)
    banded = len(found_profiles) <= MAX_BANDED
    direction = -1 if block.meanings[metric].higher_is_better else 1
    return [
        Line(
            group,
            block.drawn.index(group),
            block.groups[group].label,
            found.thresholds[::direction],
            found.share[::direction],
            found.low[::direction] if banded else [None] * len(found.low),
            found.high[::direction] if banded else [None] * len(found.high),
        )
        for group, found in found_profiles.items()
    ]


def profile_axis(block: Block, metric: str, shown: str) -> str:
    """Say what the profiles of a metric are drawn against: its last value, or how far that is from its ideal.

    Args:
        shown: how the metric is called there.
    """
    ideal = block.meanings[metric].ideal
    return f"{shown}, last" if math.isinf(ideal) else f"|{metric} − {ideal:g}|, last"


def pareto_dots(block: Block) -> tuple[list[Dot], Sequence[int]]:
    """Drawn groups by last quality and last diversity, and the indices of the front among them.

    Empty where one of the two was not measured.
    """
    quality, diversity = block.quality, block.diversity
    if quality is None or diversity is None:
        return [], []
    points = []
    for style, group in enumerate(block.drawn):
        a, b = (block.estimates[metric, "last"][group] for metric in (quality, diversity))
        if a and b:
            label = block.groups[group].label
            points.append(Dot(group, style, label, (a.value, a.low, a.high), (b.value, b.low, b.high)))
    bad = block.meanings[quality].badness, block.meanings[diversity].badness
    return points, pareto_front([(bad[0](dot.x[0]), bad[1](dot.y[0])) for dot in points], (False, False))
