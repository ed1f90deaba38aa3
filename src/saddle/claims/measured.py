"""What a measuring function is asked for, and what it gives back."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from saddle.claims.claim import Value


class Asked(NamedTuple):
    """What a measuring function gets."""

    seeds: tuple[int, ...]
    arms: Mapping[str, Sequence[str]] = {}  # name -> words of ``saddle-train``
    progress: Callable[[float], None] = lambda _: None  # takes the share that is done


class Course(NamedTuple):
    """One line or set of points of a figure; ``low`` and ``high`` hold None where there is no interval."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float | None] = ()
    high: Sequence[float | None] = ()


class Figure(NamedTuple):
    """A figure before it is drawn, by ``saddle.reports.plots``: ``courses`` as lines, ``points`` as marks."""

    caption: str
    x_label: str
    y_label: str
    courses: Sequence[Course] = ()
    points: Sequence[Course] = ()


class Measured(NamedTuple):
    """Quantity of the claim -> its value at every seed, in their order; and figures."""

    values: Mapping[str, Sequence[Value]]
    figures: Sequence[Figure] = ()


def to_json(measured: Measured) -> dict[str, Any]:
    """Complex numbers as pairs, values without a finite number as text."""
    return {
        "values": {name: [_plain(value) for value in row] for name, row in measured.values.items()},
        "figures": [
            {
                **figure._asdict(),
                "courses": [course._asdict() for course in figure.courses],
                "points": [course._asdict() for course in figure.points],
            }
            for figure in measured.figures
        ],
    }


def from_json(content: Mapping[str, Any]) -> Measured:
    """The inverse of ``to_json``."""
    return Measured(
        {name: [_value(value) for value in row] for name, row in content["values"].items()},
        [
            Figure(
                figure["caption"],
                figure["x_label"],
                figure["y_label"],
                [Course(**course) for course in figure["courses"]],
                [Course(**course) for course in figure["points"]],
            )
            for figure in content["figures"]
        ],
    )


def joined(parts: Sequence[Measured]) -> Measured:
    """Of several seeds, measured apart, in this order. Courses over the same x become their mean with its
    range; what has no common x is the first seed's."""
    names = parts[0].values
    values = {name: [value for part in parts for value in part.values[name]] for name in names}
    if len(parts) == 1:
        return parts[0]
    figures = []
    for same in zip(*(part.figures for part in parts), strict=True):
        courses = []
        for own in zip(*(figure.courses for figure in same), strict=True):
            alike = all(list(one.x) == list(own[0].x) for one in own)
            courses.append(mean_course(own[0].label, own[0].x, [one.y for one in own]) if alike else own[0])
        figures.append(same[0]._replace(courses=courses))
    return Measured(values, figures)


def mean_course(label: str, x: Sequence[float], rows: Sequence[Sequence[float]]) -> Course:
    """The mean over seeds, with the least and the greatest as its band; NaN counts nowhere."""
    columns = [[value for value in column if math.isfinite(value)] for column in zip(*rows, strict=True)]
    kept = [(at, column) for at, column in zip(x, columns, strict=True) if column]
    several = len(rows) > 1
    return Course(
        label,
        [float(at) for at, _ in kept],
        [math.fsum(column) / len(column) for _, column in kept],
        [min(column) if several else None for _, column in kept],
        [max(column) if several else None for _, column in kept],
    )


def _plain(value: Value) -> Any:
    if isinstance(value, tuple):
        return [[number.real, number.imag] for number in value]
    return value if math.isfinite(value) else json.dumps(value)


def _value(content: Any) -> Value:
    if isinstance(content, list):
        return tuple(complex(*pair) for pair in content)
    return float(content)


def not_yet(asked: Asked) -> Measured:
    """Of claims whose protocol this house cannot express; their ``needs`` say what is missing.

    Raises:
        NotImplementedError: always.
    """
    raise NotImplementedError("no function measures this claim yet; its needs say what is missing")
