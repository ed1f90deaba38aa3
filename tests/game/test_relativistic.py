"""Relativistic losses: worked by hand, against loops over samples, and by their laws."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from dynamics_laws import num_evaluations
from oracles import dirac_batch, dirac_gan, field_jacobian, sorted_eigenvalues
from saddle.dynamics import Simultaneous
from saddle.dynamics.optimizers import SGD
from saddle.game.losses import LeastSquares, Relativistic, RelativisticAverage, hinged, logistic, squared

FORMS = [logistic, squared, hinged]
LOSSES = [kind(form) for kind in (Relativistic, RelativisticAverage) for form in FORMS]


def name_of(loss) -> str:
    return f"{type(loss).__name__}-{loss.form.__name__}"


every_form = pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
every_loss = pytest.mark.parametrize("loss", LOSSES, ids=name_of)
seeds = st.integers(0, 99)
few = settings(max_examples=20, deadline=None)  # no deadline: the first call warms torch up


def logits(num: int, seed: int) -> tuple[Tensor, Tensor]:
    real, fake = 3 * torch.randn(2, num, generator=torch.Generator().manual_seed(seed))
    return real, fake


def slopes(function: Callable[[Tensor, Tensor], Tensor], *at: Tensor) -> tuple[Tensor, ...]:
    leaves = [one.clone().requires_grad_() for one in at]
    return torch.autograd.grad(function(*leaves), leaves)


# ---- by hand


def falls_short(t: float) -> float:
    """log(1 + e⁻ᵗ)."""
    return math.log1p(math.exp(-t))


# real (2, −1), fake (0.5, −3): margins 1.5 and 2; means 0.5 and −1.25
BY_HAND = [
    (Relativistic(), (falls_short(1.5) + falls_short(2)) / 2, (falls_short(-1.5) + falls_short(-2)) / 2),
    (Relativistic(squared), (0.25 + 1) / 2, (6.25 + 9) / 2),
    (Relativistic(hinged), 0.0, (2.5 + 3) / 2),
    # real over fake's mean 3.25, 0.25; fake under real's mean 0, 3.5
    (
        RelativisticAverage(),
        (falls_short(3.25) + falls_short(0.25) + falls_short(0) + falls_short(3.5)) / 2,
        (falls_short(-3.25) + falls_short(-0.25) + falls_short(0) + falls_short(-3.5)) / 2,
    ),
    (RelativisticAverage(squared), (5.0625 + 0.5625 + 1 + 6.25) / 2, (1 + 20.25 + 18.0625 + 1.5625) / 2),
    (RelativisticAverage(hinged), (0 + 0.75 + 1 + 0) / 2, (1 + 4.5 + 4.25 + 1.25) / 2),
]


@pytest.mark.parametrize(
    ("loss", "of_discriminator", "of_generator"), BY_HAND, ids=[name_of(row[0]) for row in BY_HAND]
)
def test_values_worked_by_hand(loss, of_discriminator, of_generator):
    real, fake = torch.tensor([2.0, -1.0]), torch.tensor([0.5, -3.0])
    assert_close(loss.discriminator(real, fake).item(), of_discriminator)
    assert_close(loss.generator(fake, real).item(), of_generator)


def test_the_hinged_pair_counts_only_margins_below_1():
    loss = Relativistic(hinged)
    found = loss.discriminator(torch.tensor([0.5, 3.0, -1.0]), torch.zeros(3))
    assert_close(found.item(), (0.5 + 0 + 2) / 3)


# ---- the papers' formulas as loops, written with the sigmoid and signs they use


def by_loops(loss, real: Tensor, fake: Tensor, for_generator: bool) -> Tensor:
    """Jolicoeur-Martineau 2018, eqs. 8-11 and the appendix, one sample after the other."""
    real, fake = (fake, real) if for_generator else (real, fake)
    num = len(real)
    if isinstance(loss, Relativistic):
        higher = lower = [(real[i], fake[i]) for i in range(num)]
        weights = (1.0, 0.0)
    else:
        higher = [(real[i], sum(fake) / num) for i in range(num)]
        lower = [(sum(real) / num, fake[i]) for i in range(num)]
        weights = (1.0, 1.0)
    total = torch.zeros(())
    for pairs, weight in zip((higher, lower), weights, strict=True):
        for above, below in pairs:
            if loss.form is logistic:
                term = -torch.log(torch.sigmoid(above - below))
            elif loss.form is squared:
                term = (above - below - 1) ** 2
            else:
                term = torch.clamp(1 - (above - below), min=0)
            total = total + weight * term / num
    return total


@every_loss
@few
@given(seed=seeds)
def test_values_and_gradients_are_those_of_the_written_out_sums(loss, seed):
    real, fake = logits(5, seed)
    for for_generator in (False, True):

        def ours(real: Tensor, fake: Tensor) -> Tensor:
            return loss.generator(fake, real) if for_generator else loss.discriminator(real, fake)  # noqa: B023

        def theirs(real: Tensor, fake: Tensor) -> Tensor:
            return by_loops(loss, real, fake, for_generator)  # noqa: B023

        # −log σ loses digits where σ nears 1: logits below 12 leave ten
        assert_close(ours(real, fake), theirs(real, fake), atol=1e-10, rtol=1e-10)
        found, expected = slopes(ours, real, fake), slopes(theirs, real, fake)
        # through the batch's mean as well: nothing is held constant
        assert_close(found, expected, atol=1e-10, rtol=1e-10)


# ---- laws


@every_loss
@few
@given(shift=st.floats(-50, 50), seed=seeds)
def test_a_common_shift_of_the_logits_changes_nothing(loss, shift, seed):
    real, fake = logits(16, seed)
    # round-off of logits below 100, squared at most
    tolerance = {"atol": 1e-11, "rtol": 1e-11}
    assert_close(loss.discriminator(real + shift, fake + shift), loss.discriminator(real, fake), **tolerance)
    assert_close(loss.generator(fake + shift, real + shift), loss.generator(fake, real), **tolerance)
    of_real, of_fake = slopes(loss.discriminator, real, fake)
    # so the slope along the common shift is 0
    assert_close(
        (of_real.sum() + of_fake.sum()).item(), 0.0, atol=1e-12, rtol=0
    )  # round-off of slopes below 30


@every_loss
def test_players_swap_roles_with_their_arguments(loss):
    real, fake = logits(16, 0)
    assert torch.equal(loss.generator(fake, real), loss.discriminator(fake, real))


@every_form
def test_at_a_batch_of_one_the_average_is_twice_the_pair(form):
    real, fake = logits(1, 3)
    assert_close(
        RelativisticAverage(form).discriminator(real, fake), 2 * Relativistic(form).discriminator(real, fake)
    )


@every_form
def test_only_pairs_make_the_order_of_samples_matter(form):
    real, fake = logits(16, 0)
    pair, average = Relativistic(form), RelativisticAverage(form)
    assert_close(average.discriminator(real, fake.roll(1)), average.discriminator(real, fake))
    assert not torch.isclose(pair.discriminator(real, fake.roll(1)), pair.discriminator(real, fake))


@every_loss
def test_a_constant_discriminator_pays_the_form_at_0(loss):
    once = {logistic: math.log(2), squared: 1.0, hinged: 1.0}[loss.form]
    times = 1 if isinstance(loss, Relativistic) else 2
    level = torch.full((4,), 7.0)
    assert_close(loss.discriminator(level, level).item(), times * once)
    assert_close(loss.generator(level, level).item(), times * once)


@every_form
@pytest.mark.parametrize("num_held", [8, 6, 4, 1])
def test_the_best_discriminator_of_pairs_pays_only_for_the_modes_that_are_held(form, num_held):
    """Data on 8 equal modes, G on r of them: no margin within held modes, any margin above the others."""
    held = torch.arange(8) < num_held
    certain = {logistic: 800.0, squared: 1.0, hinged: 1.0}[form]  # e^−800 is 0
    table = torch.where(held, 0.0, certain)
    real, fake = torch.cartesian_prod(table, table[held]).view(-1, 2).T
    at_zero = math.log(2) if form is logistic else 1.0
    assert_close(Relativistic(form).discriminator(real, fake).item(), num_held / 8 * at_zero)

    def of_table(values: Tensor) -> Tensor:
        pairs = torch.cartesian_prod(values, values[held]).view(-1, 2)
        return Relativistic(form).discriminator(pairs[:, 0], pairs[:, 1])

    if form is not hinged:  # which has a kink there
        (slope,) = slopes(of_table, table)
        assert_close(slope, torch.zeros(8), atol=1e-15, rtol=0)  # slopes below 1 cancel to their last place
    for seed in range(20):  # a convex problem: no other table does better
        other = table + torch.randn(8, generator=torch.Generator().manual_seed(seed))
        assert of_table(other) >= of_table(table) - 1e-12


@every_loss
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_values_and_gradients_hold_at_logits_of_100(loss, dtype, sign):
    """A margin of ±200 with N = 1, where an average loss is twice the pair's."""
    real, fake = torch.tensor([100 * sign], dtype=dtype), torch.tensor([-100 * sign], dtype=dtype)
    margin, tiny = 200 * sign, math.exp(-200)  # 0 in float32, and 1e-87 in float64
    value, derivative = {
        logistic: (tiny, -tiny) if sign > 0 else (200.0, -1.0),
        squared: ((margin - 1) ** 2, 2 * (margin - 1)),
        hinged: (0.0, 0.0) if sign > 0 else (201.0, -1.0),
    }[loss.form]
    times = 1 if isinstance(loss, Relativistic) else 2
    tolerance = {"rtol": 4 * torch.finfo(dtype).eps, "atol": 1e-45 if dtype == torch.float32 else 0.0}

    def expect(found: Tensor, number: float) -> None:
        assert_close(found, torch.full_like(found, times * number), **tolerance)

    expect(loss.discriminator(real, fake), value)
    of_real, of_fake = slopes(loss.discriminator, real, fake)
    expect(of_real, derivative)
    expect(of_fake, -derivative)
    expect(loss.generator(real, fake), value)  # the generator's arguments, so that its margin is this one
    (of_generator,) = slopes(lambda at: loss.generator(at, fake), real)
    expect(of_generator, derivative)


@every_loss
def test_losses_are_scalars_of_the_dtype_of_their_logits(loss):
    for dtype in (torch.float32, torch.bfloat16):
        real, fake = (one.to(dtype) for one in logits(8, 0))
        for value in (loss.discriminator(real, fake), loss.generator(fake, real)):
            assert (value.shape, value.dtype) == ((), dtype)


# ---- in the game


@every_loss
def test_the_dirac_gan_turns_at_the_slope_of_the_form(loss):
    """Both players feel φ'(0): ±iφ'(0), twice for an average, and the curvature acts where logits differ."""
    found = sorted_eigenvalues(field_jacobian(dirac_gan(loss, start=(0.0, 0.0)), dirac_batch(3)))
    slope = {logistic: 0.5, squared: 2.0, hinged: 1.0}[loss.form] * (
        1 if isinstance(loss, Relativistic) else 2
    )
    assert_close(found, torch.tensor([-1j, 1j]) * slope, atol=1e-12, rtol=0)  # simple roots


@every_loss
def test_the_generators_step_looks_at_real_samples(loss):
    dynamics = Simultaneous(SGD(0.1), SGD(0.1))
    assert num_evaluations(dynamics, loss) == (2, 4)
    assert num_evaluations(dynamics, LeastSquares()) == (2, 3)
    with pytest.raises(ValueError, match=r"must be given real_logits; got None\. Pass D's logits"):
        loss.generator(torch.zeros(3))
