"""Ours against the paper's: an interval over seeds, an accepted band, a verdict.

A quantity is reproduced if its whole 95 % interval for the mean over seeds (BCa bootstrap, so within the
range of the seeds) lies in the accepted band; a deterministic one, with one seed, if its value does. A claim
is reproduced if every quantity that has a band is.
"""

import math
from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

from saddle.claims.claim import Claim, Quantity, Value
from saddle.claims.measured import Measured
from saddle.game.refusals import Refused
from saddle.reports.statistics import mean_intervals

ROUNDING = 1e-12  # of a value: seeds that differ by less do not differ


class Verdict(Enum):
    REPRODUCED = "reproduced"
    NOT_REPRODUCED = "not reproduced"
    NOT_RUN = "not run"
    SHOWN = "not judged"  # of a quantity without a band


class Row(NamedTuple):
    """A quantity of a claim."""

    name: str
    paper: Value | None
    source: str
    ours: Value | None  # mean over seeds
    low: float | None  # of its 95 % interval; None for one seed
    high: float | None
    seeds: Sequence[Value]  # the value at each
    band: str  # accepted, in words
    verdict: Verdict


class Result(NamedTuple):
    """A claim, judged."""

    claim: Claim
    verdict: Verdict
    reason: str  # why it was not run
    rows: Sequence[Row]
    seconds: float  # of all its processes
    measured: Measured | None
    fault: bool = False  # it was to run, and did not come to an end


def judge(claim: Claim, measured: Measured, seconds: float) -> Result:
    """Every quantity against its band.

    Raises:
        ValueError: the function did not measure a quantity of the claim.
    """
    missing = [key for key in claim.quantities if key not in measured.values]
    if missing:
        raise Refused(
            f"{claim.measure['_target_']} must measure every quantity of {claim.key}; it has no "
            f"{', '.join(missing)}. It measures {', '.join(measured.values)}."
        )
    rows = [row(quantity, measured.values[key]) for key, quantity in claim.quantities.items()]
    failed = any(found.verdict is Verdict.NOT_REPRODUCED for found in rows)
    verdict = Verdict.NOT_REPRODUCED if failed else Verdict.REPRODUCED
    return Result(claim, verdict, "", rows, seconds, measured)


def not_run(claim: Claim, reason: str, fault: bool = False) -> Result:
    rows = [
        Row(one.name, one.paper, one.source, None, None, None, (), band(one), Verdict.NOT_RUN)
        for one in claim.quantities.values()
    ]
    return Result(claim, Verdict.NOT_RUN, reason, rows, 0.0, None, fault)


def row(quantity: Quantity, values: Sequence[Value]) -> Row:
    """One quantity over its seeds."""
    numbers = [value for value in values if not isinstance(value, tuple)]
    low = high = None
    ours: Value
    if len(numbers) < len(values):  # eigenvalues: exact games have one seed
        ours, ends = values[0], list(values)
    elif len(numbers) == 1:
        ours, ends = numbers[0], list(values)
    elif not all(map(math.isfinite, numbers)):  # a mean would leave those out
        ours, ends = math.nan, [math.nan]
    else:
        if max(numbers) - min(numbers) <= ROUNDING * max(map(abs, numbers)):  # no interval in that
            numbers = [math.fsum(numbers) / len(numbers)] * len(numbers)
        (estimate,) = mean_intervals([numbers])
        assert estimate is not None
        ours, low, high = estimate.value, estimate.low, estimate.high
        ends = [end for end in (ours, low, high) if end is not None]
    inside = all(accepted(quantity, end) for end in ends)
    verdict = Verdict.REPRODUCED if inside else Verdict.NOT_REPRODUCED
    return Row(
        quantity.name,
        quantity.paper,
        quantity.source,
        ours,
        low,
        high,
        values,
        band(quantity),
        verdict if quantity.judged else Verdict.SHOWN,
    )


def accepted(quantity: Quantity, value: Value) -> bool:
    """Whether a value lies in the band; what is not finite lies in none."""
    if quantity.paper is not None:
        apart, size = distance(quantity.paper, value), _size(quantity.paper)
        if quantity.within is not None and not apart <= quantity.within:
            return False
        if quantity.relative is not None and not apart <= quantity.relative * size:
            return False
    if isinstance(value, tuple):
        return True
    return (quantity.at_least is None or value >= quantity.at_least) and (
        quantity.at_most is None or value <= quantity.at_most
    )


def distance(paper: Value, ours: Value) -> float:
    """|ours − paper|; of eigenvalues, of the farthest pair when each has the partner that is best for all."""
    if not isinstance(paper, tuple) or not isinstance(ours, tuple):
        return math.nan if isinstance(paper, tuple) or isinstance(ours, tuple) else abs(ours - paper)
    if len(paper) != len(ours):
        return math.inf
    import numpy as np
    from scipy.optimize import linear_sum_assignment

    apart = np.abs(np.subtract.outer(np.array(paper), np.array(ours)))
    return float(apart[linear_sum_assignment(apart)].max())


def band(quantity: Quantity) -> str:
    """What is accepted, in words."""
    parts = []
    if quantity.within is not None:
        parts.append(f"±{quantity.within:.3g}")
    if quantity.relative is not None:
        parts.append(f"±{100 * quantity.relative:.3g} %")
    if quantity.at_least is not None:
        parts.append(f"≥ {quantity.at_least:.4g}")
    if quantity.at_most is not None:
        parts.append(f"≤ {quantity.at_most:.4g}")
    return " and ".join(parts) or "–"


def _size(paper: Value) -> float:
    return max(map(abs, paper)) if isinstance(paper, tuple) else abs(paper)
