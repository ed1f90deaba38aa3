"""The numbers behind a picture, as the portrait command computes them, and a record to draw."""

from collections.abc import Sequence
from pathlib import Path

import hydra
import torch
from hydra.core.global_hydra import GlobalHydra
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from saddle.commands.pictures.subject import Subject, unseen
from saddle.records import record as records
from saddle.training.configuration import config_directory


def composed(*words: str) -> DictConfig:
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(config_directory()), version_base="1.3"):
        return hydra.compose("portrait", ["name=toy", "logger=none", "out=out", *words])


def computed(*words: str, methods: Sequence[tuple[str, ...]] = ((),), runs: Sequence[Path] = ()):
    """The numbers that the command would draw, in its float32; a warning fails."""
    configs = {" ".join(own): composed(*words, *own) for own in methods}

    def refuse(sentence: str) -> None:
        raise AssertionError(sentence)

    return numbers_of(next(iter(configs.values())), Subject(configs, runs, unseen, refuse))


def numbers_of(config: DictConfig, subject: Subject):
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        return instantiate(config.picture.compute, _convert_="all")(subject)
    finally:
        torch.set_default_dtype(before)


def record(directory: Path, *words: str, num: int) -> Path:
    """A record of a discriminator's loss that falls like 1/step and a generator's that stays."""
    config = composed("data=ring8", "model=mlp", *words)
    del config.picture, config.out
    held = records.create(directory, OmegaConf.to_yaml(config), {"run_id": "x"})
    for step in range(1, num + 1):
        held.append(step, {"loss/discriminator": 1 + 1 / step, "loss/generator": 0.7})
    return directory
