"""Penalties on critics whose slope is known, and against the papers' code, which differentiates twice."""

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.testing import assert_close

from oracles import Bowl, penalty_by_double_backward
from saddle.game.calculus import AUTOGRAD, FUNCTIONAL, BoundDiscriminator
from saddle.game.game import Batch, Game
from saddle.game.losses import Wasserstein
from saddle.game.network import Network
from saddle.game.penalties.discriminator import r1, r2, wgan_gp
from saddle.models import dcgan, mlp
from saddle.models.normalization import BATCH
from saddle.models.toy import Linear, Point

every_calculus = pytest.mark.parametrize("calculus", [AUTOGRAD, FUNCTIONAL], ids=["autograd", "functional"])
EVENTS = [(2,), (3, 4, 4)]
few = settings(max_examples=25, deadline=None)  # no deadline: the first call warms torch up


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def value_of(
    penalty, discriminator: nn.Module, real: Tensor, fake: Tensor, mix: Tensor, calculus=FUNCTIONAL
) -> Tensor:
    batch = Batch(real, torch.zeros(len(real), 1), mix)
    return penalty(BoundDiscriminator(discriminator, calculus), batch, fake)


def gradient_of(
    penalty, discriminator: nn.Module, real: Tensor, fake: Tensor, mix: Tensor, calculus
) -> Tensor:
    network = Network(discriminator)

    def loss(vector: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        bound = BoundDiscriminator(network.bind(vector, {}), calculus)
        return penalty(bound, Batch(real, torch.zeros(len(real), 1), mix), fake), {}

    return calculus.derivative(loss, network.flatten())[0]


@every_calculus
@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("num", [1, 2, 16])
def test_a_linear_critic_is_charged_for_its_weight_whatever_the_batch(num, event, calculus):
    weight, points = normal(*event, seed=1), (normal(num, *event, seed=2), normal(num, *event, seed=3))
    mix, squared = torch.rand(num, generator=torch.Generator().manual_seed(4)), weight.square().sum()
    critic = Linear(weight)
    for penalty in (r1, r2):
        assert_close(value_of(partial(penalty, gamma=3.0), critic, *points, mix, calculus), 1.5 * squared)
        found = gradient_of(partial(penalty, gamma=3.0), critic, *points, mix, calculus)
        assert_close(found, 3.0 * weight.flatten())
    gp = partial(wgan_gp, weight=10.0, target=0.3)
    excess = squared.sqrt() - 0.3
    assert_close(value_of(gp, critic, *points, mix, calculus), 10 * excess.square())
    found = gradient_of(gp, critic, *points, mix, calculus)
    assert_close(found, 20 * excess * weight.flatten() / squared.sqrt())


@pytest.mark.parametrize("event", EVENTS)
def test_each_penalty_looks_at_its_own_points(event):
    """On D = ½‖x‖² the slope at x is x itself, so the norms say where it was taken."""
    real, fake = normal(8, *event, seed=1), normal(8, *event, seed=2) + 3
    mix = torch.linspace(0, 0.9, 8)

    def mean_square(points: Tensor) -> Tensor:
        return sum(point.square().sum() for point in points) / len(points)

    assert_close(value_of(partial(r1, gamma=2.0), Bowl(), real, fake, mix), mean_square(real))
    assert_close(value_of(partial(r2, gamma=2.0), Bowl(), real, fake, mix), mean_square(fake))
    between = torch.stack([u * x + (1 - u) * y for u, x, y in zip(mix, real, fake, strict=True)])
    excess = torch.stack([point.square().sum().sqrt() - 1 for point in between])
    assert_close(value_of(partial(wgan_gp, weight=4.0), Bowl(), real, fake, mix), 4 * excess.square().mean())


def test_the_two_sided_penalty_also_charges_a_slope_below_its_target():
    points, gp = torch.ones(2, 1), partial(wgan_gp, weight=1.0)
    values = [value_of(gp, Linear(slope), points, points, torch.zeros(2)).item() for slope in (0.5, 1.0, 1.5)]
    assert values == [0.25, 0.0, 0.25]


@every_calculus
@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("target", [1.0, 0.0])
def test_a_critic_without_slope_has_finite_gradients(event, target, calculus):
    critic, points, mix = Linear(torch.zeros(*event)), normal(4, *event), torch.full((4,), 0.5)
    penalties = {
        partial(r1, gamma=2.0): 0.0,
        partial(r2, gamma=2.0): 0.0,
        partial(wgan_gp, weight=10.0, target=target): 10 * target**2,
    }
    for penalty, expected in penalties.items():
        # 1e-300: the norm of 0 is the root of the smallest normal number
        assert_close(
            value_of(penalty, critic, points, points, mix, calculus).item(), expected, atol=1e-300, rtol=0
        )
        found = gradient_of(penalty, critic, points, points, mix, calculus)
        assert torch.equal(found, torch.zeros_like(found))


def test_the_norm_is_exact_down_to_the_smallest_slope_whose_square_is_a_number():
    """No ε is added under the root: at slope s the penalty's gradient is 2λ(s − 1), not 0, for s = 1e-150."""
    points, gp = torch.ones(2, 1), partial(wgan_gp, weight=1.0)
    found = gradient_of(gp, Linear(1e-150), points, points, torch.zeros(2), FUNCTIONAL)
    assert_close(found, torch.tensor([-2.0]))


def smooth_mlp() -> nn.Module:
    module = mlp.Discriminator((2,), [6, 6], 0.2)
    for index, layer in enumerate(module.layers):
        if isinstance(layer, nn.LeakyReLU):
            module.layers[index] = nn.Tanh()
    return module


CRITICS = {
    "tanh mlp": (smooth_mlp, (2,)),
    "leaky mlp": (lambda: mlp.Discriminator((2,), [6, 6], 0.2), (2,)),
    "dcgan": (lambda: dcgan.Discriminator(1, 2), (1, 28, 28)),
    # each sample's slope passes through the statistics of its batch, as in the papers' code
    "dcgan with batch_norm": (lambda: dcgan.Discriminator(1, 2, BATCH), (1, 28, 28)),
}


@every_calculus
@pytest.mark.parametrize("critic", CRITICS)
def test_gradients_equal_those_of_the_papers_double_backward(critic, calculus):
    make, event = CRITICS[critic]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = make()
    real, fake, mix = normal(5, *event, seed=1), normal(5, *event, seed=2), torch.linspace(0, 1, 5)
    between = torch.stack([u * x + (1 - u) * y for u, x, y in zip(mix, real, fake, strict=True)])
    twins = {
        partial(r1, gamma=0.8): (real, lambda norm: 0.4 * norm**2),
        partial(r2, gamma=0.8): (fake, lambda norm: 0.4 * norm**2),
        partial(wgan_gp, weight=10.0): (between, lambda norm: 10 * (norm - 1) ** 2),
    }
    for penalty, (points, of_norm) in twins.items():
        expected = penalty_by_double_backward(module, points, of_norm)
        slopes = torch.autograd.grad(
            expected, list(module.parameters()), allow_unused=True
        )  # the last bias: None
        slopes = [
            torch.zeros_like(p) if s is None else s for s, p in zip(slopes, module.parameters(), strict=True)
        ]
        assert_close(value_of(penalty, module, real, fake, mix, calculus).detach(), expected.detach())
        # sums in another order: 1e-16 beside the largest entry, which is of order 1
        found = gradient_of(penalty, module, real, fake, mix, calculus)
        assert_close(found, torch.cat([slope.flatten() for slope in slopes]), atol=1e-12, rtol=1e-10)


@every_calculus
@pytest.mark.parametrize(
    "penalty", [partial(r1, gamma=2.0), partial(r2, gamma=2.0), partial(wgan_gp, weight=5.0)]
)
def test_gradients_equal_finite_differences(penalty, calculus):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Network(smooth_mlp())
    inputs = (normal(5, 2, seed=1), normal(5, 2, seed=2), torch.linspace(0, 1, 5))
    vector, direction, h = network.flatten(), normal(len(network.flatten()), seed=3), 1e-5

    def value(at: Tensor) -> Tensor:
        return value_of(penalty, network.bind(at, {}), *inputs)

    by_difference = (value(vector + h * direction) - value(vector - h * direction)) / (2 * h)
    along = gradient_of(penalty, network.module, *inputs, calculus) @ direction
    assert_close(along, by_difference, rtol=1e-7, atol=0)  # h² of curvature, and 1e-16/h of round-off


@few
@given(scale=st.floats(0.1, 10), seed=st.integers(0, 99))
def test_doubling_the_scale_of_the_data_calls_for_four_times_gamma(scale, seed):
    """D(x/s) at sx has the slope ∇D(x)/s."""
    real, mix = normal(4, 2, seed=seed), torch.zeros(4)
    module = Bowl(0.7)
    plain = value_of(partial(r1, gamma=1.0), module, real, real, mix)
    stretched = value_of(partial(r1, gamma=scale**2), lambda x: module(x / scale), scale * real, real, mix)
    assert_close(stretched, plain)


@few
@given(seed=st.integers(0, 99))
def test_penalties_are_means_over_samples(seed):
    real, fake, mix = normal(8, 2, seed=seed), normal(8, 2, seed=seed + 100), torch.linspace(0, 1, 8)
    for penalty in (partial(r1, gamma=1.0), partial(r2, gamma=1.0), partial(wgan_gp, weight=1.0)):
        whole = value_of(penalty, Bowl(), real, fake, mix)
        halves = [
            value_of(penalty, Bowl(), *half)
            for half in zip(real.split(4), fake.split(4), mix.split(4), strict=True)
        ]
        assert_close(whole, torch.stack(halves).mean())


@every_calculus
def test_penalties_reach_no_parameter_of_the_generator(calculus):
    penalties = {
        "r1": partial(r1, gamma=1.0),
        "r2": partial(r2, gamma=1.0),
        "gp": partial(wgan_gp, weight=1.0),
    }
    bare, with_penalties = (
        Game(Network(Point(0.5)), Network(Bowl(0.7)), Wasserstein(), chosen, calculus)
        for chosen in ({}, penalties)
    )
    batch = Batch(torch.ones(3, 1), torch.zeros(3, 1), torch.full((3,), 0.5))
    (found, logs), (expected, _) = (g.generator_gradient(g.init(), batch) for g in (with_penalties, bare))
    assert torch.equal(found, expected)
    assert list(logs) == ["loss/generator"]


@pytest.mark.parametrize(
    "penalty", [partial(r1, gamma=2.0), partial(r2, gamma=2.0), partial(wgan_gp, weight=5.0)]
)
@every_calculus
def test_a_critic_without_one_logit_per_sample_is_refused(penalty, calculus):
    for critic, shape in ((nn.Linear(2, 1), r"\(4, 1\)"), (lambda x: x.sum(), r"\(\)")):
        with pytest.raises(
            ValueError, match=rf"one logit per sample, shape \(4,\); got {shape}\. End the network"
        ):
            value_of(penalty, critic, normal(4, 2), normal(4, 2), torch.zeros(4), calculus)


@pytest.mark.parametrize("slope", [0.25, 3.0])
@pytest.mark.parametrize("one_sided", [0.0, 0.4, 1.0])
def test_slopes_below_the_target_count_one_minus_one_sided(slope, one_sided):
    discriminator = BoundDiscriminator(lambda samples: slope * samples[:, 0], AUTOGRAD)
    batch = Batch(torch.ones(3, 2), torch.zeros(3, 1), torch.full((3,), 0.3))
    value = wgan_gp(discriminator, batch, torch.zeros(3, 2), weight=2.0, target=1.0, one_sided=one_sided)
    share = 1.0 if slope > 1 else 1.0 - one_sided
    assert_close(value.item(), 2.0 * share * (slope - 1.0) ** 2)
