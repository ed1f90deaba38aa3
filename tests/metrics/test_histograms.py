"""Precision and recall of histograms, PRD, where they have a closed form."""

import numpy as np
import torch
from torch.testing import assert_close

from saddle.data.points import Mixture
from saddle.metrics.histograms import prd, prd_curve
from samples import RING, normal


def test_a_histogram_on_some_of_the_bins_has_precision_one_and_recall_their_share():
    p, q = np.full(8, 1 / 8), np.array([1 / 4] * 4 + [0] * 4)
    precision, recall = prd_curve(p, q)
    assert_close((precision.max(), recall.max()), (1.0, 0.5))
    assert_close(prd_curve([0.5, 0.5], [1.0, 0.0], 3)[0][1], 0.5)  # λ = 1: Σ min(p, q)


def test_prd_of_half_the_modes_has_its_closed_form():
    random = torch.Generator().manual_seed(0)
    real = RING.sample(800, random, equal_counts=True)[0]
    fake = Mixture(RING.centers[:4], RING.std).sample(800, random, equal_counts=True)[0]
    found = prd(real, fake, num_clusters=8, num_runs=1)
    # at λ = 2, α = 1 and β = ½: F_b = (1 + b²)·½/(b² + ½); a grid of 1,001 angles has λ = 2 to 0.3 %
    assert_close(found, {"f8": 65 * 0.5 / 64.5, "f1_8": 65 * 0.5 / (1 + 32)}, atol=0, rtol=0.005)


def test_prd_of_equal_sets_is_one():
    real = normal(200, 3)
    assert_close(prd(real, real, num_runs=1), {"f8": 1.0, "f1_8": 1.0}, atol=1e-9, rtol=0)
