"""Learning-rate schedules against torch's own, and through a round of the game."""

from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR
from torch.testing import assert_close

from oracles import dirac_batch, dirac_gan
from saddle.dynamics import Alternating, Simultaneous
from saddle.dynamics.lookahead import Lookahead
from saddle.dynamics.optimizers import SGD, Adam, AdamW, Bounded
from saddle.dynamics.runge_kutta import RungeKutta4
from saddle.dynamics.schedules import Cosine, Linear, WarmUp, scheduled
from saddle.game.game import Players
from saddle.game.losses import Wasserstein
from saddle.rounds.execution import eager, start

CPU = torch.device("cpu")


def torchs_rates(num: int, build) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler, rates = build(optimizer), []
    for _ in range(num):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def test_linear_and_cosine_are_torchs():
    linear, cosine = Linear(40, final=0.1), Cosine(40, final=0.1)
    expected = torchs_rates(60, partial(LinearLR, start_factor=1.0, end_factor=0.1, total_iters=40))
    assert_close([linear(step) for step in range(60)], expected, rtol=1e-12, atol=0)
    expected = torchs_rates(41, partial(CosineAnnealingLR, T_max=40, eta_min=0.1))
    # torch goes from factor to factor: 40 products of round-off
    assert_close([cosine(step) for step in range(41)], expected, rtol=1e-12, atol=1e-14)


def test_a_warm_up_is_torchs_and_hands_over():
    def build(optimizer):
        parts = LinearLR(optimizer, 1 / 6, 1.0, 5), LinearLR(optimizer, 1.0, 0.0, 15)
        return SequentialLR(optimizer, parts, [5])

    expected = torchs_rates(30, build)
    found = Linear(20, num_warmup_steps=5)
    assert_close([found(step) for step in range(30)], expected, rtol=1e-12, atol=1e-15)
    assert_close([WarmUp(5)(step) for step in range(6)], expected[:6], rtol=1e-12, atol=0)
    assert WarmUp(5)(10**6) == 1.0


@given(
    num_steps=st.integers(2, 500), share=st.floats(0, 0.9), final=st.floats(0, 1), step=st.integers(0, 1000)
)
def test_every_schedule_stays_between_its_ends_and_never_rises_after_its_warm_up(
    num_steps, share, final, step
):
    for make in (Linear, Cosine):
        schedule = make(num_steps, int(share * num_steps), final)
        assert 0.0 <= schedule(step) <= 1.0
        if step >= schedule.num_warmup_steps:
            assert schedule(step + 1) <= schedule(step) + 1e-15
            assert schedule(step) >= final - 1e-15
        assert_close(schedule(num_steps), final, rtol=0, atol=1e-15)


@pytest.mark.parametrize("make", [Linear, Cosine])
def test_a_schedule_out_of_range_is_refused(make):
    with pytest.raises(ValueError, match=r"num_warmup_steps must lie in \[0, num_steps\); got 10 of 10"):
        make(10, 10)
    with pytest.raises(ValueError, match=r"final factor must lie in \[0, 1\]; got 2"):
        make(10, final=2.0)
    with pytest.raises(ValueError, match=r"num_warmup_steps must be a whole number of at least 0; got -1"):
        WarmUp(-1)
    with pytest.raises(ValueError, match=r"num_warmup_steps must be a whole number of at least 0; got 2\.5"):
        make(10, 2.5)
    with pytest.raises(ValueError, match=r"num_steps must be a whole number of at least 1; got 9\.5"):
        make(9.5)


def test_every_rate_in_a_dynamics_is_scaled_wherever_it_lies():
    dynamics = Lookahead(Alternating(Bounded(SGD(0.1), max_weight=1.0), AdamW(0.4), 3), k=7)
    found = scheduled(dynamics, Players(0.5, 0.25))
    assert found == Lookahead(Alternating(Bounded(SGD(0.05), max_weight=1.0), AdamW(0.1), 3), k=7)


@pytest.mark.parametrize("make", [Simultaneous, RungeKutta4])
def test_a_scheduled_round_is_a_round_at_that_rate(make):
    """Both players have rates of their own; the clock is the generator step."""
    game, schedule = dirac_gan(Wasserstein()), Linear(10)
    dynamics = make(SGD(0.2), SGD(0.3))
    play = eager(game, dynamics, {}, Players(schedule, None))
    state, players = start(game, dynamics, {}, CPU), game.init()
    for index in range(4):
        state, _ = play(state, (dirac_batch(),), index)
        at_rate = make(SGD(0.2 * (1 - index / 10)), SGD(0.3))
        players, _, _ = at_rate.step(game, players, at_rate.init(players), (dirac_batch(),))
        assert_close(torch.cat(state.players), torch.cat(players), rtol=1e-14, atol=0)
    assert torch.equal(state.evaluated, state.players.generator)  # without an average


def test_a_schedule_counts_generator_steps():
    game, seen = dirac_gan(Wasserstein()), []

    def schedule(step: int) -> float:
        seen.append(step)
        return 1.0

    dynamics = Alternating(Adam(0.1), Adam(0.1), num_discriminator_steps=3, num_generator_steps=2)
    play, state = eager(game, dynamics, {}, Players(schedule, None)), start(game, dynamics, {}, CPU)
    for index in range(3):
        state, _ = play(state, (dirac_batch(),) * 5, index)
    assert seen == [0, 2, 4]
