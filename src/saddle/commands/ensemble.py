"""``saddle-train ensemble...``: many runs in one process; exits like a sweep."""

import sys
from collections import Counter
from contextlib import ExitStack

from saddle.commands import entry
from saddle.records.record import open_record
from saddle.sweeps import ensembles
from saddle.sweeps.index import Index
from saddle.training.configuration import Request
from saddle.training.refusing import refusing


def train(request: Request) -> None:
    """Train all members to their ends; exits 1 if any ended with another status than 0."""
    with ExitStack() as held:
        with refusing():
            found = ensembles.prepare(request)
            held.enter_context(ensembles.locked(found))
        entry.remove_if_empty(request.directory)  # Hydra made it, for one run
        index = found.index
        print(
            f"ensemble: {found.folder}: {len(index.jobs)} members, of which {len(index.states)} ended before",
            flush=True,
        )
        for sentence in found.advice:
            print(f"saddle: warning: {sentence}", file=sys.stderr)
        stop = ensembles.train(found)
    _print_results(index)
    outcomes = index.outcomes().values()
    if stop and stop.received is not None and any(one.status == "interrupted" for one in outcomes):
        sys.exit(128 + stop.received)
    if any(one.exit_status for one in outcomes):
        sys.exit(1)


def _print_results(index: Index) -> None:
    """A row a member: what is its own, how it ended, and the last value of each metric."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 140)
    counts = Counter(word for job in index.jobs for word in job.words)
    summaries = {job: open_record(job.directory).read_summary() for job in index.outcomes()}
    metrics = list(dict.fromkeys(name for found in summaries.values() for name in found["metrics"]))
    table = Table(title="members, last values")
    for column in ("member", "status", "verdict", *metrics):
        table.add_column(column, justify="right" if column in metrics else "left")
    for job, summary in summaries.items():
        own = " ".join(word for word in job.words if counts[word] < len(index.jobs)) or "all"
        values = (summary["metrics"].get(name, {}).get("last") for name in metrics)
        cells = ("-" if value is None else f"{value:.4g}" for value in values)
        table.add_row(escape(own), summary["status"], summary["verdict"]["word"], *cells)
    console.print(table)
    lines = [
        *(
            f"{job.directory.name}: {found.message}"
            for job, found in index.outcomes().items()
            if found.exit_status
        ),
        f"records: {index.path.parent}",
        f"index:   {index.path}",
    ]
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
