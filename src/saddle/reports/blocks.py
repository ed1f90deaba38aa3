"""What is compared: groups of runs with one question, in blocks of groups whose numbers were computed alike.

What a run contributes to ``best``, ``last`` and ``area`` of a metric:

finished
    its value; where that is not a finite number, the worst there is, an infinity on the bad side.
diverged
    the best it had; its last value and its area are the worst there is.
running, interrupted, failed, half-written
    nothing yet: it is counted as incomplete.

Statistics are made when they are asked for.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from statistics import median
from typing import Any, NamedTuple

from saddle.data.files import strict
from saddle.diagnosis.collapse import collapse_step
from saddle.metrics.values import DIVERSITY, Role, Value, in_order
from saddle.reports.selection import Run, Unrecorded
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
    unrecorded: tuple[Unrecorded, ...] = ()  # jobs of its sweeps that left no record

    @cached_property
    def statuses(self) -> Counter[str]:
        return Counter([run.status for run in self.runs] + [job.status for job in self.unrecorded])

    @property
    def num_asked(self) -> int:
        """Runs begun, and those that were to be."""
        return len(self.runs) + len(self.unrecorded)

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
    meanings: Mapping[str, Value]  # of all that was measured
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
            return self.meanings[metric].worst
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

        def rank(group: int) -> float:
            found = self.interquartile_mean(group, metric)
            return math.inf if found is None else self.meanings[metric].badness(found)

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
        return collapse_step(metric, courses, self.meanings)

    @cached_property
    def comparisons(self) -> dict[str, list[Compared]]:
        """Metric -> pairs of groups by their last values: all, or each with the baseline."""
        indices = range(len(self.groups))
        pairs = list(combinations(indices, 2))
        if self.chosen_baseline or len(self.groups) > MAX_ALL_PAIRS:
            pairs = [(group, self.baseline) for group in indices if group != self.baseline]
        return {metric: self._compare(metric, pairs) for metric in self.metrics}

    def _compare(self, metric: str, pairs: Sequence[tuple[int, int]]) -> list[Compared]:
        badness = self.meanings[metric].badness
        by_seed = [
            {
                run.seed: badness(value)
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
                    *columns, higher_is_better=False, paired=seeds is not None, seed=self.seed
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
        """Group -> share of its runs whose last value is as good as each value that any run reached.

        Of a metric with an ideal in between, of the distances from it.
        """
        value = self.meanings[metric]
        shown = value.badness if math.isfinite(value.ideal) else float
        columns = {group: [*map(shown, self.values(group, metric, "last"))] for group in self.drawn}
        thresholds = sorted({v for column in columns.values() for v in column if math.isfinite(v)})
        return {
            group: profile(column, thresholds, higher_is_better=value.higher_is_better)
            for group, column in columns.items()
            if column and thresholds
        }

    @property
    def quality(self) -> str | None:
        return next(iter(in_order(self.metrics, self.meanings, Role.QUALITY)), None)

    @property
    def diversity(self) -> str | None:
        return next(iter(in_order(self.metrics, self.meanings, *DIVERSITY)), None)

    @property
    def main(self) -> list[str]:
        """Quality and diversity, or the first metric of another kind."""
        return [name for name in (self.quality, self.diversity) if name] or list(self.metrics[:1])

    @cached_property
    def diagnostics(self) -> list[str]:
        """Names of the series ``diag/*`` of any run: measured, but neither good nor bad."""
        every = (name for group in self.groups for run in group.runs for name in run.series)
        return [name for name in dict.fromkeys(every) if name.startswith("diag/")]

    @cached_property
    def table(self) -> list[tuple[int, Run, dict[str, float | None]]]:
        """Every run with its group and every number of it by the name of its column.

        Of a diagnostic that is its last value.
        """
        return [
            (index, run, self._columns(run, group.words))
            for index, group in enumerate(self.groups)
            for run in group.runs
        ]

    def means(self, column: str) -> list[Estimate | None]:
        """Of a column of ``table``, over the finished runs of each group, with its interval."""
        rows: list[list[float]] = [[] for _ in self.groups]
        for index, run, found in self.table:
            value = found.get(column)
            if run.status == "finished" and value is not None:
                rows[index].append(value)
        return mean_intervals(rows, seed=self.seed)

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
        for name in self.diagnostics:
            value = next(reversed(run.series.get(name, {}).values()), math.nan)
            found[name] = value if math.isfinite(value) else None
        for key, word in words.items():
            try:
                found[key] = float(word)
            except ValueError:
                continue
        return found


def cost(run: Run, key: str) -> float | None:
    """``step``, ``images_seen``, or ``seconds`` of wall-clock."""
    found = run.summary.get("time", {}).get("total") if key == "seconds" else run.summary.get(key)
    return strict(float(found)) if isinstance(found, int | float) else None
