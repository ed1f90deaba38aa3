"""Trajectories of runs: the courses that were recorded, and the levels that theory has for them."""

import math

import pytest

from portraits import computed, record
from saddle.theory import held_modes


def test_courses_and_theorys_levels_are_those_of_the_record(tmp_path):
    directory = record(tmp_path / "run", "loss=non_saturating", num=9)
    numbers = computed("picture=trajectories", runs=[directory])
    (panel,) = numbers.panels  # neither modes nor gradient norms were recorded
    assert panel.title == "loss"
    assert panel.courses["run"]["loss/discriminator"] == [[float(n), 1 + 1 / n] for n in range(1, 10)]
    assert panel.levels == {"all modes held": 2 * math.log(2), "0.5 of modes": held_modes.logistic_loss(0.5)}


def test_runs_of_unlike_losses_share_no_level_and_are_named_apart(tmp_path):
    loss = {"a": "hinge", "b": "non_saturating", "c": "relativistic_average"}
    runs = [record(tmp_path / name / "run", f"loss={own}", num=3) for name, own in loss.items()]
    (panel,) = computed("picture=trajectories", runs=runs).panels
    assert ([*panel.courses], panel.levels) == (["a/run", "b/run", "c/run"], {})
    (panel,) = computed("picture=trajectories", runs=runs[:1]).panels
    assert panel.levels == {"all modes held": 2.0, "0.5 of modes": 1.0}
    (panel,) = computed("picture=trajectories", runs=runs[2:]).panels
    assert panel.levels == {}


def test_trajectories_of_nothing_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"trajectories must be of runs; got none. Give runs=\[DIRECTORY\]"):
        computed("picture=trajectories")
    directory = record(tmp_path / "run", num=3)
    with pytest.raises(ValueError, match="something to draw; the runs hold none of eval/fid, eval/modes"):
        computed("picture=trajectories", "picture.compute.panels.loss=[eval/fid]", runs=[directory])
