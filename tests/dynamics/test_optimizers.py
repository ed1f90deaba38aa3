"""Update rules against torch.optim's and against recurrences written out."""

from functools import partial

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from saddle.dynamics.optimizers import SGD, Adam, RMSProp

NUM_STEPS = 50


def gradient_at(params: Tensor, step: int) -> Tensor:
    """A bowl of condition 1e4 under noise: gradients feed back, change sign, and span scales."""
    noise = torch.randn(params.shape, generator=torch.Generator().manual_seed(step))
    return torch.logspace(-3, 1, len(params)) * (params + 0.3 * noise)


def first_params() -> Tensor:
    return torch.linspace(-2, 3, 7)


def path(rule) -> Tensor:
    params, rows = first_params(), []
    state = rule.init(params)
    for step in range(NUM_STEPS):
        params, state = rule.step(gradient_at(params, step), params, state)
        rows.append(params)
    return torch.stack(rows)


@pytest.mark.parametrize(
    ("rule", "theirs"),
    [
        (SGD(0.05), partial(torch.optim.SGD, lr=0.05)),
        (SGD(0.05, momentum=0.9), partial(torch.optim.SGD, lr=0.05, momentum=0.9)),
        (RMSProp(0.01), partial(torch.optim.RMSprop, lr=0.01)),
        (RMSProp(0.01, alpha=0.9, eps=1e-2), partial(torch.optim.RMSprop, lr=0.01, alpha=0.9, eps=1e-2)),
        (RMSProp(0.01, alpha=0.0), partial(torch.optim.RMSprop, lr=0.01, alpha=0.0)),
        (Adam(0.01), partial(torch.optim.Adam, lr=0.01)),
        (Adam(0.01, 0.5, 0.99), partial(torch.optim.Adam, lr=0.01, betas=(0.5, 0.99))),
        (Adam(0.01, 0.0, 0.9), partial(torch.optim.Adam, lr=0.01, betas=(0.0, 0.9))),
        (Adam(0.01, 0.9, 0.0, eps=1e-2), partial(torch.optim.Adam, lr=0.01, betas=(0.9, 0.0), eps=1e-2)),
    ],
    ids=repr,
)
def test_rules_equal_torch_optim(rule, theirs):  # torch 2.11 to 2.15
    params = torch.nn.Parameter(first_params())
    optimizer, rows = theirs([params]), []
    for step in range(NUM_STEPS):
        params.grad = gradient_at(params.detach(), step)
        optimizer.step()
        rows.append(params.detach().clone())
    # round-off of 50 steps that contract; atol for the crossings of 0
    assert_close(path(rule), torch.stack(rows), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("momentum", [-0.9, -0.5, 0.0, 0.5, 0.9])
def test_momentum_of_either_sign_is_the_heavy_ball(momentum):
    lr, found = 0.05, path(SGD(0.05, momentum))
    before, now = first_params(), first_params()
    for step in range(NUM_STEPS):
        before, now = now, now - lr * gradient_at(now, step) + momentum * (now - before)
        assert_close(found[step], now, rtol=1e-12, atol=1e-13)  # as above


def test_adam_first_moves_every_number_by_its_rate_against_the_gradients_sign():
    gradient = torch.tensor([1e-3, -5.0, 1e3])
    for rule in (Adam(0.1, 0.0, 0.5), Adam(0.1), Adam(0.1, 0.9, 0.0)):
        moved, _ = rule.step(gradient, torch.zeros(3), rule.init(torch.zeros(3)))
        assert_close(moved, -0.1 * gradient.sign(), rtol=2e-5, atol=0)  # ε/|g| = 1e-5


def test_adam_forgets_its_bias():
    """Under a constant gradient each step is the first one again."""
    rule, params, gradient = Adam(0.1, 0.9, 0.999, eps=0.0), torch.zeros(1), torch.ones(1)
    state = rule.init(params)
    for step in range(1, 200):
        params, state = rule.step(gradient, params, state)
        assert_close(params.item(), -0.1 * step, rtol=1e-12, atol=0)  # 1 − β₂ᵗ loses three digits at t = 1


@pytest.mark.parametrize("rule", [SGD(0.1, 0.9), SGD(0.1, -0.5), RMSProp(0.1), Adam(0.1)], ids=repr)
def test_a_step_is_pure(rule):
    params, gradient = torch.ones(3), torch.tensor([1.0, -2.0, 0.0])
    state = rule.init(params)
    first = rule.step(gradient, params, state)
    second = rule.step(gradient, params, state)
    assert_close(first, second, rtol=0, atol=0)
    assert torch.equal(params, torch.ones(3))
    assert torch.equal(gradient, torch.tensor([1.0, -2.0, 0.0]))
    assert_close(state, rule.init(params), rtol=0, atol=0)


@pytest.mark.parametrize("rule", [SGD(0.0, 0.9), RMSProp(0.0), Adam(0.0)], ids=repr)
def test_a_rate_of_0_moves_nothing_but_the_memory(rule):
    params, state = rule.step(torch.ones(2), torch.ones(2), rule.init(torch.ones(2)))
    assert torch.equal(params, torch.ones(2))
    assert state[0].abs().sum() > 0


@pytest.mark.parametrize("rule", [SGD(0.1), RMSProp(0.1), Adam(0.1)], ids=repr)
def test_a_gradient_of_0_leaves_a_fresh_player_where_it_is(rule):
    params, _ = rule.step(torch.zeros(2), torch.ones(2), rule.init(torch.ones(2)))
    assert torch.equal(params, torch.ones(2))


@pytest.mark.parametrize("rule", [SGD(0.1, 0.9), RMSProp(0.1), Adam(0.1)], ids=repr)
def test_rules_keep_the_dtype_of_the_parameters(rule):
    params = torch.ones(3, dtype=torch.float32)
    state = rule.init(params)
    for _ in range(2):
        params, state = rule.step(torch.ones(3, dtype=torch.float32), params, state)
    assert {tensor.dtype for tensor in (params, *state)} == {torch.float32}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SGD(-0.1), r"lr must lie in \[0, inf\); got -0\.1\. Choose"),
        (lambda: SGD(float("nan")), r"lr must lie in \[0, inf\); got nan"),
        (lambda: SGD(float("inf")), r"lr must lie in \[0, inf\); got inf"),
        (lambda: SGD(0.1, momentum=1.0), r"momentum must lie in \[-1, 1\); got 1"),
        (lambda: SGD(0.1, momentum=-1.5), r"momentum must lie in \[-1, 1\); got -1\.5"),
        (lambda: RMSProp(-1.0), r"lr must lie in \[0, inf\); got -1"),
        (lambda: RMSProp(0.1, alpha=1.0), r"alpha must lie in \[0, 1\); got 1"),
        (lambda: RMSProp(0.1, alpha=-0.1), r"alpha must lie in \[0, 1\)"),
        (lambda: Adam(-1.0), r"lr must lie in \[0, inf\); got -1"),
        (lambda: Adam(0.1, beta1=1.0), r"beta1 must lie in \[0, 1\); got 1"),
        (lambda: Adam(0.1, beta1=-0.5), r"beta1 must lie in \[0, 1\); got -0\.5"),
        (lambda: Adam(0.1, beta2=1.0), r"beta2 must lie in \[0, 1\); got 1"),
    ],
)
def test_numbers_out_of_range_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
