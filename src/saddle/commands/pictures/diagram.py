"""Phase diagrams: a game played at every pair of two settings."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from saddle.commands.pictures.subject import Subject, assembled, batches_of, vector
from saddle.diagnosis import linearize, spectra
from saddle.diagnosis.fate import fate
from saddle.game.game import Players
from saddle.game.refusals import Refused
from saddle.reports.phase_diagram import PhaseDiagram
from saddle.rounds import cells
from saddle.rounds.execution import Method
from saddle.rounds.lifting import Path
from saddle.training.assembly import Experiment

Settings = Mapping[str, Any]


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
        ValueError: an empty axis; a key that sets no number of the game; one that cells cannot differ in.
    """
    across, up = (_values(name, axis) for name, axis in (("x", x), ("y", y)))
    if len(subject.methods) != 1:
        raise Refused(
            f"a phase diagram must be of one method; got {', '.join(subject.methods)}. Draw one picture each."
        )
    (config,) = subject.methods.values()
    corner = {x["key"]: across[0], y["key"]: up[0]}
    if len(corner) < 2:
        raise Refused(f"the axes must be two settings; got {x['key']} twice. Give another picture.y.key.")
    base = _at(config, corner)
    low = base.member.method
    values: dict[Path, Tensor] = {}
    rows, columns = torch.meshgrid(torch.tensor(up), torch.tensor(across), indexing="ij")
    for axis, ends, spread in ((x, across, columns), (y, up, rows)):
        high = _at(config, corner | {axis["key"]: ends[-1]}).member.method
        for place in cells.moved_by(low, high, (ends[0], ends[-1]), axis["key"]):
            values[place] = spread.flatten().to(torch.get_default_dtype())
    centre = vector(equilibrium, base.game.init())
    num_rounds = base.member.last_round
    playing = cells.play(
        low,
        values,
        lambda index: batches_of(base, index),
        subject.track(range(num_rounds), "playing"),
        centre,
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
        raise Refused(
            f"an axis must name a setting; picture.{name}.key is empty. Give one such as "
            f"picture.{name}.key=regularizer.r1.gamma."
        )
    if num < 2 or not 0 < low < high:
        raise Refused(
            f"an axis must have at least 2 values with 0 < low < high; picture.{name} has {num} from "
            f"{low:g} to {high:g}, and is empty. Set picture.{name}.num, .low and .high."
        )
    return [float(value) for value in np.geomspace(low, high, num)]  # with both ends as they are


def _at(config: DictConfig, settings: Mapping[str, float]) -> Experiment:
    """The experiment with these settings, each of a key or of the key that both players have."""
    changed = config.copy()
    for key, value in settings.items():
        group, _, rest = key.partition(".")
        both = [f"{group}.{player}.{rest}" for player in Players._fields]
        known = [one for one in ([key], both) if all(_holds_number(config, name) for name in one)]
        if not known:
            raise Refused(
                f"an axis must be a setting that is a number; this game has no {key}. `--cfg job` lists all; "
                "choose its part too, such as regularizer=[r1] for regularizer.r1.gamma."
            )
        for name in known[0]:
            OmegaConf.update(changed, name, float(value))
    return assembled(changed)


def _holds_number(config: DictConfig, key: str) -> bool:
    value = OmegaConf.select(config, key)
    return isinstance(value, int | float) and not isinstance(value, bool)


def _radii(
    subject: Subject,
    base: Experiment,
    method: Method,
    values: Mapping[Path, Tensor],
    centre: Tensor,
    period: int,
) -> list[float]:
    """Spectral radius a round of each cell at the equilibrium; empty where it has no derivative there."""
    players = Players(*centre.split([len(vector) for vector in base.game.init()]))
    rounds = [batches_of(base, index) for index in range(period)]
    memory = base.game.init_memory(players)
    found = []
    for index in subject.track(range(len(next(iter(values.values())))), "linearizing"):
        game, dynamics, *_ = cells.cell(
            method, {place: float(value[index]) for place, value in values.items()}
        )
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
    left, right = _edges(across)
    heights = np.geomspace(*_edges(up), 400)
    points = [[float(limit(float(height))), float(height)] for height in heights]
    return [point for point in points if left <= point[0] <= right]


def _edges(values: Sequence[float]) -> tuple[float, float]:
    """The outer edges of cells around these."""
    return values[0] * (values[0] / values[1]) ** 0.5, values[-1] * (values[-1] / values[-2]) ** 0.5
