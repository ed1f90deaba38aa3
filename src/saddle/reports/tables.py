"""A comparison as tables: on the terminal and as LaTeX, numbers to four digits."""

import re
from collections.abc import Iterator, Sequence

from rich.table import Table
from rich.text import Text

from saddle.reports.blocks import STATISTICS, Block, Group
from saddle.reports.comparison import Comparison, unlike
from saddle.reports.curves import number
from saddle.reports.statistics import Estimate

MAX_NAMED = 20  # runs in one sentence; runs.csv has all
IN_LATEX = str.maketrans({"↑": r"\uparrow", "↓": r"\downarrow", "→": r"\rightarrow "})  # of arrows
NAMES = {"best": "best", "last": "last", "area": "mean over run"}


def to_latex(comparison: Comparison) -> str:
    """One ``tabular`` a protocol (booktabs): mean of the last value of each metric with its interval."""
    parts = []
    for block in comparison.blocks:
        head = [*(rf"\texttt{{{_escape(key)}}}" for key in block.keys or ("runs",)), "seeds"]
        head += [rf"{_escape(m)} ${block.meanings[m].arrow.translate(IN_LATEX)}$" for m in block.metrics]
        head += [_escape(name) for name in comparison.columns]
        means = [block.means(name) for name in comparison.columns]
        lines = [
            rf"% protocol {block.fingerprint or 'unknown'}; last value: mean [95 % BCa bootstrap interval]",
            rf"\begin{{tabular}}{{{'l' * len(block.keys) or 1}r{'l' * (len(block.metrics) + len(means))}}}",
            r"\toprule",
            " & ".join(head) + r" \\",
            r"\midrule",
        ]
        for index, group in enumerate(block.groups):
            named = [_escape(group.words.get(key, "--")) for key in block.keys] or [_escape(group.label)]
            cells = [_latex(block.estimates[metric, "last"][index]) for metric in block.metrics]
            cells += [_latex(found[index]) for found in means]
            seeds = f"{len(group.ended)}/{group.num_asked}" + (r"\textsuperscript{*}" if group.few else "")
            lines.append(" & ".join([*named, seeds, *cells]) + r" \\")
        lines += [r"\bottomrule", r"\end{tabular}"]
        if any(group.few for group in block.groups):
            lines.append(r"\par\footnotesize * fewer than three seeds")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def to_terminal(comparison: Comparison, metrics: Sequence[str] = ()) -> Iterator[Table | str]:
    """For each protocol an overview, then details and pairs of each metric.

    Args:
        metrics: by default quality and diversity, as all of them would not fit.
    """
    yield from notes(comparison)
    for position, block in enumerate(comparison.blocks):
        of = ""
        if len(comparison.blocks) > 1:
            of = f", protocol {position + 1} of {len(comparison.blocks)}"
            differing = [f"{entry} {values[position]}" for entry, values in unlike(comparison.blocks).items()]
            common = [f"{key}={word}" for key, word in block.common.items()]
            yield f"Protocol {position + 1}: {', '.join([*differing, *common])}"
        shown = [metric for metric in metrics or block.main if metric in block.metrics]
        yield _overview(block, shown, comparison.columns, of)
        for metric in shown:
            yield _details(block, metric)
            if block.comparisons[metric]:
                yield _pairs(block, metric)


def notes(comparison: Comparison) -> list[str]:
    """What the reader must know before any number: what was counted, left out, marked or kept apart."""
    counted = dict(comparison.statuses.most_common())
    if comparison.duplicates:
        counted["left out as double"] = len(comparison.duplicates)
    if comparison.unreadable:
        counted["not read"] = len(comparison.unreadable)
    statuses = ", ".join(f"{count} {status}" for status, count in counted.items())
    num_groups = sum(len(block.groups) for block in comparison.blocks)
    num_runs = comparison.num_runs + len(comparison.unreadable) + len(comparison.unrecorded)
    found = [
        f"{_plural(num_runs, 'run')} in {_plural(num_groups, 'group')}: {statuses}."
        + f" Varying: {comparison.title}."
    ]
    if unended := [run for run in comparison.runs if run.status not in ("finished", "diverged")]:
        found.append(_named("Not ended", [(run.name, run.status, run.message) for run in unended]))
    if jobs := comparison.unrecorded:
        found.append(_named("Without a record", [(job.name, job.status, job.message) for job in jobs]))
    for name, reason in comparison.unreadable.items():
        found.append(f"Not read: {name}: {reason}")
    for left_out, kept in comparison.duplicates:
        found.append(f"Same configuration and seed: {left_out} is left out, {kept} counted.")
    for block in comparison.blocks:
        for group in block.groups:
            told = {job.seed for job in group.unrecorded}
            if seeds := [seed for seed in group.missing_seeds if seed not in told]:
                missing = ", ".join(map(str, seeds))
                found.append(f"Missing: {group.label} lacks seed {missing}, which others have.")
    if any(group.few for block in comparison.blocks for group in block.groups):
        found.append("* fewer than three seeds ended: too few to show how much seeds differ.")
    if len(comparison.blocks) > 1:
        found.append(
            f"{len(comparison.blocks)} protocols: their numbers were not computed alike and are kept apart."
        )
    if comparison.across:
        found.append(comparison.across)
    return found


def show(estimate: Estimate | None) -> str:
    """``3.94 [3.51, 4.42]``, the interval left out where there is none."""
    if estimate is None:
        return number(None)
    if estimate.low is None:
        return number(estimate.value)
    return f"{number(estimate.value)} [{number(estimate.low)}, {number(estimate.high)}]"


def seeds(group: Group) -> str:
    """``7/8``: runs that ended of those asked for; a star where these are too few."""
    return f"{len(group.ended)}/{group.num_asked}{'*' if group.few else ''}"


def in_words(counts: dict[str, int]) -> str:
    """``6 settled, 2 collapsed``."""
    return ", ".join(f"{count} {word}" for word, count in sorted(counts.items(), key=lambda c: (-c[1], c[0])))


def duration(seconds: float | None) -> str:
    if seconds is None:
        return number(None)
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"


def percent(share: float | None) -> str:
    return number(None) if share is None else f"{share:.0%}"


def _overview(block: Block, metrics: Sequence[str], columns: Sequence[str], of: str) -> Table:
    table = Table(title=f"last value: mean [95 % interval]{of}")
    for key in block.keys or ("runs",):
        table.add_column(key, overflow="fold")
    table.add_column("seeds", justify="right")
    table.add_column("verdicts")
    for metric in metrics:
        table.add_column(f"{metric} {block.meanings[metric].arrow}", justify="right")
    for name in columns:
        table.add_column(name, justify="right", overflow="fold")
    means = [block.means(name) for name in columns]
    for index, group in enumerate(block.groups):
        named = [group.words.get(key, number(None)) for key in block.keys] or [group.label]
        cells = [show(block.estimates[metric, "last"][index]) for metric in metrics]
        cells += [show(found[index]) for found in means]
        table.add_row(*map(Text, [*named, seeds(group), in_words(group.verdicts), *cells]))  # not markup
    return table


def _details(block: Block, metric: str) -> Table:
    table = Table(title=f"{metric} {block.meanings[metric].arrow}: mean [95 % interval]")
    table.add_column("group", overflow="fold")
    for column in ("seeds", *NAMES.values(), "IQM last", "collapsed", "at step", "images", "time"):
        table.add_column(column, justify="right")
    for index, group in enumerate(block.groups):
        rate, step = block.collapse(index, metric)
        table.add_row(
            Text(group.label.replace(" ", "\n")),
            seeds(group),
            *(Text(show(block.estimates[metric, statistic][index])) for statistic in STATISTICS),
            number(block.interquartile_mean(index, metric)),
            percent(rate),
            number(step),
            number(group.mean("images_seen")),
            duration(group.mean("seconds")),
        )
    return table


def _pairs(block: Block, metric: str) -> Table:
    table = Table(title=f"{metric}: is a run of the first group better than one of the second?")
    for column in ("first", "second"):
        table.add_column(column, overflow="fold")
    for column in ("probability [95 %]", "p, Holm", "seeds"):
        table.add_column(column, justify="right")
    for pair in block.comparisons[metric]:
        found = pair.found
        table.add_row(
            Text(block.groups[pair.first].label),
            Text(block.groups[pair.second].label),
            Text(f"{found.probability:.2f} [{found.low:.2f}, {found.high:.2f}]"),
            f"{pair.corrected_p:.3g}",
            "paired" if found.paired else "unpaired",
        )
    return table


def _latex(estimate: Estimate | None) -> str:
    if estimate is None:
        return "--"
    text = re.sub(r"[−\d.e+-]+", lambda found: f"${found[0].replace('−', '-')}$", show(estimate))
    return text.replace("\u202f", r"\,")


def _escape(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(special.get(c, rf"\{c}" if c in "&%$#_{}" else c) for c in text)


def _named(what: str, rows: Sequence[tuple[str, str, str]]) -> str:
    """``Not ended: a (failed: why), b (running).``"""
    shown = [f"{name} ({status}{f': {why}' if why else ''})" for name, status, why in rows[:MAX_NAMED]]
    more = f", and {len(rows) - MAX_NAMED} more" if len(rows) > MAX_NAMED else ""
    return f"{what}: {', '.join(shown)}{more}."


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
