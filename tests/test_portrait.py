"""Pictures of games: the numbers behind them against theory and against the dynamics' own, and the files."""

import json
import math
from collections.abc import Sequence
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import hydra
import matplotlib
import numpy as np
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from hydra.utils import instantiate
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from torch.testing import assert_close

from oracles import dirac_batch, dirac_gan, trajectory
from saddle import cells, records
from saddle.commands import portrait
from saddle.commands.compose import assemble
from saddle.commands.entry import config_directory
from saddle.commands.pictures.subject import Subject, unseen
from saddle.diagnostics import fate
from saddle.diagnostics.plane import field_over, rest_points
from saddle.dynamics import Alternating, Simultaneous
from saddle.dynamics.lookahead import Lookahead
from saddle.dynamics.second_order import Consensus
from saddle.linearize import game_field
from saddle.losses import Minimax, NonSaturating
from saddle.models.toy import Bilinear
from saddle.optimizers import SGD, Adam, Bounded
from saddle.regularizers import r1
from saddle.reports import paper, phase_diagram, phase_portrait, spectrum_picture, trajectories
from saddle.theory import bilinear, dirac, held_modes, stability
from test_commands import call

LINEAR = ["loss=wasserstein", "model.generator.theta=[0.05]", "model.discriminator.psi=[-0.05]"]
WIDTHS = (paper.NARROWEST, 3.35, 6.9)


def composed(*words: str) -> DictConfig:
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(config_directory()), version_base="1.3"):
        return hydra.compose("portrait", ["name=toy", "logger=none", "out=out", *words])


def computed(*words: str, methods: Sequence[tuple[str, ...]] = ((),), runs: Sequence[Path] = ()):
    """The numbers that the command would draw, in its float32; a warning fails."""
    configs = {" ".join(own): composed(*words, *own) for own in methods}

    def refuse(sentence: str) -> None:
        raise AssertionError(sentence)

    return _compute(next(iter(configs.values())), Subject(configs, runs, unseen, refuse))


def _compute(config: DictConfig, subject: Subject):
    torch.set_default_dtype(torch.float32)
    try:
        return instantiate(config.picture.compute, _convert_="all")(subject)
    finally:
        torch.set_default_dtype(torch.float64)


# ---- phase portraits


def test_the_field_over_a_grid_is_the_dirac_gans():
    """v = (σ(θψ)ψ, −σ(θψ)θ) without a penalty, for the minimax loss; D is high on real samples here."""
    field = game_field(dirac_gan(Minimax()), dirac_gan(Minimax()).init(), [dirac_batch()])
    x, y = torch.linspace(-2, 2, 5), torch.linspace(-1, 3, 4)
    found = field_over(field, x, y)
    theta, psi = torch.meshgrid(x, y, indexing="xy")
    sigma = torch.sigmoid(theta * psi)
    assert_close(found, torch.stack([sigma * psi, -sigma * theta], -1))


def test_the_only_rest_point_of_the_dirac_gan_is_found():
    game = dirac_gan(NonSaturating(), {"r1": partial(r1, gamma=0.3)})
    field = game_field(game, game.init(), [dirac_batch()])
    (at,) = rest_points(field, torch.linspace(-2.1, 2, 14), torch.linspace(-2, 2.3, 14))
    assert_close(torch.tensor(at), torch.zeros(2), rtol=0, atol=1e-6)  # as far as it is asked to go
    assert rest_points(field, torch.linspace(1, 2, 5), torch.linspace(1, 2, 5)) == []


@pytest.mark.parametrize(
    ("words", "dynamics"),
    [
        ("dynamics=simultaneous", Simultaneous(SGD(0.2), SGD(0.2))),
        ("dynamics=alternating", Alternating(SGD(0.2), SGD(0.2))),
        ("dynamics=consensus dynamics.gamma=1", Consensus(SGD(0.2), SGD(0.2), 1.0)),
    ],
)
def test_paths_are_the_dynamics_own(words, dynamics):
    numbers = computed("picture=phase", "num_steps=50", methods=[tuple(words.split())])
    ((_, _, _, _, paths),) = numbers.panels
    expected = trajectory(dirac_gan(Minimax()), dynamics, 50)
    # 50 rounds in float32
    assert_close(torch.tensor(paths[words]), expected, rtol=0, atol=1e-5)


def test_methods_share_a_panel_exactly_when_they_share_a_field():
    methods = [("dynamics=simultaneous",), ("dynamics=alternating",), ("regularizer=[r1]",)]
    numbers = computed("picture=phase", "num_steps=3", methods=methods)
    plain, penalised = numbers.panels
    assert (plain.title, [*plain.paths]) == ("no penalty", ["dynamics=simultaneous", "dynamics=alternating"])
    assert (penalised.title, [*penalised.paths]) == ("with R1", ["regularizer=[r1]"])
    assert numbers.names == ["θ", "ψ"]
    assert_close(torch.tensor(plain.rest), torch.zeros(1, 2), rtol=0, atol=1e-6)
    assert len(plain.u) == len(numbers.y) == 31


def test_a_path_ends_where_training_would_stop():
    words = ["picture=phase", "optimizer.discriminator.lr=1e30", "optimizer.generator.lr=1e30", "num_steps=9"]
    numbers = computed(*words, "model.generator.theta=[3]", "loss=wasserstein")
    (panel,) = numbers.panels
    (path,) = panel.paths.values()
    assert 1 <= len(path) < 10
    assert np.isfinite(path).all()


def test_a_phase_portrait_of_more_than_two_parameters_is_refused():
    with pytest.raises(ValueError, match=r"needs a game of two parameters; this one has 4\. Take"):
        computed("picture=phase", "experiment=bilinear")


@pytest.mark.parametrize("view", ["[1,-1,-1,1]", "[-1,1,2,2]"])
def test_a_view_without_extent_is_refused(view):
    with pytest.raises(ValueError, match="view must be left < right, bottom < top; got"):
        computed("picture=phase", "num_steps=2", f"picture.compute.view={view}")


# ---- spectra


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


def test_a_bilinear_game_stored_in_float32_is_linearized_in_float64():
    game = Bilinear([1.0, 2.0], torch.eye(2)).float()
    found = torch.func.functional_call(game, {"psi": torch.tensor([1.0, 2.0])}, (torch.ones(1, 2),))
    assert_close(found, torch.tensor([3.0]))


# ---- cells and what became of them


def test_numbers_are_found_and_bound_wherever_they_are():
    parts = cells.Parts(
        dirac_gan(Minimax(), {"r1": partial(r1, gamma=0.3)}),
        Lookahead(Alternating(Bounded(SGD(0.1)), SGD(0.2)), k=5),
    )
    found = cells.numbers(parts)
    lr, gamma = ("dynamics", "inner", "generator", "rule", "lr"), ("game", "penalties", "r1", "gamma")
    assert (found[lr], found[gamma]) == (0.1, 0.3)
    bound = cells.bind(parts, {lr: 0.7, gamma: 0.9})
    assert bound.dynamics == Lookahead(Alternating(Bounded(SGD(0.7)), SGD(0.2)), k=5)
    assert bound.game.penalties["r1"].keywords == {"gamma": 0.9}
    assert cells.numbers(bound) == found | {lr: 0.7, gamma: 0.9}


@pytest.mark.parametrize(
    "dynamics",
    [
        Simultaneous(SGD(0.2, -0.3), SGD(0.2)),
        Lookahead(Alternating(Adam(0.2), SGD(0.2)), k=3),
        Consensus(SGD(0.2), SGD(0.2), 1.0),
    ],
    ids=["simultaneous", "lookahead", "consensus"],
)
def test_every_cell_is_the_game_played_alone(dynamics):
    parts = cells.Parts(dirac_gan(Minimax(), {"r1": partial(r1, gamma=0.1)}), dynamics)
    gamma = ("game", "penalties", "r1", "gamma")
    (lr,) = [place for place in cells.numbers(parts) if place[-2:] == ("discriminator", "lr")]
    values = {gamma: torch.tensor([0.0, 0.5, 2.0]), lr: torch.tensor([0.1, 0.2, 0.05])}
    batches = (dirac_batch(),) * dynamics.num_batches
    found = cells.play(parts, values, lambda _: batches, range(30), torch.zeros(2))
    for cell in range(3):
        alone = cells.bind(parts, {place: float(value[cell]) for place, value in values.items()})
        path = trajectory(alone.game, alone.dynamics, 30)
        assert_close(found.distances[:, cell], path.norm(dim=1), rtol=1e-12, atol=1e-14)
        assert_close(torch.cat(found.players, 1)[cell], path[-1], rtol=1e-12, atol=1e-14)


def test_a_number_that_decides_how_often_something_is_done_is_refused():
    parts = cells.Parts(dirac_gan(Minimax()), Alternating(SGD(0.1), SGD(0.1), num_discriminator_steps=2))
    place = ("dynamics", "num_discriminator_steps")
    with pytest.raises(ValueError, match="cells must differ in numbers only, not in what is done"):
        cells.play(
            parts, {place: torch.tensor([1.0, 2.0])}, lambda _: (dirac_batch(),) * 3, range(3), torch.zeros(2)
        )


def courses(*factors: float, num: int = 400, start: float = 0.1) -> torch.Tensor:
    """Distances that change by these factors a round."""
    return start * torch.tensor(factors) ** torch.arange(num + 1)[:, None]


def test_a_fate_is_told_by_the_second_half_of_a_course():
    found = fate.fate(courses(0.99, 0.9999, 1.0, 1.0001, 1.03, 0.0))
    names = [fate.NAMES[verdict] for verdict in found.verdict]
    assert names == ["converged", "orbit", "orbit", "orbit", "diverged", "converged"]
    assert_close(found.growth[:5], torch.tensor([0.99, 0.9999, 1.0, 1.0001, 1.03]), rtol=1e-12, atol=0)


def test_what_is_no_longer_a_number_has_diverged_and_an_oval_orbit_is_an_orbit():
    turns = 1 + 0.5 * torch.sin(torch.arange(401) / 7)
    lost = torch.cat([torch.ones(200), torch.full((201,), torch.nan)])
    overflowed = torch.cat([torch.ones(200), torch.full((201,), torch.inf)])
    found = fate.fate(torch.stack([turns, lost, overflowed], 1))
    assert [fate.NAMES[verdict] for verdict in found.verdict] == ["orbit", "diverged", "diverged"]
    assert torch.isnan(found.growth[1:]).all()


def test_a_course_too_short_or_from_the_point_itself_is_refused():
    with pytest.raises(ValueError, match="a fate needs at least 8 rounds; got 5"):
        fate.fate(torch.ones(6, 1))
    with pytest.raises(ValueError, match="a course must start away from the point"):
        fate.fate(torch.zeros(20, 1))


# ---- phase diagrams


def agree_off_the_boundary(verdicts: np.ndarray, stable: np.ndarray) -> int:
    """Assert that every cell whose neighbours agree with it in theory does what theory says; how many."""
    rows, columns = stable.shape
    padded = np.pad(stable, 1, mode="edge")
    around = [padded[i : rows + i, j : columns + j] for i in range(3) for j in range(3)]
    clear = (np.stack(around) == stable).all(0)
    assert ((verdicts == fate.CONVERGED) == stable)[clear].all()
    return int(clear.sum())


R1 = ["picture=diagram_dirac_r1", "regularizer=[r1]", "num_steps=400", "picture.x.num=14", "picture.y.num=14"]


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
    numbers = _compute(config, Subject({"": config}, [], unseen, warnings.append))
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


# ---- trajectories


def record(directory: Path, *words: str, num: int = 400) -> Path:
    """A record with the courses of losses that fall like 1/step, and of modes."""
    config = composed("data=ring8", "model=mlp", *words)
    del config.picture, config.out
    held = records.create(directory, OmegaConf.to_yaml(config), {"run_id": "x"})
    for step in range(1, num + 1):
        held.append(step, {"loss/discriminator": 1 + 1 / step, "loss/generator": 0.7})
    return directory


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


# ---- drawings

PATHS = {"one": [[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]], "another, of a long name": [[1.0, 1.0], [0.0, 0.0]]}
FIELD = [[1.0, 0.5, 0.2, 0.1]] * 4
DRAWINGS = {
    "phase": (
        phase_portrait.draw,
        phase_portrait.PhasePortrait(
            ["θ", "ψ"], [-1.0, 0.0, 1.0, 2.0], [-1.0, 0.0, 1.0, 2.0],
            [phase_portrait.Panel(title, FIELD, FIELD, [[0.0, 0.0]], PATHS) for title in ("no", "with r1")],
        ),
    ),
    "spectrum": (
        spectrum_picture.draw,
        spectrum_picture.SpectrumPicture(
            {"a": [[-0.5, 0.5], [-0.5, -0.5]], "b": [[-0.1, 0.0]]},
            {"a": [[-0.5, 0.5]]}, [-1.0, 1.0], "stable", True,
        ),
    ),
    "diagram": (
        phase_diagram.draw,
        phase_diagram.PhaseDiagram(
            "learning rate", "γ", [0.1, 1.0, 10.0], [0.1, 1.0], [[0, 1, 2], [0, 0, 2]],
            [[0.9, 1.0, None]] * 2, [], [[0.5, 0.9, 2.0]] * 2,
        ),
    ),
    "trajectories": (
        trajectories.draw,
        trajectories.Trajectories([
            trajectories.Panel(
                title,
                {"run": {"loss/discriminator": [[float(n), 1 + 1 / n] for n in range(1, 300)],
                         "loss/generator": [[1.0, 0.5], [2.0, None], [300.0, 0.7]]}},
                {"all modes held": 1.386},
            ) for title in ("loss", "again", "and again")
        ]),
    ),
}  # fmt: skip


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", DRAWINGS)
def test_text_is_seven_points_or_more_lies_in_the_picture_and_does_not_overlap(name, width, monkeypatch):
    draw, numbers = DRAWINGS[name]
    drawn: list[tuple[str, float, Bbox]] = []
    plain = Text.draw

    def watched(text: Text, renderer: Any) -> None:
        plain(text, renderer)
        if text.get_visible() and text.get_text():
            drawn.append((text.get_text(), text.get_fontsize(), text.get_window_extent(renderer)))

    figure = draw(numbers, width)
    with monkeypatch.context() as patch, matplotlib.rc_context(paper.STYLE):
        patch.setattr(Text, "draw", watched)
        figure.canvas.draw()
    assert len(drawn) > 5
    frame = figure.bbox.padded(1)  # a pixel of rounding
    for index, (text, size, box) in enumerate(drawn):
        assert size >= 7
        assert frame.x0 <= box.x0, text
        assert box.x1 <= frame.x1, text
        assert frame.y0 <= box.y0, text
        assert box.y1 <= frame.y1, text
        for other, _, there in drawn[:index]:
            assert not box.padded(-1).overlaps(there.padded(-1)), (text, other)


def test_a_png_is_as_wide_as_asked():
    draw, numbers = DRAWINGS["diagram"]
    with Image.open(BytesIO(paper.file(draw(numbers, 3.35), "png"))) as picture:
        assert picture.size[0] == 1005
        assert picture.info["dpi"] == pytest.approx((300, 300), rel=1e-3)  # a PNG counts whole dots a metre


@pytest.mark.parametrize("name", DRAWINGS)
def test_an_svg_is_well_formed_small_the_same_each_time_and_its_text_is_text(name):
    draw, numbers = DRAWINGS[name]
    content = paper.file(draw(numbers, 3.35), "svg")
    assert content == paper.file(draw(numbers, 3.35), "svg")
    root = ElementTree.fromstring(content)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert_close(float(root.attrib["width"].removesuffix("pt")), 3.35 * 72)
    words = {"".join(node.itertext()).strip() for node in root.iter("{http://www.w3.org/2000/svg}text")}
    expected = {
        "phase": "with r1",
        "spectrum": "stable",
        "diagram": "converged",
        "trajectories": "all modes held",
    }
    assert expected[name] in words
    assert len(content) < 100_000


def test_a_width_that_no_page_has_is_refused():
    for width in (1, 50):
        with pytest.raises(ValueError, match=f"width must lie between 2.5 and 20 inches; got {width}"):
            paper.new_figure(width, 1)


def test_colours_are_apart_for_common_colour_blindness():
    """Viénot, Brettel and Mollon 1999: in linear RGB, as protanopes and deuteranopes see them."""
    protan = np.array([[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]])
    deutan = np.array([[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]])
    for shades in (paper.COLOURS, phase_diagram.SHADES):
        colours = np.array([[int(one[i : i + 2], 16) / 255 for i in (1, 3, 5)] for one in shades])
        linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
        for matrix in (np.eye(3), protan, deutan):
            seen = np.clip(linear @ matrix.T, 0, 1) ** (1 / 2.2)
            apart = np.linalg.norm(seen[:, None] - seen[None], axis=-1)[~np.eye(len(shades), dtype=bool)]
            assert apart.min() > 0.1  # of the colour cube's side; the least is of blue and purple


# ---- the command


def run(capsys, *words: str) -> tuple[int, str]:
    status = call(portrait.main, *words)
    return status, capsys.readouterr().err


@pytest.fixture
def float32(_float64_by_default: None) -> None:
    """As the commands have it."""
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("float32")
def test_the_command_writes_picture_drawing_and_numbers_and_draws_them_again(tmp_path, capsys):
    out = tmp_path / "made" / "phase"
    methods = 'methods={plain: "dynamics=simultaneous", R1: "regularizer=[r1] regularizer.r1.gamma=0.4"}'
    assert run(capsys, methods, "num_steps=20", f"out={out}") == (0, "")
    assert {path.name for path in out.parent.iterdir()} == {"phase.png", "phase.svg", "phase.json"}
    content = json.loads(out.with_suffix(".json").read_text())
    assert content["picture"] == "phase"
    assert [*content["methods"]] == ["plain", "R1"]
    assert content["methods"]["R1"][-2:] == ["regularizer=[r1]", "regularizer.r1.gamma=0.4"]
    assert content["provenance"]["command_line"][1:3] == [methods, "num_steps=20"]
    paths = {name: path for panel in content["numbers"]["panels"] for name, path in panel[-1].items()}
    game = dirac_gan(Minimax(), {"r1": partial(r1, gamma=0.4)})
    expected = trajectory(game, Simultaneous(SGD(0.2), SGD(0.2)), 20)
    assert_close(torch.tensor(paths["R1"]), expected, rtol=0, atol=1e-6, check_dtype=False)  # float32
    again = tmp_path / "again"
    assert run(capsys, f"redraw={out}.json", f"out={again}", "width=6.9") == (0, "")
    assert json.loads(again.with_suffix(".json").read_text()) == content
    with Image.open(f"{again}.png") as picture:
        assert picture.width == 2070
    status, errors = run(capsys, "picture=spectrum", f"redraw={out}.json", f"out={tmp_path / 'x'}")
    assert status == 2
    assert "redraw must be of picture=spectrum" in errors
    assert "Say picture=phase" in errors
    same = tmp_path / "same"
    assert run(capsys, f"redraw={out}.json", f"out={same}") == (0, "")
    for kind in ("png", "svg"):
        assert same.with_suffix(f".{kind}").read_bytes() == out.with_suffix(f".{kind}").read_bytes()


@pytest.mark.usefixtures("float32")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["experiment=bilinear"], "a phase portrait needs a game of two parameters; this one has 4"),
        (["picture=diagram"], "an axis must name a setting; picture.y.key is empty"),
        (["picture=trajectories"], "trajectories must be of runs; got none"),
        (
            ["picture=trajectories", "runs=[nowhere]"],
            "runs must be named by files, folders or globs that exist",
        ),
        (["width=1"], "width must lie between 2.5 and 20 inches; got 1"),
        (
            ["redraw=nowhere.json"],
            "redraw must be the .json that an earlier picture wrote; nowhere.json is not",
        ),
        (["methods=[alternating]"], "a method must be training words such as dynamics=alternating"),
        (['methods=["out=x"]'], "a method must be training words such as dynamics=alternating"),
        (["picture=nothing"], "Could not find 'picture/nothing'"),
    ],
)
def test_what_cannot_be_drawn_is_refused_with_one_message(words, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, errors = run(capsys, *words)
    assert (status, errors.startswith("saddle: ")) == (2, True)
    assert message in errors
    assert [*tmp_path.iterdir()] == []


@pytest.mark.usefixtures("float32")
def test_a_solve_that_does_not_converge_is_refused_with_its_residuals(tmp_path, capsys):
    # of a round, whose eigenvalues crowd at 1
    words = ["picture=spectrum_round", "data=ring8", "model=mlp", "picture.compute.at=null", "batch_size=16"]
    words += ["model.generator.hidden=[32]", "model.discriminator.hidden=[32]", "optimizer.generator.lr=0.01"]
    words += [
        "picture.compute.max_dense=10",
        "picture.compute.num_leading=6",
        "optimizer.discriminator.lr=0.01",
    ]
    words += ["picture.compute.max_restarts=1", f"out={tmp_path / 'out'}"]
    status, errors = run(capsys, *words)
    assert status == 2
    assert "residual" in errors
    assert [*tmp_path.iterdir()] == []


CHOICES = sorted(path.stem for path in (config_directory() / "picture").glob("*.yaml"))


@pytest.mark.usefixtures("float32")
@pytest.mark.slow
@pytest.mark.parametrize("choice", CHOICES)
def test_every_picture_can_be_drawn(choice, tmp_path, capsys):
    small = ["num_steps=10", "regularizer=[r1]", f"out={tmp_path / 'out'}"]
    cells_of = ["picture.x.num=3", "picture.y.num=3", "picture.y.key=regularizer.r1.gamma"]
    runs = [f"runs=[{record(tmp_path / 'run', num=20)}]"]
    words = cells_of * choice.startswith("diagram") + runs * (choice == "trajectories")
    assert run(capsys, f"picture={choice}", *small, *words)[0] == 0
    ElementTree.parse(tmp_path / "out.svg")


@pytest.mark.slow
@pytest.mark.usefixtures("float32")
def test_a_runs_checkpoints_are_its_clouds(tmp_path, capsys):
    from saddle.commands import train

    directory = tmp_path / "run"
    words = [
        "experiment=dirac",
        "regularizer=[r1]",
        "regularizer.r1.gamma=0.4",
        "num_steps=400",
        "logger=none",
    ]
    assert call(train.main, *words, "trainer=cpu", "checkpoint_every=200", f"hydra.run.dir={directory}") == 0
    out = tmp_path / "out"
    words = ["picture=spectrum", f"runs=[{directory}]", "picture.compute.checkpoints=[start,last]"]
    assert run(capsys, *words, f"out={out}")[0] == 0
    clouds = json.loads(out.with_suffix(".json").read_text())["numbers"]["clouds"]
    assert [*clouds] == ["step 0", "step 400"]
    expected = sorted((value.real, value.imag) for value in dirac.gradient_penalty_eigenvalues(0.4))
    # after 400 steps the players are some 1e-8 from the equilibrium
    assert_close(sorted(map(tuple, clouds["step 400"])), expected, rtol=0, atol=1e-4)
    status, errors = run(capsys, *words[:2], "picture.compute.checkpoints=[nope]", f"out={tmp_path / 'x'}")
    assert status == 2
    assert "a checkpoint must exist to be loaded" in errors


def test_a_method_is_what_training_would_compose():
    config = composed("experiment=dirac", "regularizer=[r1]")
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(config_directory()), version_base="1.3"):
        trained = hydra.compose("train", ["name=toy", "logger=none", "experiment=dirac", "regularizer=[r1]"])
    resolved = OmegaConf.to_container(trained, resolve=True)
    assert {key: OmegaConf.to_container(config, resolve=True)[key] for key in resolved} == resolved
    assert assemble(trained).game.penalties["r1"].keywords == {"gamma": 0.2}


def test_step_limits_of_the_dirac_gan_are_the_papers():
    assert_close(dirac.gradient_penalty_step_limit(0.3), 1.2)  # 4γ while it rotates
    assert_close(dirac.gradient_penalty_step_limit(1.25), 2.0)  # the eigenvalues are −1 and −¼
    assert_close(dirac.consensus_step_limit(2.0), 2.0)  # 2γ/(1 + γ²/4)
