"""The Inception Score of sure and of empty answers, and as another library has it."""

import pytest
import torch
from torch.testing import assert_close

from saddle.metrics.inception import inception_score
from samples import normal


@pytest.mark.parametrize("seen", [1, 4, 10])
def test_sure_answers_spread_over_some_classes_score_their_number(seen):
    logits = 1e3 * torch.eye(10, dtype=torch.float64)[torch.arange(40 * seen) % seen]
    assert_close(inception_score(logits, logits, num_splits=1)["inception_score"], float(seen))


def test_answers_that_say_nothing_score_one():
    assert_close(
        inception_score(normal(9, 5), torch.zeros(30, 5)),
        {"inception_score": 1.0, "inception_score_std": 0.0},
    )


@pytest.mark.parametrize(("num", "splits"), [(100, 10), (103, 7)])
def test_inception_score_equals_torch_fidelity(num, splits):
    from torch_fidelity.metric_isc import isc_features_to_metric  # 0.4.0

    logits = 3 * normal(num, 12)
    expected = isc_features_to_metric(logits, splits=splits)
    found = inception_score(logits, logits, num_splits=splits)
    assert_close(found["inception_score"], expected["inception_score_mean"], atol=0, rtol=1e-9)
    assert_close(found["inception_score_std"], expected["inception_score_std"], atol=1e-12, rtol=1e-9)


def test_more_splits_than_samples_are_refused():
    with pytest.raises(ValueError, match="num_splits must be between 1 and the number of fakes, 5; got 10"):
        inception_score(normal(5, 3), normal(5, 3))
