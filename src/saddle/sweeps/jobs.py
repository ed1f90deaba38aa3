"""One job of a sweep: a command in a process of its own, and what its record says of it.

The record is the truth. A job is begun, resumed or left alone by what its folder holds, never by a list
that a kill could leave out of date. While a job runs its process holds a lock in its folder, so a sweep
that was killed and is asked for again waits for jobs that have outlived it.
"""

import errno
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from saddle.game.refusals import Refused
from saddle.records.names import quoted
from saddle.records.outcome import Outcome
from saddle.records.questions import key
from saddle.records.record import clear, find_record

LOCK, LOG = ".lock", "log.txt"
NO_ROOM = 74  # exit status of a run that found its disk full; EX_IOERR of sysexits.h
BESIDE_RESUME = ("on_divergence", "debug")  # words that a resumed run is told again


class Job(NamedTuple):
    """One run to be made.

    Args:
        number: its place in the sweep.
        words: overrides, as on a command line.
        directory: of its record, absolute.
        program: the command that takes the words.
    """

    number: int
    words: tuple[str, ...]
    directory: Path
    program: tuple[str, ...] = (sys.executable, "-m", "saddle.commands.child")


class Child(NamedTuple):
    """The process of a job, under way."""

    job: Job
    process: subprocess.Popen[bytes]
    log_start: int  # bytes that earlier attempts have left in its log
    began: float


def settled(job: Job) -> Outcome | None:
    """Say how a job ended that is not to be run again: it finished, or diverged, and would do so again.

    So is one whose record cannot be read: what it holds is left as it is, and told.
    """
    try:
        summary = _summary(job)
    except Refused as error:
        return Outcome("refused", 2, str(error))
    if summary is None or summary["status"] not in ("finished", "diverged"):
        return None
    if not (job.directory / "report.html").exists():  # killed before its last act
        return None
    return Outcome(summary["status"], summary["exit_status"], summary["message"], summary["time"]["total"])


def take_lock(path: Path) -> BinaryIO | None:
    """An exclusive lock, held until every process that has the file open is gone; None if it is taken."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = open(path, "ab")  # noqa: SIM115
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return None
        raise
    return file


def begin(job: Job, environment: Mapping[str, str], gpus: Sequence[str] = ()) -> Child | Outcome | None:
    """Begin the job, or go on with it where its record stopped.

    Args:
        environment: variables that its process is given beside our own.
        gpus: one that no other job has is dealt to it; where there are more jobs than GPUs, they share.

    Returns:
        Its process; or how it ended, if that is so already or it cannot be begun; or None while another
        process runs it.
    """
    try:
        if (lock := take_lock(job.directory / LOCK)) is None:
            return None
        with lock:  # which the process holds on to
            return settled(job) or _start(job, lock, environment, gpus)
    except OSError as error:
        return Outcome("failed", 1, f"cannot be begun: {error}. Mend that, and give the same command again.")


def _start(job: Job, lock: BinaryIO, environment: Mapping[str, str], gpus: Sequence[str]) -> Child:
    if _summary(job) is None:  # killed while its record was being made: nothing in it is worth keeping
        clear(job.directory)
        words = list(job.words)
    else:
        words = [f"resume={quoted(job.directory)}", *(w for w in job.words if key(w) in BESIDE_RESUME)]
        words += [word for word in job.words if key(word).startswith("hydra")]
    line = [*job.program, *words, f"hydra.run.dir={quoted(job.directory)}", "hydra.mode=RUN"]
    ours = {**os.environ, **environment, "SADDLE_PARENT": str(os.getpid())}
    ours.pop("WANDB_RUN_ID", None)  # of a sweep's agent: meant for one run
    with ExitStack() as stack:
        kept = [lock]
        if gpus:
            leases = ((gpu, take_lock(job.directory.parent / f".gpu-{gpu}")) for gpu in gpus)
            gpu, lease = next(((gpu, lease) for gpu, lease in leases if lease), (None, None))
            kept += [stack.enter_context(lease)] if lease else []
            ours["CUDA_VISIBLE_DEVICES"] = gpu or gpus[job.number % len(gpus)]
        log = stack.enter_context(open(job.directory / LOG, "ab"))
        log_start = log.tell()
        process = subprocess.Popen(
            line,
            env=ours,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=[file.fileno() for file in kept],
            start_new_session=True,  # Ctrl-C in a terminal reaches the sweep alone, which asks its jobs
        )
    return Child(job, process, log_start, time.monotonic())


def run(job: Job, environment: Mapping[str, str], gpus: Sequence[str] = ()) -> Outcome:
    """Run a job to its end, on whatever machine this is called; waits for another process that runs it."""
    while (begun := begin(job, environment, gpus)) is None:
        time.sleep(0.5)
    if isinstance(begun, Outcome):
        return begun
    try:
        return outcome(begun, begun.process.wait())
    except BaseException:  # the executor stops its workers
        begun.process.terminate()
        begun.process.wait()
        raise


def outcome(child: Child, exit_status: int) -> Outcome:
    """What to say of a job whose process has ended."""
    job, seconds = child.job, time.monotonic() - child.began
    summary = None
    with suppress(Refused):  # its own message says what is wrong
        summary = _summary(job)
    summary = summary or {"status": None, "exit_status": None, "message": None}
    if exit_status == summary["exit_status"] and summary["status"] != "running":
        return Outcome(summary["status"], exit_status, summary["message"], seconds)
    if exit_status in (-signal.SIGTERM, -signal.SIGINT):  # before it could save anything: while it imported
        return Outcome("interrupted", 128 - exit_status, "stopped before its first step", seconds)
    if exit_status < 0:
        name = signal.Signals(-exit_status).name
        why = ", as when memory runs out" if name == "SIGKILL" else ""
        return Outcome("failed", 128 - exit_status, f"killed by {name}{why}", seconds)
    said = _last_words(job.directory / LOG, child.log_start)
    if exit_status == NO_ROOM or (exit_status and shutil.disk_usage(job.directory).free < 2**16):
        said = f"no room left on the disk of {job.directory}. Make room, and give the same command again."
    elif exit_status == 0:
        return Outcome("failed", 1, f"ended without a finished record; its log: {said}", seconds)
    return Outcome("refused" if exit_status == 2 else "failed", exit_status, said, seconds)


def _summary(job: Job) -> dict[str, Any] | None:
    """The summary of a job's record; None where there is no record yet.

    Raises:
        Refused: there is one that cannot be read.
    """
    record = find_record(job.directory)
    return None if record is None else record.read_summary()


def _last_words(log: Path, start: int) -> str:
    """Our own message if there is one, else the last line, as of a traceback."""
    with open(log, "rb") as file:
        file.seek(start)
        text = file.read().decode(errors="replace").strip()
    _, ours, message = text.rpartition("saddle: ")
    return message if ours else (text.splitlines() or ["nothing was said"])[-1]
