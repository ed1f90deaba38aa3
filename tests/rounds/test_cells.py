"""Cells of numbers: found and bound wherever they are, and each played as it would be alone."""

from functools import partial

import pytest
import torch
from torch.testing import assert_close

from oracles import dirac_batch, dirac_gan, trajectory
from saddle.dynamics import Alternating, Simultaneous
from saddle.dynamics.lookahead import Lookahead
from saddle.dynamics.optimizers import SGD, Adam, Bounded
from saddle.dynamics.second_order import Consensus
from saddle.game.losses import Minimax
from saddle.game.penalties.discriminator import r1
from saddle.rounds import cells
from saddle.rounds.execution import Method

LR, GAMMA = ("dynamics", "inner", "generator", "rule", "lr"), ("game", "penalties", "r1", "gamma")


def wrapped(lr: float, gamma: float) -> Method:
    game = dirac_gan(Minimax(), {"r1": partial(r1, gamma=gamma)})
    return Method(game, Lookahead(Alternating(Bounded(SGD(lr)), SGD(0.2)), k=5), {})


def test_a_setting_is_found_and_set_wherever_it_went():
    low = wrapped(0.1, 0.3)
    assert cells.moved_by(low, wrapped(0.7, 0.3), (0.1, 0.7), "optimizer.generator.lr") == [LR]
    assert cells.moved_by(low, wrapped(0.1, 0.9), (0.3, 0.9), "regularizer.r1.gamma") == [GAMMA]
    found = cells.cell(low, {LR: 0.7, GAMMA: 0.9})
    assert found.dynamics == wrapped(0.7, 0.9).dynamics
    assert found.game.penalties["r1"].keywords == {"gamma": 0.9}
    assert low.dynamics == wrapped(0.1, 0.3).dynamics


def test_a_setting_that_went_nowhere_or_elsewhere_is_refused():
    with pytest.raises(ValueError, match=r"must be a number of the loss, .*; a\.b changes none"):
        cells.moved_by(wrapped(0.1, 0.3), wrapped(0.1, 0.3), (1.0, 2.0), "a.b")
    with pytest.raises(ValueError, match=r"a\.b=1 became 0\.1 at dynamics\.inner\.generator\.rule\.lr"):
        cells.moved_by(wrapped(0.1, 0.3), wrapped(0.2, 0.3), (1.0, 2.0), "a.b")


@pytest.mark.parametrize(
    "dynamics",
    [
        Simultaneous(SGD(0.2, -0.3), SGD(0.2)),
        Lookahead(Alternating(Adam(0.2), SGD(0.2)), k=3),
        Consensus(SGD(0.2), SGD(0.2), 1.0),
    ],
    ids=["simultaneous", "lookahead", "consensus"],
)
def test_every_cell_is_the_game_played_alone(dynamics):
    method = Method(dirac_gan(Minimax(), {"r1": partial(r1, gamma=0.1)}), dynamics, {})
    inner = ("inner",) if isinstance(dynamics, Lookahead) else ()
    lr = ("dynamics", *inner, "discriminator", "lr")
    values = {GAMMA: torch.tensor([0.0, 0.5, 2.0]), lr: torch.tensor([0.1, 0.2, 0.05])}
    batches = (dirac_batch(),) * dynamics.num_batches
    found = cells.play(method, values, lambda _: batches, range(30), torch.zeros(2))
    for cell in range(3):
        alone = cells.cell(method, {place: float(value[cell]) for place, value in values.items()})
        path = trajectory(alone.game, alone.dynamics, 30)
        assert_close(found.distances[:, cell], path.norm(dim=1), rtol=1e-12, atol=1e-14)
        assert_close(torch.cat(found.players, 1)[cell], path[-1], rtol=1e-12, atol=1e-14)


def test_a_number_that_decides_how_often_something_is_done_is_refused():
    method = Method(dirac_gan(Minimax()), Alternating(SGD(0.1), SGD(0.1), num_discriminator_steps=2), {})
    place = ("dynamics", "num_discriminator_steps")
    with pytest.raises(ValueError, match="cells must differ in numbers only, not in what is done"):
        cells.play(
            method,
            {place: torch.tensor([1.0, 2.0])},
            lambda _: (dirac_batch(),) * 3,
            range(3),
            torch.zeros(2),
        )
