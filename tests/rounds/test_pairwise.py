"""Every pair of choices meets in some composition, trains finitely, repeatably, and alike both ways.

The full product of the catalogue is beyond counting; faults of composition are nearly all between two
parts. Rows are found greedily until every pair that fits together is in one of them.
"""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from pairs import LATENTS, Row, covering, dynamics_of, flat, game_of, samples_of
from saddle.data.sampling import draw_batches
from saddle.data.sources import TensorSource
from saddle.dynamics.averages import ExponentialAverage
from saddle.game.calculus import AUTOGRAD, FUNCTIONAL, Calculus
from saddle.rounds.execution import TrainingState, eager, start


def steps(row: Row, calculus: Calculus, num: int) -> tuple[list[TrainingState], dict[str, Tensor]]:
    """The state after each step, and what the last one logged."""
    game, dynamics = game_of(row, calculus), dynamics_of(row)
    averages = {"ema": ExponentialAverage(0.9)}
    play, state = eager(game, dynamics, averages), start(game, dynamics, averages, torch.device("cpu"))
    states: list[TrainingState] = []
    logs: dict[str, Tensor] = {}
    for index in range(num):
        batches = draw_batches(
            TensorSource(samples_of(row)), LATENTS, game, 4, dynamics.num_batches, 0, index
        )
        state, logs = play(state, batches, index)
        states.append(state)
    return states, logs


ROWS = 25  # parameters of the test, each a slice of the rows: they share imports and caches


@pytest.mark.parametrize("part", range(ROWS))
def test_every_pair_of_choices_trains_finitely_repeatably_and_alike_both_ways(part):
    rows = covering()
    assert len(rows) > 200
    for row in rows[part::ROWS]:
        states, logs = steps(row, AUTOGRAD, 3)
        found = flat(states[-1])
        assert found.dtype == torch.float64
        assert found.isfinite().all(), row
        assert not torch.equal(torch.cat(states[-1].players), torch.cat(game_of(row, AUTOGRAD).init())), row
        (again,), _ = steps(row, AUTOGRAD, 1)
        assert torch.equal(flat(again), flat(states[0])), row
        functional, functional_logs = steps(row, FUNCTIONAL, 3)
        # 1e-10: round-off of three steps, which Adam's 1/√v magnifies for the smallest gradients
        assert_close(
            flat(functional[-1]), found, rtol=1e-10, atol=1e-10, msg=lambda text, row=row: f"{row}: {text}"
        )
        assert_close(functional_logs, logs, rtol=1e-10, atol=1e-10)
