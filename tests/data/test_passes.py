"""Shuffled passes: every sample once in each, orders unrelated, and nothing remembered between rounds."""

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2
from torch import Tensor, nn

from saddle.data import permutations
from saddle.data.permutations import permuted
from saddle.data.sampling import draw_batches, in_passes, normal_latents, with_replacement
from saddle.data.sources import TensorSource
from saddle.game.game import Game
from saddle.game.losses import Hinge
from saddle.game.network import Network
from saddle.game.randomness import generator, seed_of

# the smallest, primes, squares and numbers beside them, powers of two, and a prime beyond any table
SIZES = [1, 2, 3, 4, 5, 7, 8, 9, 10, 97, 100, 101, 256, 1023, 4096, 4099, 100_003]
LATENTS = partial(normal_latents, size=2)
ALMOST_NEVER = 1e-4  # of a test at a fixed seed, of which there are some fifty


def taken(size: int, num: int, rounds: range, seed: int = 0) -> Tensor:
    """Indices of the rounds one after the other."""
    random = torch.Generator()
    return torch.cat([in_passes(size, num, seed, step, random) for step in rounds])


def must_be_uniform(counts: np.ndarray) -> None:
    expected = counts.sum() / counts.size
    statistic = ((counts - expected) ** 2 / expected).sum()
    assert chi2.sf(statistic, counts.size - 1) > ALMOST_NEVER


# ---- permutations


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("key", [0, 1, 2**64 - 1, seed_of(0, "pass", 0)])
def test_every_key_sends_the_indices_to_each_index_once(size, key):
    found = permuted(np.arange(size, dtype=np.uint64), size, np.full(size, key, np.uint64))
    assert np.array_equal(np.sort(found), np.arange(size))


@settings(deadline=None)
@given(size=st.integers(1, 3000), key=st.integers(0, 2**64 - 1))
def test_every_size_is_permuted_by_every_key(size, key):
    found = permuted(np.arange(size, dtype=np.uint64), size, np.full(size, key, np.uint64))
    assert np.array_equal(np.sort(found), np.arange(size))


def test_the_network_is_the_one_of_plain_whole_numbers():
    """Python's own numbers do not wrap around: what is meant to is written out."""
    low, mask = 2**32, 2**64 - 1

    def mixed(number: int, key: int) -> int:
        number = (number * 0x94D049BB133111EB & mask) ^ key
        number = (number ^ number >> 30) * 0xBF58476D1CE4E5B9 & mask
        return ((number ^ number >> 27) * 0x94D049BB133111EB & mask) // low

    def walked(index: int, size: int, key: int) -> int:
        width = next(side for side in range(1, size + 1) if side * side >= size)
        height = -(-size // width)
        while True:
            left, right, own = index % width, index // width, key
            for _ in range(permutations.ROUNDS // 2):
                left = (left + mixed(right, own)) % width
                right = (right + mixed(left, own + 0x9E3779B97F4A7C15 & mask)) % height
                own = own + 2 * 0x9E3779B97F4A7C15 & mask
            index = left + width * right
            if index < size:
                return index

    for size in (1, 2, 5, 12, 97):
        keys = [seed_of(size, "pass", index) for index in range(size)]
        found = permuted(np.arange(size, dtype=np.uint64), size, np.array(keys, np.uint64))
        assert found.tolist() == [walked(index, size, key) for index, key in enumerate(keys)]


def test_only_the_indices_asked_for_cost_anything():
    """A table of 2⁵⁰ indices would not fit."""
    size = 2**50
    indices = np.arange(size - 100, size, dtype=np.uint64)
    found = permuted(indices, size, np.full(100, 7, np.uint64))
    assert len({*found.tolist()}) == 100
    assert found.max() < size
    must_be_uniform(np.bincount(found // np.uint64(size // 4), minlength=4).astype(float))


# ---- passes


@pytest.mark.parametrize("size", SIZES)
def test_every_pass_takes_every_sample_once(size):
    num = max(1, size // 3)
    found = taken(size, num, range(-(-3 * size // num)))
    for index in range(3):
        assert torch.equal(found[index * size : (index + 1) * size].sort().values, torch.arange(size))


@pytest.mark.parametrize(("size", "num"), [(10, 3), (7, 20), (1, 5), (5, 5), (4, 64)])
def test_batches_cross_from_a_pass_into_the_next_and_the_one_after(size, num):
    found = taken(size, num, range(6))
    whole = len(found) // size
    for index in range(whole):
        assert sorted(found[index * size : (index + 1) * size].tolist()) == [*range(size)]
    rest = found[whole * size :].tolist()
    assert len({*rest}) == len(rest)


def test_a_round_takes_alone_what_it_takes_in_a_run():
    found = taken(1009, 64, range(60))
    for step in (0, 1, 15, 16, 59):
        assert torch.equal(taken(1009, 64, range(step, step + 1)), found[64 * step : 64 * (step + 1)])


def test_the_order_does_not_depend_on_how_a_pass_is_dealt_into_batches():
    assert torch.equal(taken(100, 10, range(30)), taken(100, 25, range(12)))


def test_passes_and_seeds_have_orders_of_their_own():
    """Of two unrelated orders of 1,000, one place on average agrees; more than 8 do once in 10⁶."""
    orders = [*taken(1000, 1000, range(20)).split(1000), *taken(1000, 1000, range(20), seed=1).split(1000)]
    for index, first in enumerate(orders):
        for other in orders[:index]:
            assert int((first == other).sum()) <= 8
            assert abs(torch.corrcoef(torch.stack([first, other]).double())[0, 1]) < 4.5 / 1000**0.5


@pytest.mark.parametrize("size", [2, 3, 4, 5, 6, 7, 10, 16, 97])
def test_every_sample_comes_at_every_place_equally_often(size):
    """And every two samples at every two places, so that no pair keeps together: chi-squared, P > 1e-4."""
    num = 20_000
    keys = np.array([seed_of(3, "pass", index) for index in range(num)], np.uint64)

    def at(place: int) -> np.ndarray:
        return permuted(np.full(num, place, np.uint64), size, keys).astype(np.int64)

    for place in {0, size // 2, size - 1}:
        must_be_uniform(np.bincount(at(place), minlength=size))
    for first, second in {(0, 1), (0, size - 1)}:
        pairs = np.bincount(at(first) * size + at(second), minlength=size**2).reshape(size, size)
        assert not pairs.diagonal().any()
        must_be_uniform(pairs[~np.eye(size, dtype=bool)])


def test_a_part_of_a_pass_is_a_fair_draw_of_the_data():
    """A tenth of each of 200 passes over 10,000 samples, in tenths of the data: chi-squared, P > 1e-4."""
    found = torch.cat([in_passes(10_000, 10_000, 0, step, torch.Generator())[:1000] for step in range(200)])
    must_be_uniform(np.bincount(found.numpy() // 1000, minlength=10))


# ---- in batches


def game() -> Game:
    return Game(Network(nn.Linear(2, 1)), Network(nn.Sequential(nn.Linear(1, 1), nn.Flatten(0))), Hinge())


def test_batches_take_the_samples_of_their_pass_and_latents_of_their_round():
    source = TensorSource(torch.arange(10.0)[:, None], torch.arange(10) % 3, 3)
    reals = []
    for step in range(5):
        batches = draw_batches(source, LATENTS, game(), 2, 2, 9, step, in_passes)
        reals += [batch.real for batch in batches]
        for batch in batches:
            assert torch.equal(batch.label, batch.real[:, 0].long() % 3)
        random = generator(9, "batch", step)  # passes draw nothing from it
        assert torch.equal(torch.cat([batch.latent for batch in batches]), LATENTS(4, random))
    real = torch.cat(reals)[:, 0].long()
    assert torch.equal(real, taken(10, 4, range(5), seed=9))
    assert real[:10].sort().values.tolist() == real[10:].sort().values.tolist() == [*range(10)]


def test_with_replacement_draws_first_from_the_rounds_own_generator():
    source = TensorSource(torch.arange(50.0)[:, None])
    for step in range(3):
        (batch,) = draw_batches(source, LATENTS, game(), 8, 1, 4, step)
        random = generator(4, "batch", step)
        indices = torch.randint(50, (8,), generator=random)
        assert torch.equal(batch.real[:, 0].long(), indices)
        assert torch.equal(batch.latent, LATENTS(8, random))
        assert torch.equal(batch.mix, torch.rand(8, generator=random))
        explicit = draw_batches(source, LATENTS, game(), 8, 1, 4, step, with_replacement)[0]
        assert torch.equal(explicit.real, batch.real)
