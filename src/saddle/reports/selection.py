"""Many runs from disk: which folders hold one, and what each says.

What looks like a run and cannot be read is kept by name, with the reason; and so is a job of their sweeps
that left no record, of which only the sweep's index knows.
"""

import csv
import glob
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from saddle.game.refusals import Refused
from saddle.metrics.values import Value
from saddle.records import older, sweep_index
from saddle.records.questions import config_hash, key, typed_keys
from saddle.records.record import Series, open_record, read_config

PARTS = (
    "summary.json",
    "provenance.json",
    "metrics.csv",
)  # a folder with one of these is a run, or was to be
HALF_WRITTEN = "half-written"  # killed while its record was being created: a status beside those of a record
# of a job without a record, what its sweep's index calls something else; one that had ended had a record
UNRECORDED = {"waiting": "not run", "finished": "lost", "diverged": "lost"}


@dataclass(frozen=True)
class Run:
    """One run as a comparison sees it, wherever it was read from."""

    name: str  # path, or path in the tracker
    config: Mapping[str, Any]  # resolved
    summary: Mapping[str, Any]  # as in ``summary.json``; {} if half-written
    series: Series = field(default_factory=dict)
    choices: Mapping[str, str] | None = None  # config group -> choice; None if the record does not say
    typed: Collection[str] | None = None  # keys set on the command line; None if unknown
    group: str | None = None  # in the tracker; None if that is the hash of the configuration as it is here
    started: str = ""
    pictures: Mapping[int, Path] = field(default_factory=dict)  # generator step -> samples
    real_picture: Path | None = None

    @property
    def seed(self) -> Any:
        return self.config.get("seed")

    @property
    def status(self) -> str:
        return self.summary.get("status", HALF_WRITTEN)

    @property
    def message(self) -> str:
        """Why it did not finish, on one line."""
        return " ".join((self.summary.get("message") or "").split())

    @property
    def verdict(self) -> str:
        return self.summary.get("verdict", {}).get("word", "undecided")

    @property
    def metrics(self) -> Mapping[str, Any]:
        return self.summary.get("metrics", {})

    @cached_property
    def meanings(self) -> dict[str, Value]:
        """Metric -> what its values mean."""
        return older.meanings(self.metrics)

    def in_group(self, group: str) -> bool:
        return group == (self.group or config_hash(self.config))


class Unrecorded(NamedTuple):
    """A job of a sweep that left no record: failed or refused before it had one, or not begun.

    Args:
        name: its folder, which need not exist.
        status: as in the sweep's index, or "not run", or "lost" where the record was taken away.
        message: why it failed or was refused; may be empty.
        seed: None if its words name none.
        siblings: names of the selected runs that have its words but for the seed, and so ask its question.
    """

    name: str
    status: str
    message: str
    seed: Any
    siblings: frozenset[str]


@dataclass(frozen=True)
class Selection:
    """Runs in the order they were named, and what looked like one but cannot be read: name -> why."""

    runs: tuple[Run, ...]
    unreadable: Mapping[str, str]
    unrecorded: tuple[Unrecorded, ...] = ()  # of the sweeps that the runs belong to


def find(places: Sequence[str]) -> list[Path]:
    """Run directories under files, folders and globs, each once, in natural order within a folder.

    Raises:
        ValueError: a place that does not exist, or no run anywhere.
    """
    found: dict[str, Path] = {}  # by where it really lies: a run and a link to it are one
    for place in places:
        matches = [place] if os.path.exists(place) else sorted(glob.glob(place, recursive=True), key=_natural)
        if not matches:
            raise Refused(
                f"runs must be named by files, folders or globs that exist; got {place}. "
                "Give the folder that training printed, or a folder above it."
            )
        for match in matches:
            start = Path(match) if os.path.isdir(match) else Path(match).parent
            for directory in _below(start):
                found.setdefault(os.path.realpath(directory), directory)
    if not found:
        words = [row["status"] for place in places for row in _jobs(Path(place))]
        statuses = Counter(UNRECORDED.get(word, word) for word in words).most_common()
        jobs = f", whose jobs are {', '.join(f'{count} {word}' for word, count in statuses)}" if words else ""
        raise Refused(
            f"a comparison must have runs; found none under {', '.join(places)}{jobs}. "
            "Give the folder of a run or of a sweep, such as runs/sweep/<sweep>."
        )
    return list(found.values())


def read(directories: Sequence[Path], track: Callable[[Sequence[Path]], Iterable[Path]] = iter) -> Selection:
    """Read each run; ``track`` may show progress."""
    runs, unreadable = [], {}
    for directory in track(directories):
        try:
            runs.append(read_run(directory))
        except (ValueError, OSError) as error:
            unreadable[str(directory)] = str(error)
    return Selection(tuple(runs), unreadable, tuple(unrecorded(directories)))


def unrecorded(directories: Sequence[Path]) -> Iterator[Unrecorded]:
    """The jobs without a record in the sweeps that these runs belong to."""
    selected = {directory: str(directory) for directory in directories}
    for sweep in dict.fromkeys(directory.parent for directory in directories):
        siblings: dict[frozenset[str], set[str]] = defaultdict(set)
        missing = []
        for row in _jobs(sweep):
            directory = sweep / row["directory"]
            words = row["words"].split(" ")
            asked = frozenset(word for word in words if key(word) != "seed")
            if directory in selected:
                siblings[asked].add(selected[directory])
            elif not (directory.is_dir() and _below(directory) == [directory]):
                seed = next((_seed(word) for word in words if key(word) == "seed"), None)
                missing.append((row, str(directory), seed, asked))
        for row, name, seed, asked in missing:
            status = UNRECORDED.get(row["status"], row["status"])
            yield Unrecorded(name, status, row["message"], seed, frozenset(siblings[asked]))


def _jobs(sweep: Path) -> list[dict[str, str]]:
    """The rows of the sweep's index; none where it has none, or a file of that name is another's."""
    try:
        rows = sweep_index.read(sweep / "index.csv")
    except (OSError, ValueError, csv.Error):
        return []
    return rows if rows and {*sweep_index.COLUMNS} <= {*rows[0]} else []


def _seed(word: str) -> Any:
    """As the configuration of the run would have it."""
    return yaml.safe_load(word.partition("=")[2])


def read_run(directory: Path) -> Run:
    """One run; half-written if a kill left no more than its configuration.

    Raises:
        ValueError: a record of another format, edited by hand, or without a configuration.
    """
    config = read_config(directory / "config.yaml")
    if not all((directory / part).is_file() for part in PARTS):
        return Run(str(directory), older.asked(config), {}, group=config_hash(config))
    record = open_record(directory)
    provenance = record.read_provenance()
    return Run(
        str(directory),
        older.asked(config),
        record.read_summary(),
        record.series(),
        choices=provenance.get("choices"),
        typed=typed_keys(provenance.get("command_line") or ()),
        group=provenance.get("group") or config_hash(config),  # of the words that it was written with
        started=str(provenance.get("started") or ""),
        pictures=record.read_samples(),
        real_picture=record.real_sample,
    )


def _below(start: Path) -> list[Path]:
    """Run directories in and below a folder, each once, whatever links lead there, into loops included."""
    found, seen = [], set()
    for folder, inner, files in os.walk(start, followlinks=True):
        if (place := os.path.realpath(folder)) in seen:
            inner.clear()
            continue
        seen.add(place)
        is_run = any(part in files for part in PARTS) or ("config.yaml" in files and "samples" in inner)
        if is_run:
            found.append(Path(folder))
            inner.clear()  # what lies within a run is its own
        else:
            inner.sort(key=_natural)
    return found


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorts 2 before 10."""
    parts: list[str] = [""]
    for character in name:
        if character.isdigit() != parts[-1][-1:].isdigit():
            parts.append("")
        parts[-1] += character
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]
