"""Nearest neighbours and pairs within reach are those of float64, whatever the type of first products."""

from functools import partial

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from saddle.metrics import distances
from saddle.metrics.distances import kth_nearest, pairs_within, squared_distances
from saddle.metrics.neighbours import prdc
from samples import normal


def test_the_squared_distance_of_equal_rows_is_exactly_zero():
    x = 5 * normal(30, 64)
    assert (squared_distances(x, x).diagonal() == 0).all()
    expected = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist").square()
    assert_close(squared_distances(x, x), expected, atol=1e-9, rtol=1e-12)


def clouds(kind: str, width: int = 6) -> tuple[Tensor, Tensor]:
    """Sets on which float32 distances are far too coarse, and some on which they are not."""
    x, y = normal(90, width), normal(70, width, seed=1)
    if kind == "as of a network":
        scale = torch.arange(1, width + 1).rsqrt()
        return (scale * x).relu(), (scale * y + 0.02).relu()
    if kind == "far from zero":
        return x + 1e6, y + 1e6
    if kind == "tight clusters":
        at = 100 * normal(5, width, seed=2)
        return at[torch.arange(90) % 5] + 1e-4 * x, at[torch.arange(70) % 5] + 1e-4 * y
    if kind == "copies":
        return x[torch.arange(90) % 9], torch.cat([x[:9], y])[torch.arange(70) % 12]
    if kind == "an outlier":
        return torch.cat([x[:-1], 1e7 * x[-1:]]), y
    if kind == "beyond float32":
        return 1e25 * x, 1e25 * y
    return x, y


WIDTHS = [6, 520]  # of the wide ones first products are bfloat16, where the processor has it
KINDS = [
    "plain",
    "as of a network",
    "beyond float32",
    "far from zero",
    "tight clusters",
    "copies",
    "an outlier",
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("width", WIDTHS)
def test_nearest_neighbours_are_those_of_all_distances_in_float64(kind, dtype, width):
    x, y = (side.to(dtype) for side in clouds(kind, width))
    exact = partial(torch.cdist, compute_mode="donot_use_mm_for_euclid_dist")
    for other, table in ((None, exact(x.double(), x.double())), (y, exact(x.double(), y.double()))):
        if other is None:
            table.fill_diagonal_(torch.inf)
        found, which = kth_nearest(x, other, (1, 3, 5), block_size=32)
        expected = table.sort(dim=1).values[:, [0, 2, 4]].square()
        # what float64 itself leaves open of the matrix product, where copies make all candidates equal
        assert_close(
            found,
            expected,
            atol=1e-14 * float((x.double() - x.double().mean(0)).square().sum(1).max()),
            rtol=1e-9,
        )
        assert_close(table.gather(1, which).square(), expected, atol=1e-12 * float(expected.max()), rtol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("first", [torch.bfloat16, torch.float32])
def test_four_metrics_do_not_depend_on_coarse_blocks(kind, width, first, monkeypatch):
    x, y = clouds(kind, width)
    types = [torch.bfloat16, torch.float32, torch.float64]
    found = []
    for start in (types.index(first), types.index(torch.float64)):
        monkeypatch.setattr(distances, "coarse_dtypes", lambda *_, start=start: types[start:])
        found.append(prdc(x, y))
    assert found[0] == found[1]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("kind", ["plain", "as of a network", "an outlier", "rounded the same way"])
def test_distances_are_within_the_bounds_of_coarse_products(kind, dtype):
    x, y = clouds(kind, 700)
    if kind == "rounded the same way":  # every number half way between two of its type, all errors add up
        x = torch.ones(6, 700) + torch.finfo(dtype).eps * torch.tensor([0.49, 0.51, 1.49, 0, 0, 0])[:, None]
        x = torch.cat([x, -x])  # of mean 0
        y = x.flip(0)
    pair, rows = distances._Pair(x, y), torch.arange(len(x))
    bounds = pair.bounds(rows, dtype)
    lower, upper = bounds.of(rows[:, None], torch.arange(len(y))[None])
    true = (x[:, None] - y).square().sum(2)
    sizes = (x - x.mean(0)).square().sum(1)[:, None] + (y - x.mean(0)).square().sum(1)
    # float64's own bound holds only before the rounding of these differences
    assert bool((lower <= true + 1e-15 * sizes).all())
    assert bool((true <= upper + 1e-15 * sizes).all())
    assert bool(
        (upper - lower <= 10 * torch.finfo(dtype).eps * (1 + 700 * (dtype.itemsize > 2)) * sizes).all()
    )


def test_blocks_are_coarse_only_where_such_products_are_bounded_and_fast(monkeypatch):
    cpu = torch.device("cpu")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    assert distances.coarse_dtypes(2048, cpu) == [torch.bfloat16, torch.float32, torch.float64]
    assert distances.coarse_dtypes(64, cpu) == [torch.float32, torch.float64]
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_f": True})
    assert distances.coarse_dtypes(2048, cpu) == [torch.float32, torch.float64]
    assert distances.coarse_dtypes(2048, torch.device("cuda")) == [torch.float64]
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        assert distances.coarse_dtypes(2048, cpu) == [torch.float64]
    finally:
        torch.set_float32_matmul_precision(before)


def test_pairs_within_reach_are_all_found_once():
    x, y = normal(41, 3), normal(37, 3, seed=1)
    x_radii, y_radii = normal(41, seed=2).square(), normal(37, seed=3).square()
    table = torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist").square()
    in_row, in_column = torch.zeros(41, 37, dtype=torch.bool), torch.zeros(41, 37, dtype=torch.bool)
    for at in pairs_within(x, y, [x_radii], y_radii, block_size=7):
        in_row[at.rows[at.in_row[0]], at.columns[at.in_row[0]]] = True
        in_column[at.rows[at.in_column], at.columns[at.in_column]] = True
    assert torch.equal(in_row, table <= x_radii[:, None])
    assert torch.equal(in_column, table <= y_radii)
