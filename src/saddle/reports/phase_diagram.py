"""Phase diagrams: what became of a game at each pair of settings, and where theory puts the boundary."""

from itertools import pairwise
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, PathPatch
from matplotlib.path import Path

from saddle.diagnosis.fate import NAMES
from saddle.reports.paper import STYLE, new_figure

# converged, orbit, diverged: of Okabe and Ito, and apart in grey as well
SHADES = ("#56b4e9", "#f0e442", "#d55e00")


class PhaseDiagram(NamedTuple):
    """The numbers of a phase diagram, as JSON holds them."""

    x_label: str
    y_label: str
    x: list[float]  # logarithmically spaced
    y: list[float]
    verdicts: list[list[int]]  # a row for each y: indices of ``fate.NAMES``
    growth: list[list[float | None]]  # factor a round of the distance, where it stayed finite
    boundary: list[list[float]]  # points (x, y) of the closed form; empty where it is not known
    radius: list[list[float]]  # spectral radius of the linearized round; empty where it has none


@matplotlib.rc_context(STYLE)
def draw(numbers: PhaseDiagram, width: float) -> Figure:
    """Both axes logarithmic; the closed form as a solid line, or the linearized round's as a dashed one."""
    side = min(width - 0.6, 3.6)
    figure = new_figure(width, 0.8 * side + 0.75)
    axes = figure.add_subplot(xscale="log", yscale="log")
    x, y = np.array(numbers.x), np.array(numbers.y)
    for verdict, shade in enumerate(SHADES):
        area = _area(np.array(numbers.verdicts) == verdict, _edges(x), _edges(y))
        # drawn to the edge, else viewers show seams between cells
        axes.add_patch(PathPatch(area, facecolor=shade, edgecolor=shade, linewidth=0.3)).set_zorder(0)
    present = sorted({verdict for row in numbers.verdicts for verdict in row})
    handles: list[Patch | Line2D] = [Patch(facecolor=SHADES[i], label=NAMES[i]) for i in present]
    if numbers.boundary:
        a, b = np.array(numbers.boundary).T
        axes.plot(a, b, color="black", linewidth=1.4)
        handles.append(Line2D([], [], color="black", linewidth=1.4, label="theory"))
    elif numbers.radius:
        values = np.log(np.maximum(np.array(numbers.radius, dtype=float), 1e-12))
        if min(values.shape) > 1 and values.min() < 0 < values.max():
            axes.contour(x, y, values, levels=[0.0], colors="black", linewidths=1.4, linestyles="dashed")
            label = "linearized"
            handles.append(Line2D([], [], color="black", linewidth=1.4, linestyle="--", label=label))
    axes.set(xlim=_edges(x)[[0, -1]], ylim=_edges(y)[[0, -1]])
    axes.set_xlabel(numbers.x_label, labelpad=1)
    axes.set_ylabel(numbers.y_label, labelpad=1)
    columns = len(handles) if width >= 0.85 * len(handles) else 2
    figure.legend(handles=handles, loc="outside upper center", ncols=columns)
    return figure


def _area(here: np.ndarray, x: np.ndarray, y: np.ndarray) -> Path:
    """All cells where ``here`` holds as one path, neighbours in a row joined: a tenth of a mesh's file."""
    corners = []
    for row, (low, high) in zip(here, pairwise(y), strict=True):
        ends = np.flatnonzero(np.diff(np.concatenate([[0], row.astype(int), [0]])))
        for left, right in zip(x[ends[::2]], x[ends[1::2]], strict=True):
            corners += [(left, low), (right, low), (right, high), (left, high), (left, low)]
    codes = [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY]
    return Path(np.array(corners).reshape(-1, 2), codes * (len(corners) // 5))


def _edges(values: np.ndarray) -> np.ndarray:
    """Of cells around logarithmically spaced values: geometric means, and as far beyond the ends."""
    if len(values) == 1:
        return values[0] * np.array([0.8, 1.25])
    inner = np.sqrt(values[1:] * values[:-1])
    return np.concatenate([[values[0] ** 2 / inner[0]], inner, [values[-1] ** 2 / inner[-1]]])
