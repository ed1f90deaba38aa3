"""Runs with a tracker that calls nobody, and what W&B's offline files hold."""

import json
import struct
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb
from hydra.core.global_hydra import GlobalHydra

from saddle.commands import train
from saddle.records.record import Record

POINTS = [
    "data=ring8",
    "model=mlp",
    "batch_size=16",
    "num_steps=8",
    "evaluate_every=4",
    "checkpoint_every=4",
    "steps_per_execution=3",
    "data.num_train=300",
    "data.num_held_out=100",
    "metrics.num_samples=100",
    "metrics.num_real=100",
    "model.generator.hidden=[16]",
    "model.discriminator.hidden=[16]",
]


NOBODY = "http://127.0.0.1:9"  # the discard port: nothing listens there


@pytest.fixture
def tracked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., int]]:
    """``tracked(*words)``: exit status of ``saddle-train`` in an empty folder, with no W&B account."""
    wandb.teardown()  # it remembers the environment of its first use
    monkeypatch.chdir(tmp_path)
    home = tmp_path.parent / f"{tmp_path.name}-home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("NETRC", str(home / "netrc"))
    monkeypatch.setenv("WANDB_BASE_URL", NOBODY)  # whatever goes wrong, nobody is called
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)

    def run(*words: str) -> int:
        GlobalHydra.instance().clear()
        monkeypatch.setattr(sys, "argv", ["saddle-train", *words])
        monkeypatch.setenv("HYDRA_FULL_ERROR", "1")  # the command sets it; this restores it
        try:
            train.main()
        except SystemExit as stop:
            return int(stop.code or 0)
        return 0

    return run


def messages(record: Record, kind: str) -> list[Any]:
    """The messages of one kind in W&B's offline file of a run.

    The file is a 7-byte header and LevelDB's log: blocks of 32 KiB with fragments of (crc, length,
    type, bytes), type 1 a whole message, 2 to 4 its first, middle and last part.
    """
    from wandb.proto import wandb_internal_pb2

    wandb.teardown()  # as at the end of a process: only then is everything in the file
    (path,) = record.directory.glob("wandb/offline-run-*/run-*.wandb")
    content, position, whole, found = path.read_bytes(), 7, b"", []
    while position + 7 <= len(content):
        if 32768 - position % 32768 < 7:  # too short for a fragment: padding
            position += 32768 - position % 32768
            continue
        _, length, part = struct.unpack_from("<IHB", content, position)
        whole += content[position + 7 : position + 7 + length]
        position += 7 + length
        if part in (1, 4):
            message = wandb_internal_pb2.Record.FromString(whole)
            whole = b""
            if message.WhichOneof("record_type") == kind:
                found.append(getattr(message, kind))
    return found


def stored(items: Iterable[Any]) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def history(record: Record) -> list[dict[str, Any]]:
    """What W&B holds of a run, one dictionary a logged step."""
    return [stored(message.item) for message in messages(record, "history")]
