"""Authenticity, memorization and the birthday test: copies are told from fresh samples."""

import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from saddle.metrics.memorization import authenticity, birthday_support, memorization
from samples import every_place, mean_and_error, normal, one_sample


def test_authenticity_is_its_definition():
    train, fake = normal(40, 3), normal(30, 3, seed=1)
    own = torch.cdist(train, train).fill_diagonal_(torch.inf).min(1).values
    distance, which = torch.cdist(fake, train).min(1)
    assert_close(authenticity(train, fake), 100 * float((own[which] < distance).double().mean()))
    assert authenticity(train, train) == 0.0
    with pytest.raises(ValueError, match="real features must have at least 2 rows"):
        authenticity(train[:1], fake)


@every_place
def test_copies_of_one_sample_are_authentic_if_it_is_and_all_have_one_birthday(where):
    train, fake = one_sample(where)
    own = torch.cdist(train, train).fill_diagonal_(torch.inf).min(1).values
    distance, which = (train - fake[0]).norm(dim=1).min(0)
    assert authenticity(train, fake) == 100 * float(own[which] < distance)
    assert birthday_support(train, fake) == {"birthday_support": 1.0, "birthday_pairs": 20 * 19 / 2}


def test_memorization_is_a_half_for_fresh_samples_and_one_for_copies():
    found = []
    for seed in range(30):
        train, held_out, fake = (normal(200, 3, seed=3 * seed + k) for k in range(3))
        found.append(memorization(train, fake, held_out=held_out))
    mean, error = mean_and_error([one["nearer_train"] for one in found])
    assert_close(mean, 0.5, atol=3 * error, rtol=0)
    copies = memorization(train, train + 1e-6, held_out=held_out)
    assert copies["nearer_train"] == 1.0
    assert_close(copies["distance_train"], 3**0.5 * 1e-6, atol=0, rtol=1e-6)  # 1e-16 of rows of length 1
    expected = float(torch.cdist(train, held_out).min(1).values.mean())
    assert_close(copies["distance_held_out"], expected, atol=0, rtol=1e-5)


def test_ties_between_train_and_held_out_count_half():
    x = normal(20, 2)
    assert memorization(x, normal(9, 2, seed=1), held_out=x)["nearer_train"] == 0.5


def test_birthday_support_counts_the_things_there_are():
    things, found = 400, []
    real = normal(300, 2)
    for seed in range(60):
        which = torch.randint(things, (300,), generator=torch.Generator().manual_seed(seed))
        found.append(birthday_support(real, normal(things, 2, seed=1)[which] * 1e6, quantile=0.0))
    pairs, error = mean_and_error([one["birthday_pairs"] for one in found])
    assert_close(pairs, 300 * 299 / (2 * things), atol=3 * error, rtol=0)
    assert_close(found[0]["birthday_support"], 300 * 299 / 2 / found[0]["birthday_pairs"])


def test_half_of_all_batches_of_the_birthday_size_have_a_pair():
    things = 1000
    size = round(1.177 * things**0.5)
    draws = torch.randint(things, (300, size), generator=torch.Generator().manual_seed(0)).double()
    points = 10.0 * normal(size, 2)
    hit = [birthday_support(points, row[:, None].expand(-1, 2).contiguous(), quantile=0.0) for row in draws]
    # the real points lie ~1 apart at the closest; integers are equal or at least √2 apart
    threshold = torch.cdist(points, points).fill_diagonal_(torch.inf).min()
    assert float(threshold) < 2**0.5
    share = float(np.mean([one["birthday_pairs"] > 0 for one in hit]))
    expected = 1 - math.exp(-size * (size - 1) / (2 * things))
    assert_close(share, expected, atol=3 * 0.5 / 300**0.5, rtol=0)


def test_a_quantile_must_be_one():
    with pytest.raises(ValueError, match=r"quantile must lie in \[0, 1\]; got 2"):
        birthday_support(normal(9, 2), normal(9, 2), quantile=2)
