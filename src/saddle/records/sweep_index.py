"""``index.csv`` of a sweep as it is read back: a row a job, with its folder and how it stands."""

import csv
from pathlib import Path

COLUMNS = ("number", "status", "exit_status", "seconds", "directory", "words", "message")


def read(path: Path) -> list[dict[str, str]]:
    """Read the rows of an ``index.csv``."""
    with open(path, newline="") as file:
        return list(csv.DictReader(file))
