"""Many runs against each other: grouped by question, kept apart by protocol, every run accounted for.

A *group* is the runs of one question, that is of one configuration without the seed. A *block* is the
groups whose numbers were computed alike; only within a block is anything compared.

What a run contributes to ``best``, ``last`` and ``area`` of a metric:

finished
    its value; where that is not a finite number, the worst there is, an infinity on the bad side.
diverged
    the best it had; its last value and its area are the worst there is.
running, interrupted, failed, half-written
    nothing yet: it is counted as incomplete.
"""

import json
import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from saddle.diagnostics.collapse import collapse_step
from saddle.diagnostics.verdict import COUNTS, FRACTIONS, QUALITY
from saddle.protocol import must_be_comparable
from saddle.questions import flatten, labels, question, words
from saddle.records import strict
from saddle.reports.selection import Run, Selection
from saddle.reports.statistics import (
    Estimate,
    Improvement,
    Profile,
    holm,
    improvement,
    interquartile_mean,
    mean_intervals,
    profile,
)

STATISTICS = ("best", "last", "area")
MIN_SEEDS = 3  # fewer do not show how much seeds differ; such a group is marked
MAX_ALL_PAIRS = 8  # groups; with more, each is compared with the baseline alone
MAX_DRAWN = 12  # groups whose curves and profiles can be told apart in one figure
NUM_CURVE_RESAMPLES = 999  # a band is drawn, not read to three digits


class Compared(NamedTuple):
    """Two groups of a block, by index: the probability that a run of the first beats one of the second."""

    first: int
    second: int
    found: Improvement
    corrected_p: float  # Holm's, over all pairs of this metric


class Curve(NamedTuple):
    """Mean over finished runs at each generator step at which they were evaluated."""

    steps: list[int]
    points: list[Estimate]


@dataclass(frozen=True)
class Group:
    label: str
    words: Mapping[str, str]  # varying key -> value
    runs: tuple[Run, ...]
    missing_seeds: tuple[Any, ...]  # that other groups of the block have

    @cached_property
    def statuses(self) -> Counter[str]:
        return Counter(run.status for run in self.runs)

    @cached_property
    def verdicts(self) -> Counter[str]:
        """Of the runs that ended by themselves."""
        return Counter(run.verdict for run in self.ended)

    @property
    def finished(self) -> list[Run]:
        return [run for run in self.runs if run.status == "finished"]

    @property
    def ended(self) -> list[Run]:
        """Finished or diverged: runs that say something about their question."""
        return [run for run in self.runs if run.status in ("finished", "diverged")]

    @property
    def few(self) -> bool:
        return len(self.ended) < MIN_SEEDS

    def mean(self, key: str) -> float | None:
        """Of ``images_seen``, ``step`` or ``seconds`` over finished runs."""
        values = [number for run in self.finished if (number := cost(run, key)) is not None]
        return sum(values) / len(values) if values else None


@dataclass(frozen=True)
class Block:
    """Groups whose numbers were computed alike."""

    fingerprint: str
    protocol: Mapping[str, Any]
    keys: tuple[str, ...]  # that vary within the block
    common: Mapping[str, str]  # words that its groups share, but not all blocks
    groups: tuple[Group, ...]
    measured: tuple[str, ...]  # metrics of any run: quality first, then diversity, then the rest
    metrics: tuple[str, ...]  # of these, the ones to show
    higher_is_better: Collection[str]
    baseline: int  # index of the group that others are compared with, where they are too many for all pairs
    chosen_baseline: bool  # by the user
    seed: int

    def values(self, group: int, metric: str, statistic: str) -> list[float]:
        """Of the runs that ended: see the module. Without those that never measured the metric."""
        found = (self.value(run, metric, statistic) for run in self.groups[group].ended)
        return [value for value in found if not math.isnan(value)]

    def value(self, run: Run, metric: str, statistic: str) -> float:
        """NaN where there is none."""
        measured = run.metrics.get(metric)
        if measured is None or run.status not in ("finished", "diverged"):
            return math.nan
        value = measured.get(statistic)
        if value is None or (run.status == "diverged" and statistic != "best"):
            return -math.inf if metric in self.higher_is_better else math.inf
        return float(value)

    @cached_property
    def estimates(self) -> dict[tuple[str, str], list[Estimate | None]]:
        """(metric, statistic) -> mean of each group with its interval."""
        keys = [(metric, statistic) for metric in self.metrics for statistic in STATISTICS]
        rows = [self.values(group, *key) for key in keys for group in range(len(self.groups))]
        found = mean_intervals(rows, seed=self.seed)
        size = len(self.groups)
        return {key: found[index * size : (index + 1) * size] for index, key in enumerate(keys)}

    def interquartile_mean(self, group: int, metric: str, statistic: str = "last") -> float | None:
        return interquartile_mean(self.values(group, metric, statistic))

    def order(self, metric: str) -> list[int]:
        """Groups from the best interquartile mean of the last value to the worst, those without one last."""
        sign = -1 if metric in self.higher_is_better else 1

        def rank(group: int) -> float:
            found = self.interquartile_mean(group, metric)
            return math.inf if found is None else sign * found

        return sorted(range(len(self.groups)), key=rank)

    @cached_property
    def drawn(self) -> list[int]:
        """Indices of the groups in figures: all, or the best by the first metric."""
        if len(self.groups) <= MAX_DRAWN or not self.metrics:
            return list(range(len(self.groups)))[:MAX_DRAWN]
        return sorted(self.order(self.metrics[0])[:MAX_DRAWN])

    def collapse(self, group: int, metric: str) -> tuple[float | None, float | None]:
        """Share of finished runs in which the metric collapsed, and the median step at which it did."""
        steps = [
            found[f"collapse_step/{metric}"]
            for index, run, found in self.table
            if index == group and run.status == "finished" and metric in run.metrics
        ]
        collapsed = [step for step in steps if step is not None]
        return (
            len(collapsed) / len(steps) if steps else None,
            median(collapsed) if collapsed else None,
        )

    def collapse_step(self, run: Run, metric: str) -> int | None:
        courses = {name[5:]: values for name, values in run.series.items() if name.startswith("eval/")}
        return collapse_step(metric, courses, self.higher_is_better)

    @cached_property
    def comparisons(self) -> dict[str, list[Compared]]:
        """Metric -> pairs of groups by their last values: all, or each with the baseline."""
        indices = range(len(self.groups))
        pairs = list(combinations(indices, 2))
        if self.chosen_baseline or len(self.groups) > MAX_ALL_PAIRS:
            pairs = [(group, self.baseline) for group in indices if group != self.baseline]
        return {metric: self._compare(metric, pairs) for metric in self.metrics}

    def _compare(self, metric: str, pairs: Sequence[tuple[int, int]]) -> list[Compared]:
        higher = metric in self.higher_is_better
        by_seed = [
            {
                run.seed: value
                for run in group.ended
                if not math.isnan(value := self.value(run, metric, "last"))
            }
            for group in self.groups
        ]
        found = []
        for first, second in pairs:
            x, y = by_seed[first], by_seed[second]
            if x and y:
                seeds = list(x) if x.keys() == y.keys() else None
                columns = (
                    ([x[s] for s in seeds], [y[s] for s in seeds])
                    if seeds
                    else (list(x.values()), list(y.values()))
                )
                result = improvement(
                    *columns, higher_is_better=higher, paired=seeds is not None, seed=self.seed
                )
                found.append((first, second, result))
        corrected = holm([result.p_value for *_, result in found])
        return [Compared(*row, p) for row, p in zip(found, corrected, strict=True)]

    def curve(self, group: int, metric: str) -> Curve:
        courses = [run.series.get(f"eval/{metric}", {}) for run in self.groups[group].finished]
        steps = sorted({step for course in courses for step in course})
        rows = [[course[step] for course in courses if step in course] for step in steps]
        found = mean_intervals(rows, seed=self.seed, num_resamples=NUM_CURVE_RESAMPLES)
        kept = [(step, point) for step, point in zip(steps, found, strict=True) if point]
        return Curve([step for step, _ in kept], [point for _, point in kept])

    def profiles(self, metric: str) -> dict[int, Profile]:
        """Group -> share of its runs whose last value is as good as each value that any run reached."""
        columns = {group: self.values(group, metric, "last") for group in self.drawn}
        thresholds = sorted({v for column in columns.values() for v in column if math.isfinite(v)})
        higher = metric in self.higher_is_better
        return {
            group: profile(column, thresholds, higher_is_better=higher)
            for group, column in columns.items()
            if column and thresholds
        }

    @property
    def quality(self) -> str | None:
        return next((name for name in QUALITY if name in self.metrics), None)

    @property
    def diversity(self) -> str | None:
        return next((name for name in (*FRACTIONS, *COUNTS) if name in self.metrics), None)

    @property
    def main(self) -> list[str]:
        """Quality and diversity, or the first metric of another kind."""
        return [name for name in (self.quality, self.diversity) if name] or list(self.metrics[:1])

    @cached_property
    def table(self) -> list[tuple[int, Run, dict[str, float | None]]]:
        """Every run with its group and every number of it by the name of its column."""
        return [
            (index, run, self._columns(run, group.words))
            for index, group in enumerate(self.groups)
            for run in group.runs
        ]

    @property
    def columns(self) -> list[str]:
        """Names that occur in ``table``."""
        return list(dict.fromkeys(name for *_, found in self.table for name in found))

    def _columns(self, run: Run, words: Mapping[str, str]) -> dict[str, float | None]:
        found: dict[str, float | None] = {
            "seed": run.seed if isinstance(run.seed, int) else None,
            **{key: cost(run, key) for key in ("step", "images_seen", "seconds")},
        }
        for metric in self.measured:
            for statistic in STATISTICS:
                value = self.value(run, metric, statistic)
                found[f"{statistic}/{metric}"] = value if math.isfinite(value) else None
            found[f"collapse_step/{metric}"] = self.collapse_step(run, metric)
        for key, word in words.items():
            try:
                found[key] = float(word)
            except ValueError:
                continue
        return found


@dataclass(frozen=True)
class Comparison:
    blocks: tuple[Block, ...]
    num_runs: int
    unreadable: Mapping[str, str]
    duplicates: tuple[tuple[str, str], ...]  # (left out, counted in its stead)
    across: str = ""  # what must be said where numbers of several protocols stand in one block

    @property
    def statuses(self) -> Counter[str]:
        return sum((group.statuses for block in self.blocks for group in block.groups), Counter())

    @property
    def title(self) -> str:
        return ", ".join(dict.fromkeys(key for block in self.blocks for key in block.keys)) or "seeds"


def compare(
    selection: Selection,
    *,
    metrics: Sequence[str] = (),
    baseline: str | None = None,
    conf: Path | None = None,
    across_protocols: bool = False,
    seed: int = 0,
) -> Comparison:
    """Group runs by question and protocol; statistics are made when they are asked for.

    Args:
        metrics: names without ``eval/``; all if empty.
        baseline: words of a label, such as ``loss=hinge``, that one group alone has.
        conf: folder of the config groups, to name choices that an older record does not.
        across_protocols: put numbers of unlike protocols into one block all the same, and say so.
        seed: of every resampling.

    Raises:
        ValueError: nothing to compare; an unknown metric; a baseline that names no or several groups.
    """
    if not selection.runs:
        why = "".join(f"\n  {name}: {reason}" for name, reason in list(selection.unreadable.items())[:5])
        raise ValueError(
            f"a comparison must have runs that can be read; got {len(selection.unreadable)} that cannot.{why}"
            "\nName other folders, or restore these."
        )
    known_metrics = dict.fromkeys(name for run in selection.runs for name in run.metrics)
    if strange := [name for name in metrics if name not in known_metrics]:
        raise ValueError(
            f"metric must be one that the runs measured: {', '.join(known_metrics) or 'there is none'}; "
            f"got {', '.join(strange)}. Choose among those."
        )
    by_question: dict[str, list[Run]] = {}
    asked = {}
    for run in selection.runs:
        key = json.dumps(question(run.config), sort_keys=True, default=str)
        if key not in asked:
            asked[key] = words(run.config, run.choices, conf)
        by_question.setdefault(key, []).append(run)
    typed = [run.typed for run in selection.runs]
    known = None if any(t is None for t in typed) else {key for t in typed if t for key in t}
    overall = labels(list(asked.values()), known)
    words_of = dict(zip(asked, overall.words, strict=True))

    duplicates: list[tuple[str, str]] = []
    parts: dict[str, dict[str, list[Run]]] = {}  # protocol -> question -> runs
    for key, runs in by_question.items():
        prints = [fingerprint(run.summary) for run in runs]
        known_prints = list(dict.fromkeys(found for found in prints if found)) or [""]
        for run, found in zip(runs, prints, strict=True):
            # one that was never evaluated is counted with the others of its question
            parts.setdefault(found or known_prints[0], {}).setdefault(key, []).append(run)
    if "" in parts and len(parts) == 2:  # groups that were never evaluated, beside one protocol
        (protocol,) = (found for found in parts if found)
        parts[protocol] |= parts.pop("")
    across = ""
    if across_protocols and len(parts) > 1:
        stored = {run.name: run.summary.get("protocol") or {} for run in selection.runs}
        across = must_be_comparable(stored, across_protocols=True) or ""
        together: dict[str, list[Run]] = {}
        for members in parts.values():
            for key, runs in members.items():
                together.setdefault(key, []).extend(runs)
        parts = {"+".join(parts): together}
    blocks = []
    for protocol, members in parts.items():
        kept = {key: _without_duplicates(runs, duplicates) for key, runs in members.items()}
        seeds = dict.fromkeys(run.seed for runs in kept.values() for run in runs)
        named = labels([asked[key] for key in kept], known)
        alone = str(next(iter(kept.values()))[0].config.get("name") or "all runs")
        groups = [
            Group(
                text, found, tuple(runs), tuple(seed for seed in seeds if seed not in {r.seed for r in runs})
            )
            for text, found, runs in zip(named.texts(alone), named.words, kept.values(), strict=True)
        ]
        groups.sort(key=lambda group: [_sortable(group.words.get(key)) for key in named.keys])
        common = {
            key: word
            for key, word in words_of[next(iter(kept))].items()
            if all(words_of[other].get(key) == word for other in kept)
        }
        blocks.append(_block(protocol, named.keys, common, groups, metrics, baseline, seed))
    if baseline and not any(block.chosen_baseline for block in blocks):
        raise ValueError(
            f"baseline must be words that one group alone has; got {baseline}. "
            f"The groups are: {'; '.join(group.label for block in blocks for group in block.groups)}."
        )
    blocks.sort(key=lambda block: -sum(len(group.runs) for group in block.groups))
    return Comparison(
        tuple(blocks), len(selection.runs), dict(selection.unreadable), tuple(duplicates), across
    )


def fingerprint(summary: Mapping[str, Any]) -> str:
    """What tells protocols apart: equal for numbers that may be compared; "" for a run without one."""
    protocol = summary.get("protocol") or {}
    if found := protocol.get("fingerprint"):
        return str(found)
    return sha256(json.dumps(protocol, sort_keys=True).encode()).hexdigest()[:10] if protocol else ""


def unlike(blocks: Sequence[Block]) -> dict[str, list[str]]:
    """Entries in which the protocols differ -> the value of each block."""
    flat = [flatten(block.protocol) if block.protocol else {} for block in blocks]
    keys = [key for key in dict.fromkeys(key for found in flat for key in found) if key != "fingerprint"]
    return {
        key: [str(found.get(key, "–")) for found in flat]
        for key in keys
        if len({str(found.get(key)) for found in flat}) > 1
    }


def cost(run: Run, key: str) -> float | None:
    """``step``, ``images_seen``, or ``seconds`` of wall-clock."""
    found = run.summary.get("time", {}).get("total") if key == "seconds" else run.summary.get(key)
    return strict(float(found)) if isinstance(found, int | float) else None


def _block(
    protocol: str,
    keys: tuple[str, ...],
    common: Mapping[str, str],
    groups: list[Group],
    metrics: Sequence[str],
    baseline: str | None,
    seed: int,
) -> Block:
    runs = [run for group in groups for run in group.runs]
    present = dict.fromkeys(name for run in runs for name in run.metrics)
    first = [name for name in (*QUALITY, *FRACTIONS, *COUNTS) if name in present]
    ordered = [*first, *(name for name in present if name not in first)]
    chosen = [name for name in (metrics or ordered) if name in present]
    higher = {name for run in runs for name, found in run.metrics.items() if found.get("higher_is_better")}
    wanted = [
        index
        for index, group in enumerate(groups)
        if baseline and all(word in group.label.split() for word in baseline.split())
    ]
    block = Block(
        fingerprint=protocol,
        protocol=next((run.summary["protocol"] for run in runs if run.summary.get("protocol")), {}),
        keys=keys,
        common=common,
        groups=tuple(groups),
        measured=tuple(ordered),
        metrics=tuple(chosen),
        higher_is_better=frozenset(higher),
        baseline=0,
        chosen_baseline=False,
        seed=seed,
    )
    if len(wanted) == 1:
        return replace(block, baseline=wanted[0], chosen_baseline=True)
    return replace(block, baseline=block.order(chosen[0])[0]) if chosen else block


def _without_duplicates(runs: Sequence[Run], duplicates: list[tuple[str, str]]) -> list[Run]:
    """One run a seed: the first that finished, else that diverged, else the first; the others are named."""
    order = {"finished": 0, "diverged": 1}
    by_seed: dict[Any, list[Run]] = {}
    for run in runs:
        by_seed.setdefault(run.seed, []).append(run)
    kept = []
    for same in by_seed.values():
        first, *others = sorted(same, key=lambda run: order.get(run.status, 2))
        kept.append(first)
        duplicates.extend((other.name, first.name) for other in others)
    return sorted(
        kept, key=lambda run: (not isinstance(run.seed, int), run.seed if isinstance(run.seed, int) else 0)
    )


def _sortable(word: str | None) -> tuple[int, float, str]:
    try:
        return (1, float(word), "") if word is not None else (0, 0.0, "")
    except ValueError:
        return (2, 0.0, word or "")
