"""Each metric's response to growing faults is what theory says, and what the README shows."""

from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from saddle.metrics import bench
from saddle.metrics.bench import BETTER, BLIND, FAULTS, NUM, TURNS, WORSE

README = Path(__file__).parents[2] / "README.md"
# what must get worse with which fault, and never better on the way
MUST_SEE = {
    "noise": [
        "fid",
        "kid",
        "mmd",
        "cmmd",
        "sliced_wasserstein",
        "wasserstein",
        "precision",
        "density",
        "one_nn",
    ],
    "collapsed": ["mmd", "wasserstein", "recall", "coverage", "vendi", "one_nn", "birthday_support"],
    "dropped": [
        "fid",
        "mmd",
        "wasserstein",
        "recall",
        "coverage",
        "f8",
        "vendi",
        "modes",
        "kl",
        "inception_score",
    ],
    "shifted": ["fid", "kid", "mmd", "sliced_wasserstein", "wasserstein", "precision", "recall", "one_nn"],
    "memorized": ["authenticity", "nearer_train", "one_nn"],
    "duplicated": ["recall", "coverage", "vendi", "birthday_support", "one_nn"],
}
# what cannot see it, by construction: it is blind, or takes it for an improvement
CANNOT_SEE = {
    "noise": ["recall", "vendi", "authenticity", "nearer_train"],  # wide fakes reach everything, copy nothing
    "collapsed": [
        "precision",
        "density",
        "modes",
        "inception_score",
    ],  # centers are good samples of their class
    "dropped": ["precision", "density", "nearer_train"],  # what is left is good
    "shifted": ["modes", "authenticity", "vendi"],
    "memorized": [
        "fid",
        "kid",
        "mmd",
        "precision",
        "recall",
        "density",
        "coverage",
        "vendi",
        "inception_score",
    ],
    "duplicated": ["modes", "nearer_train", "authenticity"],
}


@pytest.fixture(scope="module")
def responses() -> dict[str, dict[str, str]]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    found = bench.responses()
    torch.set_default_dtype(before)
    return found


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_seen_by_what_should_see_it(responses, fault):
    assert {metric: responses[metric][fault] for metric in MUST_SEE[fault]} == dict.fromkeys(
        MUST_SEE[fault], WORSE
    )


@pytest.mark.parametrize("fault", FAULTS)
def test_what_cannot_see_a_fault_does_not_call_it_worse(responses, fault):
    assert [metric for metric in CANNOT_SEE[fault] if responses[metric][fault] == WORSE] == []


def test_every_metric_sees_some_fault(responses):
    assert [metric for metric, row in responses.items() if WORSE not in row.values()] == []


def test_the_readme_shows_the_present_responses(responses):
    shown = README.read_text().partition(bench.BEGIN)[2].partition(bench.END)[0]
    assert shown.strip() == bench.table(responses), "run scripts/catalogue.py --write"


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_grows_from_nothing(name):
    data, random = bench.draw(0), torch.Generator().manual_seed(0)
    fault = FAULTS[name]
    assert_close(fault(data, 0.0, random), data.fresh, atol=1e-12, rtol=0)
    touched = [
        int((fault(data, fraction, random) - data.fresh).abs().amax(1).gt(1e-9).sum())
        for fraction in (0.3, 0.9)
    ]
    if name in ("noise", "collapsed", "memorized", "duplicated"):
        assert touched == [round(0.3 * NUM), round(0.9 * NUM)]
    else:
        assert 0 < touched[0] <= touched[1]


def test_courses_are_told_apart():
    wobble = 0.01 * torch.randn(bench.NUM_SEEDS, 4, generator=torch.Generator().manual_seed(0)).double()
    course = {WORSE: [0, 1, 2, 3], BETTER: [3, 2, 1, 0], TURNS: [0, 2, 1, 3], BLIND: [1, 1, 1, 1]}
    for word, values in course.items():
        assert bench._course(torch.tensor(values).double() + wobble) == word
