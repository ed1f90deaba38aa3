"""What a number means: badness and best by hand, a decorated function left as it was, and what is stored."""

import inspect
import json
import math
import os
import pickle
import subprocess
import sys
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from saddle.metrics.evidence import ClassFID
from saddle.metrics.frechet import class_fid, fid
from saddle.metrics.neighbours import prdc
from saddle.metrics.values import HIGH, LOW, Role, Value, in_order, meanings_of, metric, of_stored, said

FINITE = st.floats(-1e6, 1e6)
IDEALS = st.sampled_from([LOW, HIGH, 0.5])


@metric({"gap": Value(), "cover": Value(HIGH)})
def measured(real: Tensor, fake: Tensor, *, k: int = 3) -> dict[str, float]:
    """Two numbers."""
    return {"gap": 0.0, "cover": float(k)}


@pytest.mark.parametrize(
    ("ideal", "numbers", "better", "arrow", "worst"),
    [
        (LOW, [-1.0, 0.0, 2.0], "lower", "↓", math.inf),
        (HIGH, [2.0, 0.0, -1.0], "higher", "↑", -math.inf),
        (0.5, [0.5, 0.625, 0.25, 1.0], "nearer to 0.5", "→0.5", math.inf),
    ],
)
def test_numbers_get_worse_away_from_the_ideal(ideal, numbers, better, arrow, worst):
    """The numbers from the best to the worst."""
    value = Value(ideal)
    assert sorted(numbers[1:] + numbers[:1], key=value.badness) == numbers
    assert (value.better, value.arrow, value.worst) == (better, arrow, worst)
    assert all(value.badness(number) < value.badness(worst) for number in numbers)


@given(IDEALS, st.dictionaries(st.integers(0, 9), FINITE | st.just(math.nan) | st.just(math.inf)))
def test_the_best_step_is_the_earliest_whose_number_nothing_betters(ideal, course):
    value, course = Value(ideal), dict(sorted(course.items()))
    finite = {step: number for step, number in course.items() if math.isfinite(number)}
    step = value.best_step(course)
    assert (step is None) == (not finite)
    if step is not None:
        assert all(value.badness(finite[step]) <= value.badness(number) for number in finite.values())
        equal = [at for at, number in finite.items() if value.badness(number) == value.badness(finite[step])]
        assert step == min(equal)


def test_the_best_is_found_beyond_the_range_of_float32():
    assert Value().best_step({0: 2e39, 1: 1e39, 2: math.inf}) == 1


@pytest.mark.parametrize("role", [Role.FRACTION, Role.COUNT])
@pytest.mark.parametrize("ideal", [LOW, 1.0])
def test_diversity_that_is_not_better_high_is_refused(role, ideal):
    with pytest.raises(ValueError, match=r"diversity must be better high; got .* Declare it with HIGH"):
        Value(ideal, role)


@given(IDEALS, st.sampled_from(Role), st.integers(0, 9), st.booleans(), st.none() | st.just("kl_floor"))
def test_what_is_stored_reads_back_and_is_strict_json(ideal, role, rank, near_zero, floor):
    ideal = HIGH if role in (Role.FRACTION, Role.COUNT) else ideal
    value = Value(ideal, role, rank, near_zero, floor)
    text = json.dumps(value.stored(), allow_nan=False)
    assert of_stored({**json.loads(text), "best": 1.0}) == value


def test_a_marked_function_is_what_it_was():
    assert measured.__name__ == "measured"
    assert measured.__doc__ == "Two numbers."
    assert [*inspect.signature(measured).parameters] == ["real", "fake", "k"]
    assert inspect.signature(partial(measured, k=5)).parameters["k"].default == 5
    assert pickle.loads(pickle.dumps(measured)) is measured
    assert measured(None, None, k=4) == {"gap": 0.0, "cover": 4.0}


def test_a_number_is_named_after_its_entry_and_a_mapping_names_its_own():
    assert meanings_of("early_fid", fid) == {"early_fid": fid.meaning}
    assert meanings_of("mine", partial(prdc, k=4)) == prdc.meaning
    assert meanings_of("intra", ClassFID("features", "logits")) == class_fid.meaning
    assert meanings_of("plain", max) == {"plain": Value()}


def test_what_a_configuration_says_is_added_to_what_functions_say():
    meanings = {"kl": Value(role=Role.QUALITY), "modes": Value(HIGH)}
    found = said(meanings, ["modes", "mine"], {"kl": "floor", "other": "least"})
    assert found == {
        "kl": Value(role=Role.QUALITY, floor="floor"),
        "modes": Value(HIGH),
        "mine": Value(HIGH),
        "other": Value(floor="least"),
    }
    assert said(meanings) == meanings


def test_names_are_ordered_by_role_then_by_rank_then_as_they_came():
    meanings = {
        "c": Value(HIGH, Role.COUNT, 1),
        "b": Value(HIGH, Role.COUNT, 1),
        "a": Value(HIGH, Role.COUNT, 0),
        "f": Value(HIGH, Role.FRACTION, 7),
        "q": Value(role=Role.QUALITY),
        "n": Value(HIGH),
    }
    names = [*"ncbafq", "unknown"]
    assert in_order(names, meanings, Role.QUALITY, Role.FRACTION, Role.COUNT) == [*"qfacb"]
    assert in_order(names, meanings, Role.COUNT) == [*"acb"]


def test_what_numbers_mean_is_known_without_torch():
    program = "import sys, saddle.metrics.values; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], env=os.environ, check=False).returncode == 0
