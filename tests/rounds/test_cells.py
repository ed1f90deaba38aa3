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


def test_numbers_are_found_and_bound_wherever_they_are():
    parts = cells.Parts(
        dirac_gan(Minimax(), {"r1": partial(r1, gamma=0.3)}),
        Lookahead(Alternating(Bounded(SGD(0.1)), SGD(0.2)), k=5),
    )
    found = cells.numbers(parts)
    lr, gamma = ("dynamics", "inner", "generator", "rule", "lr"), ("game", "penalties", "r1", "gamma")
    assert (found[lr], found[gamma]) == (0.1, 0.3)
    bound = cells.bind(parts, {lr: 0.7, gamma: 0.9})
    assert bound.dynamics == Lookahead(Alternating(Bounded(SGD(0.7)), SGD(0.2)), k=5)
    assert bound.game.penalties["r1"].keywords == {"gamma": 0.9}
    assert cells.numbers(bound) == found | {lr: 0.7, gamma: 0.9}


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
    parts = cells.Parts(dirac_gan(Minimax(), {"r1": partial(r1, gamma=0.1)}), dynamics)
    gamma = ("game", "penalties", "r1", "gamma")
    (lr,) = [place for place in cells.numbers(parts) if place[-2:] == ("discriminator", "lr")]
    values = {gamma: torch.tensor([0.0, 0.5, 2.0]), lr: torch.tensor([0.1, 0.2, 0.05])}
    batches = (dirac_batch(),) * dynamics.num_batches
    found = cells.play(parts, values, lambda _: batches, range(30), torch.zeros(2))
    for cell in range(3):
        alone = cells.bind(parts, {place: float(value[cell]) for place, value in values.items()})
        path = trajectory(alone.game, alone.dynamics, 30)
        assert_close(found.distances[:, cell], path.norm(dim=1), rtol=1e-12, atol=1e-14)
        assert_close(torch.cat(found.players, 1)[cell], path[-1], rtol=1e-12, atol=1e-14)


def test_a_number_that_decides_how_often_something_is_done_is_refused():
    parts = cells.Parts(dirac_gan(Minimax()), Alternating(SGD(0.1), SGD(0.1), num_discriminator_steps=2))
    place = ("dynamics", "num_discriminator_steps")
    with pytest.raises(ValueError, match="cells must differ in numbers only, not in what is done"):
        cells.play(
            parts, {place: torch.tensor([1.0, 2.0])}, lambda _: (dirac_batch(),) * 3, range(3), torch.zeros(2)
        )
