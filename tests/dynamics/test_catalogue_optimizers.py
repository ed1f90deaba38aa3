"""AdamW against torch's; optimistic Adam against its algorithm, alone and as a player's rule."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from by_hand import gradient_by_hand, small_batch, small_game, start_by_hand
from dynamics_laws import (
    assert_both_calculi_agree,
    assert_lifts,
    assert_pure,
    both,
    every_calculus,
    play,
    rate,
)
from saddle.dynamics import Alternating, Simultaneous
from saddle.dynamics.optimizers import Adam, AdamW, OptimisticAdam

NUM_STEPS = 50


def gradient_at(params: Tensor, step: int) -> Tensor:
    """A bowl of condition 1e4 under noise: gradients feed back, change sign, and span scales."""
    noise = torch.randn(params.shape, generator=torch.Generator().manual_seed(step))
    return torch.logspace(-3, 1, len(params)) * (params + 0.3 * noise)


def first_params() -> Tensor:
    return torch.linspace(-2, 3, 7)


def path(rule, num: int = NUM_STEPS) -> Tensor:
    params, rows = first_params(), []
    state = rule.init(params)
    for step in range(num):
        params, state = rule.step(gradient_at(params, step), params, state)
        rows.append(params)
    return torch.stack(rows)


# ---- AdamW


@pytest.mark.parametrize(
    ("rule", "theirs"),
    [
        (AdamW(0.01), partial(torch.optim.AdamW, lr=0.01)),  # both default to λ = 0.01
        (AdamW(0.01, weight_decay=0.5), partial(torch.optim.AdamW, lr=0.01, weight_decay=0.5)),
        (
            AdamW(0.05, 0.0, 0.9, weight_decay=3.0),
            partial(torch.optim.AdamW, lr=0.05, betas=(0.0, 0.9), weight_decay=3.0),
        ),
        (
            AdamW(0.02, 0.5, 0.99, 1e-2, 0.1),
            partial(torch.optim.AdamW, lr=0.02, betas=(0.5, 0.99), eps=1e-2, weight_decay=0.1),
        ),
    ],
    ids=lambda value: repr(value) if isinstance(value, AdamW) else "torch",
)
def test_adamw_equals_torch_optim(rule, theirs):  # torch 2.11 to 2.15
    params = torch.nn.Parameter(first_params())
    optimizer, rows = theirs([params]), []
    for step in range(NUM_STEPS):
        params.grad = gradient_at(params.detach(), step)
        optimizer.step()
        rows.append(params.detach().clone())
    # round-off of 50 steps that contract; atol for the crossings of 0
    assert_close(path(rule), torch.stack(rows), rtol=1e-12, atol=1e-13)


def test_adamw_without_decay_is_adam_exactly():
    assert_close(path(AdamW(0.01, weight_decay=0.0)), path(Adam(0.01)), rtol=0, atol=0)


def test_decay_is_decoupled_from_the_gradients_scale():
    """Under gradient 0 the weights shrink by (1 − ηλ)ᵗ, and Adam's moments stay empty."""
    rule, params = AdamW(0.1, weight_decay=0.5), torch.tensor([2.0, -3.0])
    state = rule.init(params)
    for _ in range(10):
        params, state = rule.step(torch.zeros(2), params, state)
    assert_close(params, 0.95**10 * torch.tensor([2.0, -3.0]))
    assert not state.mean.any()


# ---- optimistic Adam


def daskalakis(gradient_of, point: Tensor, num: int, numbers: tuple[float, ...]) -> Tensor:
    """Algorithm 1: θₜ = θₜ₋₁ − 2η m̂ₜ/(√v̂ₜ + ε) + η m̂ₜ₋₁/(√v̂ₜ₋₁ + ε), after Adam's first step."""
    lr, beta1, beta2, eps = numbers
    m, v, last, rows = torch.zeros_like(point), torch.zeros_like(point), None, []
    for t in range(1, num + 1):
        g = gradient_of(point, t - 1)
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        now = (m / (1 - beta1**t)) / ((v / (1 - beta2**t)).sqrt() + eps)
        point = point - 2 * lr * now + lr * (now if last is None else last)
        last = now
        rows.append(point)
    return torch.stack(rows)


NUMBERS = [(0.01, 0.9, 0.999, 1e-8), (0.05, 0.5, 0.9, 1e-8), (0.02, 0.0, 0.9, 1e-2)]


@pytest.mark.parametrize("numbers", NUMBERS)
def test_optimistic_adam_is_algorithm_1_of_daskalakis(numbers):
    expected = daskalakis(gradient_at, first_params(), NUM_STEPS, numbers)
    # round-off of 50 steps, each a difference of two that are alike; atol for the crossings of 0
    assert_close(path(OptimisticAdam(*numbers)), expected, rtol=1e-11, atol=1e-12)


@every_calculus
@pytest.mark.parametrize("numbers", NUMBERS)
def test_both_players_of_a_game_follow_it(numbers, calculus):
    def gradient_of(point: Tensor, turn: int) -> Tensor:
        return gradient_by_hand(point, small_batch(10 * turn))

    expected = daskalakis(gradient_of, start_by_hand(), 10, numbers)
    found = play(small_game(calculus), both(Simultaneous, OptimisticAdam(*numbers)))
    assert_close(found, expected, atol=1e-10, rtol=0)  # ten rounds of numbers below 10


def test_the_first_step_is_adams_and_a_steady_gradient_keeps_it_so():
    assert_close(path(OptimisticAdam(0.01), 1), path(Adam(0.01), 1), rtol=1e-15, atol=0)
    rule, params = OptimisticAdam(0.1, eps=0.0), torch.zeros(2)
    state = rule.init(params)
    for step in range(1, 30):  # dₜ = dₜ₋₁: 2d − d
        params, state = rule.step(torch.tensor([1e-3, -5.0]), params, state)
        assert_close(params, torch.tensor([-0.1, 0.1]) * step, rtol=1e-12, atol=0)  # 1 − β₂ᵗ loses digits


@pytest.mark.parametrize(("s", "printed"), [(0.1, 0.994936), (0.2, 0.978906)])
def test_under_a_huge_epsilon_it_is_optimistic_descent_on_the_bilinear_game(s, printed):
    """Without moments a step is ηg/(|g| + ε) → (η/ε)g, which has OGDA's eigenvalues."""
    huge = 1e9
    rule = OptimisticAdam(s * huge, 0.0, 0.0, eps=huge)
    found = rate(both(Simultaneous, rule))
    expected = np.abs(np.roots([1, -(1 - 2j * s), -1j * s])).max().item()
    assert_close(found, expected, atol=1e-8, rtol=0)  # |g|/ε = 1e-9
    assert_close(found, printed, atol=1e-6, rtol=0)
    plain = rate(both(Simultaneous, Adam(s * huge, 0.0, 0.0, eps=huge)))
    assert_close(plain, math.sqrt(1 + s**2), atol=1e-8, rtol=0)


# ---- laws

RULES = [AdamW(0.1, weight_decay=0.5), OptimisticAdam(0.1)]
every_rule = pytest.mark.parametrize("rule", RULES, ids=["adamw", "optimistic"])


@every_rule
def test_a_step_is_pure(rule):
    params, gradient = torch.ones(3), torch.tensor([1.0, -2.0, 0.0])
    state = rule.init(params)
    first, second = (rule.step(gradient, params, state) for _ in range(2))
    assert_close(first, second, rtol=0, atol=0)
    assert torch.equal(params, torch.ones(3))
    assert torch.equal(gradient, torch.tensor([1.0, -2.0, 0.0]))
    assert_close(state, rule.init(params), rtol=0, atol=0)
    assert_pure(both(Simultaneous, rule))


@every_rule
def test_rules_keep_the_dtype_of_the_parameters(rule):
    params = torch.ones(3, dtype=torch.float32)
    state = rule.init(params)
    for _ in range(2):
        params, state = rule.step(torch.ones(3, dtype=torch.float32), params, state)
    leaves = [params, *torch.utils._pytree.tree_leaves(state)]
    assert {leaf.dtype for leaf in leaves} == {torch.float32}


@pytest.mark.parametrize("rule", [AdamW(0.0), OptimisticAdam(0.0)], ids=["adamw", "optimistic"])
def test_a_rate_of_0_moves_nothing(rule):
    params, _ = rule.step(torch.ones(2), torch.ones(2), rule.init(torch.ones(2)))
    assert torch.equal(params, torch.ones(2))


@pytest.mark.parametrize("make", [AdamW, OptimisticAdam])
@pytest.mark.parametrize("dynamics", [Simultaneous, Alternating])
def test_an_ensemble_of_three_is_three_solo_runs(make, dynamics):
    assert_lifts(lambda lr: both(dynamics, make(lr)))


@every_rule
def test_autograd_and_torch_func_agree(rule):
    assert_both_calculi_agree(both(Simultaneous, rule))


@pytest.mark.parametrize("make", [AdamW, OptimisticAdam])
@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"lr": -0.1}, r"lr must lie in \[0, inf\); got -0\.1\. Choose"),
        ({"lr": 0.1, "beta1": 1.0}, r"beta1 must lie in \[0, 1\); got 1"),
        ({"lr": 0.1, "beta2": -0.5}, r"beta2 must lie in \[0, 1\); got -0\.5"),
    ],
)
def test_numbers_out_of_range_are_refused(make, named, message):
    with pytest.raises(ValueError, match=message):
        make(**named)


def test_a_weight_decay_below_0_is_refused():
    with pytest.raises(ValueError, match=r"weight_decay must lie in \[0, inf\); got -0\.1\. Choose"):
        AdamW(0.1, weight_decay=-0.1)
