"""Learning-rate schedules: generator step -> factor of a player's learning rate.

A factor belongs to a whole round of a dynamics, so every step in it, also one that only looks ahead,
sees the same learning rate. The clock is the generator's: five discriminator steps do not age its
schedule five times as fast.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from math import cos, pi
from typing import Any

from saddle.game.game import Players
from saddle.game.ranges import COUNT, COUNT_OR_NONE, FRACTION_OR_ONE, require
from saddle.game.refusals import Refused

Schedule = Callable[[int], float]


@dataclass(frozen=True)
class WarmUp:
    """Rise linearly, then stay: f(t) = min(1, (t + 1)/(w + 1)), w = ``num_warmup_steps``.

    w = 0 is a constant. Source: Goyal et al. 2017, arXiv:1706.02677, sec. 2.2.
    """

    num_warmup_steps: int = 0

    def __post_init__(self) -> None:
        require("num_warmup_steps", self.num_warmup_steps, COUNT_OR_NONE, "0 does not warm up.")

    def __call__(self, step: int) -> float:
        return min(1.0, (step + 1) / (self.num_warmup_steps + 1))


@dataclass(frozen=True)
class Linear:
    """Warm up over w steps, then fall linearly to ``final`` at step T and stay there.

    f(t) = 1 − (1 − final)·(t − w)/(T − w) for w ≤ t ≤ T = ``num_steps``.
    Source: Gulrajani et al. 2017, arXiv:1704.00028, as in the authors' code for CIFAR-10 (to 0).
    """

    num_steps: int
    num_warmup_steps: int = 0
    final: float = 0.0

    def __post_init__(self) -> None:
        _require(self.num_steps, self.num_warmup_steps, self.final)

    def __call__(self, step: int) -> float:
        if step < self.num_warmup_steps:
            return WarmUp(self.num_warmup_steps)(step)
        return 1.0 - (1.0 - self.final) * _share(step, self.num_warmup_steps, self.num_steps)


@dataclass(frozen=True)
class Cosine:
    """Warm up over w steps, then fall along half a cosine to ``final`` at step T and stay there.

    f(t) = final + (1 − final)·½(1 + cos π(t − w)/(T − w)) for w ≤ t ≤ T = ``num_steps``.
    Source: Loshchilov and Hutter 2017, arXiv:1608.03983, eq. 5 (one cycle).
    """

    num_steps: int
    num_warmup_steps: int = 0
    final: float = 0.0

    def __post_init__(self) -> None:
        _require(self.num_steps, self.num_warmup_steps, self.final)

    def __call__(self, step: int) -> float:
        if step < self.num_warmup_steps:
            return WarmUp(self.num_warmup_steps)(step)
        share = _share(step, self.num_warmup_steps, self.num_steps)
        return self.final + (1.0 - self.final) * 0.5 * (1.0 + cos(pi * share))


def _share(step: int, first: int, last: int) -> float:
    """How much of the way from ``first`` to ``last`` lies behind ``step``, in [0, 1]."""
    return min(1.0, (step - first) / (last - first))


def _require(num_steps: int, num_warmup_steps: int, final: float) -> None:
    require("a schedule's num_steps", num_steps, COUNT, "Give the run's.")
    require("num_warmup_steps", num_warmup_steps, COUNT_OR_NONE, "0 does not warm up.")
    require("a schedule's final factor", final, FRACTION_OR_ONE, "0 ends at rest.")
    if not num_warmup_steps < num_steps:
        raise Refused(
            f"a schedule's num_warmup_steps must lie in [0, num_steps); got {num_warmup_steps} of "
            f"{num_steps}. Warm up for fewer steps."
        )


def scheduled(dynamics: Any, factors: Players) -> Any:
    """The dynamics with each player's learning rate times its factor, wherever it holds the rule."""
    changes = {}
    for name in (field.name for field in fields(dynamics)):
        part = getattr(dynamics, name)
        if name in Players._fields:
            changes[name] = _times(part, getattr(factors, name))
        elif is_dataclass(part):  # a dynamics around another
            changes[name] = scheduled(part, factors)
    return replace(dynamics, **changes)


def _times(rule: Any, factor: float) -> Any:
    """The update rule with its ``lr``, or that of the rule it wraps, times ``factor``."""
    return replace(
        rule,
        **{
            field.name: value * factor if field.name == "lr" else _times(value, factor)
            for field in fields(rule)
            if field.name == "lr" or is_dataclass(getattr(rule, field.name))
            for value in [getattr(rule, field.name)]
        },
    )
