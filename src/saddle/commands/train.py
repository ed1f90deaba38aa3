"""``saddle-train``: one run, from a configuration to a record that can be judged."""

import logging
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from saddle.commands import entry
from saddle.game.refusals import Refused

if TYPE_CHECKING:
    from pytorch_lightning import Callback, Trainer
    from pytorch_lightning.loggers import Logger
    from rich.console import Console

    from saddle.records.record import Record
    from saddle.training.assembly import Experiment
    from saddle.training.callbacks import Checkpoint, Evaluate, Log, Probe, StopOnSignal, Stopwatch
    from saddle.training.module import GANModule

ON_DIVERGENCE = {"fail": 1, "record": 0}  # exit status
EXTENDS = ("resume", "num_steps", "debug", "on_divergence")  # what may be said beside resume=


def main() -> None:
    """Console entry point."""
    entry.run("train", train)


class Run(NamedTuple):
    """A run about to start, or to go on."""

    record: "Record"
    config: DictConfig  # the run's own, resolved
    experiment: "Experiment"
    earlier: dict[str, float]  # seconds by part of the sessions before this one


class Outcome(NamedTuple):
    status: str
    exit_status: int
    message: str | None = None


def train(config: DictConfig) -> float | None:
    """Train, and return the last value of the metric whose best checkpoint is kept (for sweepers)."""
    from rich.console import Console

    from saddle.training.callbacks import StopOnSignal, Stopwatch

    quieten()
    if config.resume is None and any(value is not None for value in config.ensemble.values()):
        from saddle.sweeps import ensembles as ensemble

        ensemble.train(config)
        return None
    stopwatch, stop = Stopwatch(), StopOnSignal()
    with entry.refusing(), stopwatch("setup"):
        if config.on_divergence not in ON_DIVERGENCE:
            raise Refused(
                f"on_divergence must be one of {', '.join(ON_DIVERGENCE)}; got {config.on_divergence}. "
                "Choose one of them."
            )
        run = _begin(config) if config.resume is None else _resume(config)
        trainer = _trainer(run, stop, stopwatch)
    for sentence in run.experiment.advice:
        print(f"saddle: warning: {sentence}", file=sys.stderr)
    outcome = Outcome("failed", 1)
    try:
        outcome = _fit(trainer, run, stop, ON_DIVERGENCE[config.on_divergence])
    except BaseException as error:
        outcome = Outcome("failed", 1, f"{type(error).__name__}: {error}")
        raise
    finally:
        summary = end(run, stopwatch, outcome, trainer.loggers)
    # a pipe has no width of its own, and the table needs more than the 80 columns assumed for one
    _print_results(Console(width=None if sys.stdout.isatty() else 120), run.record, summary)
    if outcome.message:
        print(f"saddle: {outcome.message}", file=sys.stderr)
    if outcome.exit_status:
        sys.exit(outcome.exit_status)
    return summary["metrics"].get(next(iter(run.experiment.evaluator.best), ""), {}).get("last")


def quieten() -> None:
    """Silence what Lightning and torch say about themselves; Lightning must be imported before."""
    import pytorch_lightning  # noqa: F401

    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # that there is no GPU
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")
    warnings.filterwarnings("ignore", message=".*torch.jit.script.*")  # torch.func.jvp's own first import
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    # torch lifts its weight normalization member by member: correct, and nothing that a user could mend
    warnings.filterwarnings("ignore", message=".*batching rule for aten..?_weight_norm_interface.*")


def _begin(config: DictConfig) -> Run:
    """A new run: nothing is written before all of its parts fit."""
    from secrets import token_hex

    from saddle.records import record as records
    from saddle.records.provenance import provenance
    from saddle.training.assembly import assemble

    own = own_config(config)
    check(own)
    experiment = assemble(own)
    # an agent of a W&B sweep has chosen the run's identity already
    identity = identify(own, os.environ.get("WANDB_RUN_ID") or token_hex(4))
    origin = provenance(sys.argv, experiment.dataset.digest())
    directory = Path(HydraConfig.get().runtime.output_dir)
    return Run(records.create(directory, OmegaConf.to_yaml(own), identity | origin), own, experiment, {})


def own_config(config: DictConfig) -> DictConfig:
    """What a run keeps of its configuration, resolved: all that does not say how many runs are made."""
    from saddle.records.questions import OF_THE_SWEEP

    content: Any = OmegaConf.to_container(config, resolve=True)
    return OmegaConf.create({key: value for key, value in content.items() if key not in OF_THE_SWEEP})


def check(own: DictConfig) -> None:
    """Refuse what can be refused before a run is put together."""
    from saddle.training import trackers as tracking
    from saddle.training import trainer_settings

    if not OmegaConf.is_list(own.tags):
        value = "null" if own.tags is None else own.tags
        raise Refused(
            f"tags must be a list; got {value}. Take tags=[{'' if own.tags is None else own.tags}]."
        )
    trainer_settings.check(own.trainer)
    if "wandb" in own.logger:
        tracking.must_have_wandb_key(own.logger.mode)


def identify(own: DictConfig, run_id: str) -> dict[str, Any]:
    """Under what a run is known in its record and in the tracker, where a resumed run goes on under it."""
    from saddle.records.questions import chosen, config_hash

    return {
        "run_id": run_id,
        "group": config_hash(own),  # there too, so that a comparison finds it by that name
        "choices": chosen(HydraConfig.get().runtime.choices),
    }


def _resume(config: DictConfig) -> Run:
    """A run as its last checkpoint left it.

    Raises:
        ValueError: it is finished, its checkpoint cannot be used, or its configuration is asked to change.
    """
    from saddle.records.record import open_record
    from saddle.training.assembly import assemble

    words = [word.lstrip("+") for word in HydraConfig.get().overrides.task]
    if changed := [word for word in words if word.partition("=")[0] not in EXTENDS]:
        raise Refused(
            f"a resumed run must keep its own configuration; got {' '.join(changed)} beside resume. "
            f"Drop it, or start a new run; only {', '.join(EXTENDS[1:])} may be given."
        )
    record = open_record(Path(config.resume))
    own = OmegaConf.load(record.config)
    assert isinstance(own, DictConfig)
    before = own.num_steps
    if any(word.startswith("num_steps=") for word in words):
        own.num_steps = config.num_steps
    check(own)
    experiment = assemble(own)
    load(record, experiment)
    module = experiment.module
    must_still_learn(module, before)
    # one killed after its last step, before its report, has yet to be finished
    if module.finished and record.report.exists() and record.read_summary()["status"] == "finished":
        raise Refused(
            f"a run to resume must be unfinished; {record.directory} has made its {module.num_steps} steps. "
            "Give a larger num_steps to extend it."
        )
    entry.remove_if_empty(Path(HydraConfig.get().runtime.output_dir))  # Hydra made it, for a new run
    return go_on(record, own, experiment)


def must_still_learn(module: "GANModule", before: int) -> None:
    """Refuse steps beyond the ``before`` first asked for in which a player would stand still.

    Raises:
        ValueError: a schedule, which keeps the length that it was given, is 0 in all of them.
    """
    added = range(before, module.num_steps, module.dynamics.num_generator_steps)
    for player, schedule in module.schedules._asdict().items():
        if added and schedule is not None and all(schedule(step) == 0 for step in added):
            raise Refused(
                f"a run whose learning rate has fallen to 0 at step {before} must not be extended; got "
                f"num_steps={module.num_steps} and a schedule.{player} that stays at 0. Start anew with "
                f"num_steps={module.num_steps}."
            )


def load(record: "Record", experiment: "Experiment") -> None:
    """Bring the experiment to where the record's last checkpoint left it."""
    from saddle.records import checkpoints
    from saddle.rounds.execution import start

    module, last = experiment.module, record.checkpoint("last")
    # without rows beyond step 0 it was killed before its first checkpoint, and begins again
    if last.exists() or any(row.step > 0 for row in record.rows()):
        fresh = start(experiment.game, experiment.dynamics, experiment.averages, module.device)
        found = checkpoints.load(last, fresh, record.read_provenance()["run_id"])
        module.training_state, module.rounds = found.state, found.rounds


def go_on(record: "Record", own: DictConfig, experiment: "Experiment") -> Run:
    """Take up the record where the experiment is, and forget what came after."""
    from saddle.data.files import atomic_write

    record.truncate(experiment.module.generator_steps or -1)  # step 0 is evaluated again
    record.report.unlink(missing_ok=True)  # of an earlier session
    atomic_write(record.config, OmegaConf.to_yaml(own))
    return Run(record, own, experiment, record.read_summary()["time"])


def _trainer(run: Run, stop: "StopOnSignal", stopwatch: "Stopwatch") -> "Trainer":
    from pytorch_lightning import Trainer

    from saddle.training.callbacks import ProgressBar

    recorders = recorders_of(run, stopwatch)
    in_order: list[Callback] = [
        stop,  # first: a signal may come during the evaluation of step 0
        *recorders,
        ProgressBar(recorders.evaluate, tuple(run.experiment.evaluator.shown)),
    ]
    settings: Any = OmegaConf.to_container(run.config.trainer)
    return Trainer(
        **settings,
        max_epochs=1,  # the module's own clock ends the epoch
        logger=loggers_of(run),
        callbacks=in_order,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


class Recorders(NamedTuple):
    """What writes a run's record, in the order in which it must be called."""

    log: "Log"
    evaluate: "Evaluate"
    probe: "Probe"
    checkpoint: "Checkpoint"


def recorders_of(run: Run, stopwatch: "Stopwatch") -> Recorders:
    from saddle.reports.pictures import picture_of
    from saddle.training import callbacks

    record, config, experiment, _ = run
    evaluator = experiment.evaluator
    picture = picture_of(experiment.dataset.event_shape)
    return Recorders(
        callbacks.Log(record, stopwatch),
        callbacks.Evaluate(record, evaluator, experiment.sampler, config.evaluate_every, *picture, stopwatch),
        callbacks.Probe(record, experiment.probes, config.evaluate_every, stopwatch),
        callbacks.Checkpoint(
            record,
            evaluator,
            config.checkpoint_every,
            stopwatch,
            lambda: summarize(run, stopwatch, Outcome("running", 0)),
        ),
    )


def loggers_of(run: Run) -> "list[Logger]":
    """The run's trackers."""
    from hydra.utils import instantiate

    from saddle.training import trackers as tracking
    from saddle.training.assembly import config_hash

    record, config, _, _ = run
    content: Any = OmegaConf.to_container(config, resolve=True)
    identity = tracking.Identity(
        config.name,
        config_hash(config),
        config.seed,
        tuple(map(str, config.tags)),
        record.read_provenance()["run_id"],
    )
    meanings = {name: value.stored() for name, value in run.experiment.evaluator.meanings.items()}
    beside = {"protocol": _protocol(run), "meanings": meanings}
    return [
        instantiate(node)(record.directory, identity, {**content, **beside})
        for node in config.logger.values()
        if OmegaConf.is_dict(node)
    ]


def _fit(trainer: "Trainer", run: Run, stop: "StopOnSignal", exit_status_if_diverged: int) -> Outcome:
    from saddle.training.module import Diverged

    module, record = run.experiment.module, run.record
    try:
        trainer.fit(module)
    except Diverged as error:
        message = f"{error} The last checkpoint is {record.checkpoint('last')}."
        return Outcome("diverged", exit_status_if_diverged, message)
    if stop.received is not None and not module.finished:
        message = (
            f"stopped by {stop.received.name} at generator step {module.generator_steps}; "
            f"resume={record.directory} goes on"
        )
        return Outcome("interrupted", 128 + stop.received, message)
    if not module.finished:
        message = (
            f"training ended by itself at generator step {module.generator_steps} of {module.num_steps}; "
            f"resume={record.directory} goes on"
        )
        return Outcome("failed", 1, message)
    return Outcome("finished", 0)


def end(run: Run, stopwatch: "Stopwatch", outcome: Outcome, loggers: "Sequence[Logger]") -> dict[str, Any]:
    """The last acts of a run: its summary, which is returned, its report, and the trackers' end."""
    from saddle.reports.page import write_report
    from saddle.training import trackers as tracking

    summary = summarize(run, stopwatch, outcome)
    write_report(run.record)  # after it, and last: the sign that nothing is left to resume
    tracking.finish(loggers, summary, outcome.exit_status)
    return summary


def summarize(run: Run, stopwatch: "Stopwatch", outcome: Outcome) -> dict[str, Any]:
    from saddle.metrics.values import Value
    from saddle.records.record import add_times

    record, module, evaluator = run.record, run.experiment.module, run.experiment.evaluator
    series = record.series()
    kept = {}
    for metric in evaluator.best:
        values = series.get(f"eval/{metric}", {})
        step = evaluator.meanings.get(metric, Value()).best_step(values)
        if step is not None:
            kept[metric] = {"step": step, "value": values[step], "file": f"checkpoints/best-{metric}.ckpt"}
    return record.write_summary(
        status=outcome.status,
        exit_status=None if outcome.status == "running" else outcome.exit_status,
        message=outcome.message,
        step=module.generator_steps,
        num_steps=module.num_steps,
        images_seen=module.images_seen,
        meanings=evaluator.meanings,
        time=add_times(run.earlier, stopwatch.total()),
        protocol=_protocol(run),
        best_checkpoints=kept,
    )


def _protocol(run: Run) -> dict[str, Any]:
    """Of the evaluated generator's numbers; the raw one's are under a fingerprint of their own."""
    dataset, sampler, averaging = run.experiment.dataset, run.experiment.sampler, run.experiment.averaging
    own, raw = (run.experiment.evaluator.protocol(dataset, sampler, kind) for kind in (averaging, "none"))
    return {**own, "raw_fingerprint": raw["fingerprint"]}


def _print_results(console: "Console", record: "Record", summary: dict[str, Any]) -> None:
    from rich.table import Table

    from saddle.metrics.values import of_stored

    def show(value: float | None) -> str:
        return "-" if value is None else f"{value:.4g}"

    series = record.series()
    table = Table(title=f"{summary['status']} at generator step {summary['step']}")
    table.add_column("metric")
    averages = summary["averages"]
    for column in ("step 0", "best", "at step", "last", *averages, "raw G", "real", "floor"):
        table.add_column(column, justify="right")
    for name, found in summary["metrics"].items():
        table.add_row(
            f"{name} {of_stored(found).arrow}",
            show(series[f"eval/{name}"].get(0)),
            show(found["best"]),
            str(found["step_of_best"]),
            show(found["last"]),
            *[show(values.get(name)) for values in averages.values()],
            show(summary["raw"].get(name)),
            show(summary["held_out"].get(name)),
            show(found["floor"]),
        )
    console.print(table)
    seconds, verdict = summary["time"], summary["verdict"]
    lines = [
        f"verdict: {verdict['word']}: {verdict['reason']}",
        f"time:    {seconds['total']:.0f} s, of which training {seconds.get('train', 0):.0f} s, "
        f"evaluation {seconds.get('evaluate', 0):.0f} s",
        f"report:  {record.report}",
        *[f"samples: {path}" for path in list(record.read_samples().values())[-1:]],
    ]
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()
