"""How a run ended: in its record, in the index of its sweep, and as an exit status."""

from typing import NamedTuple


class Outcome(NamedTuple):
    """How a run or a job ended.

    Args:
        status: of a record (``saddle.records.record.STATUSES``), or "refused".
        exit_status: of its process; None while it runs.
        message: why it diverged, failed, was refused or interrupted.
        seconds: that it took.
    """

    status: str
    exit_status: int | None
    message: str | None = None
    seconds: float = 0.0
