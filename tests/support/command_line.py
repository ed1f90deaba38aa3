"""The commands as a user calls them: small runs, their answers, and what a refusal must be."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from hydra.core.global_hydra import GlobalHydra

import saddle
from saddle.commands import train
from saddle.records.record import Record, open_record

POINTS = [
    "data=ring8",
    "model=mlp",
    "logger=none",
    "batch_size=16",
    "num_steps=10",
    "evaluate_every=5",
    "checkpoint_every=5",
    "steps_per_execution=3",
    "data.num_train=300",
    "data.num_held_out=100",
    "metrics.num_samples=100",
    "metrics.num_real=100",
    "model.generator.hidden=[16]",
    "model.discriminator.hidden=[16]",
]


IMAGES = [
    "data=mnist5k",
    "model=dcgan28",
    "logger=none",
    "batch_size=8",
    "num_steps=4",
    "evaluate_every=2",
    "checkpoint_every=2",
    "metrics.num_samples=100",
    "metrics.num_real=100",
    "model.generator.width=8",
    "model.discriminator.width=8",
]


class Answer(NamedTuple):
    status: int
    out: str
    err: str


Command = Callable[..., Answer]


def call(main: Callable[[], None], *words: str) -> int:
    """The command in this process; its exit status."""
    GlobalHydra.instance().clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["saddle", *words])
        patch.setenv("HYDRA_FULL_ERROR", "1")  # the commands set it; this restores it
        try:
            main()
        except SystemExit as stop:
            return int(stop.code or 0)
    return 0


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Command]:
    """``command(main, *words)`` from an empty folder, which is the working directory."""
    monkeypatch.chdir(tmp_path)

    def run(main: Callable[[], None], *words: str) -> Answer:
        capsys.readouterr()
        status = call(main, *words)
        return Answer(status, *capsys.readouterr())

    return run


def made(tmp_path_factory: pytest.TempPathFactory, words: list[str]) -> Record:
    directory = tmp_path_factory.mktemp("run") / "run"
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        assert call(train.main, *words, f"hydra.run.dir={directory}") == 0
    finally:
        torch.set_default_dtype(before)
    return open_record(directory)


def environment() -> dict[str, str]:
    """For a process of its own: one thread, no tracker, and the Saddle under test wherever it starts."""
    ours = {"OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}
    if "PYTHONPATH" in os.environ:  # relative paths in it would lead elsewhere from another folder
        ours["PYTHONPATH"] = str(Path(saddle.__file__).parents[1])
    return {**os.environ, **ours}


def assert_refused(answer: Answer, folder: Path, *pieces: str) -> None:
    """Status 2, one message with all the pieces in order, no traceback, and nothing left in the folder."""
    assert answer.status == 2, answer
    assert "Traceback" not in answer.err
    assert answer.err.count("saddle: ") == 1
    assert answer.err.startswith("saddle: ")
    position = 0
    for piece in pieces:
        found = answer.err.find(piece, position)
        assert found >= 0, f"no {piece!r} after character {position} of {answer.err!r}"
        position = found + len(piece)
    assert answer.out == ""
    assert list(folder.iterdir()) == []
