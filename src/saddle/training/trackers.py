"""Experiment trackers: Lightning loggers made for a run directory.

Each function is a choice of ``conf/logger`` and takes the run's directory, identity and
configuration. Scalars are logged by Saddle's own clock, the generator step.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger

from saddle.game.refusals import Refused

MODES = {"offline": False, "online": True, "disabled": False}  # of W&B, and whether it needs a key


@dataclass(frozen=True)
class Identity:
    """Under what a run is filed: ``group`` is the hash of its configuration without the seed."""

    name: str
    group: str
    seed: int
    tags: Sequence[str]
    run_id: str  # kept in the run directory, so that a resumed run goes on in the tracker too


def csv(directory: Path, identity: Identity, config: Mapping[str, Any]) -> Logger:
    """Lightning's wide CSV table, in ``csv/`` of the run directory."""
    return CSVLogger(directory, name="csv", version="")


class _TensorBoard(TensorBoardLogger):
    def log_image(self, key: str, images: Sequence[str], step: int) -> None:
        import numpy as np
        from PIL import Image

        for path in images:
            pixels = np.asarray(Image.open(path).convert("RGB"))
            self.experiment.add_image(key, pixels, step, dataformats="HWC")


def tensorboard(directory: Path, identity: Identity, config: Mapping[str, Any]) -> Logger:
    """TensorBoard event files, in ``tensorboard/`` of the run directory."""
    return _TensorBoard(directory, name="tensorboard", version="")


def must_have_wandb_key(mode: str) -> None:
    """Say before any work that an online run needs a key.

    Raises:
        ValueError: online, and no key is configured; or an unknown mode.
    """
    import wandb

    if mode not in MODES:
        raise Refused(f"logger.mode must be one of {', '.join(MODES)}; got {mode}. Choose one of them.")
    try:
        if MODES[mode]:
            wandb.login(verify=False)  # asking the server would refuse a run for want of a network
    except (wandb.errors.UsageError, wandb.errors.AuthenticationError) as error:
        raise Refused(
            f"logger.mode=online must find a W&B key; got none ({error}). "
            "Run `wandb login`, set WANDB_API_KEY, or leave logger.mode=offline."
        ) from error


def wandb(
    directory: Path,
    identity: Identity,
    config: Mapping[str, Any],
    *,
    mode: str,
    project: str,
    entity: str | None,
    init_timeout: float,
) -> Logger:
    """Weights & Biases, offline by default, in ``wandb/`` of the run directory.

    An online server that cannot be reached within ``init_timeout`` seconds leaves the run offline.
    """
    run = _begin(
        mode,
        f"{directory}/wandb/offline-run-*",
        dir=str(directory),
        project=project,
        entity=entity,
        id=identity.run_id,
        resume="allow",
        name=directory.name,
        group=identity.group,
        job_type="train",
        tags=[*identity.tags],
        config=dict(config),
        init_timeout=init_timeout,
    )
    run.define_metric("generator_step")
    run.define_metric("*", step_metric="generator_step")
    return WandbLogger(experiment=run)


def push_report(
    directory: Path,
    *,
    name: str,
    rows: Sequence[Mapping[str, Any]],
    pictures: Sequence[Path],
    page: Path,
    config: Mapping[str, Any],
    mode: str,
    project: str,
    entity: str | None,
    init_timeout: float = 30,
) -> str:
    """Log a comparison as one W&B run of job type "report", in ``wandb/`` of a directory.

    Args:
        rows: of the table; the columns are all that appear.
        pictures, page: PNG and HTML files.

    Returns:
        Where it is: an address, or how to upload it.
    """
    import wandb as client

    run = _begin(
        mode,
        f"{directory}/wandb/offline-run-*",
        dir=str(directory),
        project=project,
        entity=entity,
        name=name,
        job_type="report",
        config=dict(config),
        init_timeout=init_timeout,
    )
    columns: list[str | int] = list(dict.fromkeys(key for row in rows for key in row))
    table = client.Table(columns=columns, allow_mixed_types=True)
    for row in rows:
        table.add_data(*(row.get(str(column)) for column in columns))
    run.log(
        {
            "comparison": table,
            **{f"figures/{path.stem}": client.Image(str(path)) for path in pictures},
            "page": client.Html(page.read_text("utf-8"), inject=False),
        }
    )
    where = f"wandb sync {Path(run.dir).parent}" if run.offline else str(run.url)
    run.finish()
    return where


def _begin(mode: str, where: str, *, dir: str, init_timeout: float, **settings: Any) -> Any:
    """Start a run; if the server cannot be reached, offline, and say so."""
    import wandb as client

    def begin(mode: str) -> Any:
        return client.init(
            mode=mode,  # type: ignore[arg-type]
            dir=dir,
            reinit="create_new",  # a sweep in one process must not log two jobs into one run
            settings=client.Settings(init_timeout=init_timeout, silent=True, console="off"),
            **settings,
        )

    try:
        return begin(mode)
    except client.errors.CommError as error:
        print(
            f"W&B cannot be reached ({str(error).splitlines()[0]}); this run is logged offline. "
            f"Upload it later with `wandb sync {where}`.",
            file=sys.stderr,
        )
        client.teardown()  # its service still holds the run id of the failed attempt
        return begin("offline")


def finish(loggers: Sequence[Logger], summary: Mapping[str, Any], exit_status: int) -> None:
    """Close every tracker; W&B gets the summary's last, best and verdict."""
    for logger in loggers:
        logger.finalize("success" if exit_status == 0 else "failed")
        if isinstance(logger, WandbLogger):
            run = logger.experiment
            for name, found in summary["metrics"].items():
                run.summary[f"best/{name}"], run.summary[f"last/{name}"] = found["best"], found["last"]
            run.summary["protocol"] = summary.get("protocol", {}).get("fingerprint")
            run.summary["status"], run.summary["verdict"] = summary["status"], summary["verdict"]["word"]
            run.finish(exit_code=exit_status)
