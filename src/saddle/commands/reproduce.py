"""``saddle-reproduce``: published results, measured again and judged."""

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saddle.commands import entry
from saddle.commands.pipes import ending_with_its_reader
from saddle.game.refusals import Refused
from saddle.training.configuration import config_directory
from saddle.training.refusing import refusing

if TYPE_CHECKING:
    from saddle.claims.claim import Claim
    from saddle.claims.judging import Result
    from saddle.claims.runner import State

HELP = """\
NAMES are claims: files of conf/claim. Without names or a tag, tag=exact.
KEY=VALUE is one of:
  tag=TAGS      claims with one of these tags: exact (minutes for all of them), minutes (that long for each),
                gpu, all
  jobs=N        processes at a time (default: the cores of this machine, which they share)
  out=FOLDER    where to write claims.csv, claims.html and provenance.json (default: runs/reproduce)

What was measured is kept in runs/reproduce/<claim>/<hash>/ and not measured again, until what the claim's
file asks for (function, arms, seeds), the code that measured it (but for comments and docstrings), the
choices in conf (if it trains through them), or the version of Python, torch, NumPy or SciPy change; --fresh
forgets it. A claim's words and bands may change.
Exit status: 1 if a claim that was run does not reproduce or breaks, 2 if words or a claim's file are refused.
"""
KEYS = ("tag", "jobs", "out", "debug")
KEPT = Path("runs/reproduce")


@ending_with_its_reader()
def main() -> None:
    """Console entry point."""
    parser = argparse.ArgumentParser(
        "saddle-reproduce",
        usage="%(prog)s [NAMES ...] [KEY=VALUE ...] [--fresh]",
        description="Measure published results again: paper, ours with interval, verdict, time.",
        epilog=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("words", nargs="*", metavar="NAMES | KEY=VALUE", help="see below")
    parser.add_argument("--fresh", action="store_true", help="measure all of them again")
    arguments = parser.parse_intermixed_args()
    results: list[Result] = []
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that what runs is ended too
    try:
        entry.refuse(lambda: results.extend(reproduce(arguments.words, fresh=arguments.fresh)))
    except KeyboardInterrupt:
        print("saddle: stopped; what was measured is kept. The same words go on.", file=sys.stderr)
        sys.exit(130)
    sys.exit(status(results))


def status(results: "Sequence[Result]") -> int:
    """1 if a claim was run and did not reproduce, or was to run and broke."""
    from saddle.claims.judging import Verdict

    return int(any(result.fault or result.verdict is Verdict.NOT_REPRODUCED for result in results))


def reproduce(
    words: Sequence[str], fresh: bool = False, conf: Path | None = None, kept: Path = KEPT
) -> "list[Result]":
    """Measure, judge, print and write.

    Args:
        conf: with ``claim/`` in it; the package's own by default.
        kept: folder of what was measured.

    Raises:
        Refused: an unknown claim, tag or option, or a file that is no claim.
    """
    from rich.console import Console

    from saddle.claims import table as claims_table
    from saddle.claims.claim import choose, read_claims
    from saddle.claims.runner import reproduce as run
    from saddle.records.provenance import provenance

    conf = config_directory() if conf is None else conf
    with refusing():
        names, options = split(words)
        known = read_claims(conf / "claim")
        tags = [tag for tag in options.get("tag", "").split(",") if tag]
        chosen = choose(known, names, tags if names or tags else ["exact"])
        jobs = _jobs(options.get("jobs"))
    origin = provenance(sys.argv, None)  # now: the code may change while it runs
    began = time.perf_counter()
    console = Console(width=None if sys.stdout.isatty() else 150)
    results: list[Result] = []
    with _Progress(chosen) as progress:
        for found in run(chosen, kept, conf, jobs, fresh):
            if isinstance(found, list):
                results = found
            else:
                progress.show(found)
    seconds = time.perf_counter() - began
    origin |= {
        "seconds_of_this_command": round(seconds, 1),  # few where all was measured before
        "jobs": jobs,
        "seeds": {result.claim.key: list(result.claim.seeds) for result in results},
        "verdicts": {result.claim.key: result.verdict.value for result in results},
        "seconds_by_claim": {result.claim.key: round(result.seconds, 1) for result in results},
    }
    folder = Path(options.get("out", str(kept)))
    with refusing():
        _write(folder, results, origin, seconds)
    console.print(claims_table.to_terminal(results))
    console.print(f"{claims_table.summary(results)}; {seconds:.0f} s", highlight=False, markup=False)
    console.print(f"page: {folder / 'claims.html'}", markup=False, highlight=False, soft_wrap=True)
    return results


def split(words: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Names and options.

    Raises:
        ValueError: an unknown option.
    """
    from saddle.claims.claim import did_you_mean

    names, options = [], {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            names.append(word)
        elif key in KEYS:
            options[key] = value
        else:
            raise Refused(f"an option must be one of {', '.join(KEYS)}; got {word}.{did_you_mean(key, KEYS)}")
    return names, options


def _jobs(word: str | None) -> int:
    if word is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not word.isdigit() or int(word) < 1:
        raise Refused(f"jobs must be a whole number of at least 1; got {word}. Give such a number.")
    return int(word)


def _write(folder: Path, results: "Sequence[Result]", origin: dict[str, Any], seconds: float) -> None:
    from saddle.claims import table as claims_table
    from saddle.claims.page import claims_page
    from saddle.data.files import atomic_write

    folder.mkdir(parents=True, exist_ok=True)
    atomic_write(folder / "claims.csv", claims_table.to_csv(results))
    atomic_write(folder / "provenance.json", json.dumps(origin, indent=2) + "\n")
    atomic_write(folder / "claims.html", claims_page(results, origin, seconds))


class _Progress:
    """A bar over all of the work, by its stated cost, and what runs; without a terminal a line a task."""

    def __init__(self, claims: "Sequence[Claim]") -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        self._console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(), TimeRemainingColumn(), console=self._console, transient=True,
            disable=not self._console.is_terminal,
        )  # fmt: skip
        self._task = self._bar.add_task("reproducing", total=None)
        self._told: set[str] = set()

    def __enter__(self) -> "_Progress":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show(self, state: "State") -> None:
        total = sum(task.cost for task in (*state.waiting, *state.done, *(task for task, _ in state.running)))
        done = sum(task.cost for task in state.done) + sum(task.cost * share for task, share in state.running)
        running = ", ".join(f"{task.name} {100 * share:.0f} %" for task, share in state.running)
        self._bar.update(self._task, total=total, completed=done, description=running or "reproducing")
        for task in state.done:
            if task.name not in self._told:
                self._told.add(task.name)
                if not self._console.is_terminal:
                    print(f"saddle: measured {task.name}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
