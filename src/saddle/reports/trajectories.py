"""Courses of one or more runs over generator steps: losses, modes, gradient norms, and theory's levels."""

import math
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from saddle.reports.curves import LOG_RATIO
from saddle.reports.paper import COLOURS, MARKS, STYLE, new_figure

NUM_BUCKETS = 150  # points of a drawn course; more are averaged, their range shown as a band
MAX_MARKS = 25  # a shorter course shows its points
HEIGHT = 1.45  # inches, of a panel
LEAST_PANEL = 2.2  # inches, width of a panel: narrower ones go into another row
DASHES: Any = ("-", "--", ":", "-.")


class Panel(NamedTuple):
    """One quantity's axes."""

    title: str
    courses: dict[str, dict[str, list[list[float | None]]]]  # run -> series -> (generator step, value)
    levels: dict[str, float]  # label -> height of a horizontal line


class Trajectories(NamedTuple):
    """The numbers of a picture of trajectories, as JSON holds them."""

    panels: list[Any]  # Panel, or its fields in order


@matplotlib.rc_context(STYLE)
def draw(numbers: Trajectories, width: float) -> Figure:
    """A panel for each quantity; a colour for each run, a dash for each series of a panel."""
    panels = [Panel(*panel) for panel in numbers.panels]
    runs = list(dict.fromkeys(run for panel in panels for run in panel.courses))
    rows = math.ceil(len(panels) / max(1, int(width / LEAST_PANEL)))
    columns = math.ceil(len(panels) / rows)
    figure = new_figure(width, rows * (HEIGHT + 0.3) + 0.2 + 0.16 * (len(runs) > 1))
    grid = figure.subplots(rows, columns, sharex=True, squeeze=False)
    drawn: list[Axes] = [*grid.flat]
    for axes in drawn[len(panels) :]:
        axes.remove()
    for index, (axes, panel) in enumerate(zip(drawn, panels, strict=False)):
        _draw_panel(axes, panel, runs)
        if index + columns >= len(panels):
            axes.set_xlabel("generator step", labelpad=1)
            axes.tick_params(labelbottom=True)
    figure.align_ylabels()
    if len(runs) > 1:
        handles = [
            Line2D([], [], color=COLOURS[i % 7], linestyle="-" if i < 7 else "--", label=run)
            for i, run in enumerate(runs)
        ]
        longest = max(0.06 * len(run) + 0.45 for run in runs)
        fit = max(1, min(len(runs), int(width / longest)))
        figure.legend(handles=handles, loc="outside upper center", ncols=fit)
    return figure


def _draw_panel(axes: Axes, panel: Panel, runs: list[str]) -> None:
    series = list(dict.fromkeys(name for course in panel.courses.values() for name in course))
    heights: list[float] = []
    for run, courses in panel.courses.items():
        for name, course in courses.items():
            # of one run the series, of several the runs have colours
            style = runs.index(run) if len(runs) > 1 else series.index(name)
            steps, low, mean, high = _bucketed(course)
            dash = DASHES[series.index(name) % 4]
            axes.plot(
                steps,
                mean,
                color=COLOURS[style % 7],
                linestyle=dash,
                linewidth=1,
                marker=MARKS[style % 7] if len(steps) <= MAX_MARKS else None,
                markeredgewidth=0,
            )
            if np.nanmax(high - low, initial=0) > 0:
                axes.fill_between(steps, low, high, color=COLOURS[style % 7], alpha=0.15, linewidth=0)
            heights += [value for value in (*low, *high) if math.isfinite(value)]
    if heights and min(heights) > 0 and max(heights) / min(heights) >= LOG_RATIO and not panel.levels:
        axes.set_yscale("log")
    axes.grid(color="#e4e4e4", linewidth=0.4)
    axes.spines[["top", "right"]].set_visible(False)
    for label, level in panel.levels.items():
        axes.axhline(level, color="black", linewidth=0.7, linestyle=(0, (4, 2)), zorder=1.5)
        axes.annotate(
            label,
            (1, level),
            xycoords=("axes fraction", "data"),
            xytext=(-1, 1.5),
            textcoords="offset points",
            ha="right",
            va="bottom",
            fontsize=7,
            bbox={"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 0.6},
        )
    axes.set_ylabel(panel.title, labelpad=2)
    axes.margins(x=0.01)
    if all(value == int(value) for value in heights):
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    if panel.levels:  # room for their labels
        low_end, high_end = axes.get_ylim()
        axes.set_ylim(low_end, high_end + 0.14 * (high_end - low_end))
    if len(series) > 1:
        handles = [
            Line2D(
                [],
                [],
                color="#3c3f42" if len(runs) > 1 else COLOURS[i % 7],
                linestyle=DASHES[i % 4],
                linewidth=1,
                label=name.partition("/")[2].replace("_gradient_norm", "").replace("_", " "),
            )
            for i, name in enumerate(series)
        ]
        axes.legend(
            handles=handles,
            loc="lower left",
            bbox_to_anchor=(0, 1),
            ncols=len(series),
            borderpad=0,
            borderaxespad=0.1,
        )


def _bucketed(course: list[list[float | None]]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Steps, least, mean and greatest value of each bucket; what is not finite breaks the line."""
    steps, values = np.array(course, dtype=float).T
    if len(steps) <= NUM_BUCKETS:
        return steps, values, values, values
    pieces = [np.array_split(part, NUM_BUCKETS) for part in (steps, values)]
    return (
        np.array([part.mean() for part in pieces[0]]),
        *(np.array([how(part) for part in pieces[1]]) for how in (np.min, np.mean, np.max)),
    )  # type: ignore[return-value]
