"""What an evaluation leaves: a table on the terminal, and the same numbers as JSON and CSV."""

import csv
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from saddle.data.files import atomic_write, strict
from saddle.game.refusals import Refused
from saddle.metrics.values import Value


class Results(NamedTuple):
    """Numbers with their protocol as stored, and what else belongs beside them."""

    metrics: Mapping[str, float]
    meanings: Mapping[str, Value]
    protocol: Mapping[str, Any]
    about: Mapping[str, Any]  # first in the JSON file: which samples, which checkpoint
    notes: Sequence[str] = ()


def as_json(results: Results) -> str:
    """One object: about, metrics, protocol, notes; a number that is not finite is null."""
    content = {
        **results.about,
        "metrics": dict(results.metrics),
        "protocol": results.protocol,
        "notes": [*results.notes],
    }
    return json.dumps(strict(content), indent=2) + "\n"


def as_csv(results: Results) -> str:
    """A row a metric, each with the fingerprint of its protocol.

    Of one with an ideal in between, higher_is_better is empty.
    """
    protocol, file = results.protocol, io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(
        [
            "metric",
            "value",
            "higher_is_better",
            "fingerprint",
            "fake",
            "num_fake",
            "real",
            "num_real",
            "extractor",
        ]
    )
    fake, real = protocol["fake"], protocol["real"]
    extractor = protocol["extraction"]["name"]
    beside = [protocol["fingerprint"], fake["name"], fake["num"], real["name"], real["num"], extractor]
    for name, value in results.metrics.items():
        meaning = results.meanings.get(name, Value())
        higher = str(meaning.higher_is_better).lower() if math.isinf(meaning.ideal) else None
        writer.writerow([name, repr(value), higher, *beside])
    return file.getvalue()


WRITERS: Mapping[str, Callable[[Results], str]] = {".json": as_json, ".csv": as_csv}


def outputs(given: str | Sequence[str] | None) -> list[Path]:
    """The files that ``output=`` names.

    Raises:
        ValueError: a folder that is not there, or a suffix that is none of ours.
    """
    paths = [Path(name) for name in ([given] if isinstance(given, str) else given or [])]
    for path in paths:
        if not path.absolute().parent.is_dir():
            raise Refused(f"output must lie in an existing folder; got {path}. Make the folder first.")
        if path.suffix.lower() not in WRITERS:
            raise Refused(
                f"output must end in {' or '.join(WRITERS)}; got {path}. Rename it, or list both: "
                "output=[a.json,a.csv]."
            )
    return paths


def write(paths: Sequence[Path], results: Results) -> None:
    """Write each file, whole or not at all."""
    for path in paths:
        atomic_write(path, WRITERS[path.suffix.lower()](results))
