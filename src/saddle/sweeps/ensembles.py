"""An ensemble: many runs as one lifted step, each with an ordinary record of its own.

The folder is that of a sweep, with a folder for each member and an index. The records are the truth: the same
words leave members alone that have ended, and take others up at their last checkpoint. Those that a kill
left behind the others catch up first.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from saddle.game.refusals import Refused
from saddle.records.names import job_folders
from saddle.records.outcome import Outcome
from saddle.records.provenance import provenance
from saddle.records.record import Record, clear, create, find_record
from saddle.sweeps.index import Index
from saddle.sweeps.jobs import Job, settled, take_lock
from saddle.sweeps.members import Member, instead, members_of, must_lift
from saddle.training import runs
from saddle.training.assembly import Experiment, assemble
from saddle.training.callbacks import StopOnSignal
from saddle.training.configuration import Request, asks_for_ensemble, of_words
from saddle.training.recorder import Recorder
from saddle.training.refusing import refusing
from saddle.training.run import Run, advise
from saddle.training.stopwatch import Stopwatch


class Prepared(NamedTuple):
    """A member that is put together, before anything of it is written."""

    job: Job
    record: Record | None  # of an earlier session
    config: DictConfig
    experiment: Experiment


@dataclass(frozen=True)
class Ensemble:
    """Members that are left to be trained, and the index of all; nothing of it is written yet."""

    index: Index
    left: tuple[Prepared, ...]
    request: Request

    @property
    def folder(self) -> Path:
        """Where its records lie."""
        return self.index.path.parent

    @property
    def advice(self) -> list[str]:
        """What there is to say about its members, each sentence once."""
        return [*dict.fromkeys(text for one in self.left for text in one.experiment.advice)]


def prepare(request: Request) -> Ensemble:
    """Put the members together that have not ended yet, from their records where they have any.

    Raises:
        Refused: they cannot be trained in one step, or a folder holds a record that cannot be read.
    """
    config, words = request.config, request.words
    runs.must_know_what_divergence_means(config)
    folder = request.sweep_directory
    members = members_of(config, words)
    places = job_folders(folder, [member.words for member in members])
    jobs = [
        Job(number, member.words, place)
        for number, (member, place) in enumerate(zip(members, places, strict=True))
    ]
    index = Index(folder / "index.csv", jobs)
    records = {job: find_record(job.directory) for job in jobs}  # refuses what cannot be read
    index.states.update({job.number: found for job in jobs if (found := settled(job))})
    waiting = [pair for pair in zip(jobs, members, strict=True) if pair[0].number not in index.states]
    left: list[Prepared] = []
    for job, member in waiting:
        left.append(_prepared(job, records[job], member, left[0].experiment if left else None))
    try:
        if left:
            must_lift([one.experiment for one in left])
    except Refused as error:
        raise Refused(f"{error}{instead(words, config)}") from error
    return Ensemble(index, tuple(left), request)


def _prepared(job: Job, record: Record | None, member: Member, like: Experiment | None) -> Prepared:
    """One member; data and metrics are shared with ``like``."""
    own = member.config if record is None else runs.config_of(record)
    if like is None:
        runs.check(own)
    experiment = assemble(own, like)
    if record is not None:
        runs.load(record, experiment)
    return Prepared(job, record, own, experiment)


@contextmanager
def locked(ensemble: Ensemble) -> Iterator[None]:
    """Keep every other process from training the same ensemble meanwhile.

    Raises:
        Refused: one does already.
    """
    folder = ensemble.folder
    folder.mkdir(parents=True, exist_ok=True)
    if (lock := take_lock(folder / ".lock")) is None:
        raise Refused(
            f"an ensemble must be trained by one process at a time; another is at work in {folder}. "
            "Wait for it, stop it, or give another name with sweep_name=NAME."
        )
    with lock:
        yield


def train(
    ensemble: Ensemble, ended: Callable[[Job, Outcome], object] = lambda *_: None
) -> StopOnSignal | None:
    """Train the members that are left to their ends, keeping the index.

    Args:
        ended: is told of each member as it ends.

    Returns:
        The signal that has stopped it, if one has; None where nothing was left.
    """
    index = ensemble.index
    index.write()
    if not ensemble.left:
        return None
    recorders = {_begin(one, ensemble): one.job for one in ensemble.left}
    for job in recorders.values():
        index.note(job, None)

    def leave(recorder: Recorder, outcome: Outcome) -> None:
        summary = recorder.end(outcome)
        outcome = outcome._replace(seconds=summary["time"]["total"])
        index.note(recorders[recorder], outcome)
        ended(recorders[recorder], outcome)

    on_divergence = runs.ON_DIVERGENCE[ensemble.request.config.on_divergence]
    stop = runs.play([*recorders], leave, on_divergence)
    index.write()
    return stop


def _begin(prepared: Prepared, ensemble: Ensemble) -> Recorder:
    """The record and trackers of a member; from here on there is something to lose."""
    job, record, own, experiment = prepared
    request, num = ensemble.request, len(ensemble.left)
    stopwatch = Stopwatch(sharers=num)
    if record is not None:
        return runs.go_on(record, own, experiment, stopwatch)
    if job.directory.exists():
        clear(job.directory)
    origin = provenance(request.command_line, experiment.dataset.digest())
    as_alone: dict[str, Any] = {
        "command_line": [request.command_line[0], *job.words],
        "ensemble": {"command_line": [*request.command_line], "member": job.number, "num_members": num},
    }
    content = runs.identify(own, request, token_hex(4)) | origin | as_alone
    made = create(job.directory, OmegaConf.to_yaml(own), content)
    return runs.recorder_of(made, own, experiment, stopwatch)


def train_words(words: Sequence[str], out: str | Path | None = None) -> list[Run]:
    """Train the members that the words ask for; see ``saddle.train_ensemble``."""
    request = of_words(words, out)
    if not asks_for_ensemble(request.config):
        raise Refused(
            "an ensemble must say what its members are; got no ensemble words. Give ensemble.seeds=8, "
            "ensemble.vary or ensemble.members, or call saddle.train."
        )
    with warnings.catch_warnings():
        runs.quieten()
        with ExitStack() as held:
            with refusing():
                ensemble = prepare(request)
                held.enter_context(locked(ensemble))
            advise(ensemble.advice)
            train(ensemble)
    return [Run(job.directory) for job in ensemble.index.jobs]
