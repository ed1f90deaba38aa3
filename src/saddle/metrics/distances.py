"""Distances between rows in bounded memory: nearest neighbours, and pairs that lie within a radius.

Blocks of squared distances come from a matrix product in float32, whose error has a bound:
|computed − true| ≤ (d + 8)·u·(‖x‖² + ‖y‖²), u the unit roundoff, for a product of any order of summation.
Whatever that bound leaves open is decided in float64, so results are those of float64 at the cost of
float32. Where matrix products are not IEEE float32 (TF32, bfloat16), blocks are float64 from the start.

Source of the bound: Higham 2002, Accuracy and Stability of Numerical Algorithms, eq. 3.5.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

SPARE = 5  # candidates beyond the k-th neighbour that are looked at before a row is done again in float64


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """‖xᵢ − yⱼ‖², (N, M), from the matrix product; distances within rounding of zero are exactly zero.

    Centre the rows first: the error is about 1e-16 of ‖xᵢ‖² + ‖yⱼ‖².
    """
    sizes = x.square().sum(1)[:, None] + y.square().sum(1)
    squared = torch.addmm(sizes, x, y.mT, alpha=-2)
    return squared.masked_fill_(squared < 1e-13 * sizes, 0)  # 1e-13: rounding of a few hundred terms


def kth_nearest(
    x: Tensor, y: Tensor | None, ks: tuple[int, ...], *, block_size: int = 512
) -> tuple[Tensor, Tensor]:
    """Squared distances of each row to its k-th nearest rows of y, and which rows they are.

    Args:
        x: (N, d), of any floating dtype.
        y: (M, d), M ≥ max(ks); None for x itself, each row then being no neighbour of its own.
        ks: which neighbours, from 1.
        block_size: rows of the distance matrix held at once.

    Returns:
        Squared distances (N, len(ks)) float64, 0 exactly for equal rows, and indices (N, len(ks)) into y.
    """
    own, y = y is None, x if y is None else y
    pair = _Pair(x, y)
    indices = torch.arange(len(x), device=x.device)
    found = [_kth_of(pair, rows, ks, own, coarse_dtype(x)) for rows in indices.split(block_size)]
    return torch.cat([one[0] for one in found]), torch.cat([one[1] for one in found])


class Pairs(NamedTuple):
    """Pairs of a row of x and a row of y, one an entry."""

    rows: Tensor  # (P,) into x
    columns: Tensor  # (P,) into y
    in_row: Tensor  # (R, P) bool: y is inside the ball around x, for each of R sets of radii
    in_column: Tensor  # (P,) bool: x is inside the ball around y


def pairs_within(
    x: Tensor, y: Tensor, x_radii: Sequence[Tensor], y_radii: Tensor, *, block_size: int = 512
) -> Iterator[Pairs]:
    """All pairs in which one lies in the ball around the other, block of rows of x after block.

    A ball holds its surface, to within rounding: 1e-13 of the two rows' squared lengths about x's mean.

    Args:
        x: (N, d).
        y: (M, d).
        x_radii: *squared* radii (N,) of the balls around rows of x, one or more sets of them; −1 for none.
        y_radii: (M,) of those around rows of y, likewise.
        block_size: rows of the distance matrix held at once.
    """
    pair = _Pair(x, y)
    dtype = coarse_dtype(x)
    for rows in torch.arange(len(x), device=x.device).split(block_size):
        largest = torch.maximum(torch.stack([radii[rows] for radii in x_radii]).amax(0)[:, None], y_radii)
        limit = (largest + pair.slack(rows, dtype) + pair.slack(rows, torch.float64)).to(dtype)
        squared = pair.coarse(rows, dtype)
        i, j = torch.nonzero(squared <= limit, as_tuple=True)
        values = squared[i, j].to(torch.float64)
        i = rows[i]
        sizes = pair.x_sizes[i] + pair.y_sizes[j]
        bounds = torch.stack([*(radii[i] for radii in x_radii), y_radii[j]])
        unsure = ((values - bounds).abs() <= pair.relative_slack(dtype) * sizes).any(0)
        values[unsure] = pair.exact(i[unsure], j[unsure])
        inside = (values <= bounds + 1e-13 * sizes) & (bounds >= 0)
        yield Pairs(i, j, inside[:-1], inside[-1])


def coarse_dtype(x: Tensor) -> torch.dtype:
    """float32 where its matrix product keeps the error bound above: on the CPU at full precision."""
    precise = torch.get_float32_matmul_precision() == "highest"
    return torch.float32 if x.device.type == "cpu" and precise else torch.float64


class _Pair:
    """Two sets of rows, centred at the first one's mean."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y = x, y
        self.centre = x.mean(0, dtype=torch.float64)
        self.x_sizes = self._sizes(x)
        self.y_sizes = self.x_sizes if y is x else self._sizes(y)
        self.largest = float(self.y_sizes.max())
        self._columns: dict[torch.dtype, tuple[Tensor, Tensor]] = {}

    def centred(self, rows: Tensor, dtype: torch.dtype) -> Tensor:
        return (rows.to(torch.float64) - self.centre).to(dtype)

    def _sizes(self, rows: Tensor) -> Tensor:
        blocks = rows.split(1024)  # bounds memory
        return torch.cat([self.centred(block, torch.float64).square().sum(1) for block in blocks])

    def relative_slack(self, dtype: torch.dtype) -> float:
        return (self.x.shape[1] + 8) * torch.finfo(dtype).eps / 2

    def slack(self, rows: Tensor, dtype: torch.dtype) -> Tensor:
        """Bound on the error of one row's coarse distances, (B, 1) float64."""
        return self.relative_slack(dtype) * (self.x_sizes[rows] + self.largest)[:, None]

    def coarse(self, rows: Tensor, dtype: torch.dtype) -> Tensor:
        """Squared distances (B, M) of rows of x to all of y, to within ``slack``."""
        if dtype not in self._columns:
            kept = torch.empty_like(self.y, dtype=dtype)
            for start in range(0, len(self.y), 1024):
                kept[start : start + 1024] = self.centred(self.y[start : start + 1024], dtype)
            self._columns[dtype] = kept, self.y_sizes.to(dtype)
        columns, sizes = self._columns[dtype]
        block = columns[rows] if self.y is self.x else self.centred(self.x[rows], dtype)
        squared = torch.mm(block, columns.mT).mul_(-2)
        return squared.add_(sizes).add_(self.x_sizes[rows].to(dtype)[:, None])

    def exact(self, i: Tensor, j: Tensor) -> Tensor:
        """‖xᵢ − yⱼ‖² of pairs by their differences in float64: 0 exactly for equal rows."""
        size = max(1, 2**21 // self.x.shape[1])  # bounds memory
        return torch.cat(
            [
                (self.x[one].to(torch.float64) - self.y[other].to(torch.float64)).square().sum(1)
                for one, other in zip(i.split(size), j.split(size), strict=True)
            ]
        )


def _kth_of(
    pair: _Pair, rows: Tensor, ks: tuple[int, ...], own: bool, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    squared = pair.coarse(rows, dtype)
    if own:
        squared[torch.arange(len(rows), device=rows.device), rows] = torch.inf
    num_others = len(pair.y) - own
    values, indices = squared.topk(min(max(ks) + SPARE, num_others), dim=1, largest=False)
    values = values.to(torch.float64)
    slack = 2 * pair.slack(rows, dtype)
    unsure = torch.zeros_like(values, dtype=torch.bool)
    for k in ks:
        unsure |= (values - values[:, k - 1 : k]).abs() <= slack
    at, which = torch.nonzero(unsure, as_tuple=True)
    values[at, which] = pair.exact(rows[at], indices[at, which])
    values, order = values.sort(dim=1)
    indices = indices.gather(1, order)
    chosen = [k - 1 for k in ks]
    values, indices = values[:, chosen], indices[:, chosen]
    # a candidate that was left out may be nearer only if the last one kept was not clearly farther
    again = unsure[:, -1] if unsure.shape[1] < num_others else torch.zeros_like(unsure[:, -1])
    if dtype != torch.float64 and bool(again.any()):
        values[again], indices[again] = _kth_of(pair, rows[again], ks, own, torch.float64)
    return values, indices
