"""The average of the generator's weights against closed forms and TensorFlow's own recurrence."""

import cmath
from math import comb

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from oracles import average_by_hand
from saddle.dynamics.averages import ExponentialAverage, UniformAverage, ema_of_half_life


def averages(beta: float, values: Tensor, start: Tensor) -> Tensor:
    average = ExponentialAverage(beta)
    state, rows = average.init(start), []
    for value in values:
        state = average.step(value, state)
        rows.append(state.params)
    assert state.num_updates == len(values)
    return torch.stack(rows)


def test_the_ramp_forgets_the_first_weights_like_a_binomial():
    """While (1 + t)/(10 + t) < β the first weights still count for ∏ = n!·9!/(n + 9)!."""
    num = 200  # (1 + 199)/(10 + 199) = 0.957 < 0.999
    kept = 1 - averages(0.999, torch.ones(num, 1), torch.zeros(1)).squeeze(1)
    expected = torch.tensor([1 / comb(n + 9, 9) for n in range(1, num + 1)])
    assert_close(kept, expected, rtol=0, atol=1e-14)  # one minus a number near 1, over 200 steps


def test_after_the_ramp_the_weights_of_the_past_fall_by_beta_a_step():
    beta, num = 0.9, 300
    impulse = torch.zeros(num, 1)
    impulse[100] = 1.0  # the ramp reaches 0.9 at t = 80
    found = averages(beta, impulse, torch.zeros(1)).squeeze(1)[100:]
    assert_close(found, (1 - beta) * beta ** torch.arange(len(found)))


@settings(max_examples=25, deadline=None)  # no deadline: the first call warms torch up
@given(
    values=st.lists(st.floats(-10, 10), min_size=1, max_size=120),
    start=st.floats(-10, 10),
    beta=st.floats(0, 0.9999),
)
def test_averages_equal_the_recurrence_written_out(values, start, beta):
    found = averages(beta, torch.tensor(values).unsqueeze(1), torch.tensor([start])).squeeze(1)
    expected = torch.tensor(average_by_hand(values, start, beta))
    assert_close(found, expected, rtol=0, atol=1e-12)  # 120 steps of round-off at numbers up to 10
    hull = [start, *values]
    assert ((found >= min(hull) - 1e-12) & (found <= max(hull) + 1e-12)).all()


def test_beta_0_follows_the_generator_to_the_bit():
    values = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(averages(0.0, values, torch.full((3,), 1e9)), values)


@pytest.mark.parametrize("angle", [0.1, 0.5, 2.0])
def test_the_average_of_a_rotation_shrinks_by_the_closed_form(angle):
    beta, num = 0.9, 500
    phases = angle * torch.arange(num)
    found = averages(beta, torch.stack([phases.cos(), phases.sin()], 1), torch.zeros(2))
    radius = (1 - beta) / abs(1 - beta * cmath.exp(1j * angle))
    # the ramp ends at t = 80; what came before has faded by 0.9^320 = 2e-15 at t = 400
    assert_close(found[400:].norm(dim=1), torch.full((100,), radius), rtol=1e-10, atol=0)


def test_an_average_starts_at_the_weights_and_does_not_share_their_memory():
    weights = torch.ones(3)
    state = ExponentialAverage(0.9).init(weights)
    weights += 5
    assert torch.equal(state.params, torch.ones(3))
    before = state.params.clone()
    ExponentialAverage(0.9).step(weights, state)
    assert torch.equal(state.params, before)
    assert state.num_updates == 0


def test_an_average_keeps_the_dtype_of_the_weights():
    state = ExponentialAverage(0.9).init(torch.ones(3, dtype=torch.float32))
    state = ExponentialAverage(0.9).step(torch.zeros(3, dtype=torch.float32), state)
    assert (state.params.dtype, state.num_updates.dtype) == (torch.float32, torch.float32)


@pytest.mark.parametrize("beta", [-0.1, 1.0, float("nan")])
def test_a_beta_out_of_range_is_refused(beta):
    with pytest.raises(ValueError, match=rf"ema must lie in \[0, 1\); got {beta}\. 0 turns averaging off"):
        ExponentialAverage(beta)


def test_without_a_ramp_beta_is_constant():
    average, start = ExponentialAverage(0.9, warmup=1.0), torch.ones(1)
    state = average.init(start)
    for _ in range(7):
        state = average.step(torch.zeros(1), state)
    assert_close(state.params.item(), 0.9**7)


@pytest.mark.parametrize("batch_size", [1, 25, 100])
def test_a_half_life_is_counted_in_images_whatever_the_batch_size(batch_size):
    average = ema_of_half_life(500, batch_size, warmup=1.0)
    state = average.init(torch.ones(1))
    for _ in range(500 // batch_size):
        state = average.step(torch.zeros(1), state)
    assert_close(state.params.item(), 0.5)


@pytest.mark.parametrize("half_life", [0, -1.0, float("nan"), float("inf")])
def test_a_half_life_that_is_not_positive_or_never_ends_is_refused(half_life):
    with pytest.raises(ValueError, match=r"half_life must be a positive number of images; got"):
        ema_of_half_life(half_life, 64)


@settings(max_examples=25, deadline=None)  # no deadline: the first call warms torch up
@given(values=st.lists(st.floats(-10, 10), min_size=1, max_size=60), num_skipped=st.integers(0, 30))
def test_a_uniform_average_is_the_mean_of_what_it_did_not_skip(values, num_skipped):
    average, state = UniformAverage(num_skipped), UniformAverage(num_skipped).init(torch.tensor([99.0]))
    for value in values:
        state = average.step(torch.tensor([value]), state)
    kept = values[num_skipped:] or values[-1:]  # until it begins it follows the generator
    assert_close(state.params.item(), sum(kept) / len(kept), rtol=0, atol=1e-12)  # 60 sums of numbers to 10


def test_the_mean_of_a_rotation_falls_as_one_over_t():
    """Σ e^{iωk} for k < t has modulus |sin(ωt/2)/sin(ω/2)|: the iterates circle, their mean converges."""
    angle, num = 0.2, 400
    phases = angle * torch.arange(num)
    average, state = UniformAverage(), UniformAverage().init(torch.zeros(2))
    for phase in phases:
        state = average.step(torch.stack([phase.cos(), phase.sin()]), state)
    expected = abs(cmath.sin(angle * num / 2) / cmath.sin(angle / 2)) / num
    assert_close(state.params.norm().item(), expected, rtol=1e-10, atol=0)


def test_a_warmup_or_a_number_skipped_out_of_range_is_refused():
    with pytest.raises(ValueError, match=r"warmup must lie in \[1, inf\); got 0"):
        ExponentialAverage(0.9, warmup=0.0)
    with pytest.raises(ValueError, match=r"num_skipped must be a whole number of at least 0; got -1"):
        UniformAverage(-1)
    with pytest.raises(ValueError, match=r"num_skipped must be a whole number of at least 0; got 2\.5"):
        UniformAverage(2.5)
