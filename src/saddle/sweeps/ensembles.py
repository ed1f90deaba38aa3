"""``saddle-train ensemble...``: many runs as one lifted step, each with an ordinary record of its own.

Without Lightning's trainer, which drives one module with one set of loggers: a member is a ``GANModule`` that
is told where its rounds have led, and its callbacks, which write its record, are called as a trainer would.
Of Lightning, Fabric chooses the device and the precision.

The folder is that of a sweep, with a folder for each member and an index. The records are the truth: the same
command leaves members alone that have ended, and takes others up at their last checkpoint. Those that a kill
left behind the others catch up first.
"""

import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from saddle.commands import entry
from saddle.commands.train import (
    ON_DIVERGENCE,
    Outcome,
    Recorders,
    Run,
    check,
    end,
    go_on,
    identify,
    load,
    loggers_of,
    recorders_of,
)
from saddle.game.refusals import Refused
from saddle.records.record import Record, create, open_record
from saddle.sweeps import jobs as sweep
from saddle.sweeps.index import Index
from saddle.sweeps.jobs import Job, settled, take_lock
from saddle.sweeps.members import Member, instead, members_of, must_lift, parts_of
from saddle.sweeps.names import job_folders

if TYPE_CHECKING:
    from saddle.training.assembly import Experiment
    from saddle.training.callbacks import StopOnSignal, Stopwatch
    from saddle.training.module import GANModule

ACCELERATION = ("accelerator", "devices", "precision")  # what a lifted step takes of ``trainer``


class Prepared(NamedTuple):
    """A member that is put together, before anything of it is written."""

    job: Job
    record: Record | None  # of an earlier session
    config: DictConfig
    experiment: "Experiment"


class Playing(NamedTuple):
    """A member under training."""

    job: Job
    run: Run
    stopwatch: "Stopwatch"
    recorders: Recorders
    trainer: Any  # what the recorders need of Lightning's: ``loggers``

    @property
    def module(self) -> "GANModule":
        return self.run.experiment.module


def train(config: DictConfig) -> None:
    """Train all members to their ends; exits like a sweep: 1 if any ended with another status than 0."""
    from saddle.training.callbacks import StopOnSignal

    settings = HydraConfig.get()
    words = [*settings.overrides.task]
    with entry.refusing():
        folder = Path(settings.sweep.dir).absolute()
        if config.on_divergence not in ON_DIVERGENCE:
            raise Refused(
                f"on_divergence must be one of {', '.join(ON_DIVERGENCE)}; got {config.on_divergence}. "
                "Choose one of them."
            )
        members = members_of(config, words)
        places = job_folders(folder, [member.words for member in members])
        jobs = [
            Job(number, member.words, place)
            for number, (member, place) in enumerate(zip(members, places, strict=True))
        ]
        index = Index(folder / "index.csv", jobs)
        index.states.update({job.number: found for job in jobs if (found := settled(job))})
        left = [
            (job, member) for job, member in zip(jobs, members, strict=True) if job.number not in index.states
        ]
        prepared = _prepare(left)
        try:
            if prepared:
                must_lift([one.experiment for one in prepared])
        except ValueError as error:
            raise Refused(f"{error}{instead(words, config)}") from error
        entry.remove_if_empty(Path(settings.runtime.output_dir))  # Hydra made it, for one run
        folder.mkdir(parents=True, exist_ok=True)
        if (lock := take_lock(folder / ".lock")) is None:
            raise Refused(
                f"an ensemble must be trained by one process at a time; another is at work in {folder}. "
                "Wait for it, stop it, or give another name with sweep_name=NAME."
            )
    print(f"ensemble: {folder}: {len(jobs)} members, of which {len(index.states)} ended before", flush=True)
    for sentence in dict.fromkeys(text for one in prepared for text in one.experiment.advice):
        print(f"saddle: warning: {sentence}", file=sys.stderr)
    stop = StopOnSignal()
    with lock:
        index.write()
        if prepared:
            _play_all(_begin(prepared), index, stop, ON_DIVERGENCE[config.on_divergence])
        index.write()
    _print_results(index)
    if stop.received is not None and any(
        found.status == "interrupted" for found in index.outcomes().values()
    ):
        sys.exit(128 + stop.received)
    if any(found.exit_status for found in index.outcomes().values()):
        sys.exit(1)


def _prepare(left: Sequence[tuple[Job, Member]]) -> list[Prepared]:
    """Put the members together, from their records where they have any; data and metrics are shared."""
    from saddle.training.assembly import assemble

    found: list[Prepared] = []
    for job, (_, config) in left:
        try:
            record: Record | None = open_record(job.directory)
        except ValueError:  # none, or one killed while it was made: nothing in it is worth keeping
            record = None
        own: Any = config if record is None else OmegaConf.load(record.config)
        if not found:
            check(own)
            if extra := [name for name in own.trainer if name not in ACCELERATION]:
                raise Refused(
                    f"an ensemble must be driven without Lightning's trainer, of whose settings it takes "
                    f"{', '.join(ACCELERATION)}; got trainer.{extra[0]}. Drop it, or train with -m."
                )
        experiment = assemble(own, found[0].experiment if found else None)
        if record is not None:
            load(record, experiment)
        found.append(Prepared(job, record, own, experiment))
    return found


def _begin(prepared: Sequence[Prepared]) -> list[Playing]:
    """Records and trackers of the members; from here on there is something to lose."""
    from secrets import token_hex

    from saddle.records.provenance import provenance
    from saddle.training.callbacks import Stopwatch

    origin = provenance(sys.argv, prepared[0].experiment.dataset.digest())
    found = []
    for job, record, own, experiment in prepared:
        if record is None:
            if job.directory.exists():
                shutil.rmtree(job.directory)
            as_alone = {
                "command_line": [sys.argv[0], *job.words],
                "ensemble": {"command_line": sys.argv, "member": job.number, "num_members": len(prepared)},
            }
            content = identify(own, token_hex(4)) | origin | as_alone
            run = Run(create(job.directory, OmegaConf.to_yaml(own), content), own, experiment, {})
        else:
            run = go_on(record, own, experiment)
        stopwatch = Stopwatch(sharers=len(prepared))
        trainer = SimpleNamespace(loggers=loggers_of(run))
        found.append(Playing(job, run, stopwatch, recorders_of(run, stopwatch), trainer))
    return found


def _play_all(playing: Sequence[Playing], index: Index, stop: "StopOnSignal", if_diverged: int) -> None:
    """Train the members, those that are behind first, and end each."""
    from lightning_fabric import Fabric

    settings: Any = OmegaConf.to_container(playing[0].run.config.trainer)
    fabric = Fabric(**settings)
    live = {member.job.number: member for member in playing}
    watched: Any = SimpleNamespace(stop_requested=False)

    def leave(member: Playing, outcome: Outcome) -> None:
        del live[member.job.number]
        summary = end(member.run, member.stopwatch, outcome, member.trainer.loggers)
        seconds = summary["time"]["total"]
        index.note(member.job, sweep.Outcome(outcome.status, outcome.exit_status, outcome.message, seconds))

    stop.on_train_start(watched, watched)  # first: a signal may come during the evaluation of step 0
    try:
        dataset = playing[0].module.dataset.to(fabric.device)
        for member in playing:
            member.module.dataset = dataset
            member.module.to(fabric.device)
            member.module.begin(fabric.device)
            index.note(member.job, None)
            member.recorders.evaluate.evaluator = playing[0].recorders.evaluate.evaluator
            member.recorders.evaluate.on_train_start(member.trainer, member.module)
            member.recorders.probe.on_train_start(member.trainer, member.module)
            member.recorders.checkpoint.on_train_start(member.trainer, member.module)
        with _progress(playing) as show:
            while behind := [member for member in live.values() if not member.module.finished]:
                if stop.received is not None:
                    break
                first = min(member.module.rounds for member in behind)
                group = [member for member in behind if member.module.rounds == first]
                ahead = [member.module.rounds for member in live.values() if member.module.rounds > first]
                until = min(ahead, default=None)
                for member, message in _play_group(group, until, watched, show, fabric.autocast):
                    leave(member, Outcome("diverged", if_diverged, message))
        for member in [*live.values()]:
            if member.module.finished:
                leave(member, Outcome("finished", 0))
            elif stop.received is not None:
                step = member.module.generator_steps
                message = f"stopped by {stop.received.name} at generator step {step}"
                leave(member, Outcome("interrupted", 128 + stop.received, message))
    except BaseException as error:
        for member in [*live.values()]:
            with suppress(OSError):
                leave(member, Outcome("failed", 1, f"{type(error).__name__}: {error}"))
        raise
    finally:
        stop.teardown(watched, watched, "fit")


def _play_group(
    group: Sequence[Playing],
    until: int | None,
    watched: Any,
    show: Any,
    precision: Callable[[], AbstractContextManager[Any]],
) -> Iterator[tuple[Playing, str]]:
    """Advance members that stand at the same round, up to the round ``until``; yields those that diverge.

    A member that has diverged stays in the step, whose shapes are compiled, and is not looked at any more.
    Rounds are played in ``precision``; what is measured between them is in the weights' own, as alone.
    """
    import torch

    from saddle.rounds import lifting as ensemble
    from saddle.training.module import WEIGHTS_NORM, Diverged

    modules = [member.module for member in group]
    lead, alive = modules[0], [*range(len(group))]
    state = ensemble.stack([module.state for module in modules])
    members = [parts_of(member.run.experiment) for member in group]
    play = ensemble.rounds(members, lead.execution, state.players.generator)
    for chunk in lead.chunks():
        if not alive or (until is not None and chunk.start >= until):
            return
        began, rows = time.perf_counter(), []
        for index in chunk:
            if watched.stop_requested:
                break
            with precision():
                state, logs = play(state, ensemble.stack([module.draw(index) for module in modules]), index)
            norms = {
                name: torch.linalg.vector_norm(getattr(state.players, player), dim=1)
                for player, name in reversed(WEIGHTS_NORM.items())
            }
            rows.append(logs | norms)
        if watched.stop_requested:  # the chunk's rounds are forgotten: the next session plays them again
            for place in alive:
                modules[place].logs, modules[place].stop_requested = None, True
                group[place].recorders.checkpoint.on_train_batch_end(
                    group[place].trainer, modules[place], None, chunk, 0
                )
            return
        together = torch.stack([value for row in rows for value in row.values()])
        columns = together.double().T.tolist()  # the chunk's one synchronisation
        seconds = (time.perf_counter() - began) / len(alive)
        for place in [*alive]:
            member, module, values = group[place], modules[place], iter(columns[place])
            module.seconds = seconds
            try:
                module.take(
                    chunk,
                    ensemble.member(state, place),
                    [dict(zip(row, values, strict=False)) for row in rows],
                )
            except Diverged as error:
                alive.remove(place)
                last = member.run.record.checkpoint("last")
                yield member, f"{error} The last checkpoint is {last}."
                continue
            for recorder in member.recorders:
                recorder.on_train_batch_end(member.trainer, module, None, chunk, 0)
        show(modules, alive)


@contextmanager
def _progress(playing: Sequence[Playing]) -> Iterator[Any]:
    """``show(modules, alive)``: a bar, or where the output is no terminal a line at every evaluation."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("step"), MofNCompleteColumn(), BarColumn(), TextColumn("{task.fields[text]}"))
    progress = Progress(*columns, TimeRemainingColumn(), TextColumn("left"), console=console)
    last = min((member.module for member in playing), key=lambda module: module.rounds)
    began, first, every = time.perf_counter(), last.generator_steps, playing[0].run.config.evaluate_every
    task = progress.add_task("", total=last.num_steps, completed=first, text="")

    def show(modules: Sequence["GANModule"], alive: Sequence[int]) -> None:
        if not alive:
            return
        step = modules[alive[0]].generator_steps
        rate = (step - first) / (time.perf_counter() - began)
        logs = [modules[place].logs or {} for place in alive]
        means = [
            sum(row[f"loss/{player}"] for row in logs) / len(logs)
            for player in ("discriminator", "generator")
        ]
        text = f"D {means[0]:.3f}  G {means[1]:.3f}  {len(alive)} members × {rate:.1f} steps/s"
        progress.update(task, completed=step, text=text)
        if not console.is_terminal and step % every == 0:
            line = f"step {step}/{last.num_steps}  {text}"
            console.print(line, highlight=False, markup=False, soft_wrap=True)

    if console.is_terminal:
        with progress:
            yield show
    else:
        yield show


def _print_results(index: Index) -> None:
    """A row a member: what is its own, how it ended, and the last value of each metric."""
    from collections import Counter

    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 140)
    counts = Counter(word for job in index.jobs for word in job.words)
    summaries = {job: open_record(job.directory).read_summary() for job in index.outcomes()}
    metrics = list(dict.fromkeys(name for found in summaries.values() for name in found["metrics"]))
    table = Table(title="members, last values")
    for column in ("member", "status", "verdict", *metrics):
        table.add_column(column, justify="right" if column in metrics else "left")
    for job, summary in summaries.items():
        own = " ".join(word for word in job.words if counts[word] < len(index.jobs)) or "all"
        values = (summary["metrics"].get(name, {}).get("last") for name in metrics)
        cells = ("-" if value is None else f"{value:.4g}" for value in values)
        table.add_row(escape(own), summary["status"], summary["verdict"]["word"], *cells)
    console.print(table)
    lines = [
        *(
            f"{job.directory.name}: {found.message}"
            for job, found in index.outcomes().items()
            if found.exit_status
        ),
        f"records: {index.path.parent}",
        f"index:   {index.path}",
    ]
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
