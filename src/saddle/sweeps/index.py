"""``index.csv`` of a sweep: its jobs, their folders and how they stand. A view: the records are the truth."""

import csv
import io
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from saddle.data.files import atomic_write
from saddle.records.outcome import Outcome
from saddle.records.sweep_index import COLUMNS
from saddle.sweeps.jobs import Job

LARGE, EVERY = 1000, 1.0  # above so many jobs, seconds between two writings: 10,000 jobs make a megabyte


class Index:
    """The states of all jobs, kept on disk as they change.

    A disk that fills costs the index some freshness, never the sweep.
    """

    def __init__(self, path: Path, jobs: Sequence[Job]) -> None:
        self.path, self.jobs = path, jobs
        self.states: dict[int, Outcome | None] = {}  # by number; None while it runs; absent while it waits
        self._written, self._warned = 0.0, False

    def note(self, job: Job, state: Outcome | None) -> None:
        self.states[job.number] = state
        if len(self.jobs) <= LARGE or time.monotonic() - self._written > EVERY:
            self.write()

    def write(self) -> None:
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(COLUMNS)
        table.writerows(self._row(job) for job in self.jobs)
        try:
            atomic_write(self.path, text.getvalue())
        except OSError as error:
            if not self._warned:
                print(f"saddle: {self.path} cannot be kept up to date: {error}", file=sys.stderr)
            self._warned = True
        self._written = time.monotonic()

    def _row(self, job: Job) -> tuple[object, ...]:
        place, words = job.directory.name, " ".join(job.words)
        if job.number not in self.states:
            return job.number, "waiting", "", "", place, words, ""
        if (state := self.states[job.number]) is None:
            return job.number, "running", "", "", place, words, ""
        message = " ".join((state.message or "").split())
        return job.number, state.status, state.exit_status, f"{state.seconds:.1f}", place, words, message

    def outcomes(self) -> Mapping[Job, Outcome]:
        """Of the jobs that have ended."""
        return {job: state for job in self.jobs if (state := self.states.get(job.number)) is not None}
