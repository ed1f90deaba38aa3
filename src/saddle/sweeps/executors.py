"""Where the jobs of a sweep run. Each executor is a choice of ``conf/hydra/launcher``.

An executor takes jobs and yields (job, None) when one begins, where it can know that, and (job, outcome)
when one ends, in any order. Asked to stop, it begins no more jobs, asks those that run to save and end, and
waits.
"""

import os
import shutil
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from saddle.game.refusals import Refused
from saddle.records.outcome import Outcome
from saddle.sweeps.jobs import LOCK, LOG, Child, Job, begin, outcome, run, settled, take_lock

Events = Iterator[tuple[Job, Outcome | None]]
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
PAUSE = 0.05  # seconds between two looks at what runs
STOPPED = Outcome("interrupted", 128 + signal.SIGTERM, "stopped with the sweep")


class Stop(Protocol):
    """Whether, and how often, the sweep was asked to stop."""

    count: int
    raises: bool  # an executor that cannot look every now and then sets this, to get a KeyboardInterrupt


class Executor(Protocol):
    def __call__(self, jobs: Sequence[Job], stop: Stop) -> Events: ...


def threads(jobs: int) -> dict[str, str]:
    """Environment in which each of so many jobs takes its share of this machine's cores.

    OMP_NUM_THREADS alone, if set, says it for the other libraries too: two threads of MKL on one free core
    wait for each other, and a step takes many times as long.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = os.environ.get("OMP_NUM_THREADS") or str(max(1, cores // jobs))
    return {name: os.environ.get(name) or share for name in THREADS}


def gpus() -> list[str]:
    """The GPUs of this machine, or of its part that CUDA_VISIBLE_DEVICES names; without importing torch."""
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name for name in visible.split(",") if name]
    if shutil.which("nvidia-smi") is None:
        return []
    command = ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return found.stdout.split() if found.returncode == 0 else []


def must_be_positive(jobs: int) -> None:
    if not isinstance(jobs, int) or jobs < 1:
        raise Refused(f"jobs must be a whole number of at least 1; got {jobs}. Give such a number.")


@dataclass(frozen=True)
class Processes:
    """This machine, ``jobs`` at a time; nothing else is needed."""

    jobs: int = 1

    def __post_init__(self) -> None:
        must_be_positive(self.jobs)

    def __call__(self, jobs: Sequence[Job], stop: Stop) -> Events:
        waiting, running = deque(jobs), list[Child]()
        environment, dealt, asked = threads(min(self.jobs, len(jobs) or 1)), gpus(), 0
        try:
            while running or (waiting and not stop.count):
                # every waiting job is looked at once: one that an orphan holds lets the next pass
                for _ in range(0 if stop.count else len(waiting)):
                    if len(running) >= self.jobs:
                        break
                    job = waiting.popleft()
                    begun = begin(job, environment, dealt)
                    if begun is None:
                        waiting.append(job)
                    elif isinstance(begun, Outcome):
                        yield job, begun
                    else:
                        running.append(begun)
                        yield job, None
                if stop.count > asked:
                    asked = stop.count
                    for child in running:
                        child.process.send_signal(signal.SIGTERM if asked == 1 else signal.SIGKILL)
                for child in [child for child in running if child.process.poll() is not None]:
                    running.remove(child)
                    yield child.job, outcome(child, child.process.returncode)
                time.sleep(PAUSE)
        finally:  # nothing is left running, also when the caller fails
            for child in running:
                child.process.terminate()
            for child in running:
                child.process.wait()


@dataclass(frozen=True)
class Joblib:
    """joblib's workers on this machine, or those of a backend that was registered with it."""

    jobs: int = 1
    backend: str = "loky"

    def __post_init__(self) -> None:
        must_be_positive(self.jobs)

    def __call__(self, jobs: Sequence[Job], stop: Stop) -> Events:
        import joblib

        work = joblib.delayed(_numbered)
        environment, dealt = threads(min(self.jobs, len(jobs) or 1)), gpus()
        parallel = joblib.Parallel(
            self.jobs, backend=self.backend, return_as="generator_unordered", batch_size=1
        )
        left = {job.number: job for job in jobs}
        stop.raises = True
        try:
            for number, ended in parallel(work(job, environment, dealt) for job in jobs):
                yield left.pop(number), ended
        except KeyboardInterrupt:  # joblib has killed its workers, whose jobs save and end
            yield from _ended(left.values())
        finally:
            stop.raises = False


def _numbered(job: Job, environment: Mapping[str, str], gpus: Sequence[str]) -> tuple[int, Outcome]:
    return job.number, run(job, environment, gpus)


class _Requeued:
    """``run`` as submitit calls it: a job that SLURM preempts or times out is queued again, and resumes."""

    def __call__(self, job: Job, environment: Mapping[str, str], gpus: Sequence[str]) -> Outcome:
        return run(job, environment, gpus)

    def checkpoint(self, *arguments: Any) -> Any:
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, *arguments)


@dataclass(frozen=True)
class Submitit:
    """submitit: processes of this machine (``cluster: local``) or a SLURM queue (``cluster: slurm``).

    Args:
        cluster: which of them.
        jobs: at most so many are submitted at a time; None submits all, as one array.
        parameters: of ``submitit.AutoExecutor.update_parameters``, such as ``timeout_min``.
    """

    cluster: str
    jobs: int | None
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.jobs is not None:
            must_be_positive(self.jobs)

    def __call__(self, jobs: Sequence[Job], stop: Stop) -> Events:
        import submitit

        executor = submitit.AutoExecutor(jobs[0].directory.parent / ".submitit", cluster=self.cluster)
        executor.update_parameters(**self.parameters)
        here = self.jobs is not None  # this machine, whose cores and GPUs are ours to divide
        told = (threads(min(self.jobs or 1, len(jobs))), gpus()) if here else ({}, [])

        def submit(some: Sequence[Job]) -> list[Any]:
            with executor.batch():
                return [executor.submit(_Requeued(), job, *told) for job in some]

        yield from _polled(jobs, self.jobs or len(jobs), submit, _done, _cancel, stop)


@dataclass(frozen=True)
class Ray:
    """A ray cluster, for many machines with one file system.

    Args:
        jobs: at most so many at a time.
        address: of the cluster, or "auto" for the one that this machine is part of; None begins one here.
        num_cpus: cores, and threads, of each job.
        num_gpus: GPUs of each job; ray deals them.
    """

    jobs: int
    address: str | None = None
    num_cpus: int = 1
    num_gpus: float = 0

    def __post_init__(self) -> None:
        must_be_positive(self.jobs)

    def __call__(self, jobs: Sequence[Job], stop: Stop) -> Events:
        import ray

        environment = dict.fromkeys(THREADS, str(self.num_cpus))
        if self.address is None:
            here: dict[str, Any] = {"num_cpus": self.jobs * self.num_cpus, "include_dashboard": False}
            ray.init("local", log_to_driver=False, **here)
        else:
            ray.init(self.address, log_to_driver=False)
        try:
            # a worker that has died has not lost the run: it is resumed elsewhere
            remote = ray.remote(num_cpus=self.num_cpus, num_gpus=self.num_gpus, max_retries=3)(run)

            def submit(some: Sequence[Job]) -> list[Any]:
                return [remote.remote(job, environment).future() for job in some]

            yield from _polled(jobs, self.jobs, submit, _done, lambda _: ray.shutdown(), stop)
        finally:
            ray.shutdown()


def _cancel(submitted: Any) -> None:
    submitted.cancel()
    submitted.wait()


def _done(future: Any) -> Outcome | None:
    """The outcome of a future of submitit's or ray's, once it is there."""
    if not future.done():
        return None
    try:
        return future.result()
    except Exception as error:  # of the cluster, not of the run: every library has its own
        last = (str(error).strip().splitlines() or ["nothing was said"])[-1]
        return Outcome("failed", 1, f"{type(error).__name__}: {last}")


def _polled(
    jobs: Sequence[Job],
    at_once: int,
    submit: Callable[[Sequence[Job]], list[Any]],
    done: Callable[[Any], Outcome | None],
    cancel: Callable[[Any], object],
    stop: Stop,
) -> Events:
    waiting, running = list(jobs), list[tuple[Job, Any]]()
    while (waiting or running) and not stop.count:
        if some := waiting[: at_once - len(running)]:
            del waiting[: len(some)]
            running += zip(some, submit(some), strict=True)
            yield from ((job, None) for job in some)
        for job, future in [*running]:
            if ended := done(future):
                running.remove((job, future))
                yield job, ended
        time.sleep(PAUSE)
    for _, future in running:
        cancel(future)
    yield from _ended([job for job, _ in running])


def _ended(jobs: Iterable[Job]) -> Events:
    """Jobs whose workers were stopped, once their processes have saved and are gone; none never begun."""
    for job in jobs:
        while (lock := take_lock(job.directory / LOCK)) is None:
            time.sleep(PAUSE)
        lock.close()
        if (job.directory / LOG).exists():
            yield job, settled(job) or STOPPED
