"""Run records without a training: written by the ordinary writer, with numbers of one's choice."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf
from PIL import Image

from meanings import MEANINGS
from saddle.data.files import atomic_write
from saddle.records.record import Record, create
from saddle.records.sweep_index import COLUMNS

LINE = ["scripts/train.py", "-m", "loss=hinge,minimax", "optimizer.lr=1e-3,1e-4", "seed=range(9)"]


def record(
    directory: Path,
    *,
    loss: str = "hinge",
    lr: float = 1e-3,
    seed: Any = 0,
    fid: Sequence[float] = (9.0, 4.0, 3.0),
    recall: Sequence[float] = (0.1, 0.4, 0.5),
    one_nn: Sequence[float] = (),
    radius: Sequence[float] = (),
    status: str = "finished",
    message: str | None = None,
    protocol: Mapping[str, Any] | None = None,
    provenance: Mapping[str, Any] | None = None,
    pixels: int = 0,
) -> Record:
    """A run evaluated every 100 generator steps. ``pixels``: side of a picture of noise."""
    config = {
        "name": "synthetic",
        "seed": seed,
        "loss": {"_target_": f"losses.{loss}"},
        "optimizer": {"lr": lr},
    }
    told = {"command_line": LINE, "choices": {"loss": loss}} if provenance is None else provenance
    made = create(directory, OmegaConf.to_yaml(OmegaConf.create(config)), told)
    for index, values in enumerate(zip(fid, recall, strict=True)):
        made.append(100 * index, dict(zip(("eval/fid", "eval/recall"), values, strict=True)))
    for index, value in enumerate(one_nn):
        made.append(100 * index, {"eval/one_nn": value})
    for index, value in enumerate(radius):
        made.append(100 * index, {"diag/spectral_radius": value})
    if pixels:
        noise = np.random.default_rng(0).integers(0, 256, (pixels, pixels, 3), dtype=np.uint8)
        file = io.BytesIO()
        Image.fromarray(noise).save(file, "PNG")
        atomic_write(made.sample(100 * (len(fid) - 1)), file.getvalue())
        atomic_write(made.real_sample, file.getvalue())
    made.write_summary(
        status=status,
        message=message,
        step=100 * (len(fid) - 1),
        num_steps=100 * (len(fid) - 1),
        images_seen=6400,
        exit_status=0 if status == "finished" else 1,
        meanings=MEANINGS,
        time={"total": 60.0 + seed if isinstance(seed, int) else 60.0},
        protocol={"num_generated": 2000} if protocol is None else protocol,
    )
    return made


def grid(folder: Path, num_seeds: int = 4, **settings: Any) -> None:
    """Two losses, two learning rates: minimax collapses at the larger one."""
    rng = np.random.default_rng(0)
    number = 0
    for loss in ("hinge", "minimax"):
        for lr in (1e-4, 1e-3):
            for seed in range(num_seeds):
                lost = loss == "minimax" and lr == 1e-3
                recall = 0.2 if lost else 0.3 + 0.1 * rng.random()
                course = {"fid": (9.0, 4.0, 3 + rng.random() + 20 * lost), "recall": (0.1, 0.3, recall)}
                record(folder / str(number), loss=loss, lr=lr, seed=seed, **course, **settings)
                number += 1


def sweep_with_an_index(folder):
    """Two losses with three seeds: minimax has one job that failed without a record and one not begun."""
    fates = {("minimax", 1): ("refused", "lr must lie in [0, 1]"), ("minimax", 2): ("waiting", "")}
    fates |= {("wasserstein", 0): ("failed", "killed by SIGKILL, as when memory runs out")}
    rows = [",".join(COLUMNS)]
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
