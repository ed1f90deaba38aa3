"""A comparison as CSV files: groups, pairs of groups, and runs; every number in full."""

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from saddle.reports.blocks import STATISTICS, Block, Group
from saddle.reports.comparison import Comparison, compare
from saddle.reports.selection import Unrecorded, find, read
from saddle.reports.statistics import Estimate
from saddle.reports.tables import in_words


class Tables(NamedTuple):
    """A comparison as rows, each a mapping from column to value; None where there is none."""

    groups: list[dict[str, Any]]
    pairs: list[dict[str, Any]]
    runs: list[dict[str, Any]]
    comparison: Comparison


def tables(
    places: Sequence[str],
    metrics: Sequence[str],
    columns: Sequence[str],
    baseline: str | None,
    across_protocols: bool,
    conf: Path,
) -> Tables:
    """Read runs and compare them; see ``saddle.compare``.

    Args:
        conf: folder of the config groups.
    """
    names = [name.removeprefix("eval/") for name in metrics]
    found = compare(
        read(find(places)), metrics=names, baseline=baseline, conf=conf, across_protocols=across_protocols
    )
    found = replace(found, columns=tuple(dict.fromkeys(map(found.column, columns))))
    return Tables([*group_rows(found)], [*pair_rows(found)], [*run_rows(found)], found)


def group_rows(comparison: Comparison) -> Iterator[dict[str, Any]]:
    """One row a group and metric, every number in full; None where there is none."""
    for block in comparison.blocks:
        means = {name: block.means(name) for name in comparison.columns}
        for index, group in enumerate(block.groups):
            for metric in block.metrics or ("",):
                yield {
                    "protocol": block.fingerprint,
                    "group": group.label,
                    **{key: group.words.get(key) for key in block.keys},
                    **_counts(group),
                    "metric": metric,
                    **(_statistics(block, index, metric) if metric else {}),
                    "mean_step": group.mean("step"),
                    "mean_images_seen": group.mean("images_seen"),
                    "mean_seconds": group.mean("seconds"),
                    **{
                        column: value
                        for name, found in means.items()
                        for column, value in _mean(name, found[index]).items()
                    },
                }


def run_rows(comparison: Comparison) -> Iterator[dict[str, Any]]:
    """One row a run, also of those that did not finish, and of jobs that left no record."""
    for block in comparison.blocks:
        for index, run, found in block.table:
            group = block.groups[index]
            yield {
                "protocol": block.fingerprint,
                "group": group.label,
                "run": run.name,
                "status": run.status,
                "verdict": run.verdict,
                **{key: group.words.get(key) for key in block.keys},
                **{name: value for name, value in found.items() if name not in group.words},
            }
        for group in block.groups:
            for job in group.unrecorded:
                words = {key: group.words.get(key) for key in block.keys}
                yield {"protocol": block.fingerprint, "group": group.label, **_job(job), **words}
    yield from map(_job, comparison.ungrouped)


def pair_rows(comparison: Comparison) -> Iterator[dict[str, Any]]:
    """One row a metric and pair of groups."""
    for block in comparison.blocks:
        for metric, pairs in block.comparisons.items():
            for pair in pairs:
                yield {
                    "protocol": block.fingerprint,
                    "metric": metric,
                    "first": block.groups[pair.first].label,
                    "second": block.groups[pair.second].label,
                    "probability_first_is_better": pair.found.probability,
                    "low": pair.found.low,
                    "high": pair.found.high,
                    "paired": pair.found.paired,
                    "p_value": pair.found.p_value,
                    "p_value_holm": pair.corrected_p,
                }


def to_csv(rows: Iterator[dict[str, Any]]) -> str:
    """Rows as CSV; columns in order of first appearance, None as an empty field."""
    held = list(rows)
    columns = list(dict.fromkeys(key for row in held for key in row))
    file = io.StringIO()
    writer = csv.DictWriter(file, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(held)
    return file.getvalue()


def _counts(group: Group) -> dict[str, Any]:
    return {
        "runs": len(group.runs),
        "without_record": len(group.unrecorded),
        "ended": len(group.ended),
        "fewer_than_three_seeds": group.few,
        "missing_seeds": len(group.missing_seeds),
        "statuses": in_words(group.statuses),
        "verdicts": in_words(group.verdicts),
    }


def _statistics(block: Block, index: int, metric: str) -> dict[str, Any]:
    value = block.meanings[metric]
    in_between = math.isfinite(value.ideal)
    found: dict[str, Any] = {"higher_is_better": None if in_between else value.higher_is_better}
    for statistic in STATISTICS:
        estimate = block.estimates[metric, statistic][index]
        found[f"{statistic}_mean"] = estimate and estimate.value
        found[f"{statistic}_low"] = estimate and estimate.low
        found[f"{statistic}_high"] = estimate and estimate.high
        found[f"{statistic}_count"] = estimate.num_runs if estimate else 0
        found[f"{statistic}_iqm"] = block.interquartile_mean(index, metric, statistic)
    found["collapse_rate"], found["median_collapse_step"] = block.collapse(index, metric)
    return found


def _mean(name: str, found: Estimate | None) -> dict[str, Any]:
    value, low, high, count = found or (None, None, None, 0)
    return {f"{name}_mean": value, f"{name}_low": low, f"{name}_high": high, f"{name}_count": count}


def _job(job: Unrecorded) -> dict[str, Any]:
    return {"run": job.name, "status": job.status, "seed": job.seed}
