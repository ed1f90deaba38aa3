"""What the numbers of a metric mean: which way is better, what they tell, what a perfect sampler scores.

A metric is one object: a function that ``metric`` marks with its meaning, or a class of ``evidence`` that has
one. Verdict, tables, bench, catalogue and configuration read it there, so that it is said once. The meaning
has the form of what the metric returns: one ``Value`` for a number, name -> ``Value`` for a mapping.

Needs no torch: what a stored number means is asked where no metric is loaded.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, ParamSpec, Protocol, TypeVar, cast

from saddle.game.refusals import Refused

LOW, HIGH = -math.inf, math.inf  # ideals of what is better low, and better high
LAST = 100  # the rank of a value that nobody ranked

Parameters = ParamSpec("Parameters")
Returned = TypeVar("Returned", covariant=True)


class Role(Enum):
    """What a value tells of a generator, in the order of columns.

    A run is judged by one value of quality and by every value of diversity, which are fractions and counts.
    """

    QUALITY = "quality"
    FRACTION = "fraction"  # of diversity: a share of samples, with the error of its counting
    COUNT = "count"  # of diversity: a number of different things
    NONE = "none"


DIVERSITY = (Role.FRACTION, Role.COUNT)


@dataclass(frozen=True)
class Value:
    """What one number of a metric means.

    Args:
        ideal: the nearer a number is to it, the better: ``LOW``, ``HIGH``, or a number of which either side
            is worse.
        role: what it tells.
        rank: among values of its role; the first that was measured is judged by, and shown first.
        near_zero: whether a perfect sampler brings it to zero, where ratios explode: a change is then
            measured against the range that a run passed through, too.
        floor: name of the value that a perfect sampler would have at as many samples.
        relative: whether its error grows with it, so that its means are those of its logarithm.
    """

    ideal: float = LOW
    role: Role = Role.NONE
    rank: int = LAST
    near_zero: bool = False
    floor: str | None = None
    relative: bool = False

    def __post_init__(self) -> None:
        if self.role in DIVERSITY and self.ideal != HIGH:
            raise Refused(
                f"a value of diversity must be better high; got one with the ideal {self.ideal}. "
                "Declare it with HIGH, or without that role."
            )

    @property
    def higher_is_better(self) -> bool:
        return self.ideal == HIGH

    @property
    def worst(self) -> float:
        """The worst there is: an infinity."""
        return -math.inf if self.higher_is_better else math.inf

    def badness(self, number: float) -> float:
        """Turn a number into one that is better low: itself, its negative, or its distance from the ideal."""
        if math.isfinite(self.ideal):
            return abs(number - self.ideal)
        return -number if self.higher_is_better else number

    def best_step(self, course: Mapping[int, float]) -> int | None:
        """Find the earliest step with the best finite number; None without one.

        Args:
            course: step -> number, steps ascending.
        """
        finite = {step: self.badness(number) for step, number in course.items() if math.isfinite(number)}
        return min(finite, key=finite.__getitem__, default=None)

    @property
    def better(self) -> str:
        """Which numbers are better, in a word: lower, higher, nearer to 0.5."""
        if math.isfinite(self.ideal):
            return f"nearer to {self.ideal:g}"
        return "higher" if self.higher_is_better else "lower"

    @property
    def arrow(self) -> str:
        """Where better lies, for the head of a column: ↓, ↑, →0.5."""
        if math.isfinite(self.ideal):
            return f"→{self.ideal:g}"
        return "↑" if self.higher_is_better else "↓"

    def stored(self) -> dict[str, Any]:
        """Say in strict JSON all that is asked of a stored number; ``of_stored`` reads it back."""
        return {
            "higher_is_better": self.higher_is_better,
            "ideal": self.ideal if math.isfinite(self.ideal) else None,
            "role": self.role.value,
            "rank": self.rank,
            "near_zero": self.near_zero,
            "floor_name": self.floor,
        }


def of_stored(content: Mapping[str, Any]) -> Value:
    """Read what ``Value.stored`` said; what else the mapping holds is passed over.

    Raises:
        KeyError: something is missing.
        ValueError: a role that this version does not know.
    """
    direction = HIGH if content["higher_is_better"] else LOW
    ideal = direction if content["ideal"] is None else float(content["ideal"])
    rest = int(content["rank"]), bool(content["near_zero"]), content["floor_name"]
    return Value(ideal, Role(content["role"]), *rest)


Meaning = Value | Mapping[str, Value]


class Meaningful(Protocol[Parameters, Returned]):
    """A function that says what it returns means."""

    meaning: Meaning

    def __call__(self, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Returned: ...


def metric(
    meaning: Meaning,
) -> Callable[[Callable[Parameters, Returned]], Meaningful[Parameters, Returned]]:
    """Mark a function with what its numbers mean; it is called, inspected and pickled as before.

    Args:
        meaning: of the number that it returns, or, by name, of each that it returns in a mapping.
    """

    def marked(function: Callable[Parameters, Returned]) -> Meaningful[Parameters, Returned]:
        found = cast(Meaningful[Parameters, Returned], function)
        found.meaning = meaning
        return found

    return marked


def meanings_of(name: str, metric: object) -> dict[str, Value]:
    """Value name -> what it means, of one metric of a configuration, with its options bound or not.

    Args:
        name: of its entry in the configuration, which is that of a number without a name of its own.
        metric: a function, a ``partial`` of one, or an object of ``evidence``. Of one that declares nothing,
            every number is better low and has no role.
    """
    found = getattr(getattr(metric, "func", metric), "meaning", Value())
    return dict(found) if isinstance(found, Mapping) else {name: found}


def said(
    meanings: Mapping[str, Value],
    higher_is_better: Iterable[str] = (),
    floors: Mapping[str, str] | None = None,
) -> dict[str, Value]:
    """Add what a configuration says of values: which are better high, and the names of their floors.

    It need not where functions say it. Its word holds before theirs: earlier versions said it there of all.
    """
    found = dict(meanings)
    for name in higher_is_better:
        found[name] = replace(found.get(name, Value()), ideal=HIGH)
    for name, floor in (floors or {}).items():
        found[name] = replace(found.get(name, Value()), floor=floor)
    return found


def in_order(names: Iterable[str], meanings: Mapping[str, Value], *roles: Role) -> list[str]:
    """List the names that have one of these roles: by role as given, then by rank, then as they came."""
    known = [name for name in names if name in meanings and meanings[name].role in roles]
    return sorted(known, key=lambda name: (roles.index(meanings[name].role), meanings[name].rank))
