"""The ranges that numbers of a part must lie in, checked where the part is made."""

from collections.abc import Callable, Sequence
from math import inf
from numbers import Integral, Real
from typing import Any, NamedTuple

from torch import Tensor

from saddle.game.refusals import Refused


class Range(NamedTuple):
    """Which numbers may be given. None of them lets NaN in."""

    words: str  # a number must ...
    holds: Callable[[Any], bool]


FINITE = Range("be finite", lambda value: -inf < value < inf)
NOT_NEGATIVE = Range("lie in [0, inf)", lambda value: 0 <= value < inf)
POSITIVE = Range("lie in (0, inf)", lambda value: 0 < value < inf)
POSITIVE_OR_INFINITE = Range("be positive", lambda value: value > 0)
AT_LEAST_ONE = Range("lie in [1, inf)", lambda value: 1 <= value < inf)

FRACTION = Range("lie in [0, 1)", lambda value: 0 <= value < 1)
FRACTION_OR_ONE = Range("lie in [0, 1]", lambda value: 0 <= value <= 1)
POSITIVE_FRACTION_OR_ONE = Range("lie in (0, 1]", lambda value: 0 < value <= 1)
SIGNED_FRACTION = Range("lie in [-1, 1)", lambda value: -1 <= value < 1)
SIGNED_FRACTION_OR_ONE = Range("lie in [-1, 1]", lambda value: -1 <= value <= 1)

SWITCH = Range("be 0 or 1", lambda value: value in (0, 1))
COUNT = Range("be a whole number of at least 1", lambda value: is_whole(value, 1))
COUNT_OR_NONE = Range("be a whole number of at least 0", lambda value: is_whole(value, 0))


def is_whole(value: Any, least: int) -> bool:
    """Whether a value is a whole number of at least so much. True and False are none."""
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= least


def require(name: str, value: Any, within: Range, instead: str = "Choose a value in that range.") -> None:
    """Refuse a number out of its range, and what is no number.

    A tensor passes: it holds the numbers of an ensemble's members, each of which was checked by itself.

    Args:
        name: the number's, as a user gives it.
        instead: a sentence on what to give.

    Raises:
        ValueError: the value is out of range or no number. True and False are none.
    """
    if isinstance(value, Tensor):
        return
    if not isinstance(value, Real) or isinstance(value, bool):
        raise Refused(f"{name} must {within.words}; got {value!r}, which is no number. {instead}")
    if not within.holds(value):
        raise Refused(f"{name} must {within.words}; got {value}. {instead}")


def require_sizes(name: str, sizes: Any, instead: str) -> None:
    """Refuse what is not a list of whole numbers of at least 1; it may be empty.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(sizes, Sequence) or not all(is_whole(size, 1) for size in sizes):
        shown = list(sizes) if isinstance(sizes, Sequence) and not isinstance(sizes, str) else sizes
        raise Refused(f"{name} must be a list of whole numbers of at least 1; got {shown!r}. {instead}")
