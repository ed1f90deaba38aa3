"""What each picture computes from configurations and records, through the code that trains.

A function here takes a ``Subject`` and its own settings (``conf/picture``), and returns numbers; how they are
drawn is in ``saddle.reports``.
"""

import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from saddle import cells, linearize, spectra
from saddle.commands.compose import Experiment, assemble
from saddle.commands.evaluate import restore
from saddle.data.sampling import draw_batches
from saddle.diagnostics.fate import fate
from saddle.diagnostics.plane import field_over, rest_points
from saddle.dynamics import Simultaneous
from saddle.game import Batch, Game, Players
from saddle.losses import Hinge, LeastSquares, Minimax, NonSaturating, Relativistic
from saddle.module import Diverged
from saddle.network import Network
from saddle.optimizers import SGD, Bounded
from saddle.records import open_record
from saddle.reports.phase_diagram import PhaseDiagram
from saddle.reports.phase_portrait import Panel, PhasePortrait
from saddle.reports.spectrum_picture import SpectrumPicture
from saddle.reports.trajectories import Panel as Courses
from saddle.reports.trajectories import Trajectories
from saddle.theory import held_modes

Settings = Mapping[str, Any]


class Subject(NamedTuple):
    """What a picture is of."""

    methods: Mapping[str, DictConfig]  # name -> a configuration of train
    runs: Sequence[Path]  # directories
    track: Callable[..., Iterable[Any]]  # (items, what[, their number]) -> the items, progress shown
    warn: Callable[[str], None]


def _experiment(config: DictConfig) -> Experiment:
    content: Any = OmegaConf.to_container(config, resolve=False)
    own = OmegaConf.create({key: value for key, value in content.items() if key not in ("picture", "out")})
    return assemble(OmegaConf.create(OmegaConf.to_container(own, resolve=True)))


def _batches(experiment: Experiment, index: int, num: int | None = None) -> tuple[Batch, ...]:
    """Those of a round as training draws them, or as many."""
    module = experiment.module
    return draw_batches(
        experiment.dataset.train,
        module.latents,
        experiment.game,
        module.batch_size,
        num or experiment.dynamics.num_batches,
        module.seed,
        index,
    )


# ---- phase portraits


def phase(
    subject: Subject, *, view: Sequence[float] | None, num_grid: int, num_batches: int
) -> PhasePortrait:
    """Each method's path, played as training plays it, over the field of its game.

    Args:
        view: left, right, bottom, top; None fits the paths, and leaves out how far they may fly.

    Raises:
        ValueError: a game of another number of parameters than two; a view or grid without extent.
    """
    if num_grid < 4:
        raise ValueError(f"num_grid must be at least 4; got {num_grid}. 31 is usual.")
    experiments = {name: _experiment(config) for name, config in subject.methods.items()}
    fields = {name: _field(one, one.game.init(), num_batches) for name, one in experiments.items()}
    for field in fields.values():
        field_over(field, field.point[:1], field.point[1:])  # refuses what is not of the plane
    paths = {name: path(one, subject.track, name) for name, one in experiments.items()}
    left, right, bottom, top = _view(list(paths.values())) if view is None else view
    if not (left < right and bottom < top):
        raise ValueError(
            f"view must be left < right, bottom < top; got {[left, right, bottom, top]}. Give such four numbers."
        )
    x, y = (torch.linspace(*ends, num_grid) for ends in ((left, right), (bottom, top)))
    panels: list[tuple[Tensor, Panel]] = []
    for name, one in experiments.items():
        grid = field_over(fields[name], x, y)
        shared = next((panel for other, panel in panels if torch.allclose(other, grid)), None)
        if shared is None:
            rest = [list(point) for point in rest_points(fields[name], x, y)]
            shared = Panel(_penalties(one.game), grid[..., 0].tolist(), grid[..., 1].tolist(), rest, {})
            panels.append((grid, shared))
        shared.paths[name] = paths[name].tolist()
    first = next(iter(experiments.values()))
    names = [_symbol(network) for network in (first.game.generator, first.game.discriminator)]
    found = [panel for _, panel in panels]
    if len(found) == 1:
        found = [found[0]._replace(title="")]
    return PhasePortrait(names, x.tolist(), y.tolist(), found)


def path(experiment: Experiment, track: Callable[..., Iterable[Any]] = chain, name: str = "") -> Tensor:
    """Both players as one vector before the first round and after each, up to where training would stop.

    Shape (rounds + 1, P + Q).
    """
    module = experiment.module
    module.on_fit_start()
    points = [torch.cat(module.state.players)]
    for index in track(range(module.num_steps // experiment.dynamics.num_generator_steps), name):
        try:
            module.play(range(index, index + 1))
        except Diverged:
            break
        points.append(torch.cat(module.state.players))
    return torch.stack(points).detach()


def _field(experiment: Experiment, players: Players, num_batches: int) -> linearize.Map:
    game = experiment.game.remember(experiment.game.init_memory(players))
    return linearize.game_field(game, players, _batches(experiment, 0, num_batches), torch.float64)


def _view(paths: Sequence[Tensor]) -> tuple[float, float, float, float]:
    """A square around all paths and the origin; of those that fly off, up to thrice as far as they began."""
    far = 3 * max(float(one[0].abs().max()) for one in paths) or 1.0
    points = torch.cat([one[torch.isfinite(one).all(1)] for one in paths]).clamp(-far, far)
    low, high = points.amin(0).clamp(max=0), points.amax(0).clamp(min=0)
    half = 0.56 * float((high - low).max())
    (x, y) = ((low + high) / 2).tolist()
    return x - half, x + half, y - half, y + half


def _penalties(game: Game) -> str:
    names = [*game.penalties, *game.generator_penalties]
    return f"with {', '.join(names)}" if names else "no penalty"


def _symbol(network: Network) -> str:
    """The parameter's name, as a Greek letter where it is the name of one."""
    name = next(iter(network.shapes), "")
    try:
        return unicodedata.lookup(f"GREEK SMALL LETTER {name}")
    except KeyError:
        return name


# ---- spectra


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
            _batches(place.experiment, 0, num_batches),
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
        rounds = [_batches(place.experiment, 0)]
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
        one = _experiment(config)
        players = one.game.init()
        if at is not None:
            point = _vector(at, players)
            players = Players(*point.split([len(vector) for vector in players]))
        yield name, _Place(one, players, one.dynamics.init(players), one.game.init_memory(players), config)


def _checkpoints(subject: Subject, wanted: Sequence[str] | None) -> Iterator[tuple[str, _Place]]:
    """Of each run the start and its checkpoints, in the order of their steps."""
    for directory in subject.track(subject.runs, "linearizing"):
        record = open_record(directory)
        names = [found.stem for found in sorted(record.checkpoints.glob("*.ckpt"))]
        several = f"{directory.name} " if len(subject.runs) > 1 else ""
        if wanted is None or "start" in wanted:
            config = OmegaConf.load(record.config)
            assert isinstance(config, DictConfig)
            for _, place in _starts(subject._replace(methods={"": config}, track=chain), None):
                yield f"{several}step 0", place._replace(settings=None)
        kept = [restore(str(directory), name, False) for name in wanted or names if name != "start"]
        for found in sorted({one.step: one for one in kept}.values(), key=lambda one: one.step):
            state = found.state
            yield (
                f"{several}step {found.step:,}",
                _Place(found.experiment, state.players, state.memory, state.game, None),
            )


def _vector(at: float | Sequence[float], players: Players) -> Tensor:
    """Both players as one vector of these numbers."""
    like = torch.cat(players)
    if isinstance(at, int | float):
        return torch.full_like(like, at)
    if len(at) != len(like):
        raise ValueError(
            f"a point must have a number for each of the game's {len(like)} parameters, the generator's first; "
            f"got {len(at)}. One number stands for all."
        )
    return torch.tensor([*at]).to(like)


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
        raise ValueError(
            f"the closed form's argument must be a setting of every method; {key} is not there. Choose its "
            "part, such as regularizer=[r1], or picture.compute.exact=null."
        )
    return value


# ---- phase diagrams


def diagram(
    subject: Subject,
    *,
    x: Settings,
    y: Settings,
    equilibrium: float | Sequence[float],
    escape: float,
    period: int,
    limit: Callable[[float], float] | None,
) -> PhaseDiagram:
    """Play the game at every pair of settings, and judge where each went.

    Args:
        x, y: key, label, low, high, num: ``num`` values, each by a like factor from the last.
        limit: the boundary's x at each y, where a closed form is known.

    Raises:
        ValueError: an empty axis; a key that sets no number of the game; a number that cells cannot differ in.
    """
    across, up = (_values(name, axis) for name, axis in (("x", x), ("y", y)))
    if len(subject.methods) != 1:
        raise ValueError(
            f"a phase diagram must be of one method; got {', '.join(subject.methods)}. Draw one picture each."
        )
    (config,) = subject.methods.values()
    corner = {x["key"]: across[0], y["key"]: up[0]}
    if len(corner) < 2:
        raise ValueError(f"the axes must be two settings; got {x['key']} twice. Give another picture.y.key.")
    base = _at(config, corner)
    low = _parts(base)
    values: dict[cells.Place, Tensor] = {}
    rows, columns = torch.meshgrid(torch.tensor(up), torch.tensor(across), indexing="ij")
    for axis, ends, spread in ((x, across, columns), (y, up, rows)):
        high = _parts(_at(config, corner | {axis["key"]: ends[-1]}))
        for place in cells.moved_by(low, high, (ends[0], ends[-1]), axis["key"]):
            values[place] = spread.flatten().to(torch.get_default_dtype())
    centre = _vector(equilibrium, base.game.init())
    num_rounds = base.module.num_steps // base.dynamics.num_generator_steps
    playing = cells.play(
        low, values, lambda index: _batches(base, index), subject.track(range(num_rounds), "playing"), centre
    )
    found = fate(playing.distances, escape)
    shape = (len(up), len(across))
    radius = [] if limit else _radii(subject, base, low, values, centre, period)
    return PhaseDiagram(
        x["label"] or x["key"],
        y["label"] or y["key"],
        across,
        up,
        found.verdict.reshape(shape).tolist(),
        found.growth.reshape(shape).tolist(),
        _boundary(limit, across, up) if limit else [],
        torch.tensor(radius).reshape(shape).tolist() if radius else [],
    )


def _values(name: str, axis: Settings) -> list[float]:
    """Logarithmically spaced."""
    key, low, high, num = (axis[part] for part in ("key", "low", "high", "num"))
    if not key:
        raise ValueError(
            f"an axis must name a setting; picture.{name}.key is empty. Give one such as "
            f"picture.{name}.key=regularizer.r1.gamma."
        )
    if num < 2 or not 0 < low < high:
        raise ValueError(
            f"an axis must have at least 2 values with 0 < low < high; picture.{name} has {num} from {low:g} to "
            f"{high:g}, and is empty. Set picture.{name}.num, .low and .high."
        )
    ends = torch.tensor([low, high], dtype=torch.float64).log()
    found = torch.linspace(*ends.tolist(), num, dtype=torch.float64).exp().tolist()
    return [float(low), *found[1:-1], float(high)]


def _at(config: DictConfig, settings: Mapping[str, float]) -> Experiment:
    """The experiment with these settings, each of a key or of the key that both players have."""
    changed = config.copy()
    for key, value in settings.items():
        group, _, rest = key.partition(".")
        both = [f"{group}.{player}.{rest}" for player in Players._fields]
        known = [one for one in ([key], both) if all(_holds_number(config, name) for name in one)]
        if not known:
            raise ValueError(
                f"an axis must be a setting that is a number; this game has no {key}. `--cfg job` lists all; "
                "choose its part too, such as regularizer=[r1] for regularizer.r1.gamma."
            )
        for name in known[0]:
            OmegaConf.update(changed, name, float(value))
    return _experiment(changed)


def _holds_number(config: DictConfig, key: str) -> bool:
    value = OmegaConf.select(config, key)
    return isinstance(value, int | float) and not isinstance(value, bool)


def _parts(experiment: Experiment) -> cells.Parts:
    return cells.Parts(experiment.game, experiment.dynamics, experiment.module.schedules)


def _radii(
    subject: Subject,
    base: Experiment,
    parts: cells.Parts,
    values: Mapping[cells.Place, Tensor],
    centre: Tensor,
    period: int,
) -> list[float]:
    """The spectral radius of each cell's rounds at the equilibrium, per round; none where they have no derivative."""
    players = Players(*centre.split([len(vector) for vector in base.game.init()]))
    rounds = [_batches(base, index) for index in range(period)]
    memory = base.game.init_memory(players)
    found = []
    for index in subject.track(range(len(next(iter(values.values())))), "linearizing"):
        game, dynamics, _ = cells.bind(parts, {place: float(value[index]) for place, value in values.items()})
        try:
            at = linearize.training_rounds(
                game.remember(memory), dynamics, players, dynamics.init(players), rounds, torch.float64
            )
            found.append(float(spectra.eigenvalues(at).abs().max()) ** (1 / period))
        except ValueError as error:
            subject.warn(f"no boundary is drawn: {error}")
            return []
    return found


def _boundary(
    limit: Callable[[float], float], across: Sequence[float], up: Sequence[float]
) -> list[list[float]]:
    """The closed form over the range of y, finer than the cells, where it lies in the picture."""
    ends = torch.tensor([up[0], up[-1]], dtype=torch.float64).log().tolist()
    heights = torch.linspace(*ends, 400, dtype=torch.float64).exp().tolist()
    points = [[float(limit(height)), height] for height in heights]
    return [point for point in points if across[0] <= point[0] <= across[-1]]


# ---- trajectories

# what the discriminator loses at best when the generator holds a share of the modes
LEVELS: Mapping[type, Callable[[float], float]] = {
    Minimax: held_modes.logistic_loss,
    NonSaturating: held_modes.logistic_loss,
    Hinge: held_modes.hinge_loss,
    LeastSquares: held_modes.least_squares_loss,
    Relativistic: held_modes.relativistic_loss,
}


def trajectories(
    subject: Subject, *, panels: Mapping[str, Sequence[str]], levels: Mapping[str, Sequence[float]]
) -> Trajectories:
    """What the records of runs hold of each panel's series, and theory's levels where all runs share them.

    Raises:
        ValueError: no run, or none that holds any of the series.
    """
    if not subject.runs:
        raise ValueError(
            "trajectories must be of runs; got none. Give runs=[DIRECTORY], as training printed it."
        )
    records = {str(directory): open_record(directory) for directory in subject.runs}
    names = dict(zip(records, _apart([*map(Path, records)]), strict=True))
    series = {names[place]: record.series() for place, record in subject.track([*records.items()], "reading")}
    losses = [_level(record.config) for record in records.values()]
    known = losses[0] if all(one is losses[0] for one in losses) else None
    found = []
    for title, wanted in panels.items():
        courses = {
            run: {
                name: [[float(step), value] for step, value in held[name].items()]
                for name in wanted
                if name in held
            }
            for run, held in series.items()
        }
        courses = {run: course for run, course in courses.items() if course}
        if courses:
            marks = {_share(r): known(r) for r in levels.get(title, ())} if known else {}
            found.append(Courses(title, courses, marks))  # type: ignore[arg-type]
    if not found:
        wanted = ", ".join(name for names in panels.values() for name in names)
        raise ValueError(
            f"a picture of trajectories must have something to draw; the runs hold none of {wanted}. Give other "
            "picture.compute.panels."
        )
    return Trajectories(found)


def _apart(directories: Sequence[Path]) -> list[str]:
    """The shortest ends of their paths that tell them apart."""
    for depth in range(1, max(len(one.parts) for one in directories) + 1):
        names = ["/".join(one.parts[-depth:]) for one in directories]
        if len({*names}) == len(names):
            return names
    return [str(one) for one in directories]


def _share(r: float) -> str:
    return "all modes held" if r == 1 else f"{r:.3g} of modes"


def _level(config: Path) -> Callable[[float], float] | None:
    """Of a run's loss, where theory knows it: without label smoothing, penalties or packing it is reached."""
    from hydra.utils import instantiate

    loss = instantiate(OmegaConf.load(config).loss)  # type: ignore[union-attr]
    if loss != type(loss)():  # another form, or smoothed targets
        return None
    return LEVELS.get(type(loss))
