"""``saddle-compare``: many runs against each other, from their records or from Weights & Biases."""

import argparse
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saddle.commands import entry
from saddle.commands.pipes import ending_with_its_reader
from saddle.game.refusals import Refused
from saddle.training.configuration import config_directory
from saddle.training.refusing import refusing

if TYPE_CHECKING:
    from saddle.reports.comparison import Comparison
    from saddle.reports.selection import Selection

HELP = """\
RUNS are folders of runs or sweeps, files in them, or globs; runs/ if none is given.
KEY=VALUE is one of:
  group=NAME         only runs of this group: the hash of a configuration without the seed, as in W&B
  wandb=PATH         read from W&B instead: entity/project, or entity/project?group=NAME&state=finished
  metric=NAMES       only these metrics, such as eval/fid or fid,recall
  baseline=WORDS     compare every group with one, such as baseline=loss=hinge
  x=COLUMN y=COLUMN  axes of the scatter plot: last/fid, best/fid, area/fid, collapse_step/fid, seconds,
                     images_seen, seed, a diagnostic's last value such as diag/spectral_radius, or a key that
                     varies, such as optimizer.generator.lr
  columns=NAMES      such columns beside the metrics in the tables: means over finished runs
  across_protocols=true  rank numbers of unlike protocols too, which do not compare; the tables say so
  out=FOLDER         where to write (default: comparison)
  project=NAME       of W&B, for --push (default: saddle)
  entity=NAME        of W&B, for --push
  mode=MODE          of W&B, for --push: offline (default) or online

Runs are grouped by configuration without the seed. Written are comparison.html (one self-contained page),
groups.csv, pairs.csv, runs.csv, table.tex and figures as PNG and PDF.
"""
KEYS = (
    "group",
    "wandb",
    "metric",
    "baseline",
    "x",
    "y",
    "columns",
    "out",
    "project",
    "entity",
    "mode",
    "across_protocols",
    "debug",
)


@ending_with_its_reader()
def main() -> None:
    """Console entry point."""
    parser = argparse.ArgumentParser(
        "saddle-compare",
        usage="%(prog)s [RUNS ...] [KEY=VALUE ...] [--push]",
        description="Compare runs over seeds: tables, statistics, figures and a page.",
        epilog=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("words", nargs="*", metavar="RUNS | KEY=VALUE", help="see below")
    parser.add_argument("--push", action="store_true", help="also log table and figures to W&B as one run")
    arguments = parser.parse_intermixed_args()  # options may stand between runs
    entry.refuse(lambda: compare(arguments.words, push=arguments.push))


def compare(words: Sequence[str], push: bool = False) -> "Comparison":
    """Read, compare, print and write.

    Raises:
        Refused: nothing to compare, or an option that does not fit the runs.
    """
    from rich.console import Console

    from saddle.reports import comparison, tables

    with refusing():
        places, options = split(words)
        console = Console(width=None if sys.stdout.isatty() else 140)
        selection = _select(places, options)
        metrics = [name.removeprefix("eval/") for name in options.get("metric", "").split(",") if name]
        found = comparison.compare(
            selection,
            metrics=metrics,
            baseline=options.get("baseline"),
            conf=config_directory(),
            across_protocols=options.get("across_protocols", "false").lower() == "true",
        )
        columns = [found.column(name) for name in options.get("columns", "").split(",") if name]
        found = replace(found, columns=tuple(dict.fromkeys(columns)))
        x, y = (found.column(options[side]) if side in options else None for side in ("x", "y"))
        if push:
            _must_be_able_to_push(options)
        folder = Path(options.get("out", "comparison"))
        files = _files(found, x, y)
        _write(folder, files)
    for part in tables.to_terminal(found, metrics):
        if isinstance(part, str):
            console.print(part, markup=False, highlight=False)
        else:
            console.print(part)
    console.print(f"page: {folder / 'comparison.html'}", markup=False, highlight=False, soft_wrap=True)
    if push:
        _push(found, folder, files, options)
    return found


def split(words: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Places and options. A word with = is an option, unless something of that name exists.

    Raises:
        ValueError: an unknown option.
    """
    places, options = [], {}
    for word in words:
        key, equals, value = word.partition("=")
        if equals and re.fullmatch(r"\w+", key) and not Path(word).exists():
            if key not in KEYS:
                raise Refused(f"an option must be one of {', '.join(KEYS)}; got {word}. See --help.")
            options[key] = value
        else:
            places.append(word)
    return places, options


def _select(places: Sequence[str], options: dict[str, str]) -> "Selection":
    from rich.progress import track

    from saddle.reports import remote, selection

    def progress(items: Sequence[Any]) -> Iterable[Any]:
        from rich.console import Console

        console = Console(stderr=True)
        return track(items, "reading", console=console, transient=True, disable=not console.is_terminal)

    if "wandb" in options:
        if places:
            raise Refused(
                f"runs must come from folders or from W&B; got {places[0]} beside wandb=. Leave one out."
            )
        found = remote.read_remote(options["wandb"], progress)
    else:
        found = selection.read(selection.find(places or ["runs"]), progress)
    if group := options.get("group"):
        runs = tuple(run for run in found.runs if run.in_group(group))
        if not runs:
            groups = sorted({run.group for run in found.runs if run.group})
            known = f" The groups are {', '.join(groups[:10])}." if groups else ""
            raise Refused(
                f"group must be that of a run; got {group}, which none of {len(found.runs)} has. "
                f"Leave it out, or give another.{known}"
            )
        names = {run.name for run in runs}
        unrecorded = tuple(job for job in found.unrecorded if job.siblings & names)
        return selection.Selection(runs, found.unreadable, unrecorded)
    return found


def _files(found: "Comparison", x: str | None, y: str | None) -> dict[str, bytes | str]:
    from saddle.reports import csv_files, figures, tables
    from saddle.reports.comparison_page import comparison_page

    files: dict[str, bytes | str] = {
        "comparison.html": comparison_page(found, x=x, y=y),
        "groups.csv": csv_files.to_csv(csv_files.group_rows(found)),
        "pairs.csv": csv_files.to_csv(csv_files.pair_rows(found)),
        "runs.csv": csv_files.to_csv(csv_files.run_rows(found)),
        "table.tex": tables.to_latex(found),
    }
    for position, block in enumerate(found.blocks):
        suffix = f"-protocol{position + 1}" if len(found.blocks) > 1 else ""
        has_both = x in block.columns and y in block.columns
        for name, figure in figures.figures(block, *((x, y) if has_both else ())).items():
            for kind in ("png", "pdf"):
                files[f"{name}{suffix}.{kind}"] = figures.file(figure, kind)
    return files


def _write(folder: Path, files: dict[str, bytes | str]) -> None:
    from saddle.data.files import atomic_write

    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            atomic_write(folder / name, content)
    except OSError as error:
        raise Refused(
            f"out must be a folder that can be made and written; got: {error}. Name another."
        ) from error


def _must_be_able_to_push(options: dict[str, str]) -> None:
    from saddle.training import trackers as tracking

    tracking.must_have_wandb_key(options.get("mode", "offline"))


def _push(found: "Comparison", folder: Path, files: dict[str, bytes | str], options: dict[str, str]) -> None:
    from saddle.reports import csv_files
    from saddle.training import trackers as tracking

    where = tracking.push_report(
        folder,
        name=found.title,
        rows=list(csv_files.group_rows(found)),
        pictures=[folder / name for name in files if name.endswith(".png")],
        page=folder / "comparison.html",
        config={"runs": [run.name for block in found.blocks for group in block.groups for run in group.runs]},
        mode=options.get("mode", "offline"),
        project=options.get("project", "saddle"),
        entity=options.get("entity"),
    )
    print(f"pushed: {where}")


if __name__ == "__main__":
    main()
