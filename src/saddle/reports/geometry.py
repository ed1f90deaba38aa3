"""What the figures of a block show, before anything is drawn: the page and the files show the same."""

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
    direction = -1 if metric in block.higher_is_better else 1
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
    higher = (quality in block.higher_is_better, diversity in block.higher_is_better)
    return points, pareto_front([(point.x[0], point.y[0]) for point in points], higher)
