"""The verdict: each word from the least record that deserves it, and from its neighbour that does not."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meanings import MEANINGS
from saddle.diagnosis.verdict import WORDS, verdict
from saddle.metrics.values import Role, Value


def course(*values: float) -> dict[int, float]:
    """An evaluation every 100 steps."""
    return {100 * index: float(value) for index, value in enumerate(values, start=1)}


def word(metrics, **given):
    series = {f"eval/{name}": values for name, values in metrics.items()}
    return verdict(series, MEANINGS, **given)[0]


def test_the_benchmarks_lsgan_is_called_collapsed_with_its_numbers():
    found, reason = verdict({"eval/fid": course(310, 120, 66.7, 90, 330.9)}, MEANINGS)
    assert found == "collapsed"
    assert (
        reason == "fid ended at 330.9, 4.96 times its best of 66.7 at step 300: more than 25% of ground lost."
    )


@pytest.mark.parametrize(("last", "expected"), [(12.4, "settled"), (12.6, "collapsed")])
def test_a_quarter_of_ground_lost_is_where_collapse_begins(last, expected):
    assert word({"fid": course(80, 20, 10, last)}) == expected


def test_a_steady_fall_is_improving_and_its_end_is_settled():
    assert word({"fid": course(100, 60, 40, 30)}) == "improving"
    assert word({"fid": course(100, 60, 40, 30, 29.5, 30.2, 29.8, 29.4)}) == "settled"


@pytest.mark.parametrize(("last", "expected"), [(94.0, "improving"), (96.0, "settled")])
def test_progress_within_the_noise_of_evaluation_is_none(last, expected):
    assert word({"fid": course(300, 120, 100, last)}) == expected


def test_fewer_than_three_evaluations_decide_nothing():
    assert verdict({"eval/fid": course(100, 400)}, MEANINGS) == (
        "undecided",
        "A course needs 3 evaluations; fid has 2.",
    )
    assert verdict({}) == ("undecided", "No evaluation gave a number to judge the run by.")
    other = {"loss/generator": course(1, 2, 3), "eval/other": course(1, 2, 3)}
    assert verdict(other, MEANINGS)[0] == "undecided"


def test_a_diverged_status_outranks_good_evaluations_and_keeps_its_message():
    found = verdict(
        {"eval/fid": course(30, 20, 10)}, MEANINGS, "diverged", "loss/generator was nan at step 7."
    )
    assert found == ("diverged", "Training diverged: loss/generator was nan at step 7.")
    assert verdict({}, MEANINGS, "diverged") == ("diverged", "Training diverged: a number was not finite.")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_is_divergence_whatever_the_status(value):
    found, reason = verdict({"loss/generator": {5: 1.0, 6: value}}, MEANINGS, status="finished")
    assert found == "diverged"
    assert f"loss/generator was {value} at step 6" in reason


def test_a_diagnostic_that_is_not_finite_is_no_divergence():
    assert verdict({"diag/condition": {1: math.inf}, "eval/fid": course(3, 2, 2)}, MEANINGS)[0] == "settled"


@pytest.mark.parametrize("status", ["running", "interrupted", "failed"])
def test_an_unfinished_run_is_judged_as_far_as_it_came(status):
    assert word({"fid": course(100, 60, 40, 30)}, status=status) == "improving"


def test_lost_modes_are_a_collapse_though_quality_holds():
    found, reason = verdict(
        {"eval/mmd": course(0.5, 0.01, 0.011, 0.012), "eval/modes": course(2, 8, 6, 5)}, MEANINGS
    )
    assert found == "collapsed"
    assert reason == "modes ended at 5, 0.625 times its best of 8, at a like mmd."


@pytest.mark.parametrize(("last", "expected"), [(19, "settled"), (18, "collapsed")])
def test_three_quarters_of_the_modes_must_be_kept(last, expected):
    assert word({"fid": course(90, 50, 50, 50), "modes": course(20, 25, 25, last)}) == expected


def test_the_recall_of_an_untrained_generator_was_never_diversity():
    """It came at a FID three times worse: nothing was lost since."""
    assert word({"fid": course(150, 60, 50, 50), "recall": course(0.9, 0.2, 0.3, 0.3)}) == "settled"


def test_a_small_fraction_may_halve_within_its_counting_error():
    assert word({"fid": course(90, 50, 50, 50), "recall": course(0.0, 0.04, 0.03, 0.02)}) == "settled"
    assert word({"fid": course(90, 50, 50, 50), "recall": course(0.0, 0.4, 0.3, 0.2)}) == "collapsed"


@pytest.mark.parametrize("name", ["mmd", "kl", "kid"])
def test_near_a_perfect_score_a_ratio_means_nothing(name):
    """Tripled, but by a thousandth of the way it came."""
    assert word({name: course(1.0, 0.1, 0.0005, 0.0015)}) == "settled"
    assert word({name: course(1.0, 0.1, -0.0005, 0.0015)}) == "settled"


def test_kl_on_a_ring_of_eight_collapses_from_a_twentieth_above_its_best():
    worst = math.log(8)  # all in one mode; a tenth of the range times a quarter is 0.052
    assert word({"kl": course(worst, 0.003, 0.002, 0.050)}) == "settled"
    assert word({"kl": course(worst, 0.003, 0.002, 0.060)}) == "collapsed"


def test_a_negative_best_is_reported_without_a_ratio():
    found, reason = verdict({"eval/kid": course(0.3, -0.001, 0.2)}, MEANINGS)
    assert found == "collapsed"
    assert reason.startswith("kid ended at 0.2, against its best of -0.001 at step 200")


def test_where_only_metrics_better_high_were_evaluated_one_of_them_is_judged():
    assert word({"high_quality": course(40, 90, 95, 94)}) == "settled"
    assert word({"high_quality": course(40, 90, 95, 60)}) == "collapsed"
    assert word({"high_quality": course(20, 40, 60, 80)}) == "improving"


def test_an_evaluation_that_is_not_finite_is_passed_over():
    assert word({"fid": course(100, math.nan, 60)}) == "undecided"
    assert word({"fid": course(100, 60, math.nan, 60, 60)}) == "settled"


def test_a_perfect_score_throughout_is_settled_and_its_loss_a_collapse():
    assert word({"fid": course(0, 0, 0)}) == "settled"
    assert word({"fid": course(0, 0, 1e-9)}) == "collapsed"


@given(
    series=st.dictionaries(
        st.sampled_from(
            [f"eval/{name}" for name in ("fid", "kid", "kl", "recall", "modes", "odd")] + ["loss/g"]
        ),
        st.dictionaries(st.integers(0, 99), st.floats(), max_size=9).map(
            lambda found: dict(sorted(found.items()))
        ),
    ),
    status=st.sampled_from(["running", "finished", "interrupted", "diverged", "failed"]),
)
def test_every_record_gets_one_of_the_words_and_one_sentence(series, status):
    found, reason = verdict(series, MEANINGS, status)
    assert found in WORDS
    assert reason.endswith(".")
    assert "\n" not in reason


@given(values=st.lists(st.floats(1e-3, 1e3), min_size=3, max_size=12), exponent=st.integers(-8, 8))
def test_the_word_does_not_depend_on_the_unit_of_fid(values, exponent):
    """By a power of two, which scales floats without rounding."""
    assert word({"fid": course(*values)}) == word(
        {"fid": course(*(2.0**exponent * value for value in values))}
    )


def test_of_two_metrics_of_quality_the_one_that_ranks_first_is_judged():
    courses = {"late": course(3, 2, 1), "early": course(1, 2, 3)}
    series = {f"eval/{name}": values for name, values in courses.items()}
    ranked = {"early": Value(role=Role.QUALITY, rank=1), "late": Value(role=Role.QUALITY, rank=2)}
    assert verdict(series, ranked)[0] == "collapsed"
    ranked["early"] = Value(role=Role.QUALITY, rank=3)
    assert verdict(series, ranked)[0] == "improving"
    equal = dict.fromkeys(courses, Value(role=Role.QUALITY))  # of equals, the first in the record
    assert verdict(series, equal) == verdict(series, ranked)


@pytest.mark.parametrize(
    ("last", "expected"), [(0.83, "settled"), (0.84, "collapsed"), (0.17, "settled"), (0.16, "collapsed")]
)
def test_a_metric_that_is_best_in_between_is_lost_on_either_side(last, expected):
    """Its best, 0.67, lies 0.17 away; a quarter of it farther, at 0.3375, it is lost."""
    meanings = {"accuracy": Value(0.5, Role.QUALITY)}
    found, reason = verdict({"eval/accuracy": course(0.9, 0.67, 0.7, last)}, meanings)
    assert found == expected
    assert f"accuracy ended at {last}, " in reason
    assert "its best of 0.67 at step 200" in reason
