"""What a run takes of Lightning's trainer: where and how exactly it computes. All else it has of its own."""

from typing import Any

from omegaconf import DictConfig, OmegaConf

from saddle.game.refusals import Refused
from saddle.records.questions import shown

TAKEN = ("accelerator", "devices", "precision", "deterministic", "benchmark", "detect_anomaly")
PRECISIONS = ("32-true", "32", "bf16-mixed")

_LENGTH, _EVALUATION, _DEVICES = "num_steps", "evaluate_every", "a run for each device"
INSTEAD = {
    **dict.fromkeys(("max_steps", "min_steps", "max_epochs", "min_epochs", "max_time"), _LENGTH),
    **dict.fromkeys(("fast_dev_run", "overfit_batches", "limit_train_batches"), _LENGTH),
    **dict.fromkeys(("val_check_interval", "check_val_every_n_epoch", "limit_val_batches"), _EVALUATION),
    **dict.fromkeys(("strategy", "num_nodes", "sync_batchnorm", "use_distributed_sampler"), _DEVICES),
    **dict.fromkeys(("gradient_clip_val", "gradient_clip_algorithm"), "update.PLAYER.max_gradient_norm"),
    "accumulate_grad_batches": "batch_size",
    "logger": "logger=[...]",
    "callbacks": "diagnostics=[...]",
    "default_root_dir": "hydra.run.dir",
    "enable_checkpointing": "checkpoint_every",
    "log_every_n_steps": "steps_per_execution",
    "seed": "seed",
}


def check(settings: DictConfig) -> None:
    """Refuse what means nothing to a run, or what it or this machine cannot do, before anything is written.

    Raises:
        ValueError: a key, number of devices or precision that a run does not take, or that Lightning refuses.
    """
    if unknown := [str(key) for key in settings if key not in TAKEN]:
        other = ", ".join(dict.fromkeys(INSTEAD[key] for key in unknown if key in INSTEAD))
        raise Refused(
            f"a run must take of Lightning's trainer only {', '.join(TAKEN)}; got "
            f"{', '.join(f'trainer.{key}' for key in unknown)}. "
            + (f"Take {other} instead." if other else "Drop it.")
        )
    devices = settings.get("devices", "auto")  # Lightning's default
    if type(devices) is not int or devices != 1:
        raise Refused(
            f"a run must use one device; got trainer.devices={shown(devices)}. Take trainer.devices=1. "
            "Start one run a device, each with its own seed, to use several."
        )
    precision = settings.get("precision", "32-true")
    if str(precision).startswith("16"):
        raise Refused(
            "a run must not use half precision: gradients are not scaled, and a penalty's slopes underflow; "
            f"got trainer.precision={shown(precision)}. Take 32-true or bf16-mixed."
        )
    if str(precision) not in PRECISIONS:
        raise Refused(
            "a run must keep its weights and data in float32: trainer.precision must be 32-true or "
            f"bf16-mixed; got {shown(precision)}. Choose one of them."
        )
    for key in ("deterministic", "benchmark", "detect_anomaly"):
        if key in settings and type(settings[key]) is not bool:
            raise Refused(
                f"trainer.{key} must be true or false; got {shown(settings[key])}. Choose one, or drop it."
            )
    _must_be_met(settings)


def _must_be_met(settings: DictConfig) -> None:
    """Let Lightning refuse what is not there, such as a GPU."""
    from lightning_fabric.utilities.exceptions import MisconfigurationException
    from pytorch_lightning import Trainer

    content: Any = OmegaConf.to_container(settings)
    try:
        Trainer(**content, logger=False, enable_checkpointing=False, enable_progress_bar=False)
    except (MisconfigurationException, ValueError, ImportError) as error:  # ImportError: a TPU's library
        raise Refused(
            f"trainer must hold settings that this machine can meet; got: {error} "
            "Choose trainer=default or trainer=cpu."
        ) from error
