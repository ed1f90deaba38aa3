"""A comparison as one HTML page that needs nothing else: sortable, filterable, with values on hovering.

All numbers are in the page as text before any script runs; the script sorts, filters, shows what a mark
says, and draws the scatter plot of two chosen columns.
"""

import base64
import io
import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from saddle.reports import tables
from saddle.reports.blocks import MAX_ALL_PAIRS, MIN_SEEDS, STATISTICS, Block, Group
from saddle.reports.comparison import Comparison, unlike
from saddle.reports.curves import number
from saddle.reports.geometry import curve_lines, pareto_dots, profile_axis, profile_lines
from saddle.reports.plots import NUM_STYLES, RIGHT, WIDTH, dots, key, lines
from saddle.reports.statistics import Estimate

MAX_PICTURES = 500_000  # bytes of all sample pictures, as they stand in the page
PICTURE_WIDE = 200  # pixels
MAX_SEEDS_SHOWN = 3
COLUMNS = {"best": "best", "last": "last", "area": "mean over run"}


def comparison_page(comparison: Comparison, *, x: str | None = None, y: str | None = None) -> str:
    """The HTML. Everything that comes from the records is escaped.

    Args:
        x, y: columns that the scatter plot begins with; quality and diversity by default.
    """
    environment = Environment(
        loader=FunctionLoader(lambda name: files("saddle.reports").joinpath(name).read_text("utf-8")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = number
    template = environment.get_template("comparison.html.jinja")
    budget = MAX_PICTURES // max(1, len(comparison.blocks))
    return template.render(
        title=comparison.title,
        notes=tables.notes(comparison),
        unlike=unlike(comparison.blocks),
        blocks=[_block(block, comparison.columns, x, y, budget) for block in comparison.blocks],
        statistics=COLUMNS,
        min_seeds=MIN_SEEDS,
        max_all_pairs=MAX_ALL_PAIRS,
        num_styles=NUM_STYLES,
        right=WIDTH - RIGHT,
    )


def _block(block: Block, columns: Sequence[str], x: str | None, y: str | None, budget: int) -> dict[str, Any]:
    groups = [
        {
            "index": index,
            "label": group.label,
            "text": _searched(group),
            "words": [group.words.get(name, "–") for name in block.keys] or [group.label],
            "key": key(block.drawn.index(index)) if index in block.drawn else "",
            "seeds": tables.seeds(group),
            "ended": len(group.ended),
            "few": group.few,
            "verdicts": tables.in_words(group.verdicts) or "–",
            "statuses": tables.in_words(group.statuses),
            "images": group.mean("images_seen"),
            "seconds": group.mean("seconds"),
            "time": tables.duration(group.mean("seconds")),
        }
        for index, group in enumerate(block.groups)
    ]
    return {
        "keys": block.keys or ("runs",),
        "common": block.common,
        "groups": groups,
        "drawn": [groups[index] for index in block.drawn],
        "metrics": [_metric(block, metric) for metric in block.metrics],
        "columns": {name: _column(block, name) for name in columns},
        "main": block.main,
        "pareto": _pareto(block),
        "scatter": _scatter(block, x, y),
        "samples": _samples(block, budget),
        "runs": _runs(block),
        "baseline": block.groups[block.baseline].label,
        "all_pairs": not block.chosen_baseline and len(block.groups) <= MAX_ALL_PAIRS,
    }


def _metric(block: Block, metric: str) -> dict[str, Any]:
    rows = []
    for index, group in enumerate(block.groups):
        rate, step = block.collapse(index, metric)
        cells = {
            statistic: _cell(block, group, metric, statistic, block.estimates[metric, statistic][index])
            for statistic in STATISTICS
        }
        iqm = block.interquartile_mean(index, metric)
        rows.append(
            {"cells": cells, "iqm": iqm, "rate": rate, "collapsed": tables.percent(rate), "step": step}
        )
    label = [group.label for group in block.groups]
    courses, profiles = curve_lines(block, metric), profile_lines(block, metric)
    return {
        "name": metric,
        "arrow": block.meanings[metric].arrow,
        "better": block.meanings[metric].better,
        "rows": rows,
        "pairs": [
            {
                "first": label[pair.first],
                "second": label[pair.second],
                "text": f"{_searched(block.groups[pair.first])} {_searched(block.groups[pair.second])}",
                "found": pair.found,
                "p": pair.corrected_p,
            }
            for pair in block.comparisons[metric]
        ],
        "curves": lines(
            f"{metric} against the generator step", courses, x_label="generator step", y_label=metric
        )
        if any(line.x for line in courses)
        else None,
        "profiles": lines(
            f"performance profile of {metric}",
            profiles,
            x_label=profile_axis(block, metric, metric),
            y_label="share of runs as good",
            steps=True,
        )
        if profiles
        else None,
    }


def _cell(block: Block, group: Group, metric: str, statistic: str, found: Estimate | None) -> dict[str, Any]:
    """A mean with its interval; hovering tells the runs behind it."""
    values = [
        f"seed {run.seed}: {number(value)}"
        for run in group.ended
        if (value := block.value(run, metric, statistic)) == value
    ]
    over = f"mean over {found.num_runs} of {len(values)} runs" if found else "no finite value"
    interval = f"[{number(found.low)}, {number(found.high)}]" if found and found.low is not None else ""
    if found and found.num_runs < len(values):
        interval += f" of {found.num_runs}"
    return {
        "value": found.value if found else None,
        "interval": interval,
        "tip": "\n".join([f"{metric}, {COLUMNS[statistic]}: {over}", *values]),
    }


def _column(block: Block, name: str) -> list[dict[str, Any]]:
    """A column beside the metrics: a cell a group, with its finished runs on hovering."""
    cells = []
    for index, found in enumerate(block.means(name)):
        values = [
            f"seed {run.seed}: {number(row[name])}"
            for group, run, row in block.table
            if group == index and run.status == "finished" and row.get(name) is not None
        ]
        interval = f"[{number(found.low)}, {number(found.high)}]" if found and found.low is not None else ""
        tip = "\n".join([f"{name}: mean over {len(values)} finished runs", *values])
        cells.append({"value": found.value if found else None, "interval": interval, "tip": tip})
    return cells


def _pareto(block: Block) -> dict[str, Any] | None:
    points, front = pareto_dots(block)
    if not points:
        return None
    named = [f"{metric} {block.meanings[metric].arrow}" for metric in block.main]
    name = f"{block.main[1]} against {block.main[0]}"
    return {
        "svg": dots(name, points, front, x_label=named[0], y_label=named[1]),
        "front": [points[index].label for index in front],
    }


def _scatter(block: Block, x: str | None, y: str | None) -> dict[str, Any]:
    style = {group: position for position, group in enumerate(block.drawn)}
    columns = [
        name for name in block.columns if any(found.get(name) is not None for *_, found in block.table)
    ]
    main = [f"last/{metric}" for metric in block.main]
    data = {
        "columns": columns,
        "runs": [
            {
                "style": style.get(index, -1),
                "group": index,
                "name": f"{block.groups[index].label}, seed {run.seed}",
                "values": [_short(found.get(name)) for name in columns],
            }
            for index, run, found in block.table
        ],
    }
    return {
        "columns": columns,
        "x": x if x in columns else next((name for name in main if name in columns), "seed"),
        "y": y if y in columns else next((name for name in main[1:] if name in columns), "seconds"),
        "json": Markup(json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")),
    }


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")


def _runs(block: Block) -> list[dict[str, Any]]:
    rows = []
    for index, run, found in block.table:
        group = block.groups[index]
        rows.append(
            {
                "name": run.name,
                "text": f"{_searched(group, run.verdict, run.status)} {run.name}".lower(),
                "words": [group.words.get(name, "–") for name in block.keys] or [group.label],
                "seed": run.seed,
                "status": run.status,
                "verdict": run.verdict if run.status in ("finished", "diverged") else "–",
                "reason": run.summary.get("verdict", {}).get("reason", ""),
                "last": [found[f"last/{metric}"] for metric in block.metrics],
                "seconds": found["seconds"],
                "time": tables.duration(found["seconds"]),
            }
        )
    for group in block.groups:
        for job in group.unrecorded:
            rows.append(
                {
                    "name": job.name,
                    "text": f"{_searched(group, job.status)} {job.name}".lower(),
                    "words": [group.words.get(name, "–") for name in block.keys] or [group.label],
                    "seed": "–" if job.seed is None else job.seed,
                    "status": job.status,
                    "verdict": "–",
                    "reason": job.message,
                    "last": [None] * len(block.metrics),
                    "seconds": None,
                    "time": tables.duration(None),
                }
            )
    return rows


def _searched(group: Group, *more: str) -> str:
    """What the filter looks at."""
    words = more or (*group.verdicts, *group.statuses)
    return " ".join([group.label, *dict.fromkeys(words)]).lower()


def _samples(block: Block, budget: int) -> dict[str, Any]:
    """Last pictures of the first seeds, the same for every drawn group, as many as fit into the budget."""
    seeds = list(dict.fromkeys(run.seed for index in block.drawn for run in block.groups[index].runs))
    real = next((run.real_picture for group in block.groups for run in group.runs if run.real_picture), None)
    seeds = seeds[:MAX_SEEDS_SHOWN]
    rows: list[dict[str, Any]] = []
    for index in block.drawn:
        runs = {run.seed: run for run in block.groups[index].runs}
        cells = [_sample(runs.get(seed)) for seed in seeds]
        rows.append({"group": index, "label": block.groups[index].label, "cells": cells})
    while seeds and sum(len(cell["source"] or "") for row in rows for cell in row["cells"]) > budget:
        seeds.pop()
        for row in rows:
            row["cells"].pop()
    if not any(cell["source"] for row in rows for cell in row["cells"]):
        return {"seeds": [], "rows": [], "real": None}
    return {"seeds": seeds, "rows": rows, "real": _picture(real)}


def _sample(run: Any) -> dict[str, Any]:
    step = max(run.pictures, default=None) if run else None
    return {"step": step, "source": _picture(run.pictures[step]) if step is not None else None}


def _picture(path: Path | None) -> Markup | None:
    """A small JPEG as a data URI; None for no picture, or half of one."""
    if path is None or not path.is_file():
        return None
    try:
        image = Image.open(path).convert("RGB")
        image.thumbnail((PICTURE_WIDE, 10 * PICTURE_WIDE))
        file = io.BytesIO()
        image.save(file, "JPEG", quality=80, optimize=True)
    except OSError:
        return None
    return Markup(f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}")
