"""The second-order dynamics' linear solver, their cost, and the laws that they share with every dynamics."""

from functools import partial

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from by_hand import small_game
from dynamics_laws import (
    EXACT,
    ROUND_OFF,
    assert_both_calculi_agree,
    assert_lifts,
    assert_pure,
    both,
    num_evaluations,
    play,
)
from saddle.dynamics import Simultaneous, second_order
from saddle.dynamics.optimizers import SGD, Adam
from saddle.dynamics.second_order import (
    CompetitiveGradientDescent,
    Consensus,
    FollowTheRidge,
    SymplecticGradientAdjustment,
    least_squares,
)
from saddle.game.game import Players
from saddle.game.losses import Relativistic

METHODS = {
    "consensus": partial(Consensus, gamma=1.5),
    "sga": SymplecticGradientAdjustment,
    "cgd": partial(CompetitiveGradientDescent, num_iterations=3),
    "ridge": partial(FollowTheRidge, num_iterations=3, damping=0.1),
}
every_method = pytest.mark.parametrize("make", METHODS.values(), ids=METHODS)


def test_least_squares_is_exact_after_as_many_iterations_as_numbers_and_then_rests():
    draw = torch.Generator().manual_seed(0)
    matrix, target = torch.randn(5, 5, generator=draw) + 3 * torch.eye(5), torch.randn(5, generator=draw)

    def times(by: Tensor):
        return lambda vector: Players(*(by @ torch.cat(vector)).split([3, 2]))

    start = Players(torch.zeros(3), torch.zeros(2))
    for num_iterations in (5, 50):
        goal = Players(*target.split([3, 2]))
        found = least_squares(times(matrix), times(matrix.T), goal, start, num_iterations)
        # five iterations lose what the squared condition number takes; the rest of fifty mend it
        assert_close(torch.cat(found), torch.linalg.solve(matrix, target), **ROUND_OFF)
    resting = least_squares(times(matrix), times(matrix.T), start, start, 3)
    assert_close(torch.cat(resting), torch.zeros(5), rtol=0, atol=0)  # no 0/0


@pytest.mark.parametrize(
    ("make", "num_fields"),
    [
        (Consensus, 1),  # Jᵀξ pulls back through the gradient that is there
        (SymplecticGradientAdjustment, 2),  # Jξ is a forward product: the field once more
        (METHODS["cgd"], 3 + 2 * 3),
        (METHODS["ridge"], 5 + 2 * 3),
    ],
    ids=METHODS,
)
def test_a_round_runs_the_networks_as_often_as_it_evaluates_the_field(make, num_fields):
    dynamics = both(make, SGD(0.1))
    assert num_evaluations(dynamics) == (2 * num_fields, 3 * num_fields)
    assert num_evaluations(dynamics, Relativistic()) == (2 * num_fields, 4 * num_fields)
    assert (dynamics.num_batches, dynamics.num_generator_steps, dynamics.num_discriminator_steps) == (1, 1, 1)


@pytest.mark.parametrize(
    "make",
    [*METHODS.values(), partial(CompetitiveGradientDescent, num_iterations=1), FollowTheRidge],
    ids=[*METHODS, "cgd-1", "ridge-5"],
)
def test_the_stated_cost_counts_both_gradients_and_two_for_each_product(make, monkeypatch):
    num_products = 0
    forward, transposed = second_order.forward, second_order.transposed

    def counted(product):
        def call(*arguments):
            nonlocal num_products
            num_products += 1
            return product(*arguments)

        return call

    def counting_transposed(*arguments):
        gradients, pull_back, logs = transposed(*arguments)
        return gradients, counted(pull_back), logs

    monkeypatch.setattr(second_order, "forward", counted(forward))
    monkeypatch.setattr(second_order, "transposed", counting_transposed)
    dynamics = both(make, SGD(0.1))
    play(small_game(), dynamics, 1)
    assert dynamics.num_gradients == 2 + 2 * num_products


@every_method
@pytest.mark.parametrize("rule", [SGD, Adam])
def test_an_ensemble_of_three_is_three_solo_runs(make, rule):
    assert_lifts(lambda lr: both(make, rule(lr)))


@every_method
def test_autograd_and_torch_func_agree(make):
    assert_both_calculi_agree(both(make, Adam(0.1)))


@every_method
def test_a_round_is_pure(make):
    assert_pure(both(make, Adam(0.1)))


@pytest.mark.parametrize(
    "make",
    [partial(Consensus, gamma=0.0), partial(SymplecticGradientAdjustment, weight=0.0)],
    ids=["consensus", "sga"],
)
def test_a_weight_of_0_is_plain_descent(make):
    found, plain = (play(small_game(), both(kind, SGD(0.1))) for kind in (make, Simultaneous))
    assert_close(found, plain, **EXACT)


@pytest.mark.parametrize("make", [CompetitiveGradientDescent, METHODS["ridge"]], ids=["cgd", "ridge"])
def test_against_a_generator_that_stands_still_there_is_nothing_to_anticipate(make):
    found, plain = (play(small_game(), kind(SGD(0.0), SGD(0.1)), 3) for kind in (make, Simultaneous))
    assert_close(found, plain, **ROUND_OFF)


@pytest.mark.parametrize("make", [CompetitiveGradientDescent, FollowTheRidge])
@pytest.mark.parametrize("value", [0, -1, 2.5])
def test_a_solver_that_never_iterates_or_not_a_whole_number_of_times_is_refused(make, value):
    with pytest.raises(
        ValueError, match=rf"num_iterations must be a whole number of at least 1; got {value}\. Give"
    ):
        make(SGD(0.1), SGD(0.1), num_iterations=value)
