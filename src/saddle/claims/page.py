"""Judged claims as one HTML page that needs nothing else, in the manner of a paper's results section."""

import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from saddle.claims import table as claims_table
from saddle.claims.judging import Result, Verdict
from saddle.claims.measured import Course, Figure
from saddle.reports.page import flat
from saddle.reports.plots import NUM_STYLES, Dot, Line, dots, key, lines
from saddle.reports.tables import duration


def claims_page(results: Sequence[Result], provenance: Mapping[str, Any], seconds: float) -> str:
    """The HTML. Everything that comes from files is escaped.

    Args:
        seconds: that this command took.
    """
    environment = Environment(
        loader=FunctionLoader(lambda name: files("saddle.reports").joinpath(name).read_text("utf-8")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("claims.html.jinja").render(
        summary=claims_table.summary(results),
        sections=[_section(number, result) for number, result in enumerate(results, 1)],
        provenance=flat(dict(provenance)),
        seconds=duration(seconds),
        num_styles=NUM_STYLES,
    )


def _section(number: int, result: Result) -> dict[str, Any]:
    claim = result.claim
    judged = [row for row in result.rows if row.verdict is not Verdict.SHOWN]
    good = sum(row.verdict is Verdict.REPRODUCED for row in judged)
    return {
        "number": number,
        "key": claim.key,
        "title": claim.title,
        "paper": claim.paper,
        "short": re.split(r"(?<=\d{4})\W", claim.paper)[0],  # authors and year
        "statement": claim.statement,
        "protocol": claim.protocol,
        "arms": {name: " ".join(words) for name, words in claim.arms.items()},
        "measure": claim.measure["_target_"],
        "seeds": " ".join(map(str, claim.seeds)),
        "tried": claim.tried,
        "verdict": result.verdict.value,
        "slug": result.verdict.name.lower(),
        "reason": result.reason,
        "found": f"{good} of {len(judged)}",
        "time": duration(result.seconds) if result.measured else "",
        "rows": [
            {
                "name": row.name,
                "paper": claims_table.show(row.paper),
                "source": row.source,
                "ours": claims_table.show(row.ours),
                "interval": claims_table.interval(row),
                "seeds": ", ".join(claims_table.show(value) for value in row.seeds[:10])
                + (", …" if len(row.seeds) > 10 else ""),
                "band": row.band,
                "verdict": row.verdict.value,
                "slug": row.verdict.name.lower(),
            }
            for row in result.rows
        ],
        "figures": [_figure(figure) for figure in result.measured.figures] if result.measured else [],
    }  # fmt: skip


def _figure(figure: Figure) -> dict[str, Any]:
    drawn: list[Markup] = []
    if figure.courses:
        courses = [
            Line(index, index, course.label, course.x, course.y, *_ends(course))
            for index, course in enumerate(figure.courses)
        ]
        drawn.append(lines(figure.caption, courses, x_label=figure.x_label, y_label=figure.y_label))
    if figure.points:
        marks = [
            Dot(index, index, course.label, (x, None, None), (y, None, None))
            for index, course in enumerate(figure.points)
            for x, y in zip(course.x, course.y, strict=True)
        ]
        drawn.append(dots(figure.caption, marks, [], x_label=figure.x_label, y_label=figure.y_label))
    named = [*figure.courses, *figure.points]
    legend = [(key(index), course.label) for index, course in enumerate(named)]
    return {"caption": figure.caption, "svg": Markup("").join(drawn), "legend": legend}


def _ends(course: Course) -> tuple[Sequence[float | None], Sequence[float | None]]:
    none = [None] * len(course.x)
    return course.low or none, course.high or none
