"""Phase portraits: paths of methods, played as training plays them, over the field of their game."""

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from saddle.commands.pictures.subject import Subject, assembled, batches_of, unseen
from saddle.diagnosis import linearize
from saddle.diagnosis.plane import field_over, rest_points
from saddle.game.game import Game, Players
from saddle.game.network import Network
from saddle.game.refusals import Refused
from saddle.reports.phase_portrait import Panel, PhasePortrait
from saddle.training.assembly import Experiment
from saddle.training.module import GANModule, Pace


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
        raise Refused(f"num_grid must be at least 4; got {num_grid}. 31 is usual.")
    experiments = {name: assembled(config) for name, config in subject.methods.items()}
    fields = {name: _field(one, one.game.init(), num_batches) for name, one in experiments.items()}
    for field in fields.values():
        field_over(field, field.point[:1], field.point[1:])  # refuses what is not of the plane
    paths = {name: path(one, subject.track, name) for name, one in experiments.items()}
    left, right, bottom, top = _view(list(paths.values())) if view is None else view
    if not (left < right and bottom < top):
        raise Refused(
            f"view must be left < right, bottom < top; got {list(view or ())}. Give such four numbers."
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


def path(experiment: Experiment, track: Callable[..., Iterable[Any]] = unseen, name: str = "") -> Tensor:
    """Both players as one vector before the first round and after each, up to where training would stop.

    Shape (rounds + 1, P + Q).
    """
    module = GANModule([experiment.member], Pace(1), experiment.execution)
    module.begin()
    member = experiment.member
    points = [torch.cat(member.state.players)]
    for chunk in track(module.chunks(), name):
        module.play(chunk)
        if member.fault is not None:
            break
        points.append(torch.cat(member.state.players))
    return torch.stack(points).detach()


def _field(experiment: Experiment, players: Players, num_batches: int) -> linearize.Map:
    game = experiment.game.remember(experiment.game.init_memory(players))
    return linearize.game_field(game, players, batches_of(experiment, 0, num_batches), torch.float64)


def _view(paths: Sequence[Tensor]) -> tuple[float, float, float, float]:
    """A square around all paths and the origin; of those that fly off, up to thrice as far as they began."""
    far = 3 * max(float(one[0].abs().max()) for one in paths) or 1.0
    points = torch.cat([one[torch.isfinite(one).all(1)] for one in paths]).clamp(-far, far)
    low, high = points.amin(0).clamp(max=0), points.amax(0).clamp(min=0)
    half = 0.56 * float((high - low).max())
    (x, y) = ((low + high) / 2).tolist()
    return x - half, x + half, y - half, y + half


def _penalties(game: Game) -> str:
    known = [*game.penalties, *game.generator_penalties]
    names = [name.upper() if len(name) <= 3 else name.replace("_", " ") for name in known]  # R1, BCR
    return f"with {', '.join(names)}" if names else "no penalty"


def _symbol(network: Network) -> str:
    """The parameter's name, as a Greek letter where it is the name of one."""
    name = next(iter(network.shapes), "")
    try:
        return unicodedata.lookup(f"GREEK SMALL LETTER {name}")
    except KeyError:
        return name
