"""The process of a job: ``saddle-train`` that is stopped, with a checkpoint, when its sweep is killed."""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def stop_with(parent: int) -> None:
    """Be sent SIGTERM when the process that started this one ends, however it ends. Linux only.

    Elsewhere an orphan trains to its end, holding its job's lock.
    """
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it ended before we asked
        os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    stop_with(int(os.environ.pop("SADDLE_PARENT")))
    from saddle.commands import train

    train.main()


if __name__ == "__main__":
    main()
