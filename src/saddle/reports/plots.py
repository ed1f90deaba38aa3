"""Several groups in one figure as inline SVG: lines with bands, steps, and points with error bars.

Colours, dashes and marks come from the page's style sheet by the class ``g0`` … ``g11``; six colours of
Okabe and Ito twice, the second time dashed and hollow, so that no group is told by colour alone. Each mark
carries ``data-tip``, what hovering shows, and each group ``data-group``, by which the filter finds it.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from markupsafe import Markup, escape

from saddle.reports.curves import LOG_RATIO, number, ticks

WIDTH, HEIGHT = 400, 230  # user units of the view box; the page scales them
LEFT, RIGHT, TOP, BOTTOM = 60, 28, 12, 36  # margins, for the labels: right, half of 1 000 000
ROOM = 8  # around points, so that none lies on an axis
NUM_MARKS = 14  # on a line: more would hide it
NUM_STYLES = 12


class Line(NamedTuple):
    """One group's course; ``low`` and ``high`` are None where there is no interval."""

    group: int
    style: int
    label: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float | None]
    high: Sequence[float | None]


class Dot(NamedTuple):
    """One group's point: (value, low, high) on each axis."""

    group: int
    style: int
    label: str
    x: tuple[float, float | None, float | None]
    y: tuple[float, float | None, float | None]


class Axis(NamedTuple):
    """Where a value lies, and the marks along it."""

    at: Callable[[float], float]
    ticks: list[float]
    logarithmic: bool


def lines(name: str, courses: Sequence[Line], *, x_label: str, y_label: str, steps: bool = False) -> Markup:
    """Lines with bands. ``steps``: y holds from its x to the next one, as a distribution function does.

    Args:
        name: for screen readers.
        courses: x ascending, or descending where it is steps that hold towards lower x.
    """
    x = _axis([value for line in courses for value in line.x], LEFT, WIDTH - RIGHT, may_be_log=steps)
    shown = [v for line in courses for v in (*line.y, *line.low, *line.high) if v is not None]
    y = _axis(shown, HEIGHT - BOTTOM, TOP, may_be_log=not steps)
    parts = _frame(x, y, x_label, y_label)
    for line in courses:
        bends = corners(line, steps)
        ends = [(a, low, high) for a, _, low, high in bends if low is not None and high is not None]
        band = [(a, low) for a, low, _ in ends] + [(a, high) for a, _, high in reversed(ends)]
        parts.append(f'<g class="g{line.style % NUM_STYLES}" data-group="{line.group}">')
        if len(ends) > 1:
            parts.append(f'<path class="band" d="{_path(band, x, y)}Z"/>')
        parts.append(f'<path class="course" d="{_path([(a, b) for a, b, *_ in bends], x, y)}"/>')
        every = max(1, math.ceil(len(line.x) / NUM_MARKS))
        marked = [*range(0, len(line.x), every)]
        if line.x and marked[-1] != len(line.x) - 1:
            marked.append(len(line.x) - 1)
        for i in marked:
            told = f"{number(line.y[i])}{_between(line.low[i], line.high[i])}"
            tip = f"{line.label}\n{x_label} {number(line.x[i])}: {told}"
            parts.append(_mark(line.style, x.at(line.x[i]), y.at(line.y[i]), tip))
        parts.append("</g>")
    return _svg(name, parts)


def dots(name: str, points: Sequence[Dot], front: Sequence[int], *, x_label: str, y_label: str) -> Markup:
    """Points with error bars, and a line along the front, given by indices of ``points`` in its order."""
    x = _axis([v for dot in points for v in dot.x if v is not None], LEFT + ROOM, WIDTH - RIGHT - ROOM)
    y = _axis([v for dot in points for v in dot.y if v is not None], HEIGHT - BOTTOM - ROOM, TOP + ROOM)
    parts = _frame(x, y, x_label, y_label)
    if len(front) > 1:
        path = _path([(points[i].x[0], points[i].y[0]) for i in front], x, y)
        parts.append(f'<path class="front" d="{path}"/>')
    for dot in points:
        at = x.at(dot.x[0]), y.at(dot.y[0])
        parts.append(f'<g class="g{dot.style % NUM_STYLES}" data-group="{dot.group}">')
        if dot.x[1] is not None and dot.x[2] is not None:
            parts.append(f'<path class="error" d="M{x.at(dot.x[1])} {at[1]}H{x.at(dot.x[2])}"/>')
        if dot.y[1] is not None and dot.y[2] is not None:
            parts.append(f'<path class="error" d="M{at[0]} {y.at(dot.y[1])}V{y.at(dot.y[2])}"/>')
        tip = (
            f"{dot.label}\n{x_label} {number(dot.x[0])}{_between(*dot.x[1:])}"
            f"\n{y_label} {number(dot.y[0])}{_between(*dot.y[1:])}"
        )
        parts.append(_mark(dot.style, *at, tip) + "</g>")
    return _svg(name, parts)


def key(style: int) -> Markup:
    """A short line with the group's mark, for legends and tables."""
    return Markup(
        f'<svg class="key g{style % NUM_STYLES}" viewBox="0 0 26 12" aria-hidden="true">'
        f'<path class="course" d="M1 6H25"/>{_mark(style, 13, 6, None)}</svg>'
    )


def _mark(style: int, x: float, y: float, tip: str | None) -> str:
    """A disc, square, triangle or diamond, by style."""
    shape = (
        f"M{x - 3.2:.1f} {y:.1f}a3.2 3.2 0 1 0 6.4 0a3.2 3.2 0 1 0 -6.4 0Z",
        f"M{x - 3:.1f} {y - 3:.1f}h6v6h-6Z",
        f"M{x:.1f} {y - 3.8:.1f}l3.6 6.2h-7.2Z",
        f"M{x:.1f} {y - 4:.1f}l4 4l-4 4l-4 -4Z",
    )[style % 4]
    told = "" if tip is None else f' data-tip="{escape(tip)}"'
    return f'<path class="mark" d="{shape}"{told}/>'


def corners(line: Line, steps: bool) -> list[tuple[float, float, float | None, float | None]]:
    """(x, y, low, high) at each bend of the drawn line."""
    rows = list(zip(line.x, line.y, line.low, line.high, strict=True))
    if not steps:
        return rows
    found: list[tuple[float, float, float | None, float | None]] = []
    for row in rows:
        if found:
            found.append((row[0], *found[-1][1:]))
        found.append(row)
    return found


def _axis(values: Iterable[float], start: float, end: float, may_be_log: bool = True) -> Axis:
    finite = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    logarithmic = may_be_log and low > 0 and high / low >= LOG_RATIO
    if low == high:
        low, high = low - (abs(low) or 1.0) * 0.1, high + (abs(high) or 1.0) * 0.1
    to_axis = math.log10 if logarithmic else float
    foot, head = to_axis(low), to_axis(high)

    def at(value: float) -> float:
        return round(start + (end - start) * (to_axis(value) - foot) / (head - foot), 1)

    return Axis(at, ticks(low, high, logarithmic), logarithmic)


def _frame(x: Axis, y: Axis, x_label: str, y_label: str) -> list[str]:
    parts = []
    for tick in y.ticks:
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y.at(tick)}" y2="{y.at(tick)}"/>'
            f'<text x="{LEFT - 5}" y="{y.at(tick) + 3.5}" text-anchor="end">{number(tick)}</text>'
        )
    for tick in x.ticks:
        parts.append(
            f'<line class="grid" x1="{x.at(tick)}" x2="{x.at(tick)}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
            f'<text x="{x.at(tick)}" y="{HEIGHT - BOTTOM + 14}" text-anchor="middle">{number(tick)}</text>'
        )
    log_x, log_y = (" (log)" if axis.logarithmic else "" for axis in (x, y))
    middle = (TOP + HEIGHT - BOTTOM) / 2
    return [
        *parts,
        f'<path class="axis" d="M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - RIGHT}"/>',
        f'<text class="name" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 5}" text-anchor="middle">'
        f"{escape(x_label)}{log_x}</text>",
        f'<text class="name" transform="translate(10 {middle}) rotate(-90)" text-anchor="middle">'
        f"{escape(y_label)}{log_y}</text>",
    ]


def _path(points: Sequence[tuple[float, float]], x: Axis, y: Axis) -> str:
    return "M" + "L".join(f"{x.at(a)} {y.at(b)}" for a, b in points) if points else ""


def _between(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f" [{number(low)}, {number(high)}]"


def _svg(name: str, parts: Sequence[str]) -> Markup:
    return Markup(
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(name)}">{"".join(parts)}</svg>'
    )
