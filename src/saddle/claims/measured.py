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
    progress: Callable[[float], None] = lambda share: None  # 0 … 1


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
    """Of several seeds, measured apart, in this order; figures of the first."""
    names = parts[0].values
    return Measured(
        {name: [value for part in parts for value in part.values[name]] for name in names}, parts[0].figures
    )


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
