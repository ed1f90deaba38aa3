"""The run directory: what a run leaves behind, and how it is read back.

``config.yaml`` (resolved), ``provenance.json``, ``metrics.csv`` (long: step,name,value), ``summary.json``,
``samples/step-000200.png`` and ``samples/real.png``, ``checkpoints/{last,best-<metric>}.ckpt``,
``report.html``.

It is the only source of truth: every report is made from it. Two promises make that safe. A process killed
at any moment leaves whole files and at most one torn last line of ``metrics.csv``, which no reader takes for
a row. And ``truncate(step)`` brings a record back to what it was at that step, so a resumed run ends with
the very bytes of an uninterrupted one: hence nothing measured in seconds enters ``metrics.csv``. (A power
cut is more than a kill: rows of the last seconds may then be lost.)

Reading needs no torch: a report over many runs must start fast.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from saddle.data.files import atomic_write, strict
from saddle.diagnosis.verdict import verdict
from saddle.game.refusals import Refused
from saddle.metrics.values import Value
from saddle.records.older import upgraded

HEADER = b"step,name,value\n"
STATUSES = ("running", "finished", "interrupted", "diverged", "failed")
FORMAT = 1  # of the run directory; raised when an old reader would misread a new record

Series = dict[str, dict[int, float]]  # name -> step -> value, steps ascending


class Row(NamedTuple):
    """One number: what was measured, and after how many generator steps."""

    step: int
    name: str
    value: float


@dataclass(frozen=True)
class Record:
    """A run directory that exists and is whole; get one from ``create`` or ``open_record``."""

    directory: Path

    @property
    def config(self) -> Path:
        return self.directory / "config.yaml"

    @property
    def provenance(self) -> Path:
        return self.directory / "provenance.json"

    @property
    def metrics(self) -> Path:
        return self.directory / "metrics.csv"

    @property
    def summary(self) -> Path:
        return self.directory / "summary.json"

    @property
    def report(self) -> Path:
        return self.directory / "report.html"

    @property
    def samples(self) -> Path:
        return self.directory / "samples"

    @property
    def checkpoints(self) -> Path:
        return self.directory / "checkpoints"

    @property
    def real_sample(self) -> Path:
        """The picture of real data that generated pictures are shown beside."""
        return self.samples / "real.png"

    def sample(self, step: int) -> Path:
        """Where the picture of generated samples at a generator step lies, existing or not."""
        return self.samples / f"step-{step:06d}.png"

    def checkpoint(self, name: str) -> Path:
        """``checkpoint("last")``, ``checkpoint("best-fid")``, existing or not."""
        return self.checkpoints / f"{name}.ckpt"

    def read_samples(self) -> dict[int, Path]:
        """Generator step -> picture, for those that exist, steps ascending."""
        found = {
            int(path.stem.removeprefix("step-")): path
            for path in self.samples.glob("step-*.png")
            if path.stem[5:].isdigit()
        }
        return dict(sorted(found.items()))

    def read_config(self) -> dict[str, Any]:
        """Read the resolved configuration, as this version would say it.

        Raises:
            Refused: it is missing, or no mapping in YAML.
        """
        return read_config(self.config)

    def read_provenance(self) -> dict[str, Any]:
        return _read_json(self.provenance)

    def read_summary(self) -> dict[str, Any]:
        """See ``write_summary``; right after ``create`` it is a running one at step 0."""
        return _read_json(self.summary)

    def append(self, step: int, values: Mapping[str, float]) -> None:
        """Add the values of one step to ``metrics.csv``, in the mapping's order, by a single write.

        Args:
            step: generator step, at least 0.
            values: name -> number; nan and inf are kept. They read back bit by bit.

        Raises:
            ValueError: a name that CSV would have to quote, or one under ``time/``; a step that is not a
                whole number.
        """
        if not isinstance(step, int) or step < 0:
            raise Refused(
                f"a row's step must be a whole number of generator steps, 0 or more; got {step!r}. Pass our "
                "own clock."
            )
        for name in values:
            if not re.fullmatch(r"[\w.@/+-]+", name, re.ASCII) or name.startswith("time/"):
                raise Refused(
                    f"a row's name must be letters, digits and _ . @ / + -, and not under time/ (seconds "
                    f"would make two equal runs differ); got {name!r}. Rename it, or put a time into the "
                    "summary."
                )
        lines = "".join(f"{step},{name},{float(value)!r}\n" for name, value in values.items()).encode()
        with open(self.metrics, "ab", buffering=0) as file:  # unbuffered: what returns has left the process
            written = file.write(lines)
        if written != len(lines):
            raise OSError(
                f"{self.metrics} took {written} of {len(lines)} bytes; make room on the disk, then resume "
                "the run."
            )

    def truncate(self, step: int) -> None:
        """Forget what came after ``step``: rows, a torn last line, sample pictures. Call it on resume.

        What remains is what the run had written when it reached ``step``, provided that a checkpoint is
        saved as the *last* act of its step: whether rows that follow it in the same step were written
        before a kill is chance.
        """
        lines = _whole_lines(self.metrics)[1:]
        kept = [line for line, row in zip(lines, self.rows(), strict=True) if row.step <= step]
        atomic_write(self.metrics, HEADER + b"".join(kept))
        for later, path in self.read_samples().items():
            if later > step:
                path.unlink()

    def rows(self) -> list[Row]:
        """All rows in the order of writing; a torn last line is no row.

        Raises:
            ValueError: a whole line that is no row: the file was edited, or appended to after a kill without
                ``truncate``.
        """
        rows = []
        for number, line in enumerate(_whole_lines(self.metrics)[1:], start=2):
            try:
                step, name, value = line.decode().split(",")
                rows.append(Row(int(step), name, float(value)))
            except ValueError:
                raise Refused(
                    f"each line of {self.metrics} must be step,name,value; line {number} is {line!r}. "
                    "Resume the run (which truncates), or remove the line."
                ) from None
        return rows

    def series(self) -> Series:
        """The rows by name: ``series()["eval/fid"][200]``."""
        return series(self.rows())

    def write_summary(
        self,
        *,
        status: str,
        step: int,
        num_steps: int,
        images_seen: int,
        series: Series | None = None,
        exit_status: int | None = None,
        message: str | None = None,
        meanings: Mapping[str, Value] | None = None,
        time: Mapping[str, float] | None = None,
        protocol: Mapping[str, Any] | None = None,
        best_checkpoints: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Write ``summary.json`` from the rows and from what only the caller knows; also in mid-run.

        Args:
            series: the rows by name, of who holds them already; None reads them.
            status: one of ``STATUSES``. A run killed from outside stays "running".
            exit_status: of the process; None while it runs.
            message: why a run diverged, failed or was interrupted.
            meanings: see ``summarize``.
            time: seconds by part (total, train, evaluate, checkpoint, report, setup ...), those of earlier
                sessions of a resumed run included: see ``add_times``.
            protocol: what the evaluation numbers were computed from.
            best_checkpoints: metric -> {step, value, file}.

        Returns:
            What was written: strict JSON, where a number that is not finite is null.
        """
        if status not in STATUSES:
            raise Refused(
                f"a run's status must be one of {', '.join(STATUSES)}; got {status!r}. Choose one of them."
            )
        found = self.series() if series is None else series
        word, reason = verdict(found, meanings, status, message)
        summary: dict[str, Any] = strict(
            {
                "format": FORMAT,
                "status": status,
                "exit_status": exit_status,
                "message": message,
                "step": step,
                "num_steps": num_steps,
                "images_seen": images_seen,
                "verdict": {"word": word, "reason": reason},
                **summarize(found, meanings or {}),
                "time": time or {},
                "protocol": protocol or {},
                "best_checkpoints": best_checkpoints or {},
            }
        )
        atomic_write(self.summary, _json(summary))
        return summary


def read_config(path: Path) -> dict[str, Any]:
    """Read a run's ``config.yaml``; see ``Record.read_config``."""
    if not path.is_file():
        raise Refused(
            f"a run must hold its configuration; {path} is missing. Delete the folder or restore it."
        )
    try:
        # OmegaConf's loader takes 20 times as long
        config = yaml.load(path.read_text("utf-8"), yaml.CSafeLoader)
    except yaml.YAMLError as error:
        raise Refused(f"{path} must be YAML; got: {error}. Restore it, or delete the run.") from None
    if not isinstance(config, dict):
        raise Refused(
            f"{path} must hold a mapping; got {type(config).__name__}. Restore it, or delete the run."
        )
    return upgraded(config)


def create(directory: Path, config: str, provenance: Mapping[str, Any]) -> Record:
    """Begin a run in ``directory``, which may exist and hold other things (Hydra's, a tracker's), but no run.

    Args:
        config: resolved YAML, ready to train from again.
        provenance: see ``saddle.records.provenance``.

    Raises:
        ValueError: the directory already holds a run or part of one.
    """
    record = Record(Path(directory))
    parts = (record.config, record.provenance, record.metrics, record.summary, record.checkpoint("last"))
    held = [path.name for path in parts if path.exists()]
    if held:
        raise Refused(
            f"a new run must have a directory to itself; {record.directory} already holds {', '.join(held)}. "
            "Resume that run, choose another directory, or delete this one."
        )
    record.samples.mkdir(parents=True, exist_ok=True)
    record.checkpoints.mkdir(exist_ok=True)
    atomic_write(record.config, config)
    atomic_write(record.metrics, HEADER)
    atomic_write(record.provenance, _json(strict(provenance)))
    record.write_summary(status="running", step=0, num_steps=0, images_seen=0)  # last: a sign of the rest
    return record


def open_record(directory: Path) -> Record:
    """Open the record of an earlier run.

    Raises:
        Refused: no such directory; not a run; a run killed while being created, edited by hand, or of a
            newer format.
    """
    record = Record(Path(directory))
    must = "a run directory must hold config.yaml, provenance.json, metrics.csv and summary.json"
    if not record.directory.is_dir():
        raise Refused(
            f"{must}; {record.directory} is not a directory. Give the directory that training printed."
        )
    if missing := [path.name for path in _parts(record) if not path.is_file()]:
        raise Refused(
            f"{must}; {record.directory} lacks {', '.join(missing)}. Give another directory, or, if a run "
            "was killed here before its first step, delete it and train again."
        )
    found = record.read_summary().get("format")
    record.read_provenance()
    _whole_lines(record.metrics)
    if found != FORMAT:
        raise Refused(
            f"{record.summary} must have format {FORMAT}; got {found!r}. Read it with the saddle-gan that "
            "wrote it."
        )
    return record


def find_record(directory: Path) -> Record | None:
    """Open the record in a directory, if one was begun there.

    Returns:
        None where there is none, or no more than a kill in ``create`` leaves, which ``clear`` removes.

    Raises:
        Refused: there is one that cannot be read. It is left as it is.
    """
    record = Record(Path(directory))
    return None if _is_barely_begun(record) else open_record(record.directory)


def clear(directory: Path) -> None:
    """Remove what a kill in ``create`` left: files without one number in them."""
    record = Record(Path(directory))
    assert _is_barely_begun(record)
    for path in _parts(record):
        for one in (path, path.with_name(f".{path.name}.tmp")):
            one.unlink(missing_ok=True)


def _parts(record: Record) -> tuple[Path, ...]:
    return record.config, record.provenance, record.metrics, record.summary


def _is_barely_begun(record: Record) -> bool:
    """Whether nothing was measured yet: the summary, which ``create`` writes last, is not there."""
    begun = record.metrics.read_bytes() if record.metrics.is_file() else HEADER
    held = [*record.checkpoints.glob("*.ckpt"), *record.samples.glob("*.png")]
    return not record.summary.exists() and begun == HEADER and not held


def series(rows: Iterable[Row]) -> Series:
    """Rows by name, steps ascending; of two rows with one name and step the later holds."""
    found: Series = {}
    for step, name, value in rows:
        found.setdefault(name, {})[step] = value
    return {name: dict(sorted(values.items())) for name, values in found.items()}


def summarize(series: Series, meanings: Mapping[str, Value]) -> dict[str, Any]:
    """Each evaluation metric over the whole run, since its best alone hides a collapse.

    Args:
        series: of which ``eval/*`` (the evaluated generator), ``eval_raw/*`` (the raw one),
            ``eval_<name>/*`` (other averages) and ``held_out/*`` (real samples) are read.
        meanings: metric, without ``eval/``, -> what its values mean; one that is missing is better low and
            has no role. The floor of one, a perfect sampler's value, is shown beside it: no metric itself.

    Returns:
        ``{"metrics": {name: {...}}, "raw": {name: last value}, "averages": {average: {name: last value}},
        "held_out": {name: value}}``, where held_out is what held-out real samples score in the generator's
        place. Of every metric what it means (see ``Value.stored``), best, step_of_best (the earliest), last,
        last_step, num_evaluations, floor (its last value), and

        - area: under the curve by the trapezoid rule over generator steps, divided by the steps between
          first and last evaluation: a mean over the run in the metric's own units, comparable between runs
          evaluated at like steps. None as soon as one evaluation is not finite.
        - last_over_best: above 1 is lost ground for a metric better low, below 1 for one better high. None
          where best is not positive, as an unbiased KID or MMD can be, and for one with an ideal in between.

        A value that does not exist or is not finite is None.
    """
    floors = {value.floor for value in meanings.values()}
    metrics = {}
    for full_name, values in series.items():
        name = full_name.removeprefix("eval/")
        if name == full_name or name in floors:
            continue
        meaning = meanings.get(name, Value())
        step_of_best = meaning.best_step(values)
        best = None if step_of_best is None else values[step_of_best]
        last_step, last = list(values.items())[-1]
        in_between = math.isfinite(meaning.ideal)
        floor = list(series.get(f"eval/{meaning.floor}", {0: math.nan}).values())[-1]
        metrics[name] = {
            **meaning.stored(),
            "best": best,
            "step_of_best": step_of_best,
            "last": last,
            "last_step": last_step,
            "last_over_best": last / best if best is not None and best > 0 and not in_between else None,
            "area": _mean_height(values),
            "num_evaluations": len(values),
            "floor": floor,
        }

    def last_of(kind: str) -> dict[str, float]:
        return {
            name.removeprefix(f"{kind}/"): list(values.values())[-1]
            for name, values in series.items()
            if name.startswith(f"{kind}/")
        }

    kinds = dict.fromkeys(name.partition("/")[0] for name in series)
    averages = {
        kind.removeprefix("eval_"): last_of(kind)
        for kind in kinds
        if kind.startswith("eval_") and kind != "eval_raw"
    }
    beside = {"raw": last_of("eval_raw"), "averages": averages, "held_out": last_of("held_out")}
    return strict({"metrics": metrics, **beside})


def add_times(earlier: Mapping[str, float], session: Mapping[str, float]) -> dict[str, float]:
    """Seconds by part over resumed sessions: the sum, part by part."""
    return {part: earlier.get(part, 0.0) + session.get(part, 0.0) for part in {**earlier, **session}}


def _mean_height(values: Mapping[int, float]) -> float:
    points = list(values.items())
    span = points[-1][0] - points[0][0]
    if span == 0:
        return points[0][1]
    area = sum((right - left) * (a + b) / 2 for (left, a), (right, b) in pairwise(points))
    return area / span


def _whole_lines(path: Path) -> list[bytes]:
    """Header and rows, each with its newline; what follows the last newline was torn by a kill."""
    lines = path.read_bytes().splitlines(keepends=True)
    if not lines or lines[0] != HEADER:
        raise Refused(
            f"{path} must begin with {HEADER!r}; got {lines[:1]!r}. Give the directory of a Saddle run."
        )
    return lines if lines[-1].endswith(b"\n") else lines[:-1]


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, allow_nan=False) + "\n"


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text())
    except ValueError as error:
        raise Refused(
            f"{path} must be JSON; {error}. Restore it, or delete the run and train again."
        ) from None
    if not isinstance(value, dict):
        raise Refused(
            f"{path} must hold a JSON object; got {type(value).__name__}. Give the directory of a Saddle run."
        )
    return value
