"""Phase diagrams: cells do what theory says of them, and boundaries are the closed forms."""

import numpy as np
import pytest
from torch.testing import assert_close

from portraits import composed, computed, numbers_of
from saddle.commands.pictures.subject import Subject, unseen
from saddle.diagnosis import fate
from saddle.theory import bilinear, dirac, stability

LINEAR = ["loss=wasserstein", "model.generator.theta=[0.05]", "model.discriminator.psi=[-0.05]"]


def agree_off_the_boundary(verdicts: np.ndarray, stable: np.ndarray) -> int:
    """Assert that every cell whose neighbours agree with it in theory does what theory says; how many."""
    rows, columns = stable.shape
    padded = np.pad(stable, 1, mode="edge")
    around = [padded[i : rows + i, j : columns + j] for i in range(3) for j in range(3)]
    clear = (np.stack(around) == stable).all(0)
    assert ((verdicts == fate.CONVERGED) == stable)[clear].all()
    return int(clear.sum())


R1 = ["picture=diagram_dirac_r1", "regularizer=[r1]", "num_steps=200", "picture.x.num=14", "picture.y.num=14"]


@pytest.mark.parametrize("loss", ["non_saturating", "relativistic"])
def test_cells_of_the_r1_diagram_do_what_the_eigenvalues_say(loss):
    near = ["model.generator.theta=[0.05]", "model.discriminator.psi=[-0.05]"]
    numbers = computed(*R1, f"loss={loss}", *near)
    radius = np.array(
        [
            [stability.euler_radius(dirac.gradient_penalty_eigenvalues(gamma), h) for h in numbers.x]
            for gamma in numbers.y
        ]
    )
    assert agree_off_the_boundary(np.array(numbers.verdicts), radius < 1) > 100
    for h, gamma in numbers.boundary:
        if gamma <= 1:
            assert_close(h, 4 * gamma, rtol=1e-9, atol=0)


def test_cells_grow_at_the_rate_of_the_eigenvalues_where_the_game_is_linear():
    """With the Wasserstein loss the game is linear, and its growth a round is the radius."""
    words = [
        *R1,
        *LINEAR,
        "num_steps=400",
        "picture.x.low=0.05",
        "picture.x.high=0.3",
        "picture.y.low=0.05",
        "picture.y.high=0.5",
    ]
    numbers = computed(*words)
    expected = [
        [stability.euler_radius(dirac.gradient_penalty_eigenvalues(gamma, slope=1.0), h) for h in numbers.x]
        for gamma in numbers.y
    ]
    # the distance wobbles within a turn, by a factor of at most 3 at γ = ½, over a quarter of 100 rounds
    assert_close(np.array(numbers.growth, dtype=float), np.array(expected), rtol=0, atol=0.008)


def test_the_linearized_boundary_is_the_closed_form_of_any_method():
    words = [
        "picture=diagram",
        "picture.y.key=dynamics.gamma",
        "dynamics=consensus",
        *LINEAR,
        "num_steps=300",
    ]
    numbers = computed(*words, "picture.x.num=6", "picture.y.num=5")
    expected = [[bilinear.consensus(gamma).radius(h) for h in numbers.x] for gamma in numbers.y]
    # the command's configuration is float32 in the networks alone, which are at 0
    assert_close(np.array(numbers.radius), np.array(expected), rtol=1e-6, atol=0)
    agree_off_the_boundary(np.array(numbers.verdicts), np.array(expected) < 1)


def test_the_axes_may_be_any_two_numbers_also_one_that_both_players_have():
    words = ["picture=diagram", "dynamics=lookahead", "picture.compute.period=5", *LINEAR]
    words += ["picture.x.num=3", "picture.y={key: dynamics.alpha, label: null, low: 0.2, high: 0.9, num: 2}"]
    numbers = computed(*words, "num_steps=20", "picture.x.high=1")
    assert (numbers.x_label, numbers.y_label) == ("learning rate", "dynamics.alpha")
    method = bilinear.lookahead(bilinear.ALTERNATING, 5, 0.2)
    assert_close(numbers.radius[0][0], method.radius(0.1), rtol=1e-6, atol=0)


def test_a_round_without_a_derivative_has_no_boundary_and_says_why():
    warnings: list[str] = []
    words = [
        "picture=diagram",
        "optimizer=adam",
        "picture.y.key=optimizer.generator.beta1",
        "picture.y.high=0.9",
    ]
    config = composed(*words, "picture.x.num=2", "picture.y.num=2", "num_steps=10")
    numbers = numbers_of(config, Subject({"": config}, [], unseen, warnings.append))
    assert numbers.radius == []
    assert len(warnings) == 1
    assert "no boundary is drawn: what is linearized must have a derivative" in warnings[0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], r"an axis must name a setting; picture\.y\.key is empty"),
        (["picture.y.key=regularizer.r1.gamma"], "this game has no regularizer.r1.gamma"),
        (["picture.y.key=optimizer.lr"], r"the axes must be two settings; got optimizer\.lr twice"),
        (["picture.y.key=loss._target_"], r"this game has no loss\._target_"),
        (["picture.y.key=loss.real_target", "picture.y.num=0"], r"picture\.y has 0 from 0\.01 to 10"),
        (["picture.y.key=loss.real_target", "picture.x.low=0"], r"picture\.x has 32 from 0 to 10, and"),
        (["picture.y.key=loss.real_target", "picture.x.high=0.1"], r"picture\.x has 32 from 0\.1 to 0\.1"),
        (["picture.y.key=ema", "picture.y.high=0.9"], "an axis must be a number of the loss, a penalty"),
    ],
)  # fmt: skip
def test_an_axis_that_is_none_is_refused(words, message):
    with pytest.raises(ValueError, match=message):
        computed("picture=diagram", "loss=minimax", "num_steps=10", *words)


def test_a_diagram_of_several_methods_is_refused():
    with pytest.raises(ValueError, match="a phase diagram must be of one method"):
        computed(*R1, methods=[("dynamics=simultaneous",), ("dynamics=alternating",)])
