"""Many runs against each other: grouped by question, kept apart by protocol, every run accounted for.

A *group* is the runs of one question, that is of one configuration without the seed. A *block* is the
groups whose numbers were computed alike; only within a block is anything compared.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from saddle.game.refusals import Refused
from saddle.metrics.protocol import identities, must_be_comparable
from saddle.metrics.values import DIVERSITY, Role, in_order
from saddle.records.questions import as_text, flatten, labels, words
from saddle.reports.blocks import Block, Group
from saddle.reports.selection import Run, Selection, Unrecorded


@dataclass(frozen=True)
class Comparison:
    blocks: tuple[Block, ...]
    num_runs: int
    unreadable: Mapping[str, str]
    duplicates: tuple[tuple[str, str], ...]  # (left out, counted in its stead)
    unrecorded: tuple[Unrecorded, ...] = ()  # jobs of the runs' sweeps that left no record
    columns: tuple[str, ...] = ()  # of ``Block.table``: shown beside the metrics
    across: str = ""  # what must be said where numbers of several protocols stand in one block

    @property
    def statuses(self) -> Counter[str]:
        """Of runs, and of the jobs without a record."""
        return Counter([run.status for run in self.runs] + [job.status for job in self.unrecorded])

    @property
    def runs(self) -> list[Run]:
        """Those that count."""
        return [run for block in self.blocks for group in block.groups for run in group.runs]

    @property
    def ungrouped(self) -> list[Unrecorded]:
        """Jobs whose question no recorded run asks."""
        grouped = {job for block in self.blocks for group in block.groups for job in group.unrecorded}
        return [job for job in self.unrecorded if job not in grouped]

    def column(self, name: str) -> str:
        """A name of a column as a user may type it: eval/fid and fid stand for last/fid.

        Raises:
            ValueError: there is no such column.
        """
        bare = name.removeprefix("eval/")
        if any(bare in block.measured for block in self.blocks):
            return f"last/{bare}"
        columns = dict.fromkeys(column for block in self.blocks for column in block.columns)
        if name not in columns:
            raise Refused(
                f"x, y and columns must be columns: {', '.join(columns)}; got {name}. Choose among those."
            )
        return name

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
        raise Refused(
            f"a comparison must have runs that can be read; got {len(selection.unreadable)} that cannot.{why}"
            "\nName other folders, or restore these."
        )
    known_metrics = dict.fromkeys(name for run in selection.runs for name in run.metrics)
    if strange := [name for name in metrics if name not in known_metrics]:
        raise Refused(
            f"metric must be one that the runs measured: {', '.join(known_metrics) or 'there is none'}; "
            f"got {', '.join(strange)}. Choose among those."
        )
    by_question: dict[str, list[tuple[Run, str]]] = {}  # with what tells its protocol from others
    asked = {}
    prints = identities([run.summary.get("protocol") or {} for run in selection.runs])
    for run, found in zip(selection.runs, prints, strict=True):
        key = as_text(run.config)
        if key not in asked:
            asked[key] = words(run.config, run.choices, conf)
        by_question.setdefault(key, []).append((run, found))
    typed = [run.typed for run in selection.runs]
    known = None if any(t is None for t in typed) else {key for t in typed if t for key in t}
    overall = labels(list(asked.values()), known)
    words_of = dict(zip(asked, overall.words, strict=True))

    duplicates: list[tuple[str, str]] = []
    parts: dict[str, dict[str, list[Run]]] = {}  # protocol -> question -> runs
    for key, members in by_question.items():
        known_print = next((found for _, found in members if found), "")
        for run, found in members:
            # one that was never evaluated is counted with the others of its question
            parts.setdefault(found or known_print, {}).setdefault(key, []).append(run)
    if "" in parts and len(parts) == 2:  # groups that were never evaluated, beside one protocol
        (protocol,) = (found for found in parts if found)
        parts[protocol] |= parts.pop("")
    across = ""
    if across_protocols and len(parts) > 1:
        stored = {run.name: run.summary.get("protocol") or {} for run in selection.runs}
        across = must_be_comparable(stored, across_protocols=True) or ""
        together: dict[str, list[Run]] = {}
        for of_protocol in parts.values():
            for key, runs in of_protocol.items():
                together.setdefault(key, []).extend(runs)
        parts = {"+".join(parts): together}
    blocks = []
    for protocol, of_protocol in parts.items():
        kept = {key: _without_duplicates(runs, duplicates) for key, runs in of_protocol.items()}
        seeds = dict.fromkeys(run.seed for runs in kept.values() for run in runs)
        named = labels([asked[key] for key in kept], known)
        alone = str(next(iter(kept.values()))[0].config.get("name") or "all runs")
        groups = [
            Group(
                text,
                found,
                tuple(runs),
                tuple(seed for seed in seeds if seed not in {run.seed for run in runs}),
                tuple(job for job in selection.unrecorded if job.siblings & {run.name for run in runs}),
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
        raise Refused(
            f"baseline must be words that one group alone has; got {baseline}. "
            f"The groups are: {'; '.join(group.label for block in blocks for group in block.groups)}."
        )
    blocks.sort(key=lambda block: -sum(len(group.runs) for group in block.groups))
    return Comparison(
        tuple(blocks),
        len(selection.runs),
        dict(selection.unreadable),
        tuple(duplicates),
        selection.unrecorded,
        across=across,
    )


def unlike(blocks: Sequence[Block]) -> dict[str, list[str]]:
    """Entries in which the protocols differ -> the value of each block."""
    flat = [flatten(block.protocol) if block.protocol else {} for block in blocks]
    keys = [key for key in dict.fromkeys(key for found in flat for key in found) if key != "fingerprint"]
    return {
        key: [str(found.get(key, "–")) for found in flat]
        for key in keys
        if len({str(found.get(key)) for found in flat}) > 1
    }


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
    meanings = {name: value for run in reversed(runs) for name, value in run.meanings.items()}
    first = in_order(present, meanings, Role.QUALITY, *DIVERSITY)
    ordered = [*first, *(name for name in present if name not in first)]
    chosen = [name for name in (metrics or ordered) if name in present]
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
        meanings=meanings,
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
