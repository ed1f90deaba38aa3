"""The run directory: what is written reads back bit by bit, and a kill at any byte costs one row at most."""

import json
import math
import os
import signal
import string
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meanings import MEANINGS
from saddle.metrics.values import Value
from saddle.records.provenance import provenance
from saddle.records.record import (
    HEADER,
    Row,
    add_times,
    atomic_write,
    create,
    open_record,
    series,
    strict,
    summarize,
)

NAMES = st.text(string.ascii_letters + string.digits + "_.@/+-", min_size=1, max_size=12).filter(
    lambda name: not name.startswith("time/")
)
VALUES = st.dictionaries(NAMES, st.floats(), max_size=4)
# The directory is made anew in each example; only its parent outlives one.
REUSED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)


@pytest.fixture
def record(tmp_path):
    return create(tmp_path / "run", "seed: 0\n", {"command_line": ["saddle-train"]})


def bits(value: float) -> bytes:
    """What identifies a float: NaN equals NaN, -0.0 is not 0.0. (Python reads every NaN as one NaN.)"""
    return b"nan" if math.isnan(value) else struct.pack("<d", value)


def finish(record, **changes):
    given = {"status": "finished", "step": 3, "num_steps": 3, "images_seen": 24, **changes}
    return record.write_summary(**given)


def fresh(parent: Path):
    return create(Path(parent) / str(len(list(Path(parent).iterdir()))), "a: 1\n", {})


@REUSED
@given(chunks=st.lists(VALUES, max_size=6))
def test_appended_rows_read_back_bit_by_bit_and_in_order(tmp_path, chunks):
    record = fresh(tmp_path)
    for step, values in enumerate(chunks):
        record.append(step, values)
    written = [
        (step, name, bits(value)) for step, values in enumerate(chunks) for name, value in values.items()
    ]
    assert [(step, name, bits(value)) for step, name, value in record.rows()] == written


@REUSED
@given(chunks=st.lists(VALUES, max_size=6), killed_at=st.integers(0, 5), resumed_from=st.integers(0, 5))
def test_a_resumed_run_ends_with_the_bytes_of_an_uninterrupted_one(tmp_path, chunks, killed_at, resumed_from):
    whole, resumed = fresh(tmp_path), fresh(tmp_path)
    for step, values in enumerate(chunks):
        whole.append(step, values)
        if step <= max(killed_at, resumed_from):
            resumed.append(step, values)
    resumed.truncate(resumed_from)
    for step, values in enumerate(chunks):
        if step > resumed_from:
            resumed.append(step, values)
    assert resumed.metrics.read_bytes() == whole.metrics.read_bytes()


def test_a_kill_at_any_byte_of_the_last_row_leaves_the_earlier_rows_whole(record):
    record.append(1, {"eval/fid": 12.5})
    kept = record.metrics.read_bytes()
    record.append(2, {"eval/fid": 11.0625})
    full = record.metrics.read_bytes()
    for size in range(len(kept), len(full)):
        record.metrics.write_bytes(full[:size])
        assert open_record(record.directory).rows() == [Row(1, "eval/fid", 12.5)]
        record.truncate(2)
        assert record.metrics.read_bytes() == kept
        record.append(2, {"eval/fid": 11.0625})
        assert record.metrics.read_bytes() == full


def test_what_was_appended_survives_a_kill_of_the_process(record):
    program = (
        "import os, signal; from pathlib import Path; from saddle.records.record import open_record\n"
        f"open_record(Path({str(record.directory)!r})).append(7, {{'loss/generator': 0.1}})\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", program], env=os.environ, check=False)
    assert done.returncode == -signal.SIGKILL
    assert record.rows() == [Row(7, "loss/generator", 0.1)]


def test_truncate_forgets_later_pictures_and_keeps_the_real_one(record):
    for path in (record.sample(100), record.sample(200), record.real_sample):
        path.write_bytes(b"")
    record.truncate(100)
    assert list(record.read_samples()) == [100]
    assert record.real_sample.exists()
    assert record.sample(100).name == "step-000100.png"


def test_pictures_are_ordered_by_step_also_beyond_six_digits(record):
    for step in (2_000_000, 300, 999_999):
        record.sample(step).write_bytes(b"")
    assert list(record.read_samples()) == [300, 999_999, 2_000_000]


@pytest.mark.parametrize("name", ["a,b", 'say "x"', "two words", "line\nbreak", "", "time/train", "größe"])
def test_a_name_that_is_not_plain_is_refused(record, name):
    with pytest.raises(ValueError, match=r"a row's name must be letters.*Rename it"):
        record.append(1, {name: 0.0})
    assert record.rows() == []


@pytest.mark.parametrize("step", [-1, 1.0, "1"])
def test_a_step_that_is_no_count_is_refused(record, step):
    with pytest.raises(ValueError, match="whole number of generator steps"):
        record.append(step, {"loss/generator": 0.0})


@pytest.mark.parametrize(
    "line", [b"1,loss\n", b"one,loss,1.0\n", b"1,loss,1.0,2\n", b"\n", b"3,eval/fi3,loss,x\n"]
)
def test_a_whole_line_that_is_no_row_is_named_by_its_number(record, line):
    record.append(1, {"loss/generator": 0.0})
    record.metrics.write_bytes(record.metrics.read_bytes() + line)
    with pytest.raises(ValueError, match=r"must be step,name,value; line 3 is"):
        record.rows()


def test_a_directory_that_holds_a_run_takes_no_second_one(record):
    before = record.config.read_bytes()
    with pytest.raises(ValueError, match=r"already holds config\.yaml.*Resume that run"):
        create(record.directory, "other: 1\n", {})
    assert record.config.read_bytes() == before


def test_a_directory_with_other_things_takes_a_run(tmp_path):
    (tmp_path / ".hydra").mkdir()
    (tmp_path / "train.log").write_text("")
    record = create(tmp_path, "a: 1\n", {})
    assert record.config.read_text() == "a: 1\n"
    assert open_record(tmp_path).read_summary()["status"] == "running"


def test_a_missing_directory_is_refused(tmp_path):
    with pytest.raises(ValueError, match="is not a directory"):
        open_record(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["config.yaml", "provenance.json", "metrics.csv", "summary.json"])
def test_half_a_run_is_refused_with_what_it_lacks(record, name):
    (record.directory / name).unlink()
    with pytest.raises(ValueError, match=rf"must hold config\.yaml.*lacks {name}"):
        open_record(record.directory)


def test_foreign_files_are_refused(record):
    good = record.metrics.read_bytes()
    record.metrics.write_bytes(b"epoch,loss\n1,2\n")
    with pytest.raises(ValueError, match="must begin with"):
        open_record(record.directory)
    record.metrics.write_bytes(good)
    record.summary.write_text("[1]")
    with pytest.raises(ValueError, match="must hold a JSON object; got list"):
        open_record(record.directory)
    record.summary.write_text('{"fid": ')
    with pytest.raises(ValueError, match="must be JSON"):
        open_record(record.directory)
    record.summary.write_text('{"format": 2}')
    with pytest.raises(ValueError, match="must have format 1; got 2"):
        open_record(record.directory)


def test_an_atomic_write_replaces_all_or_nothing(tmp_path):
    path = tmp_path / "last.ckpt"
    atomic_write(path, "first")

    def fails_halfway(file):
        file.write(b"sec")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        atomic_write(path, fails_halfway)
    assert path.read_text() == "first"
    atomic_write(path, lambda file: file.write(b"second"))
    assert path.read_bytes() == b"second"
    assert [item.name for item in tmp_path.iterdir()] == ["last.ckpt"]


def test_summary_values_are_those_worked_by_hand():
    """FID 4, 1, 2 at steps 0, 10, 30: area ((4+1)/2·10 + (1+2)/2·20) / 30 = 55/30; last/best 2."""
    found = summarize(
        {
            "loss/generator": {0: 9.0},
            "eval/fid": {0: 4.0, 10: 1.0, 30: 2.0},
            "eval/recall": {0: 0.1, 10: 0.5, 30: 0.25},
            "eval/kl": {30: 0.5},
            "eval/kl_floor": {0: 0.1, 30: 0.02},
            "eval_raw/fid": {10: 8.0, 30: 7.0},
        },
        MEANINGS,
    )
    assert found["raw"] == {"fid": 7.0}
    assert set(found["metrics"]) == {"fid", "recall", "kl"}
    fid = found["metrics"]["fid"]
    assert fid.pop("area") == pytest.approx(55 / 30, rel=1e-15)  # three roundings of float64
    assert fid == {
        "higher_is_better": False,
        "ideal": None,
        "role": "quality",
        "rank": 0,
        "near_zero": False,
        "floor_name": None,
        "best": 1.0,
        "step_of_best": 10,
        "last": 2.0,
        "last_step": 30,
        "last_over_best": 2.0,
        "num_evaluations": 3,
        "floor": None,
    }
    recall = found["metrics"]["recall"]
    assert (recall["best"], recall["step_of_best"], recall["last_over_best"]) == (0.5, 10, 0.5)
    assert (found["metrics"]["kl"]["floor"], found["metrics"]["kl"]["area"]) == (0.02, 0.5)


def test_the_benchmarks_collapsed_lsgan_lost_a_factor_of_five():
    metric = summarize({"eval/fid": {1: 66.7, 2: 330.9}}, MEANINGS)["metrics"]["fid"]
    assert metric["last_over_best"] == pytest.approx(4.961, abs=5e-4)  # 330.9 / 66.7, to its printed digits


def test_of_equal_bests_the_earliest_counts():
    assert summarize({"eval/modes": {5: 8.0, 10: 8.0}}, MEANINGS)["metrics"]["modes"]["step_of_best"] == 5


def test_the_best_of_a_metric_with_an_ideal_in_between_is_the_nearest_to_it():
    course = {1: 1.0, 2: 0.625, 3: 0.25, 4: 0.375}  # 0.625 and 0.375 are equally near: the earlier counts
    metric = summarize({"eval/one_nn": course}, {"one_nn": Value(0.5)})["metrics"]["one_nn"]
    assert (metric["best"], metric["step_of_best"], metric["last"]) == (0.625, 2, 0.375)
    assert (metric["higher_is_better"], metric["ideal"], metric["last_over_best"]) == (False, 0.5, None)


@pytest.mark.parametrize("best", [0.0, -1e-4])
def test_a_ratio_to_a_best_that_is_not_positive_is_null(best):
    metric = summarize({"eval/kid": {1: best, 2: 0.5}}, MEANINGS)["metrics"]["kid"]
    assert metric["last_over_best"] is None
    assert metric["best"] == best


def test_values_that_are_not_finite_become_null_and_never_the_best():
    metric = summarize({"eval/fid": {1: math.nan, 2: 3.0, 3: math.inf}}, MEANINGS)["metrics"]["fid"]
    assert (metric["best"], metric["step_of_best"], metric["last"]) == (3.0, 2, None)
    assert metric["area"] is None
    assert metric["last_over_best"] is None
    nothing = summarize({"eval/fid": {1: math.nan}}, MEANINGS)["metrics"]["fid"]
    assert (nothing["best"], nothing["step_of_best"]) == (None, None)


@REUSED
@given(values=st.lists(st.floats(), max_size=5))
def test_summary_json_is_strict_json_whatever_was_measured(tmp_path, values):
    record = fresh(tmp_path)
    for step, value in enumerate(values):
        record.append(step, {"eval/fid": value, "eval/recall": value, "eval_raw/fid": value})
    summary = finish(record, time={"total": math.inf}, meanings=MEANINGS, protocol={"layers": ("a", "b")})

    def refuse(token):
        raise AssertionError(token)

    assert json.loads(record.summary.read_text(), parse_constant=refuse) == summary == record.read_summary()


def test_an_unknown_status_is_refused(record):
    with pytest.raises(ValueError, match=r"status must be one of running, finished, .*; got 'ok'"):
        finish(record, status="ok")


def test_of_two_rows_with_one_name_and_step_the_later_holds():
    rows = [Row(2, "a", 1.0), Row(1, "a", 3.0), Row(2, "a", 5.0), Row(1, "b", 0.0)]
    assert series(rows) == {"a": {1: 3.0, 2: 5.0}, "b": {1: 0.0}}
    assert list(series(rows)["a"]) == [1, 2]


def test_times_of_sessions_add_up_part_by_part():
    assert add_times({"train": 1.0, "setup": 2.0}, {"train": 3.0, "report": 4.0}) == {
        "train": 4.0,
        "setup": 2.0,
        "report": 4.0,
    }


def test_strict_keeps_what_json_can_hold():
    value = {"a": [1, True, None, "x", 0.5], "b": {"c": -0.0}}
    assert strict(value) == value
    assert strict({1: (math.nan, [math.inf])}) == {"1": [None, [None]]}


def test_provenance_is_strict_json_and_does_not_name_the_host():
    found = provenance(["saddle-train", "seed=1"], "ab12")
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["command_line"] == ["saddle-train", "seed=1"]
    assert found["data_digest"] == "ab12"
    assert found["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["started"].endswith("+00:00")
    assert set(found["hardware"]) == {"cpu", "cores", "threads", "memory_gib", "gpus"}
    assert found["git"]["commit"] is None or len(found["git"]["commit"]) == 40


def test_provenance_outside_a_checkout_has_no_commit(monkeypatch, tmp_path):
    monkeypatch.setattr("saddle.records.provenance.__file__", str(tmp_path / "provenance.py"))
    assert provenance([], None)["git"] == {"commit": None, "dirty": None}


def test_provenance_in_a_foreign_checkout_has_no_commit(monkeypatch, tmp_path):
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    for arguments in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "theirs"]):
        subprocess.run([*git, *arguments], check=True)
    (tmp_path / "provenance.py").write_text("")
    monkeypatch.setattr("saddle.records.provenance.__file__", str(tmp_path / "provenance.py"))
    assert provenance([], None)["git"]["commit"] is None
    subprocess.run([*git, "add", "provenance.py"], check=True)
    assert provenance([], None)["git"]["dirty"] is True
    subprocess.run([*git, "commit", "-q", "-m", "ours"], check=True)
    found = provenance([], None)["git"]
    assert len(found["commit"]) == 40
    assert found["dirty"] is False


def test_provenance_without_git_has_no_commit(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert provenance([], None)["git"] == {"commit": None, "dirty": None}


def test_reading_records_needs_no_torch():
    program = "import sys, saddle.records.record, saddle.reports.page; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], env=os.environ, check=False).returncode == 0


def test_a_new_record_has_a_header_and_no_rows(record):
    assert record.metrics.read_bytes() == HEADER
    assert record.rows() == []
    assert record.checkpoint("best-fid") == record.directory / "checkpoints" / "best-fid.ckpt"
