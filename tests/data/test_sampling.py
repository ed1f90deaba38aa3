"""Randomness is a pure function of (seed, purpose, step): nothing else decides a number."""

import random
from functools import partial
from hashlib import blake2b

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.testing import assert_close

from oracles import dirac_gan
from saddle.data.sampling import draw_batches, normal_latents, uniform_latents
from saddle.data.sources import TensorSource
from saddle.evaluation.evaluator import Sampler
from saddle.game.game import Game
from saddle.game.losses import Hinge
from saddle.game.network import Network
from saddle.game.randomness import generator, seed_of
from saddle.models import mlp
from saddle.models.normalization import BATCH
from saddle.models.toy import Linear

few = settings(max_examples=25, deadline=None)  # no deadline: the first call warms torch up
integers = st.integers(0, 2**40)
LATENTS = partial(normal_latents, size=3)
DATA = TensorSource(torch.arange(10.0, dtype=torch.float64).unsqueeze(1))


def dropout_game() -> Game:
    return Game(Network(nn.Linear(3, 1)), Network(mlp.Discriminator((1,), [4, 5], 0.2, dropout=0.5)), Hinge())


def leaves(batches) -> list[Tensor]:
    return torch.utils._pytree.tree_leaves(batches)


def draw(seed: int, step: int, num_batches: int = 2, game: Game | None = None):
    return draw_batches(DATA, LATENTS, game or dropout_game(), 4, num_batches, seed, step)


# ---- seeds


def test_seeds_stay_what_they_are():
    """A recorded run is repeated only if these numbers never change."""
    assert seed_of(0, "batch") == 684584896067941722
    assert (
        seed_of(7, "evaluation", 12)
        == int.from_bytes(blake2b(b"7/evaluation/12", digest_size=8).digest(), "big") // 2
    )


@few
@given(seed=st.integers(-(2**70), 2**70), step=integers, purpose=st.text(max_size=20))
def test_every_seed_is_one_that_torch_takes(seed, step, purpose):
    assert 0 <= seed_of(seed, purpose, step) < 2**63
    assert generator(seed, purpose, step).initial_seed() == seed_of(seed, purpose, step)


def test_unlike_inputs_have_unlike_seeds():
    inputs = [
        (seed, purpose, step) for seed in range(20) for purpose in ("batch", "x") for step in range(200)
    ]
    assert len({seed_of(*one) for one in inputs}) == len(inputs)


def test_neighbouring_steps_are_unrelated():
    rows = torch.stack([torch.randn(1000, generator=generator(0, "batch", step)) for step in range(20)])
    correlations = torch.corrcoef(rows)[torch.triu_indices(20, 20, 1).unbind()]
    assert correlations.abs().max() < 4.5 / 1000**0.5  # the largest of 190, each N(0, 1/1000): P < 2e-3


# ---- batches


@few
@given(seed=integers, step=integers, elsewhere=integers)
def test_batches_are_a_function_of_seed_and_step_and_of_nothing_before(seed, step, elsewhere):
    first = draw(seed, step)
    draw(elsewhere, step + 1)
    torch.rand(3)
    assert all(torch.equal(*pair) for pair in zip(leaves(first), leaves(draw(seed, step)), strict=True))


@few
@given(seed=integers, step=integers)
def test_another_seed_or_step_draws_other_numbers(seed, step):
    latent = draw(seed, step)[0].latent
    for other in (draw(seed + 1, step), draw(seed, step + 1)):
        assert not (other[0].latent == latent).any()


def test_no_global_generator_moves():
    game = dropout_game()
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    draw(0, 0, game=game)
    normal_latents(3, generator(0, "x"), size=2)
    uniform_latents(3, generator(0, "x"), size=2)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
    assert random.getstate() == before[2]


def test_a_round_has_batches_with_everything_its_players_need():
    batches = draw(0, 0, num_batches=3)
    assert len(batches) == 3
    for batch in batches:
        assert (batch.real.shape, batch.latent.shape, batch.mix.shape) == ((4, 1), (4, 3), (4,))
        assert batch.uniform.generator == {}
        shapes = {name: value.shape for name, value in batch.uniform.discriminator.items()}
        assert shapes == {"layers.2.uniform": (4, 4), "layers.5.uniform": (4, 5)}
    for first, second in zip(leaves(batches[0])[1:], leaves(batches[1])[1:], strict=True):
        assert not (first == second).any()
    assert draw(0, 0, game=dirac_gan(Hinge()))[0].uniform == ({}, {})


def test_players_without_dropout_see_the_same_data_as_players_with_it():
    """Numbers for layers are drawn last, so that a regularized run is compared on the same batches."""
    for plain, regularized in zip(draw(3, 5, game=dirac_gan(Hinge())), draw(3, 5), strict=True):
        for one, other in zip(plain[:3], regularized[:3], strict=True):
            assert torch.equal(one, other)


def test_real_samples_are_drawn_uniformly_with_replacement():
    counts = torch.zeros(10)
    for step in range(500):
        for batch in draw(0, step, game=dirac_gan(Hinge())):
            counts += torch.bincount(batch.real.squeeze(1).long(), minlength=10)
    expected = counts.sum() / 10
    chi_squared = ((counts - expected).square() / expected).sum()
    assert 2.1 < chi_squared < 23.6  # 9 degrees of freedom: 1 % and 0.5 % tails, at one fixed seed
    assert any(len(batch.real.unique()) < 4 for step in range(20) for batch in draw(0, step))


def test_mixing_weights_are_uniform_on_the_unit_interval():
    mix = torch.cat([batch.mix for step in range(500) for batch in draw(0, step, game=dirac_gan(Hinge()))])
    assert ((mix >= 0) & (mix < 1)).all()
    error = (1 / 12 / len(mix)) ** 0.5
    assert_close(mix.mean().item(), 0.5, atol=4 * error, rtol=0)  # four standard errors
    assert_close(mix.var().item(), 1 / 12, atol=4 * (1 / 180 / len(mix)) ** 0.5, rtol=0)


# ---- latents


@pytest.mark.parametrize(
    ("law", "variance", "fourth"), [(normal_latents, 1.0, 3.0), (uniform_latents, 1 / 3, 1 / 5)]
)
def test_latents_have_the_moments_of_their_law(law, variance, fourth):
    num = 50_000
    latents = law(num, generator(0, "latents"), size=4)
    assert latents.shape == (num, 4)
    error = (variance / (4 * num)) ** 0.5
    assert_close(latents.mean().item(), 0.0, atol=4 * error, rtol=0)  # four standard errors, as below
    of_square = ((fourth - variance**2) / (4 * num)) ** 0.5
    assert_close(latents.square().mean().item(), variance, atol=4 * of_square, rtol=0)
    off_diagonal = torch.cov(latents.T)[torch.triu_indices(4, 4, 1).unbind()]
    assert off_diagonal.abs().max() < 4 * variance / num**0.5
    if law is uniform_latents:
        assert -1 <= latents.min() < -0.999
        assert 0.999 < latents.max() < 1


@few
@given(seed=integers, num=st.integers(1, 20), size=st.integers(1, 5))
def test_latents_of_equal_generators_are_equal(seed, num, size):
    for law in (normal_latents, uniform_latents):
        first, second = (law(num, generator(seed, "latents"), size=size) for _ in range(2))
        assert torch.equal(first, second)
        assert (first.shape, first.dtype) == ((num, size), torch.get_default_dtype())


# ---- samples for evaluation


def sampler(seed: int = 0) -> tuple[Sampler, Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Network(mlp.Generator(3, (2,), [8], 0.2, BATCH))
    return Sampler(network, LATENTS, batch_size=16, seed=seed), network.flatten()


def test_the_first_samples_do_not_depend_on_how_many_are_drawn():
    draw, params = sampler()
    many = draw(params, 1100)
    assert many.shape == (1100, 2)
    for num in (1, 7, 500, 501):
        assert torch.equal(draw(params, num), many[:num])


def test_a_sampler_repeats_itself_and_moves_nothing():
    draw, params = sampler()
    before, kept = torch.get_rng_state(), params.clone()
    first = draw(params, 20)
    torch.rand(3)
    assert torch.equal(draw(params, 20), first)
    torch.set_rng_state(before)
    draw(params, 20)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(params, kept)
    assert not torch.equal(sampler(seed=1)[0](params, 20), first)


def test_a_sampler_shows_the_weights_it_is_given():
    draw = Sampler(Network(Linear(torch.ones(3))), LATENTS, batch_size=4, seed=0)
    assert_close(draw(torch.full((3,), 2.0), 10), 2 * draw(torch.ones(3), 10))


def test_uniform_latents_reach_to_their_bound():
    draw = uniform_latents(1000, torch.Generator().manual_seed(0), size=2, bound=5.0)
    assert draw.shape == (1000, 2)
    assert -5 <= draw.min() < -4.9
    assert 4.9 < draw.max() < 5
    assert torch.equal(draw, 5 * uniform_latents(1000, torch.Generator().manual_seed(0), size=2))
