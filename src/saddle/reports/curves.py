"""One curve against the generator step as inline SVG, for small multiples.

Drawn here rather than by matplotlib: 2 kB instead of 30, colours from the page's style sheet (light, dark,
print), numbers that a screen reader and a search can find. Colours are CSS classes, see the page's template.
"""

import math
from collections.abc import Callable, Mapping

from markupsafe import Markup, escape

WIDTH, HEIGHT = 320, 150  # user units of the view box; the page scales them
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 10, 20  # margins, for the labels
MAX_DOTS = 40  # above this a curve is drawn as a line alone
MAX_BUCKETS = 240  # a longer curve keeps the least and the greatest value of each bucket: about one a pixel
LOG_RATIO = 30.0  # below it a linear axis still shows the small end


def number(value: float | None) -> str:
    """Four significant digits, a true minus sign, a thin space between thousands; a dash for None."""
    if value is None:
        return "\u2013"
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "∞" if value > 0 else "\u2212∞"
    if value == int(value) and abs(value) < 1e7:
        return f"{int(value):,}".replace(",", "\u202f").replace("-", "\u2212")
    return f"{value:.4g}".replace("-", "\u2212")


def curve(
    name: str,
    values: Mapping[int, float],
    last_step: int,
    *,
    step_of_best: int | None = None,
    floor: float | None = None,
) -> Markup:
    """An ``<svg>`` of values over steps 0 … ``last_step``.

    Args:
        values: generator step -> value, steps ascending. A value that is not finite breaks the line and is
            marked by a cross at the foot.
        step_of_best: marked by a ring.
        floor: a horizontal dashed line: what real data scores.
    """
    label = _in_words(name, values)
    values = _thin(values)
    finite = {step: value for step, value in values.items() if math.isfinite(value)}
    shown = [*finite.values(), *([floor] if floor is not None else [])]
    logarithmic = _is_logarithmic(values)
    low, high = (min(shown), max(shown)) if shown else (0.0, 1.0)
    if low == high:
        low, high = low - (abs(low) or 1.0) * 0.1, high + (abs(high) or 1.0) * 0.1
    if logarithmic and low <= 0:  # a floor of 0 has no place on this axis
        low = min(finite.values())
    to_axis = math.log10 if logarithmic else float
    foot, head = to_axis(low), to_axis(high)

    def x(step: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * step / max(last_step, 1), 1)

    def y(value: float) -> float:
        share = (to_axis(value) - foot) / (head - foot)
        return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share, 1)

    parts = []
    for tick in ticks(low, high, logarithmic):
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(tick)}" y2="{y(tick)}"/>'
            f'<text x="{LEFT - 5}" y="{y(tick) + 3.5}" text-anchor="end">{number(tick)}</text>'
        )
    for step, anchor in ((0, "start"), (last_step / 2, "middle"), (last_step, "end")):
        parts.append(
            f'<text x="{x(step)}" y="{HEIGHT - 5}" text-anchor="{anchor}">{number(round(step))}</text>'
        )
    if logarithmic:
        parts.append(f'<text class="log" x="{LEFT - 5}" y="{HEIGHT - 5}" text-anchor="end">log</text>')
    parts.append(f'<path class="axis" d="M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - RIGHT}"/>')
    if floor is not None and low <= floor <= high:
        parts.append(
            f'<line class="floor" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(floor)}" y2="{y(floor)}"/>'
        )
    parts.append(f'<path class="curve" d="{_path(values, x, y)}"/>')
    if len(finite) <= MAX_DOTS:
        parts += [
            f'<circle class="dot" cx="{x(step)}" cy="{y(value)}" r="2.4">'
            f"<title>step {step}: {number(value)}</title></circle>"
            for step, value in finite.items()
        ]
    for step in values:
        if step not in finite:
            parts.append(f'<path class="broken" d="M{x(step) - 3} {HEIGHT - BOTTOM - 3}l6 6m-6 0l6 -6"/>')
    if step_of_best is not None and step_of_best in finite:
        at = finite[step_of_best]
        parts.append(
            f'<circle class="best" cx="{x(step_of_best)}" cy="{y(at)}" r="5.5">'
            f"<title>best: {number(at)} at step {step_of_best}</title></circle>"
        )
    return Markup(
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">'
        + "".join(parts)
        + "</svg>"
    )


def _is_logarithmic(values: Mapping[int, float]) -> bool:
    """Whether ``curve`` draws these on a logarithmic axis: all positive, the greatest far above the least."""
    finite = [value for value in values.values() if math.isfinite(value)]
    return bool(finite) and min(finite) > 0 and max(finite) / min(finite) >= LOG_RATIO


def ticks(low: float, high: float, logarithmic: bool = False) -> list[float]:
    """Two to five round numbers within [low, high]; ``low < high``, both positive if logarithmic."""
    if logarithmic:
        exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        tens = [10.0**exponent for exponent in exponents if low <= 10.0**exponent <= high]
        finer = [factor * 10.0**exponent for exponent in exponents for factor in (1, 2, 5)]
        chosen = tens if len(tens) >= 2 else [tick for tick in finer if low <= tick <= high]
        if len(chosen) >= 2:
            return chosen[:: math.ceil(len(chosen) / 5)]
    size = 10.0 ** math.floor(math.log10((high - low) / 2))
    step = max(size * factor for factor in (1, 2, 5) if size * factor <= (high - low) / 2)
    first, last = math.ceil(low / step), math.floor(high / step)
    return [index * step for index in range(first, last + 1)]


def _thin(values: Mapping[int, float]) -> dict[int, float]:
    """At most three values a bucket of steps: the first that is not finite, the least and the greatest."""
    if len(values) <= 2 * MAX_BUCKETS:
        return dict(values)
    last_step = max(values)
    buckets: dict[int, list[int]] = {}
    for step in values:
        buckets.setdefault(step * MAX_BUCKETS // (last_step + 1), []).append(step)
    kept: set[int] = set()
    for steps in buckets.values():
        finite = [step for step in steps if math.isfinite(values[step])]
        kept.update(next(([step] for step in steps if step not in finite), []))
        if finite:
            kept.update((min(finite, key=values.__getitem__), max(finite, key=values.__getitem__)))
    return {step: value for step, value in values.items() if step in kept}


def _path(values: Mapping[int, float], x: Callable[[float], float], y: Callable[[float], float]) -> str:
    parts, pen = [], "M"
    for step, value in values.items():
        if math.isfinite(value):
            parts.append(f"{pen}{x(step)} {y(value)}")
        pen = "L" if math.isfinite(value) else "M"
    return "".join(parts)


def _in_words(name: str, values: Mapping[int, float]) -> str:
    if not values:
        return f"{name}: no values"
    steps = list(values)
    finite = [value for value in values.values() if math.isfinite(value)]
    between = f", between {number(min(finite))} and {number(max(finite))}" if finite else ""
    return (
        f"{name} against the generator step: {number(values[steps[0]])} at step {steps[0]}, "
        f"{number(values[steps[-1]])} at step {steps[-1]}{between}"
    )
