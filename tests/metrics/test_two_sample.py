"""The one-nearest-neighbour test against its definition and by chance."""

import torch
from torch.testing import assert_close

from saddle.data.points import Mixture
from saddle.metrics.two_sample import one_nearest_neighbour
from samples import RING, mean_and_error, normal


def test_one_nearest_neighbour_is_its_definition():
    real, fake = normal(30, 3), 0.5 + normal(30, 3, seed=1)
    both, kind = torch.cat([real, fake]), torch.arange(60) < 30
    table = torch.cdist(both, both).fill_diagonal_(torch.inf)
    right = (kind[table.argmin(1)] == kind).double()
    expected = {"one_nn": right.mean(), "one_nn_real": right[:30].mean(), "one_nn_fake": right[30:].mean()}
    assert_close(one_nearest_neighbour(real, fake), {name: float(value) for name, value in expected.items()})


def test_one_nearest_neighbour_is_chance_for_equal_distributions_and_zero_for_copies():
    found = [
        one_nearest_neighbour(normal(200, 3, seed=2 * s), normal(300, 3, seed=2 * s + 1))["one_nn"]
        for s in range(40)
    ]
    mean, error = mean_and_error(found)
    assert_close(mean, 0.5, atol=3 * error, rtol=0)
    real = normal(50, 3)
    assert one_nearest_neighbour(real, real + 1e-9)["one_nn"] == 0.0
    assert one_nearest_neighbour(real, real + 1e3)["one_nn"] == 1.0


def test_fakes_that_crowd_into_some_modes_show_on_the_fake_side():
    real = RING.sample(300, torch.Generator().manual_seed(0))[0]
    fake = Mixture(RING.centers[:2], RING.std).sample(300, torch.Generator().manual_seed(1))[0]
    found = one_nearest_neighbour(real, fake)
    # there, fakes are 4 times as dense as real samples: right for 4 of 5 fakes and, where both are, 1 of 5
    assert_close(found["one_nn_fake"], 0.8, atol=3 * (0.16 / 300) ** 0.5, rtol=0)
    assert_close(found["one_nn_real"], 0.75 + 0.25 * 0.2, atol=3 * (0.25 / 300) ** 0.5, rtol=0)
