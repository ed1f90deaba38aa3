"""Adversarial losses against what theory says they are at the optimal discriminator, and by hand."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from oracles import dirac_batch, dirac_gan, gaussian_sample
from saddle.game.losses import (
    Hinge,
    LeastSquares,
    Minimax,
    NonSaturating,
    Relativistic,
    Wasserstein,
    softplus,
)
from saddle.models.toy import Linear
from saddle.theory import gaussians, held_modes
from saddle.theory.gaussians import Gaussian

LOSSES = [Minimax(), NonSaturating(), LeastSquares(), Wasserstein(), Hinge(), Relativistic()]
every_loss = pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
logistic = pytest.mark.parametrize("loss", [Minimax(), NonSaturating()], ids=lambda loss: type(loss).__name__)
seeds = st.integers(0, 99)
few = settings(max_examples=25, deadline=None)  # no deadline: the first call warms torch up


def logits(num: int, seed: int) -> tuple[Tensor, Tensor]:
    real, fake = 3 * torch.randn(2, num, generator=torch.Generator().manual_seed(seed))
    return real, fake


def slope(function: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    at = at.clone().requires_grad_()
    return torch.autograd.grad(function(at).sum(), at)[0]


# ---- at the optimal discriminator

every_shift = pytest.mark.parametrize("shift", [0.0, 0.5, 1.0, 2.0, 4.0, 8.0])
# 2^18 midpoint quantiles for a Gaussian: tails beyond ±4.8 cost under 1e-5 of a loss that grows linearly
QUADRATURE = {"atol": 1e-5, "rtol": 0}


@logistic
@every_shift
def test_logistic_losses_measure_the_jensen_shannon_divergence_of_gaussians(loss, shift):
    def optimal(x: Tensor) -> Tensor:
        return shift**2 / 2 - shift * x  # log p/q

    found = loss.discriminator(optimal(gaussian_sample(0.0)), optimal(gaussian_sample(shift)))
    expected = gaussians.logistic_loss(Gaussian(0.0), Gaussian(shift))
    assert_close(found.item(), expected, **QUADRATURE)


@every_shift
def test_least_squares_is_half_the_overlap_of_gaussians(shift):
    def optimal(x: Tensor) -> Tensor:
        return torch.sigmoid(shift**2 / 2 - shift * x)  # p/(p + q)

    found = LeastSquares(1.0, 0.0).discriminator(
        optimal(gaussian_sample(0.0)), optimal(gaussian_sample(shift))
    )
    expected = gaussians.least_squares_loss(Gaussian(0.0), Gaussian(shift))
    assert_close(found.item(), expected, **QUADRATURE)


@every_shift
def test_hinge_measures_the_total_variation_of_gaussians(shift):
    def optimal(x: Tensor) -> Tensor:
        return torch.sign(shift / 2 - x)

    found = Hinge().discriminator(optimal(gaussian_sample(0.0)), optimal(gaussian_sample(shift)))
    expected = gaussians.hinge_loss(Gaussian(0.0), Gaussian(shift))  # 2 − 2 TV
    assert_close(found.item(), expected, **QUADRATURE)  # one sample in 2^18 at the threshold is 4e-6


@every_shift
def test_wasserstein_measures_the_distance_of_gaussians(shift):
    real, fake = (
        -gaussian_sample(0.0),
        -gaussian_sample(shift),
    )  # D(x) = −x is the steepest 1-Lipschitz critic
    assert_close(
        Wasserstein().discriminator(real, fake).item(), -shift, atol=1e-12, rtol=0
    )  # round-off of a mean


@pytest.mark.parametrize("num_held", [8, 7, 6, 4, 2, 1])
def test_held_modes_can_be_read_off_the_discriminators_loss(num_held):
    """Data uniform on 8 disjoint modes, G uniform on ``num_held``; one sample for each pair of modes."""
    r, certain = num_held / 8, 800.0  # e^−800 is 0 in float64
    held = torch.arange(8) < num_held
    for_logistic = torch.where(held, math.log(r), certain)  # log p/q
    for_pairs = torch.where(held, 0.0, certain)
    for loss in (Minimax(), NonSaturating()):
        found = loss.discriminator(for_logistic, for_logistic[held])
        assert_close(found.item(), held_modes.logistic_loss(r))
    pairs = torch.cartesian_prod(for_pairs, for_pairs[held])
    assert_close(Relativistic().discriminator(*pairs.T).item(), held_modes.relativistic_loss(r))
    for_hinge = torch.where(held, -1.0, 1.0)  # sign(p − q)
    assert_close(Hinge().discriminator(for_hinge, for_hinge[held]).item(), held_modes.hinge_loss(r))


@few
@given(
    counts=st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=2, max_size=5),
    loss=st.sampled_from([Minimax(), NonSaturating(), LeastSquares(1.0, 0.0), LeastSquares(1.0, -1.0)]),
)
def test_the_known_optimal_discriminator_is_stationary_on_any_discrete_distributions(counts, loss):
    p, q = torch.tensor(counts).T
    real, fake = torch.arange(len(p)).repeat_interleave(p), torch.arange(len(q)).repeat_interleave(q)
    p, q = p / p.sum(), q / q.sum()
    if isinstance(loss, LeastSquares):
        optimal = (loss.real_target * p + loss.fake_target * q) / (p + q)
    else:
        optimal = (p / q).log()
    found = slope(lambda table: loss.discriminator(table[real], table[fake]), optimal)
    assert_close(found, torch.zeros_like(found), atol=1e-14, rtol=0)  # round-off of terms below 1


# ---- by hand


@pytest.mark.parametrize(
    ("loss", "of_discriminator", "of_generator"),
    [  # real logits (2, −1), fake logits (0.5, −3)
        (Minimax(), (0.126928 + 1.313262) / 2 + (0.974077 + 0.048587) / 2, -(0.974077 + 0.048587) / 2),
        (NonSaturating(), (0.126928 + 1.313262) / 2 + (0.974077 + 0.048587) / 2, (0.474077 + 3.048587) / 2),
        (LeastSquares(), (1 + 4) / 4 + (0.25 + 9) / 4, (0.25 + 16) / 4),
        (LeastSquares(2.0, -1.0), (0 + 9) / 4 + (2.25 + 4) / 4, (2.25 + 25) / 4),
        (Wasserstein(), -1.25 - 0.5, 1.25),
        (Hinge(), (0 + 2) / 2 + (1.5 + 0) / 2, 1.25),
        (Relativistic(), (0.201413 + 0.126928) / 2, (1.701413 + 2.126928) / 2),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_worked_by_hand(loss, of_discriminator, of_generator):
    real, fake = torch.tensor([2.0, -1.0]), torch.tensor([0.5, -3.0])
    assert_close(
        loss.discriminator(real, fake).item(), of_discriminator, atol=1e-6, rtol=0
    )  # six digits above
    assert_close(loss.generator(fake, real).item(), of_generator, atol=1e-6, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("num", [1, 16])  # one by one, and in vector registers
def test_softplus_is_exact_from_deep_below_zero_to_far_above(dtype, num):
    points = [-100.0, -60.0, -20.0, -1.0, 0.0, 1.0, 15.0, 19.9, 20.1, 30.0, 79.0, 80.0, 81.0, 100.0, 1e4]
    for point in points:
        at = torch.full((num,), point, dtype=dtype)
        value = max(point, 0.0) + math.log1p(math.exp(-abs(point)))
        derivative = 1 / (1 + math.exp(-point)) if point > 0 else math.exp(point) / (1 + math.exp(point))
        # a few units in the last place; e^−100 is a subnormal float32, whose last place is 1.4e-45
        tolerance = {"rtol": 4 * torch.finfo(dtype).eps, "atol": 1.5e-45 if dtype == torch.float32 else 0.0}
        assert_close(softplus(at), torch.full_like(at, value), **tolerance)
        assert_close(slope(softplus, at), torch.full_like(at, derivative), **tolerance)


@every_loss
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_values_and_gradients_hold_at_logits_of_100(loss, dtype, sign):
    """Real at +100 and fake at −100, then the other way round; per-sample gradients with N = 1."""
    real, fake = torch.tensor([100 * sign], dtype=dtype), torch.tensor([-100 * sign], dtype=dtype)
    tiny, tiny_twice = math.exp(-100), math.exp(-200)  # what softplus and σ are there
    right = sign > 0
    expected = {  # L_D, ∂L_D/∂real, ∂L_D/∂fake, L_G, ∂L_G/∂fake
        Minimax: (2 * tiny, -tiny, tiny, -tiny, -tiny) if right else (200, -1, 1, -100, -1),
        NonSaturating: (2 * tiny, -tiny, tiny, 100, -1) if right else (200, -1, 1, tiny, -tiny),
        LeastSquares: (0.5 * (99**2 + 100**2), 99, -100, 0.5 * 101**2, -101)
        if right
        else (0.5 * (101**2 + 100**2), -101, 100, 0.5 * 99**2, 99),
        Wasserstein: (-200 * sign, -1, 1, 100 * sign, -1),
        Hinge: (0, 0, 0, 100, -1) if right else (202, -1, 1, -100, -1),
        Relativistic: (tiny_twice, -tiny_twice, tiny_twice, 200, -1)
        if right
        else (200, -1, 1, tiny_twice, -tiny_twice),
    }[type(loss)]
    found = (
        loss.discriminator(real, fake),
        slope(lambda at: loss.discriminator(at, fake), real),
        slope(lambda at: loss.discriminator(real, at), fake),
        loss.generator(fake, real),
        slope(lambda at: loss.generator(at, real), fake),
    )
    for one, value in zip(found, expected, strict=True):
        # the last place, and in float32 that of subnormal numbers: e^−200 is 0 there, e^−100 is not
        tolerance = {"rtol": 4 * torch.finfo(dtype).eps, "atol": 3e-45 if dtype == torch.float32 else 0.0}
        assert_close(one, torch.full_like(one, value), **tolerance)


def test_the_saturating_generator_stalls_where_the_other_runs():
    """D rejects with certainty e^−t: gradients e^−t and 1 − e^−t. Arjovsky and Bottou 2017, sec. 2.2."""
    rejected = torch.tensor([-30.0])
    assert_close(slope(Minimax().generator, rejected).item(), -math.exp(-30))
    assert_close(slope(NonSaturating().generator, rejected).item(), -1.0)


# ---- laws


@few
@given(seed=seeds)
def test_minimax_and_wasserstein_are_zero_sum_in_the_fake_logits(seed):
    real, fake = logits(16, seed)
    for loss in (Minimax(), Wasserstein()):
        of_discriminator = slope(lambda at: loss.discriminator(real, at), fake)  # noqa: B023
        assert torch.equal(slope(loss.generator, fake), -of_discriminator)


def test_minimax_and_non_saturating_share_the_discriminator_and_the_fixed_point():
    real, fake = logits(16, 0)
    assert torch.equal(Minimax().discriminator(real, fake), NonSaturating().discriminator(real, fake))
    for loss in (Minimax(), NonSaturating()):
        game = dirac_gan(loss, start=(0.0, 0.0))
        gradients, _ = game.gradients(game.init(), dirac_batch(2))
        assert torch.equal(torch.cat(gradients), torch.zeros(2))
    at_zero = [slope(loss.generator, torch.zeros(1)).item() for loss in (Minimax(), NonSaturating())]
    assert at_zero == [-0.5, -0.5]  # and nearby they push alike


@few
@given(shift=st.floats(-50, 50), seed=seeds)
@pytest.mark.parametrize("loss", [Wasserstein(), Relativistic()], ids=lambda loss: type(loss).__name__)
def test_critics_ignore_a_common_shift(loss, shift, seed):
    real, fake = logits(16, seed)
    atol = 1e-12  # round-off of logits below 100
    assert_close(
        loss.discriminator(real + shift, fake + shift), loss.discriminator(real, fake), atol=atol, rtol=0
    )
    if loss.paired:
        assert_close(
            loss.generator(fake + shift, real + shift), loss.generator(fake, real), atol=atol, rtol=0
        )


@pytest.mark.parametrize(
    "loss", [Minimax(), NonSaturating(), LeastSquares(), Hinge()], ids=lambda loss: type(loss).__name__
)
def test_the_other_losses_do_not_ignore_a_common_shift(loss):
    real, fake = torch.tensor([2.0]), torch.tensor([-2.0])
    assert (loss.discriminator(real + 5, fake + 5) - loss.discriminator(real, fake)).item() > 1


@few
@given(seed=seeds, loss=st.sampled_from(LOSSES))
def test_losses_are_means_so_a_batch_is_worth_its_halves(seed, loss):
    real, fake = logits(16, seed)
    halves = list(zip(real.split(8), fake.split(8), strict=True))
    assert_close(
        loss.discriminator(real, fake), torch.stack([loss.discriminator(*half) for half in halves]).mean()
    )
    assert_close(
        loss.generator(fake, real), torch.stack([loss.generator(half[1], half[0]) for half in halves]).mean()
    )


@few
@given(seed=seeds, loss=st.sampled_from(LOSSES))
def test_only_pairs_make_the_order_of_samples_matter(seed, loss):
    real, fake = logits(16, seed)
    turned = loss.discriminator(real, fake.roll(1))
    if loss.paired:
        assert not torch.isclose(turned, loss.discriminator(real, fake), rtol=1e-9, atol=0)
        turned = loss.discriminator(real.roll(1), fake.roll(1))
    assert_close(turned, loss.discriminator(real, fake))


@few
@given(seed=seeds, loss=st.sampled_from([one for one in LOSSES if not isinstance(one, LeastSquares)]))
def test_the_discriminator_wants_real_up_and_fake_down_and_the_generator_fake_up(seed, loss):
    real, fake = logits(16, seed)
    assert (slope(lambda at: loss.discriminator(at, fake), real) <= 0).all()
    assert (slope(lambda at: loss.discriminator(real, at), fake) >= 0).all()
    assert (slope(lambda at: loss.generator(at, real), fake) < 0).all()


@few
@given(seed=seeds)
def test_relativistic_players_swap_roles_with_their_arguments(seed):
    real, fake = logits(16, seed)
    loss = Relativistic()
    assert torch.equal(loss.generator(fake, real), loss.discriminator(fake, real))
    # softplus(−t) + softplus(t) ≥ 2 log 2, with equality only where D cannot tell
    assert loss.discriminator(real, fake) + loss.generator(fake, real) >= 2 * math.log(2)


def test_a_constant_discriminator_costs_a_relativistic_player_log_2():
    assert_close(
        Relativistic().discriminator(torch.full((4,), 7.0), torch.full((4,), 7.0)).item(), math.log(2)
    )


@every_loss
def test_the_generator_of_an_unpaired_loss_needs_no_real_logits(loss):
    _, fake = logits(16, 0)
    if loss.paired:
        with pytest.raises(ValueError, match=r"must be given real_logits; got None\. Pass D's logits"):
            loss.generator(fake)
    else:
        assert torch.equal(loss.generator(fake), loss.generator(fake, torch.zeros(16)))


@every_loss
def test_losses_are_scalars_of_the_dtype_of_their_logits(loss):
    for dtype in (torch.float32, torch.bfloat16):
        real, fake = (one.to(dtype) for one in logits(8, 0))
        for value in (loss.discriminator(real, fake), loss.generator(fake, real)):
            assert (value.shape, value.dtype) == ((), dtype)


def test_logits_of_an_image_critic_are_the_inner_products_the_oracles_say():
    images = torch.randn(3, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    weight = torch.arange(16.0).view(1, 4, 4)
    assert_close(Linear(weight)(images), torch.einsum("nchw,chw->n", images, weight))
