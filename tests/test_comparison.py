"""Grouping, and that every run is accounted for: failed, diverged, half-written, double, unlike."""

import csv
import io
import json
import math
import shutil
import statistics
from dataclasses import replace

import pytest
from rich.console import Console

from saddle.records import Record
from saddle.reports import csv_files, tables
from saddle.reports.comparison import compare, unlike
from saddle.reports.geometry import curve_lines, pareto_dots, profile_lines
from saddle.reports.selection import find, read
from saddle.sweeps import index
from synthetic import grid, record


def compared(folder, **options):
    return compare(read(find([str(folder)])), **options)


def parsed(text):
    return [*csv.DictReader(io.StringIO(text))]


def rows(generator):
    return parsed(csv_files.to_csv(generator))


WALL_CLOCK = ("seconds", "mean_seconds")


def written(folder):
    """The three CSV files of a comparison, without wall-clock and without where the runs lie."""
    found = compared(folder)
    makers = {"groups": csv_files.group_rows, "pairs": csv_files.pair_rows, "runs": csv_files.run_rows}
    return {
        name: csv_files.to_csv(
            {key: cell for key, cell in row.items() if key not in ("run", *WALL_CLOCK)} for row in make(found)
        )
        for name, make in makers.items()
    }


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep")
    grid(folder)
    return folder


def test_groups_are_named_by_what_varies_and_hold_all_seeds(sweep):
    (block,) = compared(sweep).blocks
    assert [group.label for group in block.groups] == [
        "loss=hinge optimizer.lr=0.0001",
        "loss=hinge optimizer.lr=0.001",
        "loss=minimax optimizer.lr=0.0001",
        "loss=minimax optimizer.lr=0.001",
    ]
    assert [[run.seed for run in group.runs] for group in block.groups] == [[0, 1, 2, 3]] * 4


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


def test_failed_interrupted_and_half_written_runs_are_counted_and_give_no_value(tmp_path):
    for seed, status in enumerate(["finished", "finished", "failed", "interrupted", "running"]):
        record(tmp_path / str(seed), seed=seed, status=status, fid=(9, 5, 2 if status == "finished" else 99))
    killed = record(tmp_path / "5", seed=5)
    killed.summary.unlink()  # the last file that is made
    (block,) = compared(tmp_path).blocks
    (group,) = block.groups
    assert group.statuses == {"finished": 2, "failed": 1, "interrupted": 1, "running": 1, "half-written": 1}
    assert tables.seeds(group) == "2/6*"
    assert block.estimates["fid", "last"][0] == (2.0, 2.0, 2.0, 2)


def sweep_with_an_index(folder):
    """Two losses with three seeds: minimax has one job that failed without a record and one not begun."""
    fates = {("minimax", 1): ("refused", "lr must lie in [0, 1]"), ("minimax", 2): ("waiting", "")}
    fates |= {("wasserstein", 0): ("failed", "killed by SIGKILL, as when memory runs out")}
    rows = [",".join(index.COLUMNS)]
    for loss in ("hinge", "minimax", "wasserstein"):
        for seed in range(1 if loss == "wasserstein" else 3):
            name = f"loss-{loss}_seed-{seed}"
            status, message = fates.get((loss, seed), ("finished", ""))
            if status == "finished":
                record(folder / name, loss=loss, seed=seed)
            elif status != "waiting":
                (folder / name).mkdir(parents=True)
                (folder / name / "log.txt").touch()
            rows.append(f'{len(rows)},{status},,,{name},data=ring8 seed={seed} loss={loss},"{message}"')
    (folder / "index.csv").write_text("\n".join(rows) + "\n")


def test_jobs_of_a_sweep_without_a_record_are_counted_and_named(tmp_path):
    sweep_with_an_index(tmp_path)
    found = compared(tmp_path)
    notes = tables.notes(found)
    assert notes[:2] == [
        "7 runs in 2 groups: 4 finished, 1 refused, 1 not run, 1 failed. Varying: loss.",
        f"Without a record: {tmp_path}/loss-minimax_seed-1 (refused: lr must lie in [0, 1]), "
        f"{tmp_path}/loss-minimax_seed-2 (not run), "
        f"{tmp_path}/loss-wasserstein_seed-0 (failed: killed by SIGKILL, as when memory runs out).",
    ]
    assert not any(note.startswith("Missing") for note in notes)  # the seeds are accounted for
    hinge, minimax = found.blocks[0].groups
    assert (tables.seeds(hinge), tables.seeds(minimax)) == ("3/3", "1/3*")
    assert minimax.statuses == {"finished": 1, "refused": 1, "not run": 1}
    groups = {row["loss"]: row for row in rows(csv_files.group_rows(found)) if row["metric"] == "fid"}
    assert [groups["minimax"][name] for name in ("runs", "without_record", "ended")] == ["1", "2", "1"]
    told = [(row["group"], row["status"], row["seed"]) for row in rows(csv_files.run_rows(found))]
    assert told[4:] == [
        ("loss=minimax", "refused", "1"),
        ("loss=minimax", "not run", "2"),
        ("", "failed", "0"),
    ]


def test_of_runs_that_are_chosen_one_by_one_their_sweep_is_still_asked_for_what_is_missing(tmp_path):
    sweep_with_an_index(tmp_path)
    found = compared(tmp_path / "loss-minimax_seed-0")
    assert len(found.runs) == 1
    assert [job.status for job in found.unrecorded] == ["refused", "not run", "failed"]
    assert [job.status for job in found.ungrouped] == ["failed"]


def test_a_record_that_was_taken_out_of_a_sweep_is_missed(tmp_path):
    sweep_with_an_index(tmp_path)
    shutil.rmtree(tmp_path / "loss-hinge_seed-2")
    (job,) = [job for job in compared(tmp_path).unrecorded if job.status == "lost"]
    assert job.name == str(tmp_path / "loss-hinge_seed-2")


def test_a_sweep_without_any_record_is_refused_with_how_its_jobs_stand(tmp_path):
    sweep_with_an_index(tmp_path)
    for path in tmp_path.glob("loss-*"):
        shutil.rmtree(path)
    with pytest.raises(ValueError, match="whose jobs are 4 lost, 1 refused, 1 not run, 1 failed"):
        find([str(tmp_path)])


@pytest.mark.parametrize("text", ["", "number,status\n0,waiting\n", "\x00", "\xff"])
def test_an_index_of_another_kind_is_none(tmp_path, text):
    record(tmp_path / "a")
    (tmp_path / "index.csv").write_text(text, "latin-1")
    assert compared(tmp_path).unrecorded == ()


def test_runs_that_did_not_end_are_named_with_the_reason(tmp_path):
    record(tmp_path / "a")
    record(tmp_path / "b", seed=1, status="failed", message="RuntimeError: out of\nnumbers")
    (note,) = [note for note in tables.notes(compared(tmp_path)) if note.startswith("Not ended")]
    assert note == f"Not ended: {tmp_path / 'b'} (failed: RuntimeError: out of numbers)."


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


def test_of_two_runs_with_one_identity_the_finished_one_counts_and_both_are_named(tmp_path):
    record(tmp_path / "a", seed=0, status="failed")
    record(tmp_path / "b", seed=0, fid=(9, 5, 1))
    record(tmp_path / "c", seed=0, fid=(9, 5, 2))
    found = compared(tmp_path)
    assert [run.name for run in found.blocks[0].groups[0].runs] == [str(tmp_path / "b")]
    (note,) = [note for note in tables.notes(found) if "is left out" in note and "/a " in note]
    assert note == f"Same configuration and seed: {tmp_path / 'a'} is left out, {tmp_path / 'b'} counted."
    assert len(found.duplicates) == 2


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


def test_a_run_killed_before_its_first_evaluation_stays_with_its_group(tmp_path):
    record(tmp_path / "a", seed=0)
    record(tmp_path / "b", seed=1, fid=(), recall=(), protocol={}, status="running")
    record(tmp_path / "c", loss="minimax", fid=(), recall=(), protocol={}, status="failed")
    (block,) = compared(tmp_path).blocks
    assert [tables.seeds(group) for group in block.groups] == ["1/2*", "0/1*"]


def test_a_record_of_another_format_is_refused_by_name_and_the_rest_is_compared(tmp_path):
    record(tmp_path / "old")
    record(tmp_path / "new")
    summary = Record(tmp_path / "old").summary
    summary.write_text(json.dumps(json.loads(summary.read_text()) | {"format": 0}))
    found = compared(tmp_path)
    assert found.num_runs == 1
    (note,) = [note for note in tables.notes(found) if note.startswith("Not read")]
    assert f"{tmp_path / 'old'}: " in note
    assert "must have format 1; got 0" in note
    shutil.rmtree(tmp_path / "new")
    with pytest.raises(ValueError, match="must have runs that can be read; got 1 that cannot"):
        compared(tmp_path)


def test_a_record_without_choices_or_command_line_is_read(tmp_path):
    record(tmp_path / "a", provenance={})
    record(tmp_path / "b", loss="minimax", provenance={})
    (block,) = compared(tmp_path).blocks
    assert [group.label for group in block.groups] == [
        "loss._target_=losses.hinge",
        "loss._target_=losses.minimax",
    ]


def test_a_line_edited_by_hand_is_named_with_its_number(tmp_path):
    record(tmp_path / "a")
    with open(record(tmp_path / "b", seed=1).metrics, "a") as file:
        file.write("200,eval/fid,three\n")
    (reason,) = compared(tmp_path).unreadable.values()
    assert "line 8 is b'200,eval/fid,three" in reason


def test_places_are_folders_files_and_globs_and_each_run_counts_once(sweep, monkeypatch):
    monkeypatch.chdir(sweep.parent)
    name = sweep.name
    assert len(find([name])) == 16
    assert [path.name for path in find([f"{name}/1*"])] == ["1", "10", "11", "12", "13", "14", "15"]
    assert [path.name for path in find([f"{name}/3/summary.json", f"{name}/3", f"{name}/[2-3]"])] == [
        "3",
        "2",
    ]
    assert [path.name for path in find([name])][:3] == ["0", "1", "2"]


def test_nothing_to_compare_is_said(tmp_path):
    with pytest.raises(ValueError, match="found none under"):
        find([str(tmp_path)])
    with pytest.raises(ValueError, match=r"that exist; got nowhere/\*"):
        find(["nowhere/*"])


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
