"""Where a formula holds: one refusal for all of them."""

from saddle.game.refusals import Refused


def positive(**values: float) -> None:
    """Each named number must be above 0.

    Raises:
        ValueError: naming the first that is not.
    """
    for name, value in values.items():
        if not value > 0:
            raise Refused(f"{name} must be above 0; got {value:g}. Give a positive number.")


def not_negative(**values: float) -> None:
    """Each named number must be at least 0.

    Raises:
        ValueError: naming the first that is not.
    """
    for name, value in values.items():
        if not value >= 0:
            raise Refused(f"{name} must be at least 0; got {value:g}. Give 0 or a positive number.")


def at_least(least: int, **values: int) -> None:
    """Each named count must be a whole number of at least ``least``.

    Raises:
        ValueError: naming the first that is not.
    """
    for name, value in values.items():
        if value != int(value) or value < least:
            raise Refused(f"{name} must be at least {least}; got {value:g}. Give a whole number.")
