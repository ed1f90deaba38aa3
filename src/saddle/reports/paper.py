"""Figures as papers print them: as wide as a column, text of 7 points or more, PNG and SVG.

Colours are those of Okabe and Ito (2008), which every colour vision tells apart; each comes with a mark of
its own, so that nothing is told by colour alone. A figure is drawn, and saved, under ``STYLE``.
"""

import io
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from PIL import Image

from saddle.game.refusals import Refused

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
MARKS = ("o", "s", "^", "D", "v", "P", "X")
GREY = "#9a9a9a"  # of what lies behind: fields, grids, regions
DOTS_PER_INCH = 300
NARROWEST, WIDEST = 2.5, 20.0  # inches: below, labels of 7 points meet; above, a poster is meant

STYLE: Any = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "legend.columnspacing": 1.2,
    "axes.linewidth": 0.6,
    "axes.axisbelow": True,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.1,
    "lines.markersize": 3.2,
    "svg.fonttype": "none",  # text stays text: small, and searched and edited as such
    "svg.hashsalt": "saddle",  # the same file whenever it is made
}


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of this size in inches.

    Raises:
        ValueError: a width that no page has.
    """
    if not NARROWEST <= width <= WIDEST:
        raise Refused(
            f"width must lie between {NARROWEST:g} and {WIDEST:g} inches; got {width:g}. One column of a "
            "paper is 3.35, two are 6.9."
        )
    layout = ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.06)  # inches
    figure = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)  # not pyplot: it keeps figures in a global list
    return figure


def file(figure: Figure, kind: str) -> bytes:
    """The bytes of a ``png`` or ``svg``, the same whenever they are made."""
    content, packed = io.BytesIO(), io.BytesIO()
    nothing = {"Software": None} if kind == "png" else {"Date": None}
    with matplotlib.rc_context(STYLE):
        figure.savefig(content, format=kind, dpi=DOTS_PER_INCH, metadata=nothing)
    if kind == "svg":
        return content.getvalue()
    # few colours and their blends with white: a palette holds them in a third of the bytes
    picture = Image.open(content).convert("RGB").quantize(64, dither=Image.Dither.NONE)
    picture.save(packed, "PNG", optimize=True, dpi=(DOTS_PER_INCH, DOTS_PER_INCH))
    return packed.getvalue()


def legend_above(figure: Figure, panels: list[Axes]) -> None:
    """One legend of all panels above them, in as many columns as the width holds."""
    by_label: dict[str, Any] = {}
    for axes in panels:
        handles, labels = axes.get_legend_handles_labels()
        by_label |= dict(zip(labels, handles, strict=True))
    if not by_label:
        return
    # a character of 7 points is some 0.06 inches wide; a handle and its space take 0.45
    longest = max(0.06 * len(label) + 0.45 for label in by_label)
    columns = max(1, min(len(by_label), int(figure.get_figwidth() / longest)))
    figure.legend([*by_label.values()], [*by_label], loc="outside upper center", ncols=columns)
