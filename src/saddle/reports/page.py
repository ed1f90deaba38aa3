"""One run as one HTML page that needs nothing else: no network, no file beside it.

The page is made from the run directory alone, at any time: of a finished run, of one under way, of one that
was killed, diverged or never evaluated. What is missing is left out, and said to be missing.
"""

import base64
import io
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from PIL import Image

from saddle.data.files import atomic_write
from saddle.diagnosis.limits import COLLAPSE_RATIO, DIVERSITY_KEPT
from saddle.metrics.values import Value
from saddle.records.older import meanings
from saddle.records.record import Record, Series
from saddle.reports.curves import curve, number

MAX_PICTURE = 250_000  # bytes: a larger one of the two big pictures is embedded as JPEG
MAX_WIDE = 1000  # pixels, of such a JPEG
MAX_FRAMES = 12  # of the evolution, spread evenly over the run, first and last among them
FRAME_WIDE = 320  # pixels

GROUPS = {
    "eval": "Evaluation of the averaged generator",
    "loss": "Losses",
    "penalty": "Penalties",
    "diag": "Diagnostics",
}


def write_report(record: Record) -> Path:
    """Write ``report.html`` of a record and return its path; an earlier one is replaced."""
    atomic_write(record.report, page(record))
    return record.report


def page(record: Record) -> str:
    """The HTML. Everything that comes from the record is escaped."""
    summary, series = record.read_summary(), record.series()
    metrics = summary.get("metrics", {})
    values = meanings(metrics)
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["number"] = number
    environment.filters["ratio"] = lambda value: number(None) if value is None else f"{value:.2f}"
    template = environment.from_string(files("saddle.reports").joinpath("page.html.jinja").read_text("utf-8"))
    return template.render(
        title=f"{record.directory.resolve().parent.name}/{record.directory.resolve().name}",
        summary=summary,
        metrics=metrics,
        meanings=values,
        raw=summary.get("raw", {}),
        averages=summary.get("averages", {}),
        held_out=summary.get("held_out", {}),
        floors=any(metric["floor"] is not None for metric in metrics.values()),
        lost=[name for name, metric in metrics.items() if _has_lost(values[name], metric["last_over_best"])],
        groups=_groups(
            series,
            metrics,
            summary.get("held_out", {}),
            max(summary.get("num_steps", 0), summary.get("step", 0)),
        ),
        real=_picture(record.real_sample),
        frames=_frames(record.read_samples()),
        protocol=flat(summary.get("protocol", {})),
        time=_time(summary.get("time", {})),
        config=record.config.read_text("utf-8"),
        total=summary.get("time", {}).get("total") or sum(summary.get("time", {}).values()),
        provenance=flat(record.read_provenance()),
        best_checkpoints=flat(summary.get("best_checkpoints", {})),
    )


def flat(tree: Any, prefix: str = "") -> dict[str, str]:
    """A tree of mappings as dotted path -> text; a list is one text."""
    if not isinstance(tree, dict):
        if isinstance(tree, list):
            return {prefix: " ".join(str(item) for item in tree) or number(None)}
        return {prefix: number(tree) if tree is None or isinstance(tree, float) else str(tree)}
    found = {}
    for key, value in tree.items():
        found.update(flat(value, f"{prefix}.{key}" if prefix else str(key)))
    return found


def _groups(
    series: Series, metrics: dict[str, Any], held_out: dict[str, Any], last_step: int
) -> list[dict[str, Any]]:
    """Panels by the first part of their name; what real data scores is a line within its metric's."""
    last_step = max([last_step, *(max(values) for values in series.values())])
    groups: dict[str, list[dict[str, Any]]] = {group: [] for group in GROUPS}
    for name, values in series.items():
        group, _, short = name.partition("/")
        if group == "held_out" or group.startswith("eval_") or (group == "eval" and short not in metrics):
            continue
        metric = metrics.get(short, {}) if group == "eval" else {}
        real = held_out.get(short) if group == "eval" else None
        svg = curve(name, values, last_step, step_of_best=metric.get("step_of_best"), floor=real)
        last = list(values.values())[-1]
        groups.setdefault(group, []).append(
            {"name": short or name, "last": last, "metric": metric, "svg": svg}
        )
    return [
        {"heading": GROUPS.get(group, group), "panels": panels} for group, panels in groups.items() if panels
    ]


def _has_lost(value: Value, ratio: float | None) -> bool:
    """Whether the last evaluation is worse than the best by what the verdict calls a collapse."""
    if ratio is None:
        return False
    return ratio < DIVERSITY_KEPT if value.higher_is_better else ratio > COLLAPSE_RATIO


def _time(seconds: dict[str, float]) -> list[dict[str, Any]]:
    """Parts of the wall-clock with their share; what the named parts leave of the total is "other"."""
    parts = {part: value for part, value in seconds.items() if part != "total" and value is not None}
    total = max(seconds.get("total") or 0.0, sum(parts.values()))
    if total <= 0:
        return []
    parts["other"] = total - sum(parts.values())
    shown = [(part, value) for part, value in parts.items() if value > 0.0005 * total]
    return [{"part": part, "seconds": value, "share": value / total} for part, value in shown]


def _frames(samples: dict[int, Path]) -> list[dict[str, Any]]:
    """The evolution: small pictures of at most ``MAX_FRAMES`` steps, and the last one large."""
    steps = list(samples)
    if len(steps) > MAX_FRAMES:
        steps = [steps[round(i * (len(steps) - 1) / (MAX_FRAMES - 1))] for i in range(MAX_FRAMES)]
    sources = {step: _picture(samples[step], FRAME_WIDE if step != steps[-1] else None) for step in steps}
    return [{"step": step, "source": source} for step, source in sources.items() if source]


def _picture(path: Path, width: int | None = None) -> Markup | None:
    """A data URI: the file as it is, or, if it is too large or a width is given, as a JPEG."""
    if not path.is_file():
        return None
    content, kind = path.read_bytes(), "png"
    try:
        image: Image.Image = Image.open(io.BytesIO(content))
        if width or len(content) > MAX_PICTURE:
            image = image.convert("RGB")
            image.thumbnail((width or MAX_WIDE, 10 * (width or MAX_WIDE)))
            file = io.BytesIO()
            image.save(file, "JPEG", quality=85, optimize=True)
            content, kind = file.getvalue(), "jpeg"
    except OSError:  # no picture, or half of one: as good as missing
        return None
    return Markup(f"data:image/{kind};base64,{base64.b64encode(content).decode()}")
