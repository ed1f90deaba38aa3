"""The one-sided and the zero-centred penalty on interpolates, on critics whose slope is known."""

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.testing import assert_close

from dynamics_laws import every_calculus
from oracles import (
    Bowl,
    dirac_batch,
    dirac_gan,
    field_jacobian,
    penalty_by_double_backward,
    sorted_eigenvalues,
)
from saddle.game.calculus import AUTOGRAD, BoundDiscriminator, Calculus
from saddle.game.game import Batch
from saddle.game.losses import Minimax, Wasserstein
from saddle.game.network import Network
from saddle.game.penalties.discriminator import r1, r2, wgan_gp, wgan_lp, zero_centered
from saddle.models.toy import Linear
from saddle.theory.dirac import gradient_penalty_eigenvalues

EVENTS = [(2,), (3, 4, 4)]
few = settings(max_examples=25, deadline=None)  # no deadline: the first call warms torch up


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def points(num: int, event: tuple[int, ...], seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Real, fake and mix."""
    mix = torch.rand(num, generator=torch.Generator().manual_seed(seed))
    return normal(num, *event, seed=seed + 1), normal(num, *event, seed=seed + 2), mix


def evaluate(penalty, critic: nn.Module, at: tuple[Tensor, Tensor, Tensor], calculus: Calculus) -> tuple:
    """The penalty and its gradient in the critic's parameters."""
    network, (real, fake, mix) = Network(critic), at
    batch = Batch(real, torch.zeros(len(real), 1), mix)

    def loss(vector: Tensor):
        value = penalty(BoundDiscriminator(network.bind(vector, {}), calculus), batch, fake)
        return value, {"penalty": value.detach()}

    gradient, logs = calculus.derivative(loss, network.flatten())
    return logs["penalty"], gradient


# ---- linear critics: the slope is the weight


@every_calculus
@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("num", [1, 2, 16])
@pytest.mark.parametrize("size", [0.2, 0.999, 1.001, 3.0])
def test_wgan_lp_charges_a_linear_critic_only_above_the_target(num, event, size, calculus):
    weight = normal(*event)
    weight = size * weight / weight.norm()
    value, gradient = evaluate(partial(wgan_lp, weight=10.0), Linear(weight), points(num, event), calculus)
    excess = max(0.0, size - 1)
    # size − 1 = 1e-3 keeps 13 of 16 digits
    assert_close(value.item(), 10 * excess**2, rtol=1e-11, atol=0)
    assert_close(gradient, 20 * excess * weight.flatten() / size, rtol=1e-11, atol=0)
    if size < 1:  # exactly nothing, and not merely little
        assert value.item() == 0
        assert not gradient.any()


@every_calculus
@pytest.mark.parametrize("target", [0.0, 0.5, 2.0])
def test_wgan_lp_has_a_target(target, calculus):
    weight = torch.tensor([0.6, -0.8])  # of norm 1
    value, gradient = evaluate(
        partial(wgan_lp, weight=3.0, target=target), Linear(weight), points(4, (2,)), calculus
    )
    assert_close(value.item(), 3 * max(0.0, 1 - target) ** 2)
    assert_close(gradient, 6 * max(0.0, 1 - target) * weight)


@every_calculus
@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("num", [1, 2, 16])
def test_zero_centered_charges_a_linear_critic_for_its_squared_weight(num, event, calculus):
    weight = normal(*event)
    penalty = partial(zero_centered, weight=3.0)
    value, gradient = evaluate(penalty, Linear(weight), points(num, event), calculus)
    assert_close(value, 3 * weight.square().sum())  # no factor ½
    assert_close(gradient, 6 * weight.flatten())


@every_calculus
@pytest.mark.parametrize(
    "penalty", [partial(wgan_lp, weight=10.0), partial(zero_centered, weight=10.0)], ids=["lp", "zero"]
)
@pytest.mark.parametrize("event", EVENTS)
def test_a_critic_of_slope_0_is_charged_exactly_nothing(penalty, event, calculus):
    value, gradient = evaluate(penalty, Linear(torch.zeros(event)), points(4, event), calculus)
    assert value.item() == 0
    assert not gradient.any()  # and no 0/0 from the norm


# ---- critics whose slope differs from sample to sample


@every_calculus
@pytest.mark.parametrize("event", EVENTS)
def test_slopes_are_taken_at_interpolates_and_normed_sample_by_sample(event, calculus):
    """D(x) = ½a‖x‖² has the slope a·x̂, x̂ = u·real + (1 − u)·fake."""
    real, fake, mix = at = points(16, event)
    where = torch.stack([u * x + (1 - u) * y for x, y, u in zip(real, fake, mix, strict=True)])
    sizes, a = where.flatten(1).norm(dim=1), 0.9
    value, gradient = evaluate(partial(zero_centered, weight=2.0), Bowl(a), at, calculus)
    assert_close(value, 2 * a**2 * sizes.square().mean())
    assert_close(gradient, 4 * a * sizes.square().mean().view(1))
    for target in (0.5, 1.0, 3.0):
        excess = (a * sizes - target).clamp(min=0)
        value, gradient = evaluate(partial(wgan_lp, weight=2.0, target=target), Bowl(a), at, calculus)
        assert_close(value, 2 * excess.square().mean())
        assert_close(gradient, 4 * (excess * sizes).mean().view(1))


@every_calculus
@pytest.mark.parametrize(("mix", "index"), [(1.0, 0), (0.0, 1)])
def test_a_mix_of_1_is_the_real_sample_and_of_0_the_fake_one(mix, index, calculus):
    real, fake, _ = at = points(4, (2,))
    there = (real, fake, torch.full((4,), mix))
    value, _ = evaluate(partial(zero_centered, weight=1.0), Bowl(), there, calculus)
    assert_close(value, at[index].square().sum(1).mean())
    same, _ = evaluate(partial((r1, r2)[index], gamma=2.0), Bowl(), there, calculus)
    assert_close(value, same)  # γ = 2λ: R1 and R2 have the factor ½


@every_calculus
@pytest.mark.parametrize(
    ("penalty", "of_norm"),
    [
        (partial(wgan_lp, weight=2.0, target=0.18), lambda size: 2 * (size - 0.18).clamp(min=0) ** 2),
        (partial(zero_centered, weight=2.0), lambda size: 2 * size**2),
    ],
    ids=["lp", "zero"],
)
def test_penalties_are_those_of_the_papers_code_on_a_network(penalty, of_norm, calculus):
    critic = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 1), nn.Flatten(0))
    for seed, parameter in enumerate(critic.parameters()):
        parameter.data = 0.3 * normal(*parameter.shape, seed=seed)
    real, fake, mix = at = points(32, (2,))
    where = mix[:, None] * real + (1 - mix[:, None]) * fake
    expected = penalty_by_double_backward(critic, where, of_norm)
    by_parameter = torch.autograd.grad(expected, tuple(critic.parameters()), allow_unused=True)
    flat = torch.cat([
        (torch.zeros_like(parameter) if one is None else one).flatten()  # the last bias has no slope
        for parameter, one in zip(critic.parameters(), by_parameter, strict=True)
    ])  # fmt: skip
    value, gradient = evaluate(penalty, critic, at, calculus)
    assert_close(value, expected.detach(), rtol=1e-12, atol=0)  # sums in another order
    assert_close(gradient, flat, rtol=0, atol=1e-12)  # likewise, of numbers below 1
    assert 0 < (sizes_of(critic, where) > 0.18).sum() < 32  # both sides of the target occur


def sizes_of(critic: nn.Module, where: Tensor) -> Tensor:
    where = where.clone().requires_grad_()
    return torch.autograd.grad(critic(where).sum(), where)[0].norm(dim=1)


@few
@given(num=st.integers(1, 8), times=st.integers(2, 4), seed=st.integers(0, 99))
@pytest.mark.parametrize(
    "penalty", [partial(wgan_lp, weight=2.0), partial(zero_centered, weight=2.0)], ids=["lp", "zero"]
)
def test_a_repeated_batch_is_charged_the_same(penalty, num, times, seed):
    at = points(num, (2,), seed)
    once, repeated = (
        evaluate(penalty, Bowl(1.5), group, AUTOGRAD)
        for group in (at, tuple(one.repeat(times, *[1] * (one.ndim - 1)) for one in at))
    )
    assert_close(once, repeated)


@few
@given(seed=st.integers(0, 99))
def test_the_two_sides_of_wgan_gp_add_up(seed):
    """(s − 1)² = max(0, s − 1)² + max(0, 1 − s)²: the one-sided penalty leaves out the second."""
    at = points(8, (2,), seed)
    both_sides, above = (
        evaluate(partial(penalty, weight=1.0), Bowl(), at, AUTOGRAD)[0] for penalty in (wgan_gp, wgan_lp)
    )
    sizes = (at[2][:, None] * at[0] + (1 - at[2][:, None]) * at[1]).norm(dim=1)
    assert_close(both_sides - above, (1 - sizes).clamp(min=0).square().mean())


# ---- in the game


@pytest.mark.parametrize("distance", [0.5, 2.0])
@pytest.mark.parametrize("weight", [0.7, 10.0])
def test_between_two_points_the_best_lipschitz_critic_has_the_slope_1_plus_w_over_2_lambda(distance, weight):
    game = dirac_gan(
        Wasserstein(),
        {"lp": partial(wgan_lp, weight=weight)},
        start=(distance, -(1 + distance / (2 * weight))),
    )
    gradient, logs = game.discriminator_gradient(game.init(), dirac_batch(3))
    assert_close(gradient, torch.zeros(1), atol=1e-13, rtol=0)  # two terms of size 2 cancel
    assert_close(logs["penalty/lp"].item(), weight * (distance / (2 * weight)) ** 2)


@pytest.mark.parametrize("weight", [0.15, 1.0])
def test_zero_centered_gives_the_dirac_gan_the_eigenvalues_of_r1_at_twice_its_weight(weight):
    game = dirac_gan(Minimax(), {"zero": partial(zero_centered, weight=weight)}, start=(0.0, 0.0))
    found = sorted_eigenvalues(field_jacobian(game, dirac_batch(2)))
    expected = sorted(gradient_penalty_eigenvalues(2 * weight), key=lambda value: (value.real, value.imag))
    assert_close(found, torch.tensor(expected), atol=1e-12, rtol=0)  # simple roots


def test_wgan_lp_does_nothing_to_a_flat_dirac_gan_which_therefore_turns():
    game = dirac_gan(Wasserstein(), {"lp": partial(wgan_lp, weight=10.0)}, start=(0.0, 0.0))
    found = sorted_eigenvalues(field_jacobian(game, dirac_batch()))
    assert_close(found, torch.tensor([-1j, 1j]))


@pytest.mark.parametrize("penalty", [wgan_lp, zero_centered])
def test_a_discriminator_of_the_wrong_shape_is_refused(penalty):
    with pytest.raises(ValueError, match=r"one logit per sample, shape \(4,\); got \(4, 1\)\. End the"):
        evaluate(partial(penalty, weight=1.0), nn.Linear(2, 1), points(4, (2,)), AUTOGRAD)
