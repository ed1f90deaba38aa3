"""The trials of a search: Optuna asks, a run answers. Each trial is an ordinary run record.

Many workers, here or on other machines, may work on one study. What a worker has begun is marked with its
name, and its name is a lock in the study's folder: so when a worker was killed, the next one takes its trials
over and resumes their runs.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from saddle.game.refusals import Refused
from saddle.records.names import slug
from saddle.records.outcome import Outcome
from saddle.records.record import open_record
from saddle.sweeps.executors import Stop, gpus, threads
from saddle.sweeps.jobs import NO_ROOM, Child, Job, begin, outcome, take_lock

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

PAUSE = 0.2  # seconds between two looks at the runs
WORKER = "worker"  # attribute of a trial: who runs it
FAILED = ("diverged", "failed", "refused", "interrupted")


class Ended(NamedTuple):
    """A trial that has been told to the study.

    Args:
        state: complete, pruned or fail.
        status: of its run.
        message: why it has no values.
    """

    number: int
    state: str
    status: str
    values: list[float] | None
    message: str | None
    job: Job


class Question(NamedTuple):
    """What is sought.

    Args:
        words: of every run.
        space: name of a word -> distribution of its values.
        objectives: metrics; their directions are the study's.
        score: last, best or area of a metric.
        num_trials: of the study in all.
    """

    words: tuple[str, ...]
    space: Mapping[str, "BaseDistribution"]
    objectives: Sequence[str]
    score: str
    num_trials: int


class OutOfRoom(RuntimeError):
    """The disk is full: what runs is kept, and no more is begun."""


def distributions(space: Mapping[str, Mapping[str, Any]]) -> dict[str, "BaseDistribution"]:
    """Of each word: ``{low, high, log, step}``, whole numbers if both ends are, or ``{choices: [...]}``.

    Raises:
        ValueError: a word without a range or choices that Optuna accepts.
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    found: dict[str, BaseDistribution] = {}
    for name, bounds in space.items():
        try:
            if {*bounds} == {"choices"}:
                plain = all(isinstance(choice, bool | int | float | str) for choice in bounds["choices"])
                if not plain:
                    raise Refused("a list among the choices; write it as text, such as '[r1,r2]'")
                found[name] = CategoricalDistribution(bounds["choices"])
            elif isinstance(bounds["low"], int) and isinstance(bounds["high"], int):
                found[name] = IntDistribution(**bounds)
            else:
                found[name] = FloatDistribution(**bounds)
        except (ValueError, TypeError, KeyError) as error:
            raise Refused(
                f"search.space.{name} must be {{low, high}}, with log or step if wanted, or {{choices}}; got "
                f"{dict(bounds) if isinstance(bounds, Mapping) else bounds} ({error}). Correct conf/search."
            ) from error
    if not found:
        raise Refused("search.space must name at least one word; got none. Choose search=ttur.")
    return found


class Worker(NamedTuple):
    """One of the processes that work on a study; ``number`` is its own, and never used again."""

    number: int
    lock: BinaryIO


def enrol(folder: Path) -> Worker:
    """The next worker of the study in this folder."""
    number = 0
    while True:
        path = folder / f".worker-{number}"
        try:
            path.touch(exist_ok=False)
        except FileExistsError:
            number += 1
            continue
        lock = take_lock(path)
        assert lock is not None
        return Worker(number, lock)


def search(
    study: "Study", question: Question, folder: Path, worker: Worker, jobs: int, stop: Stop
) -> Iterator[Ended]:
    """Work on the study until it has its trials, ``jobs`` at a time; yields each trial as it ends.

    Raises:
        OutOfRoom: of the disk. The trials that met it are taken up again by the next search.
    """
    running: dict[int, tuple[Trial, Child, bool]] = {}  # by number; whether it was pruned
    environment, dealt, full, asked = threads(jobs), gpus(), False, 0
    study._thread_local.in_optimize_loop = True  # else a sampler with a last trial, such as a grid's, raises
    try:
        while True:
            while len(running) < jobs and not (stop.count or full or study._stop_flag):
                if (trial := _next(study, question, folder, worker, running)) is None:
                    break
                job = _job(trial, question, folder)
                begun = begin(job, environment, dealt)
                while begun is None:  # its process has outlived the worker that is gone
                    time.sleep(PAUSE)
                    begun = begin(job, environment, dealt)
                if isinstance(begun, Child):
                    running[trial.number] = trial, begun, False
                else:
                    yield _tell(study, trial, job, begun, question)
            if not running:
                break
            if stop.count > asked:
                asked = stop.count
                for _, child, _ in running.values():
                    child.process.terminate() if asked == 1 else child.process.kill()
            for number, (trial, child, pruned) in [*running.items()]:
                if child.process.poll() is not None:
                    del running[number]
                    found = outcome(child, child.process.returncode)
                    if found.exit_status == NO_ROOM:
                        full = True
                    elif not (stop.count and found.status == "interrupted"):
                        yield _tell(study, trial, child.job, found, question, pruned)
                elif not pruned and len(study.directions) == 1 and _should_prune(trial, child.job, question):
                    child.process.terminate()
                    running[number] = trial, child, True
            time.sleep(PAUSE)
    finally:
        for _, child, _ in running.values():
            child.process.terminate()
        for _, child, _ in running.values():
            child.process.wait()
    if full:
        raise OutOfRoom(
            f"no room left on the disk of {folder}. Make room, and give the same command again: runs go on."
        )


def _next(
    study: "Study", question: Question, folder: Path, worker: Worker, running: Mapping[int, Any]
) -> "Trial | None":
    """A trial of a worker that is gone, or else a new one; None when the study has enough."""
    import optuna

    while (lock := take_lock(folder / ".adopt")) is None:
        time.sleep(PAUSE)
    with lock:
        trials = study.get_trials(deepcopy=False)
        begun = [trial for trial in trials if trial.state == optuna.trial.TrialState.RUNNING]
        for trial in begun:
            if trial.number not in running and _is_orphan(trial, folder, worker):
                adopted = optuna.Trial(study, trial._trial_id)
                adopted.set_user_attr(WORKER, worker.number)
                return adopted
        if len(trials) >= question.num_trials:
            return None
        new = study.ask(dict(question.space))
        new.set_user_attr(WORKER, worker.number)
        return new


def _is_orphan(trial: "FrozenTrial", folder: Path, worker: Worker) -> bool:
    """Whether its worker is gone. One without a mark lost it right after asking, as we hold that lock."""
    if (number := trial.user_attrs.get(WORKER)) is None or number == worker.number:
        return True
    path = folder / f".worker-{number}"
    if not path.exists():  # of another machine's folder
        return False
    if lock := take_lock(path):
        lock.close()
    return lock is not None


def _job(trial: "Trial", question: Question, folder: Path) -> Job:
    chosen = tuple(f"{name}={_as_word(value)}" for name, value in trial.params.items())
    shown = (
        f"{'.'.join(name.split('.')[-2:])}={f'{value:.4g}' if isinstance(value, float) else value}"
        for name, value in trial.params.items()
    )
    place = (folder / f"{trial.number:04d}_{slug(shown, 80)}").absolute()
    return Job(trial.number, (*question.words, *chosen), place)


def _as_word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _tell(
    study: "Study", trial: "Trial", job: Job, found: Outcome, question: Question, pruned: bool = False
) -> Ended:
    """A run that diverged, failed or was refused is a failed trial: it has no values to compare."""
    from optuna.trial import TrialState

    trial.set_user_attr("status", found.status)
    trial.set_user_attr("directory", job.directory.name)
    message, values = found.message, None
    if pruned and found.status == "interrupted":
        state, message = TrialState.PRUNED, None
    elif found.status in FAILED:
        state = TrialState.FAIL
    else:
        metrics = open_record(job.directory).read_summary()["metrics"]
        scores = {name: metrics.get(name, {}).get(question.score) for name in question.objectives}
        if missing := [name for name, score in scores.items() if score is None]:
            state, message = (
                TrialState.FAIL,
                f"{question.score} of {', '.join(missing)} is not a finite number",
            )
        else:
            state, values = TrialState.COMPLETE, [*scores.values()]
    if message:
        trial.set_user_attr("message", message)
    study.tell(trial, values, state)
    return Ended(trial.number, state.name.lower(), found.status, values, message, job)


def _should_prune(trial: "Trial", job: Job, question: Question) -> bool:
    """Report what the record has gained, and ask."""
    try:
        values = open_record(job.directory).series().get(f"eval/{question.objectives[0]}", {})
    except ValueError:  # not begun yet
        return False
    known = trial.study._storage.get_trial(trial._trial_id).intermediate_values
    new = {step: value for step, value in values.items() if step not in known}
    for step, value in new.items():
        trial.report(value, step)
    return bool(new) and trial.should_prune()
