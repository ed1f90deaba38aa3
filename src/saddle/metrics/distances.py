"""Distances between rows in bounded memory: nearest neighbours, and pairs that lie within a radius.

Blocks of squared distances ‖x‖² + ‖y‖² − 2p come from products p of coarse numbers. With x̂ the coarse x,
v the unit roundoff of its type, u that of the sums and d the number of columns,

    |computed − true| ≤ e(x) + e(y) + 2v|p|,  e(x) = ‖x − x̂‖²/t + t‖x‖² + (d + 12)·u‖x‖²  for any t > 0,

by Cauchy and Schwarz and 2ab ≤ a²/t + tb² for the rounding of the factors, for any order of summation, and
with 2v|p| for the rounding of the result (in types finer than bfloat16 it is one of the 12). Whatever these
bounds leave open is decided by the next finer type and at last in float64, so results are those of float64 at
the cost of the coarsest.

Source of the bound of sums: Higham 2002, Accuracy and Stability of Numerical Algorithms, eq. 3.5.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from saddle.metrics.matrices import mean

SURFACE = 1 + 1e-12
SPARE = 24  # candidates beyond the k-th neighbour that are looked at before a row is done again more finely
WIDE = 512  # columns from which the product is most of the work
ROWS = 512  # taken to float64 at once
ALONE = 2**15 - 1  # numbers below which torch leaves an operation to one thread: none waits for another
MANY = 1 / 128  # share of a block's pairs that costs as much to decide one by one as by a finer product


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
    values = torch.empty(len(x), len(ks), dtype=torch.float64, device=x.device)
    indices = torch.empty(len(x), len(ks), dtype=torch.int64, device=x.device)
    todo = torch.arange(len(x), device=x.device)
    for dtype in pair.dtypes():
        still_open = [todo[:0]]
        for start in range(0, len(todo), block_size):
            rows = todo[start : start + block_size]
            values[rows], indices[rows], certain = _nearest(pair, rows, ks, dtype)
            still_open.append(rows[~certain])
            if len(still_open[-1]) > len(rows) / 2:  # the type is too coarse for these data
                still_open.append(todo[start + block_size :])
                break
        todo = torch.cat(still_open)
    return values, indices


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
    dtypes = pair.dtypes()
    for rows in torch.arange(len(x), device=x.device).split(block_size):
        near = _near(pair, rows, x_radii, y_radii, dtypes[0])
        while len(dtypes) > 1 and int(near.unsure.sum()) > MANY * len(rows) * len(y):
            dtypes = dtypes[1:]
            near = _near(pair, rows, x_radii, y_radii, dtypes[0])
        near.squared[near.unsure] = pair.exact(near.rows[near.unsure], near.columns[near.unsure])
        inside = (near.squared <= near.radii * SURFACE) & (near.radii >= 0)
        yield Pairs(near.rows, near.columns, inside[:-1], inside[-1])


def coarse_dtypes(width: int, device: torch.device) -> list[torch.dtype]:
    """Types whose products keep the bound above, from the coarsest that is worth it to float64."""
    if device.type != "cpu" or torch.get_float32_matmul_precision() != "highest":  # TF32, or bfloat16 unasked
        return [torch.float64]
    native = torch.cpu.get_capabilities()
    bfloat16 = native.get("avx512_bf16") or native.get("amx_bf16")  # otherwise emulated, and slow
    if width >= WIDE and bfloat16 and torch.backends.mkldnn.is_available():
        return [torch.bfloat16, torch.float32, torch.float64]
    return [torch.float32, torch.float64]


class _Coarse(NamedTuple):
    """Rows in a coarse type."""

    rows: Tensor  # (N, d)
    error: Tensor  # (N,) float64, e(x)


class _Pair:
    """Two sets of rows, centred at the first one's mean."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y = x, y
        self.centre = mean(x)
        self.y_sizes = self._sizes(y)
        self.x_sizes = self.y_sizes if y is x else self._sizes(x)
        self._columns: dict[torch.dtype, _Coarse] = {}

    def dtypes(self) -> list[torch.dtype]:
        largest = max(float(self.x_sizes.max()), float(self.y_sizes.max()))
        in_range = 1e-25 < largest < 1e30  # squares do not leave float32's range
        return coarse_dtypes(self.x.shape[1], self.x.device) if in_range else [torch.float64]

    def _centred(self, rows: Tensor) -> Tensor:
        return rows.to(torch.float64, copy=True).sub_(self.centre)

    def _sizes(self, rows: Tensor) -> Tensor:
        return torch.cat([self._centred(block).square_().sum(1) for block in rows.split(ROWS)])

    def _coarse(self, rows: Tensor, dtype: torch.dtype) -> _Coarse:
        kept, errors = torch.empty_like(rows, dtype=dtype), []
        roundoff, of_sums = torch.finfo(dtype).eps / 2, torch.finfo(_at_least_float32(dtype)).eps / 2
        t = roundoff / 2  # of the size that ‖x − x̂‖/‖x‖ has
        for part, block in zip(kept.split(ROWS), rows.split(ROWS), strict=True):
            centred = self._centred(block)
            part.copy_(centred)
            sizes, rounded = centred.square().sum(1), centred.sub_(part).square_().sum(1)
            # 1 and 1.02: second orders in the roundoff, at most 2⁻⁸
            errors.append(rounded * (1 / t + 1) + (t + 1.02 * (rows.shape[1] + 12) * of_sums) * sizes)
        return _Coarse(kept, torch.cat(errors))

    def columns(self, dtype: torch.dtype) -> _Coarse:
        """y centred, in one type at a time."""
        if dtype not in self._columns:
            self._columns.clear()
            self._columns[dtype] = self._coarse(self.y, dtype)
        return self._columns[dtype]

    def bounds(self, rows: Tensor, dtype: torch.dtype) -> "_Bounds":
        columns = self.columns(dtype)
        if self.y is self.x:
            block = _Coarse(columns.rows[rows], columns.error[rows])
        else:
            block = self._coarse(self.x[rows], dtype)
        x_least, y_least = self.x_sizes[rows] - block.error, self.y_sizes - columns.error
        if dtype == torch.bfloat16:
            of_result = 1.02 * torch.finfo(dtype).eps  # 2v, and its second order
            lower = (block.rows @ columns.rows.mT).to(torch.float32)
            # −2p − 2v|p| in place
            nn.functional.leaky_relu(lower, (2 - of_result) / (2 + of_result), inplace=True)
            lower.mul_(-2 - of_result).add_(y_least.to(torch.float32))
        else:
            lower = torch.addmm(y_least.to(dtype), block.rows, columns.rows.mT, alpha=-2)
            of_result = 0.0  # e counts it among the sums
        lower.add_(x_least.to(lower)[:, None])
        return _Bounds(lower, x_least, y_least, block.error, columns.error, of_result)

    def exact(self, i: Tensor, j: Tensor) -> Tensor:
        """‖xᵢ − yⱼ‖² of pairs by their differences in float64: 0 exactly for equal rows."""
        size = max(1, ALONE // self.x.shape[1])
        return torch.cat(
            [
                self.x[one].to(torch.float64).sub_(self.y[other].to(torch.float64)).square_().sum(1)
                for one, other in zip(i.split(size), j.split(size), strict=True)
            ]
        )


class _Bounds(NamedTuple):
    """Bounds of the squared distances of a block of rows to all columns."""

    lower: Tensor  # (B, M), float32 or float64
    x_least: Tensor  # (B,) float64, ‖x‖² − e(x)
    y_least: Tensor  # (M,)
    x_error: Tensor  # (B,)
    y_error: Tensor  # (M,)
    of_result: float  # share of 2|p| by which rounding of p moves a distance

    def of(self, i: Tensor, j: Tensor) -> tuple[Tensor, Tensor]:
        """Lower and upper bounds of some pairs, float64."""
        lower = self.lower[i, j].to(torch.float64)
        products = (self.x_least[i] + self.y_least[j] - lower).abs()  # 2|p|, to within its rounding
        return lower, lower + 2 * (self.x_error[i] + self.y_error[j]) + 1.02 * self.of_result * products


def _at_least_float32(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def _nearest(
    pair: _Pair, rows: Tensor, ks: tuple[int, ...], dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """Squared distances to the k-th nearest, which they are, each (B, len(ks)), and whether that is certain.

    What is given of rows (B,) of which it is not certain has no meaning.
    """
    bounds = pair.bounds(rows, dtype)
    num, at = len(pair.y), torch.arange(len(rows), device=rows.device)
    if pair.x is pair.y:
        bounds.lower[at, rows] = torch.inf
        num -= 1
    candidates = min(max(ks) + SPARE, num)
    indices = bounds.lower.topk(candidates, dim=1, largest=False).indices
    lower, upper = bounds.of(at[:, None], indices)
    nearest_upper = upper.sort(dim=1).values
    # any other row is at least as far as the last candidate's lower bound
    certain = lower[:, -1] > nearest_upper[:, max(ks) - 1]
    if candidates == num or dtype == torch.float64:
        certain = torch.ones_like(certain)
    unsure = torch.zeros_like(lower, dtype=torch.bool)
    for k in ks:  # the k-th distance is between the k-th lower and the k-th upper bound
        unsure |= (lower <= nearest_upper[:, k - 1 : k]) & (upper >= lower[:, k - 1 : k])
    i, which = torch.nonzero(unsure & certain[:, None], as_tuple=True)
    lower[i, which] = pair.exact(rows[i], indices[i, which])
    values, order = lower.sort(dim=1, stable=True)
    chosen = [k - 1 for k in ks]
    return values[:, chosen], indices.gather(1, order)[:, chosen], certain


class _Near(NamedTuple):
    """Candidates for ``Pairs``."""

    rows: Tensor  # (P,)
    columns: Tensor  # (P,)
    squared: Tensor  # (P,) float64, an upper bound
    radii: Tensor  # (R + 1, P) squared, of the balls around the row and of that around the column
    unsure: Tensor  # (P,) bool: some surface is between the bounds


def _near(pair: _Pair, rows: Tensor, x_radii: Sequence[Tensor], y_radii: Tensor, dtype: torch.dtype) -> _Near:
    bounds = pair.bounds(rows, dtype)
    above = 1 + 1e-6  # more than rounding of a radius to float32 can take off
    largest = torch.stack([radii[rows] for radii in x_radii]).amax(0)[:, None] * above
    reach = torch.maximum(largest.to(bounds.lower), (y_radii * above).to(bounds.lower))
    i, j = torch.nonzero(bounds.lower <= reach, as_tuple=True)
    lower, upper = bounds.of(i, j)
    i = rows[i]
    radii = torch.stack([*(radii[i] for radii in x_radii), y_radii[j]])
    return _Near(i, j, upper, radii, ((lower <= radii * SURFACE) & (upper >= radii)).any(0))
