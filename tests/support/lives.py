"""Processes of training runs, which are real and so are their deaths.

Forked from a server that has imported torch, a life costs tenths of a second and not five.
"""

import multiprocessing
import os
import shutil
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest
import torch

import saddle

RUN = [
    "data=ring8",
    "model=mlp",
    "logger=none",
    "batch_size=32",
    "num_steps=160",
    "evaluate_every=40",
    "checkpoint_every=20",
    "steps_per_execution=7",
    "data.num_train=1000",
    "data.num_held_out=200",
    "metrics.num_samples=200",
    "metrics.num_real=200",
    "model.generator.hidden=[32,32]",
    "model.discriminator.hidden=[32,32]",
]  # 7 divides neither period
Hook = Callable[[], None]


def live(words: list[str], folder: Path, hook: Hook | None) -> None:
    """The life of a process: ``saddle-train *words``, with its output in ``folder/log``."""
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.chdir(folder)
    if hook is not None:
        hook()
    from saddle.commands import train

    sys.argv = ["saddle-train", *words]
    train.main()


class Life:
    """One process of a run, under way."""

    def __init__(
        self, context: ForkServerContext, words: list[str], folder: Path, hook: Hook | None = None
    ) -> None:
        self.log = folder / "log"
        self.process = context.Process(target=live, args=(words, folder, hook))
        self.process.start()

    def __enter__(self) -> "Life":
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.join(30)

    def send(self, number: signal.Signals) -> None:
        assert self.process.pid is not None
        with suppress(ProcessLookupError):  # it has come to its end meanwhile
            os.kill(self.process.pid, number)

    def end(self, seconds: float = 60) -> int:
        """Exit status, negative if a signal killed it."""
        self.process.join(seconds)
        assert self.process.exitcode is not None, f"still running after {seconds} s"
        return self.process.exitcode


def words_for(directory: Path) -> list[str]:
    """What one types: the same command until there is a record, then resume."""
    if (directory / "summary.json").exists():
        return [f"resume={directory}"]
    shutil.rmtree(directory, ignore_errors=True)  # killed while it was being made, as the message says
    return [*RUN, f"hydra.run.dir={directory}"]


def tensors(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True)


def fork_server() -> ForkServerContext:
    """Makes processes that have already imported what a run needs, on one thread each."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        [
            "pytest",
            "saddle.commands.train",
            "saddle.training.assembly",
            "saddle.training.callbacks",
            "saddle.training.trackers",
            "saddle.features.extractors",
            "saddle.models.mlp",
            "saddle.metrics.kernels",
            "saddle.reports.page",
        ]
    )
    with pytest.MonkeyPatch.context() as patch:  # its processes have the server's environment
        patch.setenv("OMP_NUM_THREADS", "1")
        if "PYTHONPATH" in os.environ:
            patch.setenv("PYTHONPATH", str(Path(saddle.__file__).parents[1]))
        first = context.Process(target=int)  # starts the server
        first.start()
        first.join(60)
        assert first.exitcode == 0
    return context
