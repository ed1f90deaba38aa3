"""Judged claims as rows: for the terminal and for CSV, and a number or a spectrum in words."""

import csv
import io
import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from saddle.claims.claim import Value
from saddle.claims.judging import Result, Row, Verdict
from saddle.claims.measured import Measured as _Measured
from saddle.claims.measured import to_json
from saddle.reports.tables import duration

if TYPE_CHECKING:
    from rich.table import Table

COLUMNS = (
    "claim", "quantity", "paper", "source", "ours", "low", "high", "per_seed", "accepted", "verdict",
    "reason", "claim_verdict", "seeds", "seconds",
)  # fmt: skip
COLOURS = {Verdict.REPRODUCED: "green", Verdict.NOT_REPRODUCED: "bold red", Verdict.NOT_RUN: "yellow"}


def show(value: Value | None) -> str:
    """Six significant digits; of eigenvalues each conjugate pair once; a dash for None."""
    if value is None:
        return "–"
    if not isinstance(value, tuple):
        return _number(value)
    left, words = list(value), []
    while left:
        one = left.pop(0)
        partner = next((other for other in left if abs(other - one.conjugate()) < 1e-9), None)
        if abs(one.imag) < 1e-12:
            words.append(_number(one.real))
            continue
        if partner is not None:
            left.remove(partner)
        sign = "±" if partner is not None else "+" if one.imag > 0 else "−"
        real = f"{_number(one.real)} " if abs(one.real) > 1e-12 else ""
        words.append(f"{real}{sign}{' ' if real else ''}{_number(abs(one.imag))}i")
    return ", ".join(words)


def show_ours(row: Row) -> str:
    """The mean with its interval."""
    return f"{show(row.ours)} {interval(row)}".strip()


def interval(row: Row) -> str:
    """Empty where there is none."""
    return "" if row.low is None or row.high is None else f"[{show(row.low)}, {show(row.high)}]"


def _number(value: float) -> str:
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "∞" if value > 0 else "−∞"
    return f"{value + 0.0:.6g}".replace("-", "−")


def to_csv(results: Sequence[Result]) -> str:
    """One line a quantity, with full precision and the value at every seed."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for result in results:
        claim = result.claim
        for row in result.rows:
            seeds = to_json(_Measured({"": row.seeds}))["values"][""]
            writer.writerow([
                claim.key, row.name, _plain(row.paper), row.source, _plain(row.ours), _plain(row.low),
                _plain(row.high), json.dumps(seeds), row.band, row.verdict.value, result.reason,
                result.verdict.value, " ".join(map(str, claim.seeds)), f"{result.seconds:.1f}",
            ])  # fmt: skip
    return file.getvalue()


def _plain(value: Value | None) -> str:
    if value is None:
        return ""
    return " ".join(map(repr, value)) if isinstance(value, tuple) else repr(value)


def to_terminal(results: Sequence[Result]) -> "Table":
    """Paper / ours with interval / verdict / time; what is not judged is left to page and CSV."""
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for name in ("claim", "paper", "ours [95 %]", "accepted", "verdict", "time"):
        table.add_column(name, overflow="fold")
    for result in results:
        table.add_section()
        told = f"{result.verdict.value}: {result.reason}" if result.reason else result.verdict.value
        table.add_row(
            Text(f"{result.claim.key}: {result.claim.title}", "bold"), "", "", "",
            Text(told, COLOURS[result.verdict]), duration(result.seconds) if result.measured else "",
        )  # fmt: skip
        for row in result.rows if result.measured else ():
            if row.verdict is not Verdict.SHOWN:
                paper = Text(
                    f"{show(row.paper)} ({row.source})" if row.paper is not None else f"({row.source})"
                )
                verdict = Text(row.verdict.value, COLOURS[row.verdict])
                table.add_row(Text(f"  {row.name}"), paper, Text(show_ours(row)), row.band, verdict, "")
    return table


def summary(results: Sequence[Result]) -> str:
    """How many of which verdict, in words."""
    counts = {verdict: sum(result.verdict is verdict for result in results) for verdict in Verdict}
    return ", ".join(f"{count} {verdict.value}" for verdict, count in counts.items() if count)
