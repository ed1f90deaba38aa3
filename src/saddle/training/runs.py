"""A run from what is asked to its record: begun or taken up, trained, ended.

Every member of an ensemble is such a run; ``play`` trains one or many.
"""

import logging
import os
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Trainer
from pytorch_lightning.loggers import Logger

from saddle.data.files import atomic_write
from saddle.game.refusals import Refused
from saddle.records import checkpoints, record
from saddle.records.older import upgraded
from saddle.records.outcome import Outcome
from saddle.records.provenance import provenance
from saddle.records.questions import chosen, config_hash
from saddle.records.record import Record, open_record
from saddle.rounds.execution import start
from saddle.training import trackers, trainer_settings
from saddle.training.assembly import Experiment, assemble
from saddle.training.callbacks import ProgressBar, Recording, StopOnSignal
from saddle.training.configuration import Request, own_config
from saddle.training.member import Member
from saddle.training.module import GANModule
from saddle.training.recorder import Recorder, protocol_of
from saddle.training.stopwatch import Stopwatch

ON_DIVERGENCE = {"fail": 1, "record": 0}  # exit status
EXTENDS = ("resume", "num_steps", "debug", "on_divergence")  # what may be said beside resume=

Leave = Callable[[Recorder, Outcome], object]


def quieten() -> None:
    """Silence what Lightning and torch say about themselves."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # that there is no GPU
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")
    warnings.filterwarnings("ignore", message=".*torch.jit.script.*")  # torch.func.jvp's own first import
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    # torch lifts its weight normalization member by member: correct, and nothing that a user could mend
    warnings.filterwarnings("ignore", message=".*batching rule for aten..?_weight_norm_interface.*")


def prepare(request: Request) -> Recorder:
    """Put a run together and begin its record, or take up the one of ``resume``; nothing is trained yet.

    Raises:
        Refused: what is asked for cannot be done. Nothing is written then.
    """
    must_know_what_divergence_means(request.config)
    stopwatch = Stopwatch()
    with stopwatch("setup"):
        make = begin if request.config.resume is None else resume
        return make(request, stopwatch)


def must_know_what_divergence_means(config: DictConfig) -> None:
    """Refuse an ``on_divergence`` that is none of ours."""
    if config.on_divergence not in ON_DIVERGENCE:
        raise Refused(
            f"on_divergence must be one of {', '.join(ON_DIVERGENCE)}; got {config.on_divergence}. "
            "Choose one of them."
        )


def begin(request: Request, stopwatch: Stopwatch) -> Recorder:
    """Begin a new run: nothing is written before all of its parts fit."""
    own = own_config(request.config)
    check(own)
    experiment = assemble(own)
    # an agent of a W&B sweep has chosen the run's identity already
    identity = identify(own, request, os.environ.get("WANDB_RUN_ID") or token_hex(4))
    origin = provenance(request.command_line, experiment.dataset.digest())
    made = record.create(request.directory, OmegaConf.to_yaml(own), identity | origin)
    return recorder_of(made, own, experiment, stopwatch)


def check(own: DictConfig) -> None:
    """Refuse what can be refused before a run is put together."""
    if not OmegaConf.is_list(own.tags):
        value = "null" if own.tags is None else own.tags
        raise Refused(
            f"tags must be a list; got {value}. Take tags=[{'' if own.tags is None else own.tags}]."
        )
    trainer_settings.check(own.trainer)
    if "wandb" in own.logger:
        trackers.must_have_wandb_key(own.logger.mode)


def identify(own: DictConfig, request: Request, run_id: str) -> dict[str, Any]:
    """Say under what a run is known in its record and in the tracker, where resuming goes on under it."""
    return {
        "run_id": run_id,
        "group": config_hash(own),  # there too, so that a comparison finds it by that name
        "choices": chosen(request.choices),
    }


def recorder_of(
    made: Record,
    own: DictConfig,
    experiment: Experiment,
    stopwatch: Stopwatch,
    earlier: dict[str, float] | None = None,
) -> Recorder:
    """Make what writes a record, with its trackers."""
    loggers = loggers_of(made, own, experiment)
    return Recorder(made, own, experiment, loggers, stopwatch, earlier)


def resume(request: Request, stopwatch: Stopwatch) -> Recorder:
    """Take up a run as its last checkpoint left it.

    Raises:
        Refused: it is finished, its checkpoint cannot be used, or its configuration is asked to change.
    """
    words = [word.lstrip("+") for word in request.words]
    if changed := [word for word in words if word.partition("=")[0] not in EXTENDS]:
        raise Refused(
            f"a resumed run must keep its own configuration; got {' '.join(changed)} beside resume. "
            f"Drop it, or start a new run; only {', '.join(EXTENDS[1:])} may be given."
        )
    found = open_record(Path(request.config.resume))
    own = config_of(found)
    before = own.num_steps
    if any(word.startswith("num_steps=") for word in words):
        own.num_steps = request.config.num_steps
    check(own)
    experiment = assemble(own)
    load(found, experiment)
    member = experiment.member
    must_still_learn(member, before)
    # one killed after its last step, before its report, has yet to be finished
    if member.finished and found.report.exists() and found.read_summary()["status"] == "finished":
        raise Refused(
            f"a run to resume must be unfinished; {found.directory} has made its {member.num_steps} steps. "
            "Give a larger num_steps to extend it."
        )
    return go_on(found, own, experiment, stopwatch)


def config_of(found: Record) -> DictConfig:
    """Read a record's configuration as it was written, which ``assemble`` brings up to date."""
    found.read_config()  # refuses what is none
    config = OmegaConf.load(found.config)
    assert isinstance(config, DictConfig)
    return config


def must_still_learn(member: Member, before: int) -> None:
    """Refuse steps beyond the ``before`` first asked for in which a player would stand still.

    Raises:
        Refused: a schedule, which keeps the length that it was given, is 0 in all of them.
    """
    added = range(before, member.num_steps, member.method.dynamics.num_generator_steps)
    for player, schedule in member.method.schedules._asdict().items():
        if added and schedule is not None and all(schedule(step) == 0 for step in added):
            raise Refused(
                f"a run whose learning rate has fallen to 0 at step {before} must not be extended; got "
                f"num_steps={member.num_steps} and a schedule.{player} that stays at 0. Start anew with "
                f"num_steps={member.num_steps}."
            )


def load(found: Record, experiment: Experiment) -> None:
    """Bring the experiment to where the record's last checkpoint left it."""
    member, last = experiment.member, found.checkpoint("last")
    # without rows beyond step 0 it was killed before its first checkpoint, and begins again
    if last.exists() or any(row.step > 0 for row in found.rows()):
        game, dynamics, averages, _ = member.method
        fresh = start(game, dynamics, averages, next(iter(game.init())).device)
        at = checkpoints.load(last, fresh, found.read_provenance()["run_id"])
        member.training_state, member.rounds = at.state, at.rounds


def go_on(found: Record, own: DictConfig, experiment: Experiment, stopwatch: Stopwatch) -> Recorder:
    """Take up the record where the experiment is, and forget what came after."""
    found.truncate(experiment.member.generator_steps or -1)  # step 0 is evaluated again
    found.report.unlink(missing_ok=True)  # of an earlier session
    atomic_write(found.config, OmegaConf.to_yaml(own))
    return recorder_of(found, own, experiment, stopwatch, found.read_summary()["time"])


def loggers_of(made: Record, own: DictConfig, experiment: Experiment) -> list[Logger]:
    """Make the run's trackers."""
    content: Any = OmegaConf.to_container(own, resolve=True)
    identity = trackers.Identity(
        own.name,
        config_hash(own),
        own.seed,
        tuple(map(str, own.tags)),
        made.read_provenance()["run_id"],
    )
    meanings = {name: value.stored() for name, value in experiment.evaluator.meanings.items()}
    beside = {"protocol": protocol_of(experiment), "meanings": meanings}
    return [
        instantiate(node)(made.directory, identity, {**content, **beside})
        for node in upgraded(content)["logger"].values()
        if isinstance(node, dict)
    ]


def play(recorders: Sequence[Recorder], leave: Leave, if_diverged: int = 1) -> StopOnSignal:
    """Train the members of these recorders to their ends, and leave each: its outcome is given to ``leave``.

    Args:
        leave: called once a recorder, as soon as it is known how its run ended.
        if_diverged: exit status of a run that did.

    Returns:
        The signal that has stopped it, if one has.
    """
    left = {recorder.member: recorder for recorder in recorders}
    stop = StopOnSignal()

    def end(recorder: Recorder, outcome: Outcome) -> None:
        del left[recorder.member]
        leave(recorder, outcome)

    def diverged(recorder: Recorder) -> None:
        last = recorder.record.checkpoint("last")
        message = f"{recorder.member.fault} The last checkpoint is {last}."
        end(recorder, Outcome("diverged", if_diverged, message))

    first = recorders[0].experiment
    settings: Any = OmegaConf.to_container(recorders[0].config.trainer)
    callbacks = [
        stop,  # first: a signal may come during the evaluation of step 0
        Recording(recorders, diverged),
        ProgressBar(recorders),
    ]
    try:
        trainer = Trainer(
            **settings,
            max_epochs=1,  # the module's own clock ends the epoch
            logger=False,
            callbacks=callbacks,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(GANModule([*left], first.pace, first.execution))
    except BaseException as error:
        for recorder in [*left.values()]:
            with suppress(OSError):
                end(recorder, Outcome("failed", 1, f"{type(error).__name__}: {error}"))
        raise
    for recorder in [*left.values()]:
        end(recorder, _outcome(recorder, stop))
    return stop


def _outcome(recorder: Recorder, stop: StopOnSignal) -> Outcome:
    member, resumed = recorder.member, f"resume={recorder.record.directory} goes on"
    if member.finished:
        return Outcome("finished", 0)
    if stop.received is not None:
        message = f"stopped by {stop.received.name} at generator step {member.generator_steps}; {resumed}"
        return Outcome("interrupted", 128 + stop.received, message)
    return Outcome(
        "failed",
        1,
        f"training ended by itself at generator step {member.generator_steps} of {member.num_steps}; "
        f"{resumed}",
    )
