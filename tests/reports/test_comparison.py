"""Runs in groups and groups in blocks: what varies, what is alike, and who is compared with whom."""

import math

import pytest

from comparisons import compared, rows
from pages import Page
from saddle.records.record import Record
from saddle.reports import csv_files, tables
from saddle.reports.comparison import compare, unlike
from saddle.reports.comparison_page import comparison_page
from saddle.reports.geometry import profile_axis, profile_lines
from saddle.reports.page import page as page_of
from saddle.reports.selection import find, read
from synthetic import record


def test_groups_are_named_by_what_varies_and_hold_all_seeds(sweep):
    (block,) = compared(sweep).blocks
    assert [group.label for group in block.groups] == [
        "loss=hinge optimizer.lr=0.0001",
        "loss=hinge optimizer.lr=0.001",
        "loss=minimax optimizer.lr=0.0001",
        "loss=minimax optimizer.lr=0.001",
    ]
    assert [[run.seed for run in group.runs] for group in block.groups] == [[0, 1, 2, 3]] * 4


def test_a_diverged_run_is_the_worst_in_ranks_and_out_of_the_mean(tmp_path):
    for seed in range(4):
        record(tmp_path / f"a{seed}", seed=seed, fid=(9, 5, 3), status="finished" if seed else "diverged")
        record(tmp_path / f"b{seed}", seed=seed, fid=(9, 5, 4), loss="minimax")
    (block,) = compared(tmp_path).blocks
    assert block.values(0, "fid", "last") == [math.inf, 3, 3, 3]
    assert block.values(0, "fid", "best") == [3, 3, 3, 3]  # it had been there
    assert block.values(0, "recall", "last")[0] == -math.inf
    assert block.estimates["fid", "last"][0].num_runs == 3
    assert block.interquartile_mean(0, "fid") == 3.0
    (pair,) = block.comparisons["fid"]
    assert (pair.found.probability, pair.found.paired) == (0.75, True)
    assert list(profile_lines(block, "fid")[0].y) == [0.75, 0.75]


def test_runs_pair_by_seed_only_where_all_seeds_do(tmp_path):
    for seed in range(3):
        record(tmp_path / f"a{seed}", seed=seed)
        record(tmp_path / f"b{seed}", seed=seed + 1, loss="minimax")
    found = compared(tmp_path)
    (block,) = found.blocks
    assert not block.comparisons["fid"][0].found.paired
    assert [group.missing_seeds for group in block.groups] == [(3,), (0,)]
    assert "Missing: loss=hinge lacks seed 3, which others have." in tables.notes(found)


def test_unlike_protocols_are_never_in_one_block(tmp_path):
    record(tmp_path / "a", protocol={"num_generated": 2000})
    record(tmp_path / "b", loss="minimax", protocol={"num_generated": 5000})
    record(tmp_path / "c", loss="minimax", seed=1, protocol={"num_generated": 5000})
    found = compared(tmp_path)
    assert [len(block.groups) for block in found.blocks] == [1, 1]
    assert [len(block.groups[0].runs) for block in found.blocks] == [2, 1]
    assert found.blocks[0].common == {"loss": "minimax"}
    assert not any(block.comparisons["fid"] for block in found.blocks)
    assert "kept apart" in tables.notes(found)[-1]


def test_unlike_settings_of_one_metric_are_never_in_one_block_and_one_metric_more_may_be(tmp_path):
    few, more = {"fid": "fid()"}, {"fid": "fid()", "prdc": "prdc(k=3)"}
    for name, settings in {"a": few, "b": more, "c": {"fid": "fid()", "prdc": "prdc(k=5)"}}.items():
        protocol = {"fingerprint": "0123456789", "metrics": settings}
        record(tmp_path / name, loss=name, protocol=protocol)
    (together,) = compare(read(find([str(tmp_path / "a"), str(tmp_path / "b")]))).blocks
    assert (len(together.groups), together.fingerprint) == (2, "0123456789")
    apart = compared(tmp_path)
    assert len(apart.blocks) == 3
    assert sorted(unlike(apart.blocks)["metrics.prdc"]) == ["prdc(k=3)", "prdc(k=5)", "–"]


def test_unlike_protocols_stand_in_one_block_only_when_asked_for_and_then_it_is_said(tmp_path):
    record(tmp_path / "a", protocol={"fingerprint": "x", "fake": {"num": 2000}})
    record(tmp_path / "b", loss="minimax", protocol={"fingerprint": "y", "fake": {"num": 5000}})
    assert len(compared(tmp_path).blocks) == 2
    found = compare(read(find([str(tmp_path)])), across_protocols=True)
    (block,) = found.blocks
    assert (len(block.groups), block.fingerprint) == (2, "x+y")
    said = tables.notes(found)[-1]
    assert "of 2 protocols and do not compare" in said
    assert "2000" in said
    assert compare(read(find([str(tmp_path / "a")])), across_protocols=True).across == ""


def test_a_fingerprint_in_the_record_decides_what_is_alike(tmp_path):
    record(tmp_path / "a", protocol={"fingerprint": "x", "num_generated": 1})
    record(tmp_path / "b", loss="minimax", protocol={"fingerprint": "x", "num_generated": 2})
    assert len(compared(tmp_path).blocks) == 1


def test_an_unknown_metric_and_a_baseline_of_several_groups_are_refused(sweep):
    with pytest.raises(ValueError, match=r"one that the runs measured: fid, recall; got fld"):
        compared(sweep, metrics=["fld"])
    with pytest.raises(ValueError, match="words that one group alone has; got loss=hinge"):
        compared(sweep, baseline="loss=hinge")


def test_with_a_baseline_each_group_is_compared_with_it(sweep):
    (block,) = compared(sweep, baseline="loss=minimax optimizer.lr=0.001").blocks
    assert [(pair.first, pair.second) for pair in block.comparisons["fid"]] == [(0, 3), (1, 3), (2, 3)]
    assert [pair.found.probability for pair in block.comparisons["fid"]] == [1.0, 1.0, 1.0]
    # 4 pairs won of 4 has p = 2/16; three such
    assert [pair.corrected_p for pair in block.comparisons["fid"]] == [0.375] * 3


def test_a_metric_that_is_best_in_between_is_ranked_by_its_distance_and_shown_with_its_ideal(tmp_path):
    """Accuracies 0.625 and 0.25 of two losses: 0.125 and 0.25 away from one half."""
    for seed in range(3):
        record(tmp_path / f"a{seed}", seed=seed, one_nn=(1.0, 0.75, 0.625))
        record(tmp_path / f"b{seed}", seed=seed, one_nn=(1.0, 0.75, 0.25), loss="minimax")
    found = compared(tmp_path)
    (block,) = found.blocks
    assert block.metrics == ("fid", "recall", "one_nn")  # without a role: after quality and diversity
    assert block.order("one_nn") == [0, 1]
    assert [pair.found.probability for pair in block.comparisons["one_nn"]] == [1.0]
    drawn = {line.label: line for line in profile_lines(block, "one_nn")}
    assert drawn["loss=hinge"].x == [0.125, 0.25]
    assert drawn["loss=hinge"].y == [1.0, 1.0]
    assert drawn["loss=minimax"].y == [0.0, 1.0]
    assert profile_axis(block, "one_nn", "one_nn") == "|one_nn − 0.5|, last"
    assert profile_axis(block, "fid", "fid ↓") == "fid ↓, last"
    assert r"one\_nn $\rightarrow 0.5$" in tables.to_latex(found)
    page = comparison_page(found)
    assert "one_nn →0.5" in page
    assert "(nearer to 0.5 is better)" in page
    told = {row["metric"]: row["higher_is_better"] for row in rows(csv_files.group_rows(found))}
    assert told == {"fid": "False", "recall": "True", "one_nn": ""}
    page = Page(page_of(Record(tmp_path / "a0")))
    assert "one_nn →0.5" in page.text
    assert "nearer to 0.5 is better" in [span.get("title") for span in page.named("span")]
