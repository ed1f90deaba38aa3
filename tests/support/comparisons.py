"""Folders of records compared, and the rows of the CSV files that this makes."""

import csv
import io

from saddle.reports import csv_files
from saddle.reports.comparison import compare
from saddle.reports.selection import find, read


def compared(folder, **options):
    return compare(read(find([str(folder)])), **options)


def parsed(text):
    return [*csv.DictReader(io.StringIO(text))]


def rows(generator):
    return parsed(csv_files.to_csv(generator))


WALL_CLOCK = ("seconds", "mean_seconds")


def written(folder):
    """The three CSV files of a comparison, without wall-clock and without where the runs lie."""
    found = compared(folder)
    makers = {"groups": csv_files.group_rows, "pairs": csv_files.pair_rows, "runs": csv_files.run_rows}
    return {
        name: csv_files.to_csv(
            {key: cell for key, cell in row.items() if key not in ("run", *WALL_CLOCK)} for row in make(found)
        )
        for name, make in makers.items()
    }
