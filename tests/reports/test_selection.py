"""Every run is accounted for: finished, failed, half-written, double, unreadable, never begun."""

import json
import shutil

import pytest

from comparisons import compared, rows
from saddle.records.record import Record
from saddle.reports import csv_files, tables
from saddle.reports.selection import find
from synthetic import record, sweep_with_an_index


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


def test_of_two_runs_with_one_identity_the_finished_one_counts_and_both_are_named(tmp_path):
    record(tmp_path / "a", seed=0, status="failed")
    record(tmp_path / "b", seed=0, fid=(9, 5, 1))
    record(tmp_path / "c", seed=0, fid=(9, 5, 2))
    found = compared(tmp_path)
    assert [run.name for run in found.blocks[0].groups[0].runs] == [str(tmp_path / "b")]
    (note,) = [note for note in tables.notes(found) if "is left out" in note and "/a " in note]
    assert note == f"Same configuration and seed: {tmp_path / 'a'} is left out, {tmp_path / 'b'} counted."
    assert len(found.duplicates) == 2


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


def test_a_link_that_leads_into_a_loop_counts_no_run_twice(tmp_path):
    for seed in (0, 1):
        record(tmp_path / str(seed), seed=seed)
    (tmp_path / "self").symlink_to(tmp_path)
    (tmp_path / "again").symlink_to(tmp_path / "0")
    assert find([str(tmp_path)]) == [tmp_path / "0", tmp_path / "1"]
    assert len(find([str(tmp_path), str(tmp_path / "self" / "1")])) == 2
