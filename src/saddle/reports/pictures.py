"""Samples as PNG files: a grid of images, points in the plane or on the line.

All return the bytes of a file, equal for equal input, ready for ``records.atomic_write``.
"""

import io
import math
from collections.abc import Callable

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from saddle.data.pixels import to_uint8
from saddle.game.refusals import Refused

CELL = 84  # pixels: images smaller than this are enlarged by a whole factor, 3 for 28x28 digits
MARGIN = 2  # pixels between images
MARGIN_LEVEL = 128  # mid-grey: seen against black digits' ground and against white
REAL, GENERATED = "#9a9a9a", "#0072b2"  # grey and the blue of Okabe and Ito: apart for every colour vision
VIEW_MARGIN = 0.3  # of the real points' extent, on each side: generated points just off the data stay in view
NO_EXTENT = 1.0  # half the view's width, in data units, where all real points are one
NUM_BINS = 60

Picture = Callable[[Tensor, Tensor | None], bytes]  # real samples, generated ones or None -> PNG


def picture_of(event: tuple[int, ...]) -> tuple[Picture, int]:
    """How samples of this shape are drawn, and how many of them at most."""
    if len(event) == 3:
        return images_picture, 64
    return {1: line_picture, 2: points_picture}.get(event[0], first_two_axes_picture), 2500


def image_grid(images: Tensor, num_columns: int | None = None) -> bytes:
    """Images row by row in a grid, enlarged without smoothing.

    Args:
        images: (N, C, H, W) in [-1, 1], at least one, with one channel (grey) or three (RGB).
        num_columns: by default the least that makes the grid at least as wide as high.

    Raises:
        ValueError: another shape; a value that is not finite.
    """
    if images.ndim != 4 or images.shape[1] not in (1, 3) or 0 in images.shape:
        raise Refused(
            f"a grid needs images of shape (N, C, H, W) with N > 0 and C 1 or 3; got {tuple(images.shape)}. "
            "Draw points with points_picture."
        )
    levels = to_uint8(images.detach()).cpu().numpy().transpose(0, 2, 3, 1)  # (N, H, W, C)
    count, height, width, channels = levels.shape
    columns = num_columns or math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    factor = max(1, round(CELL / max(height, width)))
    levels = levels.repeat(factor, axis=1).repeat(factor, axis=2)
    high, wide = height * factor + MARGIN, width * factor + MARGIN
    canvas = np.full((rows * high + MARGIN, columns * wide + MARGIN, channels), MARGIN_LEVEL, np.uint8)
    for index, image in enumerate(levels):
        top, left = index // columns * high + MARGIN, index % columns * wide + MARGIN
        canvas[top : top + high - MARGIN, left : left + wide - MARGIN] = image
    return _png(canvas)


def image_file(image: Tensor) -> bytes:
    """One image (C, H, W) in [-1, 1], C 1 or 3, at its own size: the very levels that features see."""
    return _png(to_uint8(image.detach()).cpu().numpy().transpose(1, 2, 0))


def _png(levels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(levels if levels.shape[2] == 3 else levels[..., 0]).save(file, "PNG", optimize=True)
    return file.getvalue()


def points_picture(real: Tensor, generated: Tensor | None = None) -> bytes:
    """Generated points over real ones, one unit as long across as up.

    The view is fixed by the real points alone, so that pictures of one run can be laid side by side;
    generated points outside it are counted in the caption.

    Args:
        real: (N, 2), at least one point, finite.
        generated: (M, 2), or None for the picture of the data.

    Raises:
        ValueError: another shape.
    """
    for name, points in (("real", real), ("generated", generated)):
        if points is not None and (points.ndim != 2 or points.shape[1] != 2 or len(points) == 0):
            raise Refused(
                f"{name} points must have shape (N, 2) with N > 0; got {tuple(points.shape)}. "
                "Give two coordinates, or draw images with image_grid."
            )
    real_xy = real.detach().cpu().numpy()
    centre, radius = _view(real_xy)

    figure = Figure(figsize=(4.2, 4.4), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)  # not pyplot: it keeps figures in a global list
    axes = figure.add_subplot(aspect="equal")
    axes.scatter(real_xy[:, 0], real_xy[:, 1], s=9, c=REAL, linewidths=0, label="real")
    caption = f"{len(real_xy)} real points"
    if generated is not None:
        xy = generated.detach().cpu().numpy()
        inside = int((np.abs(xy - centre) <= radius).all(1).sum())  # NaN is not inside
        axes.scatter(xy[:, 0], xy[:, 1], s=5, c=GENERATED, alpha=0.5, linewidths=0, label="generated")
        caption = f"{len(xy)} generated points" + (f", {len(xy) - inside} out of view" * (inside < len(xy)))
        axes.legend(loc="upper right", fontsize=8, framealpha=0.8, markerscale=1.6)
    axes.set_title(caption, fontsize=9)
    axes.set(xlim=(centre[0] - radius, centre[0] + radius), ylim=(centre[1] - radius, centre[1] + radius))
    return _saved(figure)


def line_picture(real: Tensor, generated: Tensor | None = None) -> bytes:
    """Histograms of real and generated points on the line, as shares of all points.

    How far it shows is fixed by the real points alone; generated points outside are counted in the caption.

    Args:
        real: (N, 1), at least one point, finite.
        generated: (M, 1), or None for the picture of the data.

    Raises:
        ValueError: another shape.
    """
    for name, points in (("real", real), ("generated", generated)):
        if points is not None and (points.ndim != 2 or points.shape[1] != 1 or len(points) == 0):
            raise Refused(
                f"{name} points must have shape (N, 1) with N > 0; got {tuple(points.shape)}. "
                "Draw points in the plane with points_picture."
            )
    real_x = real.detach().cpu().numpy()
    (centre,), radius = _view(real_x)
    edges = np.linspace(centre - radius, centre + radius, NUM_BINS + 1).tolist()

    figure = Figure(figsize=(4.2, 3.0), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(xlim=(edges[0], edges[-1]))
    axes.hist(real_x[:, 0], edges, weights=np.full(len(real_x), 1 / len(real_x)), color=REAL, label="real")
    caption = f"{len(real_x)} real points"
    if generated is not None:
        x = generated.detach().cpu().numpy()[:, 0]
        seen = x[np.abs(x - centre) <= radius]  # NaN is not seen
        share = np.full(len(seen), 1 / len(x))
        axes.hist(seen, edges, weights=share, histtype="step", lw=1.6, color=GENERATED, label="generated")
        out_of_view = len(x) - len(seen)
        caption = f"{len(x)} generated points" + (f", {out_of_view} out of view" * (out_of_view > 0))
        axes.legend(loc="upper right", fontsize=8, framealpha=0.8)
    axes.set_title(caption, fontsize=9)
    axes.set_ylabel("share of points", fontsize=8)
    axes.margins(y=0.15)
    return _saved(figure)


def first_two_axes_picture(real: Tensor, generated: Tensor | None = None) -> bytes:
    """The first two coordinates of points (N, d)."""
    return points_picture(real[:, :2], None if generated is None else generated[:, :2])


def _view(real: np.ndarray) -> tuple[np.ndarray, float]:
    """Centre (d,) and half the width of what is shown, from the real points (N, d) alone."""
    low, high = real.min(0), real.max(0)
    extent = float((high - low).max()) / 2
    return (low + high) / 2, (extent or NO_EXTENT) * (1 + 2 * VIEW_MARGIN)


def _saved(figure: Figure) -> bytes:
    for axes in figure.axes:
        axes.tick_params(labelsize=8)
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()


def images_picture(real: Tensor, generated: Tensor | None = None) -> bytes:
    """The grid of the generated images, or of the real ones where there are none."""
    return image_grid(real if generated is None else generated)
