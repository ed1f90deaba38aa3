"""Claims side by side: a process for each, or for each of its seeds; what was measured before is kept.

Results lie in ``<folder>/<claim>/<hash>/``, as ``all.json`` or ``seed-<n>.json``. The hash is of what the
claim's file asks for (function, arms, seeds), so its words and bands may change. A result counts no more once
that changes, or the code it was measured by, the choices in ``conf`` if it trains through them, or the
version of Python, torch, NumPy or SciPy.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from saddle.claims.claim import Claim
from saddle.claims.job import is_current, progress_file
from saddle.claims.judging import Result, judge, not_run
from saddle.claims.measured import Measured, from_json, joined
from saddle.sweeps.executors import gpus, threads

PAUSE = 0.1  # seconds between two looks at what runs

NEEDS: dict[str, Callable[[], bool]] = {"a GPU": lambda: bool(gpus())}
"""What a claim can need of a machine. Anything else it needs is not built yet, and never there."""


class Task(NamedTuple):
    claim: Claim
    seeds: tuple[int, ...]
    result: Path

    @property
    def name(self) -> str:
        return self.claim.key if len(self.seeds) > 1 or len(self.claim.seeds) == 1 else (
            f"{self.claim.key}, seed {self.seeds[0]}"
        )  # fmt: skip

    @property
    def log(self) -> Path:
        return self.result.with_suffix(".log")

    @property
    def cost(self) -> float:
        return self.claim.cost * len(self.seeds) / len(self.claim.seeds)


class State(NamedTuple):
    """How it stands, for a progress bar."""

    waiting: Sequence[Task]
    running: Sequence[tuple[Task, float]]  # and which share of it is done
    done: Sequence[Task]


class Failed(NamedTuple):
    task: Task
    message: str


def missing(claim: Claim) -> list[str]:
    """What it needs and this machine, or this house, has not."""
    return [need for need in claim.needs if not NEEDS.get(need, lambda: False)()]


def tasks(claim: Claim, folder: Path) -> list[Task]:
    place = folder / claim.key / claim.digest
    if not claim.split:
        return [Task(claim, claim.seeds, place / "all.json")]
    return [Task(claim, (seed,), place / f"seed-{seed}.json") for seed in claim.seeds]


def read(task: Task, conf: Path) -> dict[str, Any] | None:
    """A task's result, if there is one that still counts."""
    try:
        content: dict[str, Any] = json.loads(task.result.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return content if is_current(content, conf) else None


def reproduce(
    claims: Sequence[Claim], folder: Path, conf: Path, jobs: int, fresh: bool = False
) -> Iterator[State | list[Result]]:
    """Run what must be run; yields how it stands every now and then, and in the end the results.

    Args:
        conf: with ``claim/`` in it.
        jobs: processes at a time; they share the cores.
        fresh: forget earlier results.
    """
    lacking = {claim.key: missing(claim) for claim in claims}
    every = [task for claim in claims if not lacking[claim.key] for task in tasks(claim, folder)]
    done = [] if fresh else [task for task in every if read(task, conf) is not None]
    # the longest first, so that no core is left idle at the end
    waiting = sorted((task for task in every if task not in done), key=lambda task: -task.cost)
    failed: dict[str, Failed] = {}
    running: list[tuple[Task, subprocess.Popen]] = []
    environment = os.environ | threads(min(jobs, len(waiting) or 1))
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                task = waiting.pop(0)
                running.append((task, _begin(task, conf, environment)))
            for task, process in [pair for pair in running if pair[1].poll() is not None]:
                running.remove((task, process))
                done.append(task)
                if process.returncode:
                    failed[task.claim.key] = Failed(task, _last_line(task.log, process.returncode))
            yield State(waiting, [(task, _share(task)) for task, _ in running], done)
            if running:
                time.sleep(PAUSE)
    finally:  # nothing is left running, also when the caller stops
        for _, process in running:
            process.terminate()
        for _, process in running:
            process.wait()
    yield [_result(claim, lacking[claim.key], failed.get(claim.key), folder, conf) for claim in claims]


def _begin(task: Task, conf: Path, environment: dict[str, str]) -> subprocess.Popen:
    task.result.parent.mkdir(parents=True, exist_ok=True)
    for path in (task.result, progress_file(task.result)):
        path.unlink(missing_ok=True)
    with open(task.log, "wb") as log:
        return subprocess.Popen(
            [
                sys.executable, "-m", "saddle.claims.job", conf / "claim" / f"{task.claim.key}.yaml",
                ",".join(map(str, task.seeds)), task.result,
            ],
            stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=environment,
        )  # fmt: skip


def _share(task: Task) -> float:
    try:
        return float(progress_file(task.result).read_text("utf-8"))
    except (OSError, ValueError):
        return 0.0


def _last_line(log: Path, status: int) -> str:
    lines = log.read_text("utf-8", "replace").strip().splitlines()
    return f"its process ended with status {status}: {lines[-1] if lines else 'no message'}; see {log}"


def _result(claim: Claim, lacking: Sequence[str], failed: Failed | None, folder: Path, conf: Path) -> Result:
    if lacking:
        return not_run(claim, f"needs {' and '.join(lacking)}")
    if failed:
        return not_run(claim, failed.message, fault=True)
    contents = [read(task, conf) for task in tasks(claim, folder)]
    kept = [content for content in contents if content is not None]
    if len(kept) < len(contents):
        return not_run(claim, "its code changed while it ran; run it again", fault=True)
    parts: list[Measured] = [from_json(content) for content in kept]
    try:
        return judge(claim, joined(parts), sum(content["seconds"] for content in kept))
    except ValueError as error:
        return not_run(claim, str(error), fault=True)
