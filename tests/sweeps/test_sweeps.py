"""Sweeps: nothing is lost or done twice, whatever happens to a job, to the sweep or to the disk."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from command_line import POINTS, call, environment
from comparisons import parsed, written
from saddle.commands import train
from saddle.records.names import digest, job_folders, quoted, sweep_name
from saddle.records.outcome import Outcome
from saddle.records.record import open_record
from saddle.records.sweep_index import read
from saddle.sweeps import executors
from saddle.sweeps.executors import Joblib, Processes, Ray, Submitit
from saddle.sweeps.jobs import LOCK, Child, begin, outcome, take_lock
from saddle.sweeps.launch import launch
from stand_ins import attempts, stand_ins


@pytest.fixture(autouse=True)
def _for_children(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SWEEP", str(os.getpid()))


@given(words=st.lists(st.text("abc=", min_size=1), min_size=2), random=st.randoms())
def test_the_digest_of_words_ignores_their_order_and_how_the_sweep_is_run(words, random):
    shuffled = [*words, "jobs=3", "sweep_name=name"]
    random.shuffle(shuffled)
    assert digest(shuffled) == digest(words)
    assert digest([*words, "seed=1"]) != digest(words)


@given(st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"])))
def test_a_quoted_value_is_read_back_by_hydra_as_it_was(text):
    (override,) = OverridesParser.create().parse_overrides([f"key={quoted(text)}"])
    assert override.value() == text


def test_a_sweep_is_named_by_the_user_or_after_what_varies():
    words = ["data=ring8", "loss=hinge,wasserstein", "seed=range(8)", "regularizer=[r1]", "jobs=2"]
    assert sweep_name("mine", words) == "mine"
    assert sweep_name(None, words) == f"loss_seed_{digest(words)}"
    assert sweep_name(None, words[:1]) == f"sweep_{digest(words[:1])}"


def test_a_widened_sweep_finds_the_folders_it_had(tmp_path):
    jobs = [["loss=hinge", "seed=0"], ["loss=hinge", "seed=1"]]
    before = job_folders(tmp_path, jobs)
    assert [path.name for path in before] == [f"seed-{n}_{digest(jobs[n])}" for n in (0, 1)]
    for path in before:
        path.mkdir()
    wider = [[*words[:1], *words[1:]] for words in jobs] + [["loss=wasserstein", "seed=0"]]
    assert job_folders(tmp_path, wider)[:2] == before
    with pytest.raises(ValueError, match=r"must differ; got 2 times loss=hinge seed=0.*Drop"):
        job_folders(tmp_path, [*jobs, jobs[0]])


@pytest.mark.parametrize(
    ("words", "got"),
    [
        (["seed=range(0)"], "got 0. Give"),
        (
            ["seed=range(3)", "loss=hinge,wasserstein", "max_jobs=5"],
            "got 6. Ask for fewer, or give max_jobs=6",
        ),
        (["seed=range(1000000000000)"], "got 1,000,000,000,000. Ask"),
        (["seed=range(100)", "num_steps=range(10,10010,10)"], "got 100,000. Ask"),
        (["seed=1,1"], "must differ; got 2 times"),
        (["loss=hinge,hinges"], "Did you mean hinge"),
        (["seed=0,1", "jobs=0"], "jobs must be a whole number of at least 1; got 0"),
        (["seed=0,1", "hydra.sweep.subdir=x"], "Drop it; hydra.sweep.dir=PATH may be given"),
        (["seed=interval(0,1)"], "must list its values"),
    ],
)
def test_a_sweep_that_cannot_be_is_refused_before_anything_is_made(tmp_path, monkeypatch, capsys, words, got):
    monkeypatch.chdir(tmp_path)
    assert call(train.main, "-m", *POINTS, *words) == 2
    err = capsys.readouterr().err
    assert got in err
    assert err.count("saddle: ") == 1
    assert not [*tmp_path.rglob("config.yaml")]


def test_a_job_that_fails_stops_no_other_and_the_end_says_which_and_why(tmp_path, capsys):
    ends = ("finish", "refuse", "die", "raise", "diverge", "recorded", "fail", "finish")
    jobs = stand_ins(tmp_path, *ends)
    assert launch(tmp_path, jobs, Processes(2)) == 1
    statuses = ["finished", "refused", "failed", "failed", "diverged", "diverged", "failed", "finished"]
    rows = read(tmp_path / "index.csv")
    assert [row["status"] for row in rows] == statuses
    assert [row["exit_status"] for row in rows] == ["0", "2", "137", "1", "1", "0", "1", "0"]
    assert [row["words"] for row in rows] == [f"end={end}" for end in ends]
    out = capsys.readouterr().out
    for why in (
        "must be so",
        "killed by SIGKILL, as when memory runs out",
        "ArithmeticError: out of numbers",
        "losses must stay finite",
        "RuntimeError: broken",
    ):
        assert why in out
        assert why in (tmp_path / "index.csv").read_text()
    # asked again: what came to an end is left alone, the rest is resumed or retried, and only that
    assert launch(tmp_path, jobs, Processes(2)) == 1
    assert [len(attempts(job)) for job in jobs] == [1, 2, 2, 2, 1, 1, 2, 1]
    assert attempts(jobs[1]) == ["begun", "begun"]  # it had no record to go on with
    assert attempts(jobs[6]) == ["begun", "resumed"]


def test_a_sweep_of_good_jobs_ends_with_0_and_is_not_run_again(tmp_path):
    jobs = stand_ins(tmp_path, "finish", "recorded")
    assert launch(tmp_path, jobs, Processes(1)) == 0
    assert launch(tmp_path, jobs, Processes(1)) == 0
    assert [attempts(job) for job in jobs] == [["begun"], ["begun"]]


def test_jobs_side_by_side_share_the_threads_and_have_a_gpu_each(tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(7))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b")
    jobs = stand_ins(tmp_path, "meet", "meet")  # neither ends without the other
    assert launch(tmp_path, jobs, Processes(2)) == 0
    told = {(tmp_path / f"attempts-{job.directory.name}").read_text() for job in jobs}
    assert told == {"begun 3 GPU-a\n", "begun 3 GPU-b\n"}


def test_threads_asked_for_hold_for_every_library(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8))
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "2")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    found = executors.threads(1)
    assert found == {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "2"}


def test_without_a_gpu_none_is_dealt(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert executors.gpus() == []
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setenv("PATH", "")
    assert executors.gpus() == []


def test_a_job_that_another_process_holds_is_left_to_it(tmp_path):
    (job,) = stand_ins(tmp_path, "finish")
    lock = take_lock(job.directory / LOCK)
    assert lock is not None
    assert begin(job, executors.threads(1)) is None
    lock.close()
    child = begin(job, executors.threads(1))
    assert isinstance(child, Child)
    assert begin(job, executors.threads(1)) is None  # its process holds the lock
    assert outcome(child, child.process.wait(30)).status == "finished"
    found = begin(job, executors.threads(1))
    assert isinstance(found, Outcome)
    assert (found.status, found.exit_status) == ("finished", 0)


def test_a_sweep_is_run_by_one_process_at_a_time(tmp_path):
    with (
        take_lock(tmp_path / ".lock"),
        pytest.raises(ValueError, match=r"one process at a time.*sweep_name=NAME"),
    ):
        launch(tmp_path, stand_ins(tmp_path, "finish"), Processes(1))


def test_a_folder_that_cannot_be_written_fails_its_job_alone(tmp_path):
    jobs = stand_ins(tmp_path, "finish", "finish")
    jobs[0].directory.write_text("in the way")
    assert launch(tmp_path, jobs, Processes(1)) == 1
    assert [row["status"] for row in read(tmp_path / "index.csv")] == ["failed", "finished"]


EXECUTORS = [Processes(2), Joblib(2), Submitit("local", 2, {"timeout_min": 5})]


@pytest.mark.slow
@pytest.mark.parametrize("executor", EXECUTORS, ids=lambda executor: type(executor).__name__)
def test_a_stopped_sweep_lets_its_jobs_save_and_the_next_goes_on(tmp_path, executor):
    jobs = stand_ins(tmp_path, "stop", "finish", "finish")
    jobs = [job._replace(number=number) for number, job in enumerate([jobs[0], *jobs[1:]])]
    one = type(executor)(*(1 if value == 2 else value for value in vars(executor).values()))
    assert launch(tmp_path, jobs, one) == 143
    assert open_record(jobs[0].directory).read_summary()["status"] == "interrupted"
    assert attempts(jobs[2]) == []
    assert launch(tmp_path, jobs, executor) == 0
    assert attempts(jobs[0]) == ["begun", "resumed"]
    assert [row["status"] for row in read(tmp_path / "index.csv")] == ["finished"] * 3


@pytest.mark.slow
@pytest.mark.parametrize("executor", EXECUTORS[1:], ids=lambda executor: type(executor).__name__)
def test_other_executors_report_what_processes_report(tmp_path, executor):
    jobs = stand_ins(tmp_path, "finish", "fail", "die", "meet", "meet")
    assert launch(tmp_path, jobs, executor) == 1
    rows = read(tmp_path / "index.csv")
    assert [row["status"] for row in rows] == ["finished", "failed", "failed", "finished", "finished"]
    assert rows[2]["message"].startswith("killed by SIGKILL")


@pytest.mark.slow
def test_a_ray_cluster_runs_the_jobs(tmp_path):
    pytest.importorskip("ray", reason="ray is not installed: pip install 'saddle-gan[ray]'")
    executor = Ray(2)
    script = (
        "import sys; from pathlib import Path; from stand_ins import *; "
        "from saddle.sweeps.launch import launch; from saddle.sweeps.executors import Ray\n"
        f"folder = Path({str(tmp_path)!r})\n"
        f"sys.exit(launch(folder, stand_ins(folder, 'meet', 'meet', 'fail'), {executor!r}))"
    )
    line = [sys.executable, "-c", script]  # ray leaves threads and handlers behind
    path = os.pathsep.join([str(Path(__file__).parents[1] / "support"), *filter(None, sys.path)])
    found = subprocess.run(line, env={**os.environ, "PYTHONPATH": path}, timeout=120, check=False)
    assert found.returncode == 1
    assert [row["status"] for row in read(tmp_path / "index.csv")] == ["finished", "finished", "failed"]


LONGER = [word for word in POINTS if not word.startswith(("num_steps", "evaluate_every", "checkpoint_every"))]
LONGER += ["num_steps=600", "evaluate_every=200", "checkpoint_every=20"]


def undisturbed(folder: Path, *words: str) -> bytes:
    """metrics.csv of a run in this process."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        assert call(train.main, *words, f"hydra.run.dir={folder}") == 0
    finally:
        torch.set_default_dtype(before)
    return open_record(folder).metrics.read_bytes()


def children(process: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


@pytest.mark.slow
def test_a_sweep_killed_in_the_middle_and_asked_for_again_leaves_what_an_undisturbed_one_does(tmp_path):
    sweep, losses = tmp_path / "sweep", ("hinge", "non_saturating")
    line = [
        sys.executable,
        "-m",
        "saddle.commands.train",
        "-m",
        *LONGER,
        f"loss={','.join(losses)}",
        "jobs=2",
    ]
    line.append(f"hydra.sweep.dir={sweep}")

    def folders() -> list[Path]:
        return sorted(path.parent for path in sweep.glob("*/metrics.csv"))

    with subprocess.Popen(line, cwd=tmp_path, start_new_session=True) as process:
        end = time.monotonic() + 100
        while time.monotonic() < end and process.poll() is None:
            with suppress(FileNotFoundError):
                if len(folders()) == 2 and all("\n40," in (f / "metrics.csv").read_text() for f in folders()):
                    break
            time.sleep(0.01)
        os.kill(min(children(process.pid)), signal.SIGKILL)  # one job at once; the other is told to save
        os.killpg(process.pid, signal.SIGKILL)
        assert process.wait(30) == -signal.SIGKILL
    assert not any(open_record(folder).report.exists() for folder in folders())
    # at once: a job of the killed sweep may still be saving
    assert subprocess.run(line, cwd=tmp_path, timeout=200, check=False).returncode == 0
    assert len(folders()) == 2
    stopped = ["SIGTERM" in (folder / "log.txt").read_text() for folder in folders()]
    assert sorted(stopped) == [False, True]
    for loss, folder in zip(losses, folders(), strict=True):
        record = open_record(folder)
        assert record.read_summary()["status"] == "finished"
        whole = undisturbed(tmp_path / "undisturbed" / loss, *LONGER, f"loss={loss}")
        assert record.metrics.read_bytes() == whole
    assert [row["status"] for row in read(sweep / "index.csv")] == ["finished"] * 2
    assert written(sweep) == written(tmp_path / "undisturbed")
    assert [row["group"] for row in parsed(written(sweep)["runs"])] == [f"loss={loss}" for loss in losses]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 360 kB: one run fits, two do not."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=360k", "tmpfs", str(place)]
    try:
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("a file system can be mounted by root only")
    except FileNotFoundError:
        pytest.skip("there is no mount")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.slow
def test_a_disk_that_fills_fails_its_job_with_one_message_and_loses_nothing(
    small_disk, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    words = ["-m", *POINTS, "seed=0,1", f"hydra.sweep.dir={small_disk}/sweep"]
    assert call(train.main, *words) == 1
    out, err = capsys.readouterr()
    assert out.count("no room left on the disk") == 1
    assert "Traceback" not in out + err
    assert "1 finished, 1 failed" in out
    bigger = ["mount", "-o", "remount,size=8m", str(small_disk)]
    subprocess.run(bigger, check=True)
    assert call(train.main, *words) == 0
    assert "2 jobs, of which 1 ended before" in capsys.readouterr().out
    for seed, folder in enumerate(sorted(path.parent for path in small_disk.glob("sweep/*/metrics.csv"))):
        found = open_record(folder).metrics.read_bytes()
        assert found == undisturbed(tmp_path / str(seed), *POINTS, f"seed={seed}")
