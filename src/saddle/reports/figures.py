"""The figures of a comparison as files, for papers and trackers: PNG and PDF, drawn by matplotlib.

They show what the page shows, see ``saddle.reports.geometry``.
"""

import io
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from saddle.game.refusals import Refused
from saddle.reports.blocks import Block
from saddle.reports.curves import LOG_RATIO
from saddle.reports.geometry import curve_lines, pareto_dots, profile_axis, profile_lines
from saddle.reports.plots import Line, corners

COLOURS = ("#0072b2", "#c24a00", "#00805c", "#b0578f", "#b87d00", "#3c3f42")  # those of the page
MARKERS = ("o", "s", "^", "D")
NUM_COLUMNS = 3
PANEL = (4.0, 2.7)  # inches


def figures(block: Block, x: str | None = None, y: str | None = None) -> dict[str, Figure]:
    """Name -> figure: curves, profiles, pareto, and, if both columns are named, scatter.

    A figure with nothing in it is left out.

    Raises:
        ValueError: a column that no run has.
    """
    found = {
        "curves": _panels(block, steps=False),
        "profiles": _panels(block, steps=True),
        "pareto": _pareto(block),
        "scatter": scatter(block, x, y) if x and y else None,
    }
    return {name: figure for name, figure in found.items() if figure is not None}


def file(figure: Figure, kind: str) -> bytes:
    """The bytes of a ``png`` or ``pdf``, the same whenever they are made."""
    content = io.BytesIO()
    nothing = {"Software": None} if kind == "png" else {"CreationDate": None}
    figure.savefig(content, format=kind, metadata=nothing)
    return content.getvalue()


def scatter(block: Block, x: str, y: str) -> Figure:
    """One mark a run: any two columns of ``Block.columns``.

    Raises:
        ValueError: a column that no run has.
    """
    for side, name in (("x", x), ("y", y)):
        if name not in block.columns:
            raise Refused(
                f"{side} must be a column: {', '.join(block.columns)}; got {name}. Choose among those."
            )
    rows: list[list[tuple[float | None, float | None]]] = [[] for _ in block.groups]
    for group, _, found in block.table:
        rows[group].append((found.get(x), found.get(y)))
    figure, (axes,) = _figure(1)
    for group in range(len(block.groups)):
        points = [(a, b) for a, b in rows[group] if a is not None and b is not None]
        style = block.drawn.index(group) if group in block.drawn else None
        colour = "#999999" if style is None else COLOURS[style % 6]
        axes.plot(
            [a for a, _ in points],
            [b for _, b in points],
            MARKERS[(style or 0) % 4],
            color=colour,
            mfc=colour if (style or 0) < 6 else "white",
            label=block.groups[group].label if style is not None else None,
        )
    axes.set(xlabel=x, ylabel=y)
    for position, rescale in enumerate((axes.set_xscale, axes.set_yscale)):
        values = [v for points in rows for point in points if (v := point[position]) is not None]
        if _is_wide(values):
            rescale("log")
    _finish(figure, [axes])
    return figure


def _panels(block: Block, steps: bool) -> Figure | None:
    """Small multiples, one a metric."""
    make = profile_lines if steps else curve_lines
    drawn = {metric: found for metric in block.metrics if (found := make(block, metric))}
    if not drawn:
        return None
    figure, panels = _figure(len(drawn))
    for axes, (metric, found) in zip(panels, drawn.items(), strict=True):
        for line in found:
            _draw(axes, line, steps)
        name = f"{metric} {block.meanings[metric].arrow}"
        axes.set(
            xlabel=profile_axis(block, metric, name) if steps else "generator step",
            ylabel="share of runs as good" if steps else name,
        )
        values = [value for line in found for value in (line.x if steps else line.y)]
        if _is_wide(values):
            (axes.set_xscale if steps else axes.set_yscale)("log")
    _finish(figure, panels)
    return figure


def _draw(axes: Axes, line: Line, steps: bool) -> None:
    colour, hollow = COLOURS[line.style % 6], line.style % 12 >= 6
    bends = corners(line, steps)
    axes.plot(
        [bend[0] for bend in bends],
        [bend[1] for bend in bends],
        color=colour,
        linestyle="--" if hollow else "-",
        linewidth=1.4,
        marker=MARKERS[line.style % 4],
        markevery=max(1, len(bends) // 8),
        markersize=4,
        mfc="white" if hollow else colour,
        label=line.label,
    )
    ends = [bend for bend in bends if bend[2] is not None and bend[3] is not None]
    if len(ends) > 1:
        low, high = [bend[2] or 0.0 for bend in ends], [bend[3] or 0.0 for bend in ends]
        axes.fill_between([bend[0] for bend in ends], low, high, color=colour, alpha=0.13, linewidth=0)


def _pareto(block: Block) -> Figure | None:
    points, front = pareto_dots(block)
    if not points:
        return None
    figure, (axes,) = _figure(1)
    for dot in points:
        bars = [
            None if low is None or high is None else [[max(0.0, value - low)], [max(0.0, high - value)]]
            for value, low, high in (dot.x, dot.y)
        ]
        colour = COLOURS[dot.style % 6]
        axes.errorbar(
            dot.x[0],
            dot.y[0],
            xerr=bars[0],
            yerr=bars[1],
            fmt=MARKERS[dot.style % 4],
            color=colour,
            mfc="white" if dot.style % 12 >= 6 else colour,
            label=dot.label,
        )
    axes.plot(
        [points[i].x[0] for i in front], [points[i].y[0] for i in front], ":", color="black", linewidth=1
    )
    names = [f"{metric} {block.meanings[metric].arrow}, last" for metric in block.main]
    axes.set(xlabel=names[0], ylabel=names[1])
    _finish(figure, [axes])
    return figure


def _figure(num_panels: int) -> tuple[Figure, list[Axes]]:
    columns = min(NUM_COLUMNS, num_panels)
    rows = -(-num_panels // columns)
    figure = Figure(
        figsize=(max(6.0, PANEL[0] * columns), PANEL[1] * rows + 0.6 + (num_panels == 1)),
        dpi=110,
        layout="constrained",
    )
    FigureCanvasAgg(figure)  # not pyplot: it keeps figures in a global list
    return figure, [figure.add_subplot(rows, columns, index + 1) for index in range(num_panels)]


def _is_wide(values: Sequence[float]) -> bool:
    """Whether a logarithmic axis shows these better."""
    return bool(values) and min(values) > 0 and max(values) / min(values) >= LOG_RATIO


def _finish(figure: Figure, panels: Sequence[Axes]) -> None:
    for axes in panels:
        axes.grid(color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
    handles, labels = panels[0].get_legend_handles_labels()
    by_label = dict(zip(labels, handles, strict=True))
    columns = 2 if max(map(len, by_label), default=0) < 45 * len(panels) else 1
    figure.legend(
        by_label.values(), by_label.keys(), loc="outside upper left", ncols=columns, fontsize=8, frameon=False
    )
