"""``saddle-train``: one run, from a configuration to a record that can be judged."""

import sys
import time
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from saddle.commands import entry

if TYPE_CHECKING:
    from saddle.commands.compose import Experiment
    from saddle.records import Record

ON_DIVERGENCE = {"fail": 1, "record": 0}  # exit status
EXTENDS = ("resume", "num_steps", "debug", "on_divergence")  # what may be said beside resume=


def main() -> None:
    """Console entry point."""
    entry.run("train", train)


def train(config: DictConfig) -> float | None:
    """Train, and return the last value of the metric whose best checkpoint is kept (for sweepers)."""
    began = time.perf_counter()
    import logging
    import warnings

    from pytorch_lightning import Trainer
    from rich.console import Console

    from saddle import callbacks, tracking
    from saddle.module import Diverged
    from saddle.records import add_times
    from saddle.reports.page import write_report
    from saddle.reports.pictures import images_picture, points_picture

    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    # of Lightning's own tree utilities, and of its wish for worker processes: neither is about the run
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")
    warnings.filterwarnings("ignore", module="pytorch_lightning.*", message=".*does not have many workers.*")
    stopwatch = callbacks.Stopwatch(started=began)
    with entry.refusing(), stopwatch("setup"):
        if config.on_divergence not in ON_DIVERGENCE:
            raise ValueError(
                f"on_divergence must be one of {', '.join(ON_DIVERGENCE)}; got {config.on_divergence}. Choose one of them."
            )
        exit_status_if_diverged = ON_DIVERGENCE[config.on_divergence]
        record, config, experiment, earlier = _resume(config) if config.resume else _begin(config)
        identity = _identity(record, config)
        content: Any = OmegaConf.to_container(config, resolve=True)
        trainer = Trainer(
            **content["trainer"],
            max_epochs=1,  # the module's clock ends the epoch
            logger=[
                make(record.directory, identity, content)
                for name, make in _instantiated(config.logger).items()
            ],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
    module, evaluator, sampler = experiment.module, experiment.evaluator, experiment.sampler
    protocol = evaluator.protocol(experiment.dataset, sampler)

    def summarize(status: str, exit_status: int | None = None, message: str | None = None) -> dict[str, Any]:
        series = record.series()
        kept = {
            metric: {"step": step, "value": series[f"eval/{metric}"][step], "file": f"checkpoints/best-{metric}.ckpt"}
            for metric in evaluator.best
            if (step := callbacks.best_step(series.get(f"eval/{metric}", {}), metric in evaluator.higher_is_better)) is not None
        }
        return record.write_summary(
            status=status, exit_status=exit_status, message=message,
            step=module.generator_steps, num_steps=module.num_steps, images_seen=module.images_seen,
            higher_is_better=evaluator.higher_is_better, floors=evaluator.floors,
            time=add_times(earlier, stopwatch.total()), protocol=protocol, best_checkpoints=kept,
        )

    picture, num_pictured = (images_picture, 64) if experiment.dataset.train.ndim == 4 else (points_picture, 2500)
    evaluate = callbacks.Evaluate(
        record, evaluator, sampler, config.evaluate_every, picture, num_pictured, stopwatch
    )
    stop = callbacks.StopOnSignal()
    trainer.callbacks.extend([  # type: ignore[attr-defined]
        callbacks.Log(record, stopwatch),
        evaluate,
        callbacks.Checkpoint(record, evaluator, config.checkpoint_every, stopwatch, lambda _: summarize("running")),
        stop,
        callbacks.ProgressBar(evaluate, tuple(evaluator.shown)),
    ])
    status, exit_status, message = "failed", 1, None
    try:
        trainer.fit(module)
        status, exit_status = "finished", 0
        if stop.received is not None and not module.finished:
            status, exit_status = "interrupted", 128 + stop.received
            message = f"stopped by {stop.received.name} at generator step {module.generator_steps}; resume={record.directory} goes on"
    except Diverged as error:
        status, exit_status = "diverged", exit_status_if_diverged
        message = f"{error} The last checkpoint is {record.checkpoint('last')}."
    except BaseException as error:
        message = f"{type(error).__name__}: {error}"
        raise
    finally:
        with stopwatch("report"):
            summary = summarize(status, exit_status, message)
            write_report(record)
        summary = summarize(status, exit_status, message)  # with the report's own seconds
        tracking.finish(trainer.loggers, summary, exit_status)
    console = Console()
    _print_results(console, record, summary)
    if message:
        print(f"saddle: {message}", file=sys.stderr)
    if exit_status:
        sys.exit(exit_status)
    return summary["metrics"].get(next(iter(evaluator.best), ""), {}).get("last")


def _begin(config: DictConfig) -> "tuple[Record, DictConfig, Experiment, dict[str, float]]":
    from pathlib import Path
    from secrets import token_hex

    from hydra.core.hydra_config import HydraConfig

    from saddle import records, tracking
    from saddle.commands.compose import assemble
    from saddle.provenance import provenance

    config = OmegaConf.create(OmegaConf.to_container(config, resolve=True))  # type: ignore[assignment]
    if "wandb" in config.logger:
        tracking.must_have_wandb_key(config.logger.mode)
    experiment = assemble(config)
    record = records.create(
        Path(HydraConfig.get().runtime.output_dir),
        OmegaConf.to_yaml(config),
        {"run_id": token_hex(4), **provenance(sys.argv, experiment.dataset.digest())},
    )
    return record, config, experiment, {}


def _resume(config: DictConfig) -> "tuple[Record, DictConfig, Experiment, dict[str, float]]":
    """A run as its last checkpoint left it.

    Raises:
        ValueError: it is finished, its checkpoint cannot be used, or its configuration is asked to change.
    """
    from pathlib import Path

    from hydra.core.hydra_config import HydraConfig

    from saddle import checkpoints, tracking
    from saddle.commands.compose import assemble
    from saddle.execution import start
    from saddle.records import atomic_write, open_record

    words = [word.lstrip("+") for word in HydraConfig.get().overrides.task]
    if changed := [word for word in words if word.partition("=")[0] not in EXTENDS]:
        raise ValueError(
            f"a resumed run must keep its own configuration; got {' '.join(changed)} beside resume. "
            f"Drop it, or start a new run; only {', '.join(EXTENDS[1:])} may be given."
        )
    record = open_record(Path(config.resume))
    own = OmegaConf.load(record.config)
    assert isinstance(own, DictConfig)
    if any(word.startswith("num_steps=") for word in words):
        own.num_steps = config.num_steps
    if "wandb" in own.logger:
        tracking.must_have_wandb_key(own.logger.mode)
    experiment = assemble(own)
    module = experiment.module
    trained = any(row.step > 0 for row in record.rows())
    if trained or record.checkpoint("last").exists():  # else killed before its first step: begin again
        fresh = start(experiment.game, experiment.dynamics, experiment.average, module.device)
        found = checkpoints.load(record.checkpoint("last"), like=fresh)
        module.training_state, module.rounds = found.state, found.rounds
    if module.finished:
        raise ValueError(
            f"a run to resume must be unfinished; {record.directory} has made its {module.num_steps} steps. "
            "Give a larger num_steps to extend it."
        )
    entry.remove_if_empty(Path(HydraConfig.get().runtime.output_dir))  # Hydra made one for a new run
    record.truncate(module.generator_steps if module.rounds else -1)
    atomic_write(record.config, OmegaConf.to_yaml(own))
    return record, own, experiment, record.read_summary().get("time", {})


def _instantiated(loggers: DictConfig) -> dict[str, Any]:
    from hydra.utils import instantiate

    return {name: instantiate(node) for name, node in loggers.items() if OmegaConf.is_dict(node)}


def _identity(record: "Record", config: DictConfig) -> Any:
    from saddle.commands.compose import config_hash
    from saddle.tracking import Identity

    started = record.read_provenance()["run_id"]
    return Identity(config.name, config_hash(config), config.seed, list(config.tags), started)


def _print_results(console: Any, record: "Record", summary: dict[str, Any]) -> None:
    from rich.table import Table

    def show(value: float | None) -> str:
        return "-" if value is None else f"{value:.4g}"

    series = record.series()
    table = Table(title=f"{record.directory.name}: {summary['status']} at generator step {summary['step']}")
    table.add_column("metric")
    for column in ("step 0", "best", "at step", "last", "raw G", "perfect"):
        table.add_column(column, justify="right")
    for name, found in summary["metrics"].items():
        table.add_row(
            f"{name} {'↑' if found['higher_is_better'] else '↓'}",
            show(series[f"eval/{name}"].get(0)), show(found["best"]), str(found["step_of_best"]),
            show(found["last"]), show(summary["raw"].get(name)), show(found["floor"]),
        )
    console.print(table)
    seconds = summary["time"]
    console.print(
        f"verdict: {summary['verdict']['word']}: {summary['verdict']['reason']}\n"
        f"time: {seconds['total']:.0f} s, of which training {seconds.get('train', 0):.0f} s, "
        f"evaluation {seconds.get('evaluate', 0):.0f} s",
        highlight=False, soft_wrap=True,
    )
    samples = list(record.read_samples().values())
    console.print(f"report:  {record.report}", highlight=False, soft_wrap=True)
    if samples:
        console.print(f"samples: {samples[-1]}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
