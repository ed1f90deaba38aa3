"""What a comparison prints and draws: CSV, terminal, LaTeX, and the lines of its plots."""

import io
import math
import statistics
from dataclasses import replace

import pytest
from rich.console import Console

from comparisons import compared, rows
from saddle.records.record import Record
from saddle.reports import csv_files, tables
from saddle.reports.comparison import compare
from saddle.reports.geometry import curve_lines, pareto_dots, profile_lines
from saddle.reports.selection import find, read
from synthetic import record


def test_the_csv_holds_the_numbers_of_the_records(sweep):
    by_group = {}
    for path in sweep.iterdir():
        run = Record(path)
        config = run.config.read_text()
        key = ("minimax" in config, "0.001" in config)
        by_group.setdefault(key, []).append(run.read_summary())
    table = [row for row in rows(csv_files.group_rows(compared(sweep))) if row["metric"] == "fid"]
    assert len(table) == 4
    for row in table:
        summaries = by_group[row["loss"] == "minimax", row["optimizer.lr"] == "0.001"]
        for statistic in ("best", "last", "area"):
            values = [summary["metrics"]["fid"][statistic] for summary in summaries]
            assert float(row[f"{statistic}_mean"]) == pytest.approx(statistics.mean(values), rel=1e-14)
            assert (
                float(row[f"{statistic}_low"]) <= statistics.mean(values) <= float(row[f"{statistic}_high"])
            )
        assert float(row["mean_images_seen"]) == 6400
        assert float(row["mean_seconds"]) == pytest.approx(61.5)
        collapsed = row["loss"] == "minimax" and row["optimizer.lr"] == "0.001"
        assert float(row["collapse_rate"]) == collapsed
        assert row["median_collapse_step"] == ("200.0" if collapsed else "")


def test_a_table_does_not_depend_on_the_order_of_reading(sweep):
    paths = find([str(sweep)])
    texts = {
        csv_files.to_csv(make(compare(read(order))))
        for order in (paths, paths[::-1], paths[7:] + paths[:7])
        for make in (csv_files.group_rows,)
    }
    assert len(texts) == 1


def test_the_last_values_of_diagnostics_are_columns_of_runs_and_on_demand_means_of_groups(tmp_path):
    for seed, radii in enumerate([(0.5, 1.25), (0.5, 0.75), (0.5, math.inf), ()]):
        record(tmp_path / f"a{seed}", seed=seed, radius=radii)
    record(tmp_path / "a4", seed=4, radius=(9, 9), status="diverged")
    record(tmp_path / "b", loss="minimax")
    found = compared(tmp_path)
    name = "diag/spectral_radius"
    assert [row[name] for row in rows(csv_files.run_rows(found))] == ["1.25", "0.75", "", "", "9.0", ""]
    assert not any(column.startswith("diag/") for column in rows(csv_files.group_rows(found))[0])
    asked = replace(found, columns=(name,))
    told = [
        [row[f"{name}_{part}"] for part in ("mean", "low", "high", "count")]
        for row in rows(csv_files.group_rows(asked))
        if row["metric"] == "fid"
    ]
    assert told == [["1.0", "0.75", "1.25", "2"], ["", "", "", "0"]]  # finished, and finite
    assert r"diag/spectral\_radius" in tables.to_latex(asked)


def test_a_column_is_known_by_the_name_of_its_metric_too(tmp_path):
    record(tmp_path / "a", radius=(1.0,))
    found = compared(tmp_path)
    names = ("fid", "eval/fid", "best/fid", "seconds", "diag/spectral_radius")
    columns = ["last/fid", "last/fid", "best/fid", "seconds", "diag/spectral_radius"]
    assert [found.column(name) for name in names] == columns
    with pytest.raises(ValueError, match=r"must be columns: seed, .*, diag/spectral_radius.*; got diag/no"):
        found.column("diag/no")


def test_curves_are_means_at_each_step_and_the_front_leaves_out_what_is_beaten(sweep):
    (block,) = compared(sweep).blocks
    line = curve_lines(block, "fid")[0]
    assert list(line.x) == [0, 100, 200]
    assert list(line.y[:2]) == [9.0, 4.0]
    assert line.y[2] == block.estimates["fid", "last"][0].value
    points, front = pareto_dots(block)
    assert len(points) == 4
    assert "loss=minimax optimizer.lr=0.001" not in {points[index].label for index in front}


def test_a_profile_falls_from_the_worst_threshold_to_the_best_for_a_metric_better_high(tmp_path):
    for seed, recall in enumerate((0.2, 0.4, 0.6)):
        record(tmp_path / str(seed), seed=seed, recall=(0.1, 0.1, recall))
    (line,) = profile_lines(compared(tmp_path).blocks[0], "recall")
    assert list(line.x) == [0.6, 0.4, 0.2]
    assert list(line.y) == pytest.approx([1 / 3, 2 / 3, 1])


def test_the_terminal_shows_lists_and_brackets_as_they_are(tmp_path):
    for number, loss in enumerate(("[r1]", "[r1,r2]")):
        record(tmp_path / str(number), loss=loss)
    console = Console(file=io.StringIO(), width=150)
    for part in tables.to_terminal(compared(tmp_path)):
        console.print(part)
    text = console.file.getvalue()
    assert "[r1]" in text
    assert "[r1,r2]" in text


def test_latex_escapes_keys_and_marks_few_seeds(tmp_path):
    for number, loss in enumerate(("a_b", "c%d")):
        record(tmp_path / str(number), loss=loss)
    text = tables.to_latex(compared(tmp_path))
    assert r"a\_b & 1/1\textsuperscript{*} & $3$ & $0.5$ \\" in text
    assert r"c\%d" in text
    assert text.count(" & ") == 3 * 3
    assert "fewer than three seeds" in text
