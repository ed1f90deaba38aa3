"""Drawings fit for paper: legible, well-formed, as wide as asked, and told apart by the colour-blind."""

from io import BytesIO
from typing import Any
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from PIL import Image
from torch.testing import assert_close

from saddle.reports import paper, phase_diagram, phase_portrait, spectrum_picture, trajectories

WIDTHS = (paper.NARROWEST, 3.35, 6.9)
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
