"""Commands end when whoever reads their output does, as in ``saddle-compare --help | head``."""

import os
import select
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

STATUS = 128 + signal.SIGPIPE  # what a shell says of ``cat`` in ``cat file | head``


@contextmanager
def ending_with_its_reader() -> Iterator[None]:
    """End silently, with ``STATUS``, once nobody reads the standard output any more.

    Python ignores SIGPIPE, and a run that logs through sockets needs it to: only a write to the standard
    output may end a command, and in the ordinary way, so that what is open is closed.
    """
    try:
        try:
            yield
        finally:
            sys.stdout.flush()  # not left to Python's own end, which would complain
    except BrokenPipeError as error:
        if not is_unread(error):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left is flushed there
        sys.exit(STATUS)


def is_unread(error: BaseException) -> bool:
    """Whether the error says that the standard output has lost its reader."""
    if not isinstance(error, BrokenPipeError):
        return False
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        return any(state & (select.POLLERR | select.POLLHUP) for _, state in poll.poll(0))
    except (OSError, ValueError):  # it has no file, or a closed one
        return False
