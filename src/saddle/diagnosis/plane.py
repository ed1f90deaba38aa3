"""Games of two parameters: their vector field over the plane, and the points where it rests."""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.optimize import root
from torch import Tensor

from saddle.diagnosis.linearize import Map
from saddle.game.refusals import Refused

Point = tuple[float, float]


def field_over(field: Map, x: Tensor, y: Tensor) -> Tensor:
    """v at every (x, y), shape (len(y), len(x), 2).

    Args:
        field: of two parameters, from ``linearize.game_field``.

    Raises:
        ValueError: the game has another number of parameters.
    """
    _must_be_plane(field)
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).to(field.point)  # (len(y), len(x), 2)
    return torch.func.vmap(torch.func.vmap(field.function))(grid).detach()


def rest_points(field: Map, x: Tensor, y: Tensor, tolerance: float = 1e-6) -> list[Point]:
    """Where v = 0 within the grid's frame, by Powell's method from each local minimum of ‖v‖ on the grid.

    A rest point between two that the grid does not tell apart is missed.

    Args:
        tolerance: on ‖v‖, relative to its largest on the grid, and on the distance of two points, relative
            to the frame.
    """
    sizes = field_over(field, x, y).norm(dim=-1)
    scale = float(sizes[torch.isfinite(sizes)].max()) if torch.isfinite(sizes).any() else 0.0
    frame = max(float(x[-1] - x[0]), float(y[-1] - y[0]))
    found: list[Point] = []
    for row, column in _local_minima(sizes.cpu().numpy()):
        start = np.array([float(x[column]), float(y[row])])
        solved = root(lambda at: _numpy(field, at), start)
        at = (float(solved.x[0]), float(solved.x[1]))
        rests = float(np.linalg.norm(_numpy(field, solved.x))) <= tolerance * scale
        inside = float(x[0]) <= at[0] <= float(x[-1]) and float(y[0]) <= at[1] <= float(y[-1])
        new = all(np.hypot(at[0] - a, at[1] - b) > tolerance * frame for a, b in found)
        if rests and inside and new:
            found.append(at)
    return found


def _numpy(field: Map, at: Sequence[float]) -> np.ndarray:
    return field.function(torch.tensor(np.asarray(at)).to(field.point)).detach().double().cpu().numpy()


def _local_minima(values: np.ndarray) -> list[tuple[int, int]]:
    """(row, column) of what is at most its neighbours; at an edge those within."""
    padded = np.pad(values, 1, constant_values=np.inf)
    rows, columns = values.shape
    around = [padded[1 + i : rows + 1 + i, 1 + j : columns + 1 + j] for i in (-1, 0, 1) for j in (-1, 0, 1)]
    lowest = values <= np.stack(around).min(0)
    return [(int(row), int(column)) for row, column in np.argwhere(lowest & np.isfinite(values))]


def _must_be_plane(field: Map) -> None:
    if len(field.point) != 2:
        raise Refused(
            f"a phase portrait needs a game of two parameters; this one has {len(field.point):,}. Take "
            "model=dirac data=dirac, or bilinear with one number for each player; of larger games draw "
            "picture=spectrum or picture=trajectories."
        )
