"""Clouds of eigenvalues against closed forms, and the disc in which a step is stable."""

import math

import pytest
from torch.testing import assert_close

from portraits import computed
from saddle.theory import dirac


def test_a_cloud_of_the_field_is_the_closed_form_and_its_disc_is_where_the_step_is_stable():
    gammas = (0.1, 0.3, 2.0)  # not 1: a double root, only accurate to √eps
    numbers = computed(
        "picture=spectrum_dirac_r1", "regularizer=[r1]", "optimizer.generator.lr=0.8",
        "optimizer.discriminator.lr=0.8", methods=[(f"regularizer.r1.gamma={gamma}",) for gamma in gammas],
    )  # fmt: skip
    assert numbers.complete
    assert_close(numbers.disc, [-1.25, 1.25])
    for gamma in gammas:
        name = f"regularizer.r1.gamma={gamma}"
        found, expected = numbers.clouds[name], numbers.exact[name]
        assert_close(sorted(map(tuple, found)), sorted(map(tuple, expected)), rtol=0, atol=1e-9)
        inside = all(math.dist(point, (numbers.disc[0], 0)) < numbers.disc[1] for point in found)
        assert inside == (dirac.gradient_penalty_step_limit(gamma) > 0.8)


def test_a_cloud_of_the_round_is_that_of_alternating_descent():
    words = ["picture=spectrum_round", "dynamics=alternating", "optimizer.generator.lr=0.5"]
    numbers = computed(*words, "optimizer.discriminator.lr=0.5", methods=[("regularizer=[]",)])
    assert numbers.disc == [0.0, 1.0]
    (cloud,) = numbers.clouds.values()
    expected = dirac.alternating_eigenvalues(0.5)
    largest = sorted(cloud, key=lambda point: -math.hypot(*point))[:2]  # the rest are the velocities' zeros
    assert_close(
        sorted(map(tuple, largest)), sorted((value.real, value.imag) for value in expected), rtol=0, atol=1e-9
    )


def test_no_disc_is_drawn_where_no_single_step_decides():
    for words in (["dynamics=alternating"], ["optimizer=adam"], ["optimizer.generator.lr=0.7"]):
        assert computed("picture=spectrum", *words).disc is None


def test_leading_eigenvalues_are_the_largest_of_all():
    words = ["data=ring8", "model=mlp", "model.generator.hidden=[8]", "model.discriminator.hidden=[8]"]
    words += ["picture=spectrum", "picture.compute.at=null", "regularizer=[]", "loss=non_saturating"]
    leading = computed(*words, "picture.compute.max_dense=10", "picture.compute.num_leading=4")
    dense = computed(*words)
    assert dense.complete
    assert not leading.complete
    (few,), (every,) = leading.clouds.values(), dense.clouds.values()
    largest = sorted((round(math.hypot(*point), 7) for point in every), reverse=True)
    found = sorted((round(math.hypot(*point), 7) for point in few), reverse=True)
    assert_close(found, largest[: len(found)], rtol=1e-6, atol=0)  # their tolerance is 1e-8 of a residual


@pytest.mark.parametrize("at", ["[0.0]", "[0,0,0]"])
def test_a_point_with_too_few_or_too_many_numbers_is_refused(at):
    with pytest.raises(ValueError, match="a number for each of the game's 2 parameters"):
        computed("picture=spectrum", f"picture.compute.at={at}")


def test_a_closed_form_whose_argument_no_method_has_is_refused():
    with pytest.raises(ValueError, match=r"regularizer\.r1\.gamma is not there"):
        computed("picture=spectrum_dirac_r1")
