"""A run's generator as one of its checkpoints holds it."""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from saddle.game.refusals import Refused
from saddle.records import checkpoints
from saddle.records.record import Record, open_record
from saddle.rounds.execution import start
from saddle.training.assembly import Experiment, assemble
from saddle.training.runs import config_of


class Restored(NamedTuple):
    """A run's experiment with the generator of one of its checkpoints."""

    record: Record
    experiment: Experiment
    step: int
    params: Tensor  # (P,) of the generator asked for
    averaging: str  # of its weights: an average's name, or none


def restore(run: str | Path, checkpoint: str = "last", averaged: bool | str = True) -> Restored:
    """Rebuild a run from its record.

    Args:
        averaged: True for the average that the run evaluated, False for the raw generator, or the name of
            one of its averages.

    Raises:
        Refused: no such run, no such average, or no such or no readable checkpoint.
    """
    record = open_record(Path(run))
    path = record.checkpoint(checkpoint)
    if not path.is_file():
        names = sorted(found.stem for found in record.checkpoints.glob("*.ckpt")) or ["none"]
        raise Refused(
            f"checkpoint must be one of the run's: {', '.join(names)}; got {checkpoint}. Choose one of them."
        )
    config = config_of(record)
    experiment = assemble(config)
    device = torch.device(
        "cuda" if torch.cuda.is_available() and config.trainer.accelerator != "cpu" else "cpu"
    )
    fresh = start(experiment.game, experiment.dynamics, experiment.averages, device)
    found = checkpoints.load(path, fresh, record.read_provenance()["run_id"])
    experiment.game.generator.module.to(device)
    state = found.state
    called: dict[bool | str, str] = {True: experiment.averaging, False: "none"}
    called |= {name: name for name in state.averages}
    if averaged not in called:
        known = ", ".join(["true", "false", *state.averages])
        raise Refused(f"averaged must be one of {known}; got {averaged}. Choose one of them.")
    averaging = called[averaged]
    params = state.averages[averaging].params if averaging in state.averages else state.players.generator
    return Restored(record, experiment, found.step, params, averaging)
