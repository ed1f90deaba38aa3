"""Compositions of conf/: every choice of a group, and the configuration and objects of a few words."""

import math
from pathlib import Path
from typing import Any
from unittest import mock

import hydra
import torch
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from saddle.training import checks
from saddle.training.assembly import Experiment, assemble
from saddle.training.configuration import config_directory
from saddle.training.module import GANModule, Pace

CONF = config_directory()


README = CONF.parent / "README.md"


GROUPS = sorted(path.name for path in CONF.iterdir() if path.is_dir())


SMALL = ["name=small", "num_steps=2", "evaluate_every=1", "checkpoint_every=1", "batch_size=8"]


# pairs that fit, quickest first; a choice that fits none of them is tried with everything there is
PAIRS = [
    *(("ring8", "mlp"), ("digits", "mlp8"), ("mnist5k", "mlp28"), ("mnist5k", "dcgan28")),
    ("gaussian1d", "gaussian1d"),
]


def choices(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).rglob("*.yaml"))


def defaults(path: Path) -> dict[str, Any]:
    """Group, and where it is mounted if not at its own name, -> default choice or list of choices."""
    entries = OmegaConf.to_container(OmegaConf.load(path), resolve=False).get("defaults", [])
    return {key: value for entry in entries if isinstance(entry, dict) for key, value in entry.items()}


TOP = {group: value for group, value in defaults(CONF / "train.yaml").items() if group in GROUPS}


LISTS = sorted(group for group, value in TOP.items() if isinstance(value, list) and group != "logger")


# choices within a choice, such as /normalization@generator.normalization in model=mlp:
# (group, outer group, outer choice) -> places
PARTS: dict[tuple[str, str, str], list[str]] = {}


for outer in ("model", "dynamics", "optimizer"):
    for name in choices(outer):
        for key in defaults(CONF / outer / f"{name}.yaml"):
            group, _, place = key.removeprefix("/").partition("@")
            PARTS.setdefault((group, outer, name), []).append(f"{group}@{outer}.{place}")


def composed(*words: str) -> DictConfig:
    """The configuration of ``saddle-train *words``, resolved."""
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config = hydra.compose("train", [*SMALL, *words])
    resolved = OmegaConf.create(OmegaConf.to_container(config, resolve=True))
    assert isinstance(resolved, DictConfig)
    if "num_train" in resolved.data:
        resolved.data.num_train, resolved.data.num_held_out = 400, 100
    return resolved


def fitting(group: str, choice: str) -> tuple[DictConfig, Experiment]:
    """The first pair of data and model with which the choice can be assembled."""
    everything = [(data, model) for data in choices("data") for model in choices("model")]
    tried = set()
    refused = ""
    for data, model in [*PAIRS, *everything]:
        parts = {"data": data, "model": model, group: choice}
        words = tuple(f"{name}={value}" for name, value in parts.items())
        if words in tried:
            continue
        tried.add(words)
        try:
            config = composed(*words)
            with mock.patch.object(checks, "fitting_choices", return_value=""):  # seconds, for a message
                return config, assemble(config)
        except (ValueError, HydraException) as error:
            refused = str(error)
    raise AssertionError(f"{group}={choice} fits no data and model; the last refusal: {refused}")


def step(experiment: Experiment) -> None:
    """One round, as training plays it; both players move and nothing is infinite."""
    module, member = GANModule([experiment.member], Pace(1)), experiment.member
    module.begin()
    before = member.state.players
    module.play(next(module.chunks()))
    assert member.fault is None
    assert member.generator_steps == experiment.dynamics.num_generator_steps
    for old, new in zip(before, member.state.players, strict=True):
        assert bool(torch.isfinite(new).all())
        assert not torch.equal(old, new)
    assert member.logs is not None
    assert {"loss/generator", "loss/discriminator"} <= member.logs.keys()
    assert all(math.isfinite(value) for value in member.logs.values())
