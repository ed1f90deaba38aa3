"""Distances between rows in bounded memory: nearest neighbours, and pairs that lie within a radius.

Blocks of squared distances come from a matrix product in float32, whose error has a bound:
|computed − true| ≤ (d + 12)·u·(‖x‖² + ‖y‖²), u the unit roundoff, for a product of any order of summation.
Whatever that bound leaves open is decided in float64, so results are those of float64 at the cost of
float32. Where matrix products are not IEEE float32 (TF32, bfloat16), blocks are float64 from the start.

Source of the bound: Higham 2002, Accuracy and Stability of Numerical Algorithms, eq. 3.5.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

SURFACE = 1 + 1e-12
SPARE = 5  # candidates beyond the k-th neighbour that are looked at before a row is done again in float64


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """‖xᵢ − yⱼ‖², (N, M), from the matrix product; distances within rounding of zero are exactly zero.

    Centre the rows first: the error is about 1e-16 of ‖xᵢ‖² + ‖yⱼ‖².
    """
    sizes = x.square().sum(1)[:, None] + y.square().sum(1)
    squared = torch.addmm(sizes, x, y.mT, alpha=-2)
    return squared.masked_fill_(squared < 1e-13 * sizes, 0)  # 1e-13: rounding of a few hundred terms


def kth_nearest(
    x: Tensor, y: Tensor | None, ks: tuple[int, ...], *, block_size: int = 256
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
    pair = _Pair(x, x if y is None else y)
    blocks = torch.arange(len(x), device=x.device).split(block_size)
    num, dtype = max(ks) + SPARE, coarse_dtype(x)
    near: Iterable[tuple[Tensor, Tensor]]
    if y is None:
        values, indices = _nearest_of_own(pair, num, block_size, dtype)
        near = zip(values.split(block_size), indices.split(block_size), strict=True)
    else:
        near = (_nearest(pair, rows, num, dtype) for rows in blocks)
    found = []
    for rows, (values, indices) in zip(blocks, near, strict=True):
        values, indices, certain = _refine(pair, rows, values, indices, ks, dtype)
        if not bool(certain.all()):
            open_rows = rows[~certain]
            again = _nearest(pair, open_rows, num, torch.float64, own=y is None)
            values[~certain], indices[~certain], _ = _refine(pair, open_rows, *again, ks, torch.float64)
        found.append((values, indices))
    return torch.cat([one[0] for one in found]), torch.cat([one[1] for one in found])


class Pairs(NamedTuple):
    """Pairs of a row of x and a row of y, one an entry."""

    rows: Tensor  # (P,) into x
    columns: Tensor  # (P,) into y
    in_row: Tensor  # (R, P) bool: y is inside the ball around x, for each of R sets of radii
    in_column: Tensor  # (P,) bool: x is inside the ball around y


def pairs_within(
    x: Tensor, y: Tensor, x_radii: Sequence[Tensor], y_radii: Tensor, *, block_size: int = 256
) -> Iterator[Pairs]:
    """All pairs in which one lies in the ball around the other, block of rows of x after block.

    A ball holds its surface, to within 1e-12 of its squared radius: rounding of a few thousand terms.

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
        limit = (largest * SURFACE + pair.slack(rows, dtype)).to(dtype)
        squared = pair.coarse(rows, dtype)
        i, j = torch.nonzero(squared <= limit, as_tuple=True)
        values = squared[i, j].to(torch.float64)
        i = rows[i]
        sizes = pair.x_sizes[i] + pair.y_sizes[j]
        bounds = torch.stack([*(radii[i] for radii in x_radii), y_radii[j]])
        unsure = ((values - bounds).abs() <= pair.relative_slack(dtype) * sizes).any(0)
        values[unsure] = pair.exact(i[unsure], j[unsure])
        inside = (values <= bounds * SURFACE) & (bounds >= 0)
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
        coarse = coarse_dtype(x)
        columns, self.y_sizes = self._centred(y, coarse)
        self.x_sizes = self.y_sizes if y is x else self._centred(x, None)[1]
        self.largest = float(self.y_sizes.max())
        self._columns = {coarse: columns}

    def _centred(self, rows: Tensor, dtype: torch.dtype | None) -> tuple[Tensor, Tensor]:
        """Centred rows, if a type is given, and the squared lengths (N,) float64."""
        kept = torch.empty_like(rows, dtype=dtype) if dtype else rows[:0]
        sizes = []
        for start in range(0, len(rows), 1024):  # bounds memory
            block = rows[start : start + 1024].to(torch.float64) - self.centre
            sizes.append(block.square().sum(1))
            if dtype:
                kept[start : start + 1024] = block
        return kept, torch.cat(sizes)

    def relative_slack(self, dtype: torch.dtype) -> float:
        return (self.x.shape[1] + 12) * torch.finfo(dtype).eps / 2

    def slack(self, rows: Tensor, dtype: torch.dtype) -> Tensor:
        """Bound on the error of one row's coarse distances, (B, 1) float64."""
        return self.relative_slack(dtype) * (self.x_sizes[rows] + self.largest)[:, None]

    def coarse(self, rows: Tensor, dtype: torch.dtype, start: int = 0) -> Tensor:
        """Squared distances (B, M − start) of rows of x to those of y from ``start``, to within ``slack``."""
        if dtype not in self._columns:
            self._columns[dtype] = self._centred(self.y, dtype)[0]
        columns = self._columns[dtype][start:]
        if self.y is self.x:
            block = self._columns[dtype][rows]
        else:
            block = (self.x[rows].to(torch.float64) - self.centre).to(dtype)
        squared = torch.addmm(self.y_sizes[start:].to(dtype), block, columns.mT, alpha=-2)
        return squared.add_(self.x_sizes[rows].to(dtype)[:, None])

    def exact(self, i: Tensor, j: Tensor) -> Tensor:
        """‖xᵢ − yⱼ‖² of pairs by their differences in float64: 0 exactly for equal rows."""
        size = max(1, 2**21 // self.x.shape[1])  # bounds memory
        return torch.cat(
            [
                (self.x[one].to(torch.float64) - self.y[other].to(torch.float64)).square().sum(1)
                for one, other in zip(i.split(size), j.split(size), strict=True)
            ]
        )


def _nearest(
    pair: _Pair, rows: Tensor, num: int, dtype: torch.dtype, own: bool = False
) -> tuple[Tensor, Tensor]:
    """Coarse squared distances to the nearest rows of y, ascending, and which they are."""
    squared = pair.coarse(rows, dtype)
    if own:
        squared[torch.arange(len(rows), device=rows.device), rows] = torch.inf
    return squared.topk(min(num, squared.shape[1] - own), dim=1, largest=False)


def _nearest_of_own(pair: _Pair, num: int, block_size: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """``_nearest`` for all rows of one set: blocks below the diagonal of the matrix are never made."""
    total = len(pair.x)
    rows = torch.arange(total, device=pair.x.device)
    num = min(num, total - 1)
    values = torch.full((total, num), torch.inf, dtype=dtype, device=pair.x.device)
    indices = torch.zeros((total, num), dtype=torch.int64, device=pair.x.device)

    def merge(start: int, stop: int, others: Tensor, which: Tensor) -> None:
        both = torch.cat([values[start:stop], others], dim=1)
        values[start:stop], order = both.topk(num, dim=1, largest=False)
        indices[start:stop] = torch.cat([indices[start:stop], which], dim=1).gather(1, order)

    for start in range(0, total, block_size):
        stop = min(start + block_size, total)
        squared = pair.coarse(rows[start:stop], dtype, start)  # (B, total − start)
        squared.diagonal().fill_(torch.inf)
        across = squared.topk(min(num, total - start), dim=1, largest=False)
        merge(start, stop, across.values, across.indices + start)
        if stop < total:
            down = squared[:, stop - start :].topk(min(num, stop - start), dim=0, largest=False)
            merge(stop, total, down.values.mT, down.indices.mT + start)
    return values, indices


def _refine(
    pair: _Pair, rows: Tensor, values: Tensor, indices: Tensor, ks: tuple[int, ...], dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """Exact squared distances to the k-th of the candidates, which they are, and whether that is certain."""
    slack = 2 * pair.slack(rows, dtype)
    values = values.to(torch.float64)
    unsure = torch.zeros_like(values, dtype=torch.bool)
    for k in ks:
        unsure |= (values - values[:, k - 1 : k]).abs() <= slack
    # a row that is no candidate may be nearer only if the last candidate was not clearly farther
    complete = values.shape[1] == len(pair.y) - (pair.x is pair.y)
    certain = torch.ones_like(unsure[:, -1]) if complete else ~unsure[:, -1]
    at, which = torch.nonzero(unsure, as_tuple=True)
    values[at, which] = pair.exact(rows[at], indices[at, which])
    values, order = values.sort(dim=1, stable=True)
    chosen = [k - 1 for k in ks]
    return values[:, chosen], indices.gather(1, order)[:, chosen], certain
