"""Run the jobs of a sweep: those that are left, whatever happens to some, with a table at the end."""

import signal
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from saddle.game.refusals import Refused
from saddle.records.outcome import Outcome
from saddle.sweeps.executors import Executor
from saddle.sweeps.index import Index
from saddle.sweeps.jobs import Job, settled, take_lock

SHOWN = 30  # rows of the table at the end; the index has all


class StopOnSignal:
    """Ctrl-C or SIGTERM asks the jobs to save and end; the second time they are killed."""

    def __init__(self) -> None:
        self.count, self.raises = 0, False
        self.received: signal.Signals | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        self.received = signal.Signals(number)
        print(f"\nsaddle: {self.received.name}: jobs are asked to save and end", file=sys.stderr)
        if self.raises:
            raise KeyboardInterrupt


@contextmanager
def stopping() -> Iterator[StopOnSignal]:
    """A ``StopOnSignal`` in charge of both signals meanwhile."""
    stop = StopOnSignal()
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def launch(folder: Path, jobs: Sequence[Job], executor: Executor) -> int:
    """Run all jobs that have not ended before.

    Returns:
        Exit status: 0 if every job ended with 0, 1 if any did not, 128 + n if stopped by signal n.

    Raises:
        ValueError: another process is running this sweep.
        OSError: the folder cannot be made or written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = take_lock(folder / ".lock")
    if lock is None:
        raise Refused(
            f"a sweep must be run by one process at a time; another is at work in {folder}. "
            "Wait for it, stop it, or give another name with sweep_name=NAME."
        )
    index = Index(folder / "index.csv", jobs)
    with lock, stopping() as stop:
        index.states.update({job.number: found for job in jobs if (found := settled(job))})
        left = [job for job in jobs if job.number not in index.states]
        index.write()
        before = len(jobs) - len(left)
        print(f"sweep:   {folder}: {len(jobs)} jobs, of which {before} ended before", flush=True)
        try:
            if left:
                _follow(executor(left, stop), index, len(jobs))
        finally:
            index.write()
    outcomes = index.outcomes()
    _report(Console(width=None if sys.stdout.isatty() else 140), index, outcomes)
    if stop.received is not None:
        return 128 + stop.received
    return int(len(outcomes) < len(jobs) or any(found.exit_status for found in outcomes.values()))


def _follow(events: Iterator[tuple[Job, Outcome | None]], index: Index, num_jobs: int) -> None:
    """Keep the index, and show how far things are: a bar, or a line a job where there is no terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("jobs"), MofNCompleteColumn(), BarColumn(), TextColumn("{task.fields[counts]}"))
    bar = Progress(*columns, TimeRemainingColumn(), TextColumn("left"), console=console)
    ended = len(index.states)
    with bar if console.is_terminal else _nothing():
        task = bar.add_task("", total=num_jobs, completed=ended, counts="")
        for job, state in events:
            index.note(job, state)
            if state is not None:
                ended += 1
                text = f"[{ended}/{num_jobs}] {state.status} {job.directory.name} ({state.seconds:.0f} s)"
                if state.exit_status or not console.is_terminal:
                    console.print(text, markup=False, highlight=False, soft_wrap=True)
            bar.update(task, completed=ended, counts=_counts(index))


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def _counts(index: Index) -> str:
    """Such as "5 finished, 1 diverged, 2 running"."""
    found = Counter("running" if state is None else state.status for state in index.states.values())
    return ", ".join(f"{number} {status}" for status, number in found.most_common())


def _report(console: Console, index: Index, outcomes: Mapping[Job, Outcome]) -> None:
    bad = {job: found for job, found in outcomes.items() if found.exit_status or found.status != "finished"}
    if bad:
        table = Table(title="jobs that did not finish")
        for column in ("job", "status", "exit", "why", "folder"):
            table.add_column(column, overflow="fold")
        for job, found in [*bad.items()][:SHOWN]:
            why = (found.message or "").strip().partition("\n")[0]
            cells = (job.number, found.status, found.exit_status, why, job.directory.name)
            table.add_row(*(escape(str(cell)) for cell in cells))
        console.print(table)
    waiting = len(index.jobs) - len(outcomes)
    lines = [
        *([f"... and {len(bad) - SHOWN} more"] if len(bad) > SHOWN else []),
        f"jobs:    {_counts(index)}" + (f", {waiting} not begun" if waiting else ""),
        f"index:   {index.path}",
    ]
    if any(found.status not in ("finished", "diverged") for found in outcomes.values()) or waiting:
        lines.append("The same command goes on: finished jobs are left alone, others resumed or retried.")
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
