"""``saddle-evaluate``: the numbers of a run's checkpoint, again or from more samples."""

from typing import TYPE_CHECKING, Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from saddle.commands import entry

if TYPE_CHECKING:
    from torch import Tensor

    from saddle.commands.compose import Experiment
    from saddle.records import Record


class Restored(NamedTuple):
    """A run's experiment with the generator of one of its checkpoints."""

    record: "Record"
    experiment: "Experiment"
    step: int
    params: "Tensor"  # (P,) of the generator asked for


def restore(run: str, checkpoint: str, averaged: bool | str) -> Restored:
    """Rebuild a run from its record.

    Args:
        averaged: True for the average that the run evaluated, False for the raw generator, or the name of
            one of its averages.

    Raises:
        ValueError: no such run, no such average, or no such or no readable checkpoint.
    """
    from pathlib import Path

    import torch

    from saddle import checkpoints
    from saddle.commands.compose import assemble
    from saddle.execution import start
    from saddle.records import open_record

    record = open_record(Path(run))
    config = OmegaConf.load(record.config)
    assert isinstance(config, DictConfig)
    path = record.checkpoint(checkpoint)
    if not path.is_file():
        names = sorted(found.stem for found in record.checkpoints.glob("*.ckpt")) or ["none"]
        raise ValueError(
            f"checkpoint must be one of the run's: {', '.join(names)}; got {checkpoint}. Choose one of them."
        )
    experiment = assemble(config)
    device = torch.device(
        "cuda" if torch.cuda.is_available() and config.trainer.accelerator != "cpu" else "cpu"
    )
    fresh = start(experiment.game, experiment.dynamics, experiment.averages, device)
    found = checkpoints.load(path, fresh, record.read_provenance()["run_id"])
    experiment.game.generator.module.to(device)
    state = found.state
    weights: dict[bool | str, Tensor] = {True: state.evaluated, False: state.players.generator}
    weights |= {name: average.params for name, average in state.averages.items()}
    if averaged not in weights:
        known = ", ".join(["true", "false", *state.averages])
        raise ValueError(f"averaged must be one of {known}; got {averaged}. Choose one of them.")
    params = weights[averaged]
    return Restored(record, experiment, found.step, params)


def main() -> None:
    """Console entry point."""
    entry.run("evaluate", evaluate)


def evaluate(config: DictConfig) -> None:
    """Print the metrics of one checkpoint beside those that the run recorded at that step."""
    import json
    from dataclasses import replace
    from pathlib import Path

    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from saddle.records import atomic_write, strict

    console = Console()
    with entry.refusing():
        must_name_run(config)
        _at_least_two(config.num_samples, "num_samples")
        _at_least_two(config.num_real, "num_real")
        record, experiment, step, params = restore(config.run, config.checkpoint, config.averaged)
        if config.output and not Path(config.output).absolute().parent.is_dir():
            raise ValueError(
                f"output must lie in an existing folder; got {config.output}. Make the folder first."
            )
    evaluator = replace(
        experiment.evaluator,
        num_samples=config.num_samples or experiment.evaluator.num_samples,
        num_real=config.num_real or experiment.evaluator.num_real,
    )
    with console.status(f"evaluating {evaluator.num_samples} samples"):
        evaluator = evaluator.prepare(experiment.dataset, params.device)
        values = evaluator(experiment.sampler(params, evaluator.num_samples))
    protocol = evaluator.protocol(experiment.dataset, experiment.sampler)
    same = protocol == record.read_summary()["protocol"]
    kinds = {True: "eval", False: "eval_raw", next(iter(experiment.averages), None): "eval"}
    prefix = kinds.get(config.averaged, f"eval_{config.averaged}")
    recorded = {name: steps.get(step) for name, steps in record.series().items()}
    table = Table(title=escape(f"{record.directory.name}: {config.checkpoint} at generator step {step}"))
    for column in ("metric", "now", "recorded") if same else ("metric", "now"):
        table.add_column(column, justify="left" if column == "metric" else "right")
    for name, value in values.items():
        then = recorded.get(f"{prefix}/{name}")
        table.add_row(name, f"{value:.6g}", *(["-" if then is None else f"{then:.6g}"] if same else []))
    console.print(table)
    for key, value in protocol.items():
        console.print(f"{key}: {value}", highlight=False, markup=False, soft_wrap=True)
    if not same:
        console.print(
            "The run recorded its numbers under another protocol: they cannot be compared with these."
        )
    if config.output:
        content: dict[str, Any] = {
            "run": config.run,
            "checkpoint": config.checkpoint,
            "averaged": config.averaged,
            "step": step,
            "metrics": values,
            "protocol": protocol,
        }
        atomic_write(Path(config.output), json.dumps(strict(content), indent=2) + "\n")


def must_name_run(config: DictConfig) -> None:
    """Raise ValueError unless ``run=`` was given."""
    if config.run is None:
        raise ValueError("run must be the directory of a run; got none. Say run=runs/NAME/TIME.")


def _at_least_two(value: int | None, key: str) -> None:
    if value is not None and (not isinstance(value, int) or value < 2):
        raise ValueError(
            f"{key} must be a whole number of at least 2; got {value}. Give such a number or null."
        )


if __name__ == "__main__":
    main()
