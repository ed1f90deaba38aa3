"""When a metric was lost: cases worked by hand, and agreement with the verdict on any record."""

from hypothesis import given
from hypothesis import strategies as st

from meanings import MEANINGS
from saddle.diagnosis.collapse import collapse_step
from saddle.diagnosis.verdict import verdict
from saddle.metrics.values import Value

DIVERSE = ("recall", "coverage", "modes", "vendi")


def course(*values: float) -> dict[int, float]:
    return {100 * index: value for index, value in enumerate(values)}


def test_a_collapse_begins_where_the_metric_was_left_for_good():
    # 125 % of 66.7 is 83.4: first passed at 200, come back at 300, left for good at 400
    metrics = {"fid": course(200, 66.7, 90, 70, 84, 330.9)}
    assert collapse_step("fid", metrics, MEANINGS) == 400


def test_one_that_came_back_did_not_collapse():
    assert collapse_step("fid", {"fid": course(200, 66.7, 330.9, 80)}, MEANINGS) is None


def test_a_metric_better_high_collapses_below_three_quarters():
    assert collapse_step("modes", {"modes": course(1, 8, 6, 5)}, MEANINGS) == 300
    assert collapse_step("modes", {"modes": course(1, 8, 6, 6)}, MEANINGS) is None


def test_diversity_of_noise_is_not_counted():
    fid = course(300, 20, 10, 10)
    assert collapse_step("recall", {"fid": fid, "recall": course(0.9, 0.3, 0.4, 0.38)}, MEANINGS) is None
    assert collapse_step("recall", {"fid": fid, "recall": course(0.9, 0.3, 0.4, 0.2)}, MEANINGS) == 300


def test_two_evaluations_are_no_course():
    assert collapse_step("fid", {"fid": course(10, 99)}, MEANINGS) is None
    assert collapse_step("recall", {"fid": course(1, 1)}, MEANINGS) is None


VALUE = st.floats(0.01, 100) | st.just(float("nan"))


@given(
    st.dictionaries(
        st.sampled_from(["fid", "mmd", "kl", "kid", *DIVERSE]),
        st.lists(VALUE, min_size=1, max_size=7),
        min_size=1,
    )
)
def test_a_run_is_called_collapsed_when_its_quality_or_diversity_is(metrics):
    metrics = {name: course(*values) for name, values in metrics.items()}
    word, _ = verdict({f"eval/{name}": values for name, values in metrics.items()}, MEANINGS)
    judged = [
        next(
            iter(
                n
                for n in ("fid", "mmd", "kl", "kid")
                if n in metrics and any(v == v for v in metrics[n].values())
            ),
            None,
        )
    ]
    judged += DIVERSE
    collapsed = [name for name in judged if name and collapse_step(name, metrics, MEANINGS) is not None]
    if word == "collapsed":
        assert collapsed
    elif word != "undecided":
        assert not collapsed


def test_distance_from_an_ideal_in_between_is_what_collapses():
    meanings = {"fid": MEANINGS["fid"], "one_nn": Value(0.5)}
    course_of = {"fid": course(9, 5, 5, 5), "one_nn": course(0.9, 0.6, 0.44, 0.72)}
    assert collapse_step("one_nn", course_of, meanings) == 300  # 0.22 away, from 0.06: by more than 0.11
    course_of["one_nn"] = course(0.9, 0.6, 0.44, 0.66)  # by 0.10
    assert collapse_step("one_nn", course_of, meanings) is None
