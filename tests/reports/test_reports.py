"""Pictures pixel by pixel, curves by coordinates; the page needs nothing else and escapes everything."""

import base64
import io
import math
import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from meanings import MEANINGS
from pages import Page, pixels
from saddle.data.files import atomic_write
from saddle.records.record import create
from saddle.reports.curves import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, curve, number, ticks
from saddle.reports.page import FRAME_WIDE, MAX_FRAMES, flat, page, write_report
from saddle.reports.pictures import MARGIN, MARGIN_LEVEL, image_grid, points_picture


def noise(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


def default_run(directory, num_steps=2000):
    """Logged and evaluated as often as a default run; noise compresses worse than any real picture."""
    record = create(directory, "seed: 0\n", {"versions": {"torch": "2.0"}, "git": {"commit": None}})
    atomic_write(record.real_sample, image_grid(noise(64, 1, 28, 28)))
    for step in range(20, num_steps + 1, 20):
        diagnostics = {f"diag/d{i}": math.sin(step * i) for i in range(12)}
        record.append(step, {"loss/generator": 1 / step, **diagnostics})
        if step % 200 == 0:
            record.append(step, {"eval/fid": 66.7 if step == 400 else 330.9, "eval/recall": 0.5})
            record.append(step, {"eval/kl": 0.1, "eval/kl_floor": 0.0192})
            atomic_write(record.sample(step), image_grid(noise(64, 1, 28, 28)))
    record.append(num_steps, {"eval_raw/fid": 401.25})
    record.write_summary(
        status="finished",
        step=num_steps,
        num_steps=num_steps,
        images_seen=64 * num_steps,
        exit_status=0,
        meanings=MEANINGS,
        time={"total": 10.0, "train": 6.0, "evaluate": 3.0},
        protocol={"num_samples": 2000, "features": {"name": "digits"}},
        best_checkpoints={"fid": {"step": 400, "file": "checkpoints/best-fid.ckpt"}},
    )
    return record


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    record = default_run(tmp_path_factory.mktemp("runs") / "full")
    return record, Page(write_report(record).read_text("utf-8"))


def test_a_grid_holds_each_image_in_its_place_enlarged_without_smoothing():
    images = noise(5, 1, 28, 28)
    grid = pixels(image_grid(images))
    side = 3 * 28 + MARGIN
    assert grid.shape == (2 * side + MARGIN, 3 * side + MARGIN)  # 5 images: 3 columns, 2 rows
    for index, image in enumerate(images):
        top, left = index // 3 * side + MARGIN, index % 3 * side + MARGIN
        cell = grid[top : top + 84, left : left + 84]
        levels = ((image[0].numpy() + 1) * 127.5).round()
        assert (cell == np.kron(levels, np.ones((3, 3)))).all()
    assert (grid[:MARGIN] == MARGIN_LEVEL).all()
    assert (grid[side + MARGIN :, 2 * side :] == MARGIN_LEVEL).all()  # the sixth cell is empty


def test_a_grid_of_colour_images_keeps_its_channels():
    images = torch.tensor([-1.0, 0.0, 1.0]).reshape(1, 3, 1, 1).expand(2, 3, 128, 128)
    grid = pixels(image_grid(images, num_columns=1))
    assert grid.shape == (2 * 130 + MARGIN, 130 + MARGIN, 3)  # large images are not enlarged
    assert grid[50, 50].tolist() == [0, 128, 255]


def test_a_grid_is_the_same_bytes_for_the_same_images():
    assert image_grid(noise(3, 3, 8, 8)) == image_grid(noise(3, 3, 8, 8))


@pytest.mark.parametrize("shape", [(4, 2), (0, 1, 8, 8), (2, 4, 8, 8), (1, 8, 8)])
def test_a_grid_of_what_is_no_image_is_refused(shape):
    with pytest.raises(ValueError, match=r"shape \(N, C, H, W\) with N > 0 and C 1 or 3"):
        image_grid(torch.zeros(shape))


def test_points_pictures_of_one_run_share_one_view():
    real = noise(200, 2)
    near, far = (pixels(points_picture(real, points)) for points in (noise(50, 2), 100 * noise(50, 2)))
    assert near.shape == far.shape
    # the axes' labels lie left of and below the data; they depend on the real points alone
    assert (near[:, :30] == far[:, :30]).all()
    assert (near[-20:] == far[-20:]).all()


def test_a_points_picture_shows_generated_points_in_their_colour():
    blue = np.array([0x00, 0x72, 0xB2])
    real = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    with_points = pixels(points_picture(real, torch.full((400, 2), 0.5)))[..., :3]
    without = pixels(points_picture(real))[..., :3]
    assert (np.abs(with_points.astype(int) - blue) < 8).all(-1).any()
    assert not (np.abs(without.astype(int) - blue) < 8).all(-1).any()


def test_points_that_are_one_point_or_not_finite_can_be_drawn():
    picture = points_picture(torch.zeros(3, 2), torch.tensor([[math.nan, 0.0], [math.inf, 1.0]]))
    assert pixels(picture).shape[2] in (3, 4)


@pytest.mark.parametrize("shape", [(5, 3), (0, 2), (5,)])
def test_points_outside_the_plane_are_refused(shape):
    with pytest.raises(ValueError, match=r"generated points must have shape \(N, 2\)"):
        points_picture(torch.zeros(5, 2), torch.zeros(shape))


def test_a_curve_runs_from_corner_to_corner_of_its_frame():
    svg = curve("eval/fid", {0: 1.0, 50: 3.0, 100: 2.0}, 100)
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    middle = (LEFT + right) / 2
    expected = f"M{LEFT:.1f} {bottom:.1f}L{middle:.1f} {TOP:.1f}L{right:.1f} {(TOP + bottom) / 2:.1f}"
    assert f'<path class="curve" d="{expected}"/>' in svg


def test_a_value_that_is_not_finite_breaks_the_curve_and_is_marked():
    svg = curve("loss/generator", {0: 1.0, 1: 2.0, 2: math.nan, 3: 1.5, 4: 2.0}, 4)
    path = re.search(r'class="curve" d="([^"]*)"', svg)[1]
    assert [letter for letter in path if letter.isalpha()] == ["M", "L", "M", "L"]
    assert svg.count('class="broken"') == 1


def test_a_curve_over_many_magnitudes_is_logarithmic_and_says_so():
    """0.01, 0.1, 1: the middle one lies half-way up."""
    svg = curve("eval/kl", {0: 0.01, 1: 0.1, 2: 1.0}, 2, floor=0.0)
    assert ">log</text>" in svg
    assert 'class="floor"' not in svg  # zero has no place on this axis
    assert f" {(TOP + HEIGHT - BOTTOM) / 2:.1f}L" in svg
    assert ">log</text>" not in curve("eval/fid", {0: -1.0, 1: 100.0}, 1)


def test_a_long_curve_keeps_its_peaks_and_stays_small():
    values = {step: math.sin(step / 1000) for step in range(100_000)} | {54_321: 9.0, 60_000: math.nan}
    svg = curve("diag/x", values, 100_000)
    assert len(svg) < 12_000
    assert f" {TOP:.1f}L" in svg  # the peak touches the top
    assert svg.count('class="broken"') == 1


def test_a_curve_without_a_finite_value_is_still_drawn():
    assert curve("loss/generator", {3: math.nan}, 3).count('class="broken"') == 1
    assert "no values" in curve("loss/generator", {}, 0)


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.booleans())
def test_ticks_are_few_and_lie_within_the_axis(low, span, logarithmic):
    if logarithmic:
        low = abs(low) + 1e-9
    high = low * 60 + span if logarithmic else low + span
    if high <= low:  # the span vanished in rounding
        return
    found = ticks(low, high, logarithmic)
    slack = 1e-9 * max(abs(low), abs(high))  # a tick is a multiple of its step, rounded
    assert 2 <= len(found) <= 6
    assert all(low - slack <= tick <= high + slack for tick in found)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "\u2013"),
        (math.nan, "NaN"),
        (-math.inf, "\u2212∞"),
        (128000.0, "128\u202f000"),
        (-3, "\u22123"),
        (0.0191999, "0.0192"),
        (1e-7, "1e\u221207"),
    ],
)
def test_numbers_are_short_and_name_what_is_missing(value, text):
    assert number(value) == text


def test_flat_gives_dotted_paths():
    tree = {"a": {"b": None, "c": [1, "x"]}, "d": True, "e": 0.5, "f": []}
    assert flat(tree) == {"a.b": "\u2013", "a.c": "1 x", "d": "True", "e": "0.5", "f": "\u2013"}


def test_the_page_refers_to_nothing_outside_itself(full):
    _, html = full
    for tag, attrs in html.tags:
        assert tag not in {"link", "iframe", "object", "embed"}
        for name in ("src", "href", "srcset", "data", "action", "poster", "xlink:href"):
            assert attrs.get(name, "#").startswith(("data:", "#"))
    assert not re.search(r"url\(|@import|https?:", "".join(html.texts))


def test_the_page_of_a_default_run_stays_below_a_megabyte(full):
    record, _ = full
    assert 100_000 < record.report.stat().st_size < 1_000_000


def test_the_page_states_verdict_numbers_and_protocol(full):
    _, html = full
    assert "collapsed fid ended at 330.9, 4.96 times its best of 66.7 at step 400" in html.text
    cells = re.search(r"fid ↓ ?(.*?) ?kl ↓|fid ↓ ?(.*?) ?recall ↑", html.text)[0]
    for value in ("330.9", "66.7", "400", "4.96", "401.2"):
        assert value in cells
    assert "0.0192" in html.text
    assert "features.name digits" in re.sub(r"(features\.name)(digits)", r"\1 \2", html.text)
    assert "checkpoints/best-fid.ckpt" in html.text
    assert "30.0 %" in html.text  # evaluation's share of the time
    assert "10.0 %" in html.text  # what the named parts leave: other


def test_a_floor_is_drawn_within_its_metric_and_has_no_panel(full):
    _, html = full
    labels = [attrs["aria-label"] for attrs in html.named("svg")]
    assert [label.split(" against")[0] for label in labels if label.startswith("eval/")] == [
        "eval/fid",
        "eval/recall",
        "eval/kl",
    ]
    # the line is what held-out real data scores, where the run knows it
    assert sum(attrs.get("class") == "floor" for attrs in html.named("line")) == 0


def test_every_picture_has_words_for_those_who_do_not_see_it(full):
    _, html = full
    assert all(attrs.get("alt") for attrs in html.named("img"))
    assert all(attrs.get("role") == "img" and attrs.get("aria-label") for attrs in html.named("svg"))
    assert html.named("html") == [{"lang": "en"}]


def test_the_large_picture_is_the_latest_and_thumbnails_are_small(full):
    _, html = full
    images = html.named("img")
    assert images[0]["alt"] == "Generated samples at generator step 2000"
    assert images[1]["alt"] == "Real samples, for comparison"
    assert len(images) == 2 + 10
    thumbnail = Image.open(io.BytesIO(base64.b64decode(images[2]["src"].split(",")[1])))
    assert thumbnail.width == FRAME_WIDE


def test_of_many_pictures_a_spread_with_first_and_last_is_shown(tmp_path):
    record = create(tmp_path / "run", "", {})
    for step in range(0, 5000, 50):
        atomic_write(record.sample(step), image_grid(noise(1, 1, 8, 8)))
    shown = [int(attrs["data-step"]) for attrs in Page(page(record)).named("button")]
    assert len(shown) == MAX_FRAMES
    assert (shown[0], shown[-1]) == (0, 4950)


def test_everything_from_the_record_is_escaped(tmp_path):
    evil = "<script>alert(1)</script>\"'&"
    record = create(tmp_path / "<b>run & co", evil, {"command_line": [evil], evil: evil})
    record.append(1, {"loss/generator": 1.0})
    record.write_summary(
        status="failed",
        step=1,
        num_steps=2,
        images_seen=3,
        message=evil,
        time={evil: 1.0},
        protocol={evil: {evil: evil}},
        best_checkpoints={evil: evil},
    )
    text = page(record)
    assert text.count("<script") == 1  # the page's own
    assert "<b>run" not in text
    assert Page(text).text.count("alert(1)") >= 8


@pytest.mark.parametrize("status", ["running", "interrupted", "diverged", "failed"])
def test_a_run_without_evaluations_or_samples_has_a_page_that_says_so(tmp_path, status):
    record = create(tmp_path / "run", "a: 1\n", {})
    record.append(1, {"loss/generator": math.nan, "penalty/r1": math.inf, "own": 1.0})
    record.write_summary(status=status, step=1, num_steps=9, images_seen=1, exit_status=3, message="stopped")
    html = Page(page(record))
    for sentence in (
        "No evaluation took place.",
        "No sample pictures were written.",
        "No times were recorded yet.",
    ):
        assert sentence in html.text
    assert status in html.text.lower()


def test_a_run_killed_before_its_first_step_has_a_page(tmp_path):
    assert "Nothing was logged yet." in Page(page(create(tmp_path / "run", "a: 1\n", {}))).text


def test_a_run_with_broken_evaluations_and_pictures_has_a_page(tmp_path):
    record = create(tmp_path / "run", "a: 1\n", {})
    for step in (1, 2, 3):
        record.append(step, {"eval/fid": math.nan, "eval/kid": -0.001})
        record.sample(step).write_bytes(b"no picture")
    record.write_summary(status="finished", step=3, num_steps=3, images_seen=3)
    assert "No sample pictures were written." in Page(page(record)).text
