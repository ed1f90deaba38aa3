"""Runs read from Weights & Biases, as if from their records.

The tracker holds the configuration and every number of a run, but neither its summary nor the words of its
command line: the summary is made again from the numbers, by the same function as in a record.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from saddle.diagnosis.verdict import verdict
from saddle.game.refusals import Refused
from saddle.metrics.values import of_stored
from saddle.records import older
from saddle.records.older import upgraded
from saddle.records.record import Series, summarize
from saddle.reports.selection import Run, Selection

TIMEOUT = 10  # seconds for each question to the server
CLOCK = "generator_step"
NOT_IN_RECORDS = ("_", "time/", "trainer/", "samples")  # the tracker's own, seconds, pictures
# W&B's word for how a process ended -> a record's; what Saddle itself said is in the tracker's summary
STATUSES = {
    "running": "running",
    "finished": "finished",
    "crashed": "failed",
    "failed": "failed",
    "killed": "failed",
}


class Query(NamedTuple):
    path: str  # entity/project
    filters: dict[str, Any]  # as W&B's API takes them


def parse(text: str) -> Query:
    """``entity/project?group=ab12&state=finished&tags=paper&config.loss._target_=...``.

    Raises:
        ValueError: it is not entity/project.
    """
    path, _, rest = text.partition("?")
    if len([part for part in path.split("/") if part]) != 2 or path.count("/") != 1:
        raise Refused(
            f"wandb must be entity/project or entity/project?key=value&key=value; got {text}. "
            "Give such a path, for instance wandb=me/saddle?group=ab12cd34ef."
        )
    filters: dict[str, Any] = {}
    for key, word in parse_qsl(rest, keep_blank_values=True):
        try:
            value = json.loads(word) if key.startswith("config.") else word
        except ValueError:
            value = word
        name = f"{key}.value" if key.startswith("config.") else key
        filters[name] = {"$in": [value]} if key == "tags" else value
    return Query(path, {"jobType": "train", **filters})


def read_remote(text: str, track: Callable[[Sequence[Any]], Iterable[Any]] = iter) -> Selection:
    """All runs that a query finds.

    Raises:
        ValueError: the server cannot be reached or refuses; no key; no such project; no run.
    """
    import wandb

    query = parse(text)
    try:
        found = list(wandb.Api(timeout=TIMEOUT).runs(query.path, filters=query.filters))
        return select(found, text, track)
    except (wandb.errors.Error, OSError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise Refused(
            f"wandb={text} must be a project on a W&B server that answers; got: {first} "
            "Check the path, WANDB_BASE_URL, the network and `wandb login`, or compare the runs' own folders."
        ) from error


def select(
    found: Sequence[Any], text: str, track: Callable[[Sequence[Any]], Iterable[Any]] = iter
) -> Selection:
    """Tracker runs as ``Run``; one that is not Saddle's is named as unreadable.

    Args:
        found: objects with the attributes of ``wandb.apis.public.Run`` that ``read_run`` names.
    """
    if not found:
        raise Refused(
            f"a comparison must have runs; wandb={text} finds none. Loosen what follows the question mark."
        )
    runs, unreadable = [], {}
    for run in track(found):
        try:
            runs.append(read_run(run))
        except (KeyError, TypeError, AttributeError) as error:
            name = "/".join(run.path)
            unreadable[name] = f"it is not a run of Saddle: {type(error).__name__} {error}"
    return Selection(tuple(runs), unreadable)


def read_run(run: Any) -> Run:
    """One run from ``path``, ``config``, ``summary``, ``state``, ``group``, ``created_at`` and
    ``scan_history()`` of a tracker's run.

    Raises:
        KeyError: its configuration is not that of a Saddle run.
    """
    config = upgraded(dict(run.config))
    # the tracker's config holds these beside the run's own
    protocol, told = config.pop("protocol", None), config.pop("meanings", None)
    metrics = config["metrics"]
    series = _series(run.scan_history())
    said: Mapping[str, Any] = run.summary
    status = said.get("status") or STATUSES.get(run.state, "interrupted")
    meanings = (
        older.configured(metrics)
        if told is None
        else {name: of_stored(found) for name, found in told.items()}
    )
    word, reason = verdict(series, meanings, status)
    last = {name: list(series.get(name, {0: None}).values())[-1] for name in ("images_seen",)}
    summary = {
        "status": status,
        "verdict": {"word": said.get("verdict") or word, "reason": reason},
        "step": max((step for values in series.values() for step in values), default=0),
        "num_steps": config["num_steps"],
        "images_seen": last["images_seen"],
        "time": {"total": said["_runtime"]} if "_runtime" in said else {},
        # without one: what it would be made of, as far as the configuration says
        "protocol": protocol or {"data": config["data"], "metrics": metrics},
        **summarize(series, meanings),
    }
    return Run(
        "/".join(run.path),
        older.asked(config),
        summary,
        series,
        group=run.group,
        started=str(run.created_at),
    )


def _series(history: Iterable[Mapping[str, Any]]) -> Series:
    found: Series = {}
    for row in history:
        step = row.get(CLOCK)
        for name, value in row.items():
            if step is not None and name != CLOCK and not name.startswith(NOT_IN_RECORDS):
                number = _number(value)
                if number is not None:
                    found.setdefault(name, {})[int(step)] = number
    return {name: dict(sorted(values.items())) for name, values in found.items()}


def _number(value: Any) -> float | None:
    """W&B gives what is not finite as a word; pictures and other objects are no numbers."""
    try:
        return None if isinstance(value, bool | Mapping) or value is None else float(value)
    except (TypeError, ValueError):
        return None
