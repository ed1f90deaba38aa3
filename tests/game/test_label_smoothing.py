"""One-sided label smoothing: its optimal discriminator, extreme logits, and torch's cross-entropy."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from saddle.game.losses import Minimax, NonSaturating, softplus

every_loss = pytest.mark.parametrize("make", [Minimax, NonSaturating])
few = settings(max_examples=25, deadline=None)  # no deadline: the first call warms torch up


def slopes(loss, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    real, fake = real.clone().requires_grad_(), fake.clone().requires_grad_()
    return torch.autograd.grad(loss.discriminator(real, fake), (real, fake))


@every_loss
@pytest.mark.parametrize("target", [0.5, 0.9, 1.0])
@pytest.mark.parametrize(("num_real", "num_fake"), [(1, 3), (2, 2), (3, 1)])
def test_the_best_discriminator_says_a_times_p_over_p_plus_q(make, target, num_real, num_fake):
    """A place with so many real and generated samples of 4 each: its logit is shared, so slopes add up."""
    best = target * num_real / (num_real + num_fake)
    logit = math.log(best / (1 - best))
    on_real, on_fake = slopes(
        make(target),
        torch.tensor([logit] * num_real + [5.0] * (4 - num_real)),  # the others are elsewhere
        torch.tensor([logit] * num_fake + [-5.0] * (4 - num_fake)),
    )
    total = on_real[:num_real].sum() + on_fake[:num_fake].sum()
    assert_close(total.item(), 0.0, atol=1e-15, rtol=0)  # a few terms below 1 cancel


@every_loss
def test_without_smoothing_nothing_changes_to_the_last_bit(make):
    real, fake = torch.linspace(-100, 100, 81), torch.linspace(-90, 100, 81)
    assert make() == make(1.0)
    assert torch.equal(make().discriminator(real, fake), softplus(-real).mean() + softplus(fake).mean())


@few
@given(target=st.floats(0.1, 1.0), seed=st.integers(0, 99))
def test_it_is_torchs_cross_entropy_with_soft_targets(target, seed):
    real, fake = 3 * torch.randn(2, 7, generator=torch.Generator().manual_seed(seed))
    expected = F.binary_cross_entropy_with_logits(
        real, torch.full((7,), target)
    ) + F.binary_cross_entropy_with_logits(fake, torch.zeros(7))
    for make in (Minimax, NonSaturating):
        assert_close(make(target).discriminator(real, fake), expected, rtol=1e-12, atol=0)


@every_loss
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("logit", [-100.0, -40.0, 0.0, 40.0, 100.0])
def test_values_and_slopes_are_exact_at_extreme_logits(make, logit, dtype):
    real, fake = torch.tensor([logit], dtype=dtype), torch.tensor([-800.0], dtype=dtype)  # costs e^−800
    # −0.9 log σ(t) − 0.1 log(1 − σ(t)), by log1p on the side where it is small
    small = math.log1p(math.exp(-abs(logit)))
    log_pass, log_fail = (-small, -logit - small) if logit >= 0 else (logit - small, -small)
    expected = -0.9 * log_pass - 0.1 * log_fail
    tight = {"rtol": 1e-6 if dtype == torch.float32 else 1e-14, "atol": 0.0}  # a few roundings
    assert_close(make(0.9).discriminator(real, fake).item(), expected, **tight)
    sigma = 1 / (1 + math.exp(-logit))
    assert_close(slopes(make(0.9), real, fake)[0].item(), sigma - 0.9, **tight)


@every_loss
def test_the_generators_loss_is_not_smoothed(make):
    fake = torch.linspace(-5, 5, 11)
    assert torch.equal(make(0.7).generator(fake), make().generator(fake))


@every_loss
@pytest.mark.parametrize("target", [0.0, -0.1, 1.1])
def test_a_target_that_is_no_share_is_refused(make, target):
    with pytest.raises(ValueError, match=rf"real_target must lie in \(0, 1\]; got {target}\. 1 is no"):
        make(target)
