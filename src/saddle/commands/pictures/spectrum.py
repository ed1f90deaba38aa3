"""Eigenvalues of games as they start, and of runs at their checkpoints."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig, OmegaConf

from saddle.commands.pictures.subject import Subject, assembled, batches_of, vector
from saddle.diagnosis import linearize, spectra
from saddle.dynamics import Simultaneous
from saddle.dynamics.optimizers import SGD, Bounded
from saddle.game.game import Players
from saddle.game.refusals import Refused
from saddle.records import checkpoints
from saddle.records.record import open_record
from saddle.reports.spectrum_picture import SpectrumPicture
from saddle.rounds.execution import start
from saddle.training.assembly import Experiment


class _Place(NamedTuple):
    """Where a game is linearized."""

    experiment: Experiment
    players: Players
    memory: Any  # of the dynamics
    of_game: dict[str, Any]  # memory of its parts
    settings: DictConfig | None  # of a method


MapAt = Callable[[_Place], linearize.Map]


def field_spectrum(subject: Subject, *, num_batches: int, **settings: Any) -> SpectrumPicture:
    """Eigenvalues of the vector field; see ``_spectrum``."""

    def at(place: _Place) -> linearize.Map:
        game, batches = (
            place.experiment.game.remember(place.of_game),
            batches_of(place.experiment, 0, num_batches),
        )
        return linearize.game_field(game, place.players, batches, torch.float64)

    rates: set[float | None] = set()

    def watched(place: _Place) -> linearize.Map:
        rates.add(_step_of(place.experiment))
        return at(place)

    picture = _spectrum(subject, watched, **settings)
    (rate,) = rates if len(rates) == 1 else (None,)
    if rate is None:  # of other methods, or of several steps, no one disc is the region
        return picture
    return picture._replace(disc=[-1 / rate, 1 / rate], region=f"stable at h = {rate:g}")


def round_spectrum(subject: Subject, *, num_batches: int, **settings: Any) -> SpectrumPicture:
    """Eigenvalues of one round, on its own batches; see ``_spectrum``."""

    def at(place: _Place) -> linearize.Map:
        game, dynamics = place.experiment.game.remember(place.of_game), place.experiment.dynamics
        rounds = [batches_of(place.experiment, 0)]
        return linearize.training_rounds(game, dynamics, place.players, place.memory, rounds, torch.float64)

    return _spectrum(subject, at, **settings)._replace(disc=[0.0, 1.0], region="stable")


def _spectrum(
    subject: Subject,
    map_at: MapAt,
    *,
    at: float | Sequence[float] | None,
    checkpoints: Sequence[str] | None,
    max_dense: int,
    num_leading: int,
    max_restarts: int,
    exact: Callable[..., Sequence[complex]] | None,
    arguments: Mapping[str, str],
) -> SpectrumPicture:
    """A cloud for each method, or for each checkpoint of each run.

    Raises:
        NotConverged: the search for leading eigenvalues did not; with their residuals.
        ValueError: no such checkpoint; no such key for an argument of the closed form.
    """
    places = _checkpoints(subject, checkpoints) if subject.runs else _starts(subject, at)
    clouds: dict[str, list[list[float]]] = {}
    forms: dict[str, list[list[float]]] = {}
    complete = True
    for name, place in places:
        here = map_at(place)
        if len(here.point) <= max_dense:
            values = spectra.eigenvalues(here, max_dense)
        else:
            complete = False
            values = spectra.leading_eigenvalues(here, num_leading, max_restarts=max_restarts).values
        clouds[name] = torch.view_as_real(values).tolist()
        if exact is not None and place.settings is not None:
            given = {argument: _number(place.settings, key) for argument, key in arguments.items()}
            forms[name] = [[value.real, value.imag] for value in map(complex, exact(**given))]
    return SpectrumPicture(clouds, forms, None, "", complete)


def _starts(subject: Subject, at: float | Sequence[float] | None) -> Iterator[tuple[str, _Place]]:
    for name, config in subject.track([*subject.methods.items()], "linearizing"):
        one = assembled(config)
        players = one.game.init()
        if at is not None:
            point = vector(at, players)
            players = Players(*point.split([len(vector) for vector in players]))
        yield name, _Place(one, players, one.dynamics.init(players), one.game.init_memory(players), config)


def _checkpoints(subject: Subject, wanted: Sequence[str] | None) -> Iterator[tuple[str, _Place]]:
    """Of each run the start and its checkpoints, in the order of their steps."""
    for directory in subject.track(subject.runs, "linearizing"):
        record = open_record(directory)
        several = f"{directory.name} " if len(subject.runs) > 1 else ""
        config = OmegaConf.load(record.config)
        assert isinstance(config, DictConfig)
        one, owner = assembled(config), record.read_provenance()["run_id"]
        fresh = start(one.game, one.dynamics, one.averages, torch.device("cpu"))
        at = {0: fresh} if wanted is None or "start" in wanted else {}
        names = [path.stem for path in record.checkpoints.glob("*.ckpt")] if wanted is None else wanted
        for name in names:
            if name != "start":
                found = checkpoints.load(record.checkpoint(name), fresh, owner)
                at[found.step] = found.state
        for step, state in sorted(at.items()):
            place = _Place(one, state.players, state.memory, state.game, None)
            yield f"{several}step {step:,}", place


def _step_of(experiment: Experiment) -> float | None:
    """The learning rate of plain simultaneous descent, if that is what is played."""
    dynamics = experiment.dynamics
    if not isinstance(dynamics, Simultaneous):
        return None
    rules = [
        rule.rule if isinstance(rule, Bounded) else rule
        for rule in (dynamics.generator, dynamics.discriminator)
    ]
    plain = [rule for rule in rules if isinstance(rule, SGD) and rule.momentum == 0]
    return float(plain[0].lr) if len(plain) == 2 and plain[0].lr == plain[1].lr else None


def _number(config: DictConfig, key: str) -> Any:
    value = OmegaConf.select(config, key)
    if value is None:
        raise Refused(
            f"the closed form's argument must be a setting of every method; {key} is not there. Choose its "
            "part, such as regularizer=[r1], or picture.compute.exact=null."
        )
    return value
