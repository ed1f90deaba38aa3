"""Phase portraits: the field of a game of two parameters, and the paths of several methods over it."""

import math
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch

from saddle.reports.paper import COLOURS, GREY, MARKS, STYLE, legend_above, new_figure

LEAST_PANEL = 1.35  # inches, side of a panel: narrower ones go into another row
NUM_MARKS = 9  # on a path


class Panel(NamedTuple):
    """One field with what was played on it."""

    title: str
    u: list[list[float]]  # first component of the field, a row for each y
    v: list[list[float]]
    rest: list[list[float]]  # points (x, y) where it is 0
    paths: dict[str, list[list[float]]]  # method -> points (x, y), one a round


class PhasePortrait(NamedTuple):
    """The numbers of a phase portrait, as JSON holds them."""

    names: list[str]  # of both parameters: along, and up
    x: list[float]
    y: list[float]
    panels: list[Any]  # Panel, or its fields in order


@matplotlib.rc_context(STYLE)
def draw(numbers: PhasePortrait, width: float) -> Figure:
    """A panel for each field, all in one frame; each path in a colour and mark of its own from a ring on."""
    panels = [Panel(*panel) for panel in numbers.panels]
    rows = math.ceil(len(panels) / max(1, int((width - 0.4) / LEAST_PANEL)))
    columns = math.ceil(len(panels) / rows)
    order = [name for panel in panels for name in panel.paths]
    ratio = (numbers.y[-1] - numbers.y[0]) / (numbers.x[-1] - numbers.x[0])
    side = min((width - 0.55) / columns - 0.05, 3.2)
    legend = 0.17 * math.ceil(sum(0.06 * len(name) + 0.45 for name in order) / width)
    figure = new_figure(width, rows * (side * ratio + 0.2) + 0.35 + legend)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    drawn: list[Axes] = [*grid.flat]
    for axes in drawn[len(panels) :]:
        axes.remove()
    for index, (axes, panel) in enumerate(zip(drawn, panels, strict=False)):
        _draw_field(axes, numbers, panel, side)
        for name, path in panel.paths.items():
            style = order.index(name)
            _draw_path(axes, name, path, COLOURS[style % 7], MARKS[style % 7])
        axes.set(xlim=(numbers.x[0], numbers.x[-1]), ylim=(numbers.y[0], numbers.y[-1]), aspect="equal")
        axes.locator_params(nbins=4, steps=[1, 2, 5, 10])
        if panel.title:
            axes.set_title(panel.title, pad=3)
        if index + columns >= len(panels):
            axes.set_xlabel(numbers.names[0], labelpad=1)
            axes.tick_params(labelbottom=True)
        if index % columns == 0:
            short = len(numbers.names[1]) <= 2  # a letter stays upright
            axes.set_ylabel(numbers.names[1], labelpad=4 if short else 1, rotation=0 if short else 90)
    legend_above(figure, drawn[: len(panels)])
    return figure


def _draw_field(axes: Axes, numbers: PhasePortrait, panel: Panel, side: float) -> None:
    u, v = (np.array(part, dtype=float) for part in (panel.u, panel.v))
    stream = axes.streamplot(
        np.array(numbers.x),
        np.array(numbers.y),
        u,
        v,
        density=0.42 * side,
        color=GREY,
        linewidth=0.5,
        arrowsize=0.55,
    )
    # pieces joined to lines, where this Matplotlib has not done so: a tenth of the file
    lines = _joined(stream.lines.get_segments())
    stream.lines.remove()
    axes.add_collection(LineCollection(lines, colors=GREY, linewidths=0.5, zorder=1))
    for patch in axes.patches:
        if isinstance(patch, FancyArrowPatch):
            patch.set_zorder(1)
    for x, y in panel.rest:
        axes.plot(x, y, "+", color="black", markersize=6, markeredgewidth=1, zorder=5)


def _joined(pieces: list[np.ndarray]) -> list[np.ndarray]:
    """Lines (m, 2), each made of the pieces that go on from one another."""
    lines: list[list[np.ndarray]] = []
    for piece in pieces:
        if lines and (lines[-1][-1][-1] == piece[0]).all():
            lines[-1].append(piece[1:])
        else:
            lines.append([piece])
    return [np.concatenate(line) for line in lines]


def _draw_path(axes: Axes, name: str, path: list[list[float]], colour: str, mark: str) -> None:
    x, y = np.array(path, dtype=float).T
    every = max(1, math.ceil(len(path) / NUM_MARKS))
    axes.plot(
        x, y, color=colour, marker=mark, markevery=(every, every), markeredgewidth=0, label=name, zorder=3
    )
    axes.plot(x[:1], y[:1], "o", color="black", mfc="white", markersize=4.5, markeredgewidth=1, zorder=4)
