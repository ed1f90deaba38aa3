"""Eigenvalues in the complex plane, with the disc in which a step is stable.

Of a round of training it is the unit disc. Of the vector field it is |1 + hλ| < 1, the disc of radius 1/h
around −1/h, h the learning rate of plain simultaneous descent.
"""

from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from saddle.reports.paper import COLOURS, GREY, MARKS, STYLE, legend_above, new_figure

ROOM = 0.12  # of the extent, on each side
FLATTEST, STEEPEST = 0.45, 1.1  # height over width of the frame
SHADE = "#e8eef3"


class SpectrumPicture(NamedTuple):
    """The numbers of an eigenvalue cloud, as JSON holds them."""

    clouds: dict[str, list[list[float]]]  # label -> (real, imaginary) parts
    exact: dict[str, list[list[float]]]  # label -> those of the closed form, where it is known
    disc: list[float] | None  # centre on the real axis and radius of the stable region
    region: str  # what it is called in the legend
    complete: bool  # whether these are all eigenvalues, or those of largest modulus


@matplotlib.rc_context(STYLE)
def draw(numbers: SpectrumPicture, width: float) -> Figure:
    """A colour and a mark for each cloud, rings for closed forms, the stable region shaded."""
    points = np.array([point for cloud in numbers.clouds.values() for point in cloud], dtype=float)
    left, right, bottom, top = _frame(points, numbers.disc)
    side = min(width - 0.6, 3.6)
    num_rows = 1 + int(sum(0.06 * len(name) + 0.45 for name in numbers.clouds) / width)
    figure = new_figure(width, side * (top - bottom) / (right - left) + 0.6 + 0.17 * num_rows)
    axes = figure.add_subplot(aspect="equal", xlim=(left, right), ylim=(bottom, top))
    axes.axhline(0, color=GREY, linewidth=0.5, zorder=1)
    axes.axvline(0, color=GREY, linewidth=0.5, zorder=1)
    if numbers.disc is not None:
        centre, radius = numbers.disc
        disc = Circle((centre, 0), radius, facecolor=SHADE, edgecolor="black", linewidth=0.8, linestyle="--")
        axes.add_patch(disc).set_zorder(0.5)
        disc.set_label(numbers.region)
    dense = len(points) > 200
    for style, (name, cloud) in enumerate(numbers.clouds.items()):
        x, y = np.array(cloud, dtype=float).T
        axes.plot(
            x,
            y,
            MARKS[style % 7],
            color=COLOURS[style % 7],
            markersize=2.4 if dense else 3.6,
            markeredgewidth=0,
            alpha=0.75 if dense else 1,
            label=name,
            zorder=3 + style,
        )
    for index, exact in enumerate(numbers.exact.values()):
        x, y = np.array(exact, dtype=float).T
        axes.plot(
            x,
            y,
            "o",
            color="black",
            mfc="none",
            markersize=6.5,
            markeredgewidth=0.7,
            zorder=3,
            label="closed form" if index == 0 else None,
        )
    axes.set_xlabel("Re λ", labelpad=1)
    axes.set_ylabel("Im λ", labelpad=1)
    axes.locator_params(axis="y", nbins=5)
    axes.locator_params(axis="x", nbins=max(3, int(1.7 * side)))
    legend_above(figure, [axes])
    return figure


def _frame(points: np.ndarray, disc: list[float] | None) -> tuple[float, float, float, float]:
    """Around the points and 0, and the whole disc where it is not much larger; neither flat nor steep."""
    low, high = np.minimum(points.min(0), 0), np.maximum(points.max(0), 0)
    extent = max(float((high - low).max()), 1e-12)
    if disc is not None and disc[1] <= 2 * extent:
        low = np.minimum(low, [disc[0] - disc[1], -disc[1]])
        high = np.maximum(high, [disc[0] + disc[1], disc[1]])
    middle, size = (low + high) / 2, high - low
    size = np.maximum(size, [size[1] / STEEPEST, size[0] * FLATTEST])
    size = np.where(size > 0, size, 1.0) * (1 + 2 * ROOM)
    return (
        float(middle[0] - size[0] / 2),
        float(middle[0] + size[0] / 2),
        float(middle[1] - size[1] / 2),
        float(middle[1] + size[1] / 2),
    )
