"""The members of an ensemble: which runs are asked for, and whether one lifted step can make them.

A member is named by words, as a job of a sweep is: the words of the command line without the ensemble's own,
the numbers that are the member's, and its seed. Given alone, they train the same run.
"""

import difflib
import shlex
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from itertools import product
from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig, OmegaConf
from torch.utils import _pytree as pytree

from saddle.game.refusals import Refused
from saddle.records.questions import OF_THE_SWEEP, flatten, key, typed
from saddle.rounds.execution import EAGER, start
from saddle.rounds.lifting import Unlike, together
from saddle.training.assembly import Experiment
from saddle.training.configuration import own_config

# groups whose numbers are calculated with; all others decide what is computed, measured or kept
LIFTED = (
    "loss",
    "regularizer",
    "generator_regularizer",
    "transform",
    "dynamics",
    "optimizer",
    "update",
    "schedule",
    "average",
    "ema",
    "model",
)


class Member(NamedTuple):
    words: tuple[str, ...]
    config: DictConfig  # the run's own, resolved


class Asked(NamedTuple):
    """What an ensemble varies.

    Args:
        seeds: of which each setting has all.
        settings: dotted path -> value, of each member but for its seed.
    """

    seeds: Sequence[int]
    settings: Sequence[Mapping[str, Any]]


def asked(config: DictConfig, words: Sequence[str]) -> Asked:
    """The seeds and settings of ``config.ensemble``.

    Raises:
        ValueError: they are not of the form that ``conf/train.yaml`` shows, are none, or repeat.
    """
    content: Any = OmegaConf.to_container(config.ensemble)
    seeds, vary, members = content["seeds"], content["vary"], content["members"]
    if seeds is not None and any(key(word) == "seed" for word in words):
        raise Refused("seeds must be given once; got seed= beside ensemble.seeds=. Drop one of the two.")
    if isinstance(seeds, int) and not isinstance(seeds, bool):
        seeds = [*range(seeds)]
    seeds = [config.seed] if seeds is None else seeds
    whole = isinstance(seeds, list) and all(type(seed) is int for seed in seeds)
    if not whole or not seeds or len({*seeds}) < len(seeds):
        raise Refused(
            f"ensemble.seeds must be a number of seeds, or a list of different ones; got {typed(seeds)}. "
            "Take ensemble.seeds=8 or ensemble.seeds=[0,1,5]."
        )
    axes = {} if vary is None else vary
    if not isinstance(axes, dict) or not all(isinstance(axis, list) and axis for axis in axes.values()):
        raise Refused(
            f"ensemble.vary must give each key a list of values; got {typed(vary)}. "
            "Take 'ensemble.vary={regularizer.r1.gamma:[0.1,1,10]}'."
        )
    given = [{}] if members is None else members
    if not isinstance(given, list) or not given or not all(isinstance(one, dict) for one in given):
        raise Refused(
            f"ensemble.members must list the keys and values of each; got {typed(members)}. "
            "Take 'ensemble.members=[{regularizer.r1.gamma:0.1},{regularizer.r1.gamma:1}]'."
        )
    products = [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]
    settings = [{**one, **setting} for one in given for setting in products]
    number = len(seeds) * len(settings)
    if number > config.max_jobs:
        raise Refused(
            f"an ensemble must have at most max_jobs={config.max_jobs} members; got {number:,}. "
            "Ask for fewer."
        )
    return Asked(seeds, settings)


def members_of(config: DictConfig, words: Sequence[str]) -> list[Member]:
    """The members that a configuration asks for, in the order settings, seeds.

    Raises:
        ValueError: as ``asked``; or for a key that is unknown or whose value cannot differ in an ensemble.
    """
    seeds, settings = asked(config, words)
    varied = list(dict.fromkeys(path for setting in settings for path in setting))
    _must_be_known(config, varied)
    ours = {"seed", *varied}
    kept = [w for w in words if key(w).partition(".")[0] not in OF_THE_SWEEP and key(w) not in ours]
    found = []
    for setting, seed in product(settings, seeds):
        whole = deepcopy(config)
        for path, value in setting.items():
            OmegaConf.update(whole, path, value)
        whole.seed = seed
        own = [f"{path}={typed(value)}" for path, value in setting.items()]
        found.append(Member((*kept, *own, f"seed={seed}"), own_config(whole)))
    first = flatten(OmegaConf.to_container(found[0].config))
    for one in found[1:]:
        other = flatten(OmegaConf.to_container(one.config))
        for path in {**first, **other}:
            if path != "seed" and path.split(".")[0] not in LIFTED and first.get(path) != other.get(path):
                raise Refused(
                    f"members of an ensemble must share {path}, which decides what is computed, measured or "
                    f"kept; got {typed(first.get(path))} and {typed(other.get(path))}."
                    + instead(words, config)
                )
    return found


def instead(words: Sequence[str], config: DictConfig) -> str:
    """The sweep that makes the same runs, one process each, as the end of a message."""
    seeds, settings = asked(config, words)
    varied = {path for setting in settings for path in setting}
    kept = [
        w for w in words if key(w).partition(".")[0] not in OF_THE_SWEEP and key(w) not in (*varied, "seed")
    ]
    seed = f"seed={','.join(map(str, seeds))}"
    if config.ensemble.members is None:
        axes = {path: dict.fromkeys(typed(setting[path]) for setting in settings) for path in varied}
        own = [[f"{path}={','.join(axes[path])}" for path in settings[0]]]
    else:
        own = [[f"{path}={typed(value)}" for path, value in setting.items()] for setting in settings]
    lines = [shlex.join(["scripts/train.py", "-m", *kept, *some, seed]) for some in own]
    return "\nAs a sweep, one process a run:\n  " + "\n  ".join(lines)


def _must_be_known(config: DictConfig, paths: Sequence[str]) -> None:
    content: Any = OmegaConf.to_container(config, resolve=False)
    known = flatten({name: value for name, value in content.items() if name not in OF_THE_SWEEP})
    for path in paths:
        if path not in known:
            numbers = [name for name in known if not name.endswith("_")]  # no _target_, no _partial_
            inside = [name for name in numbers if name.startswith(f"{path}.")]
            close = difflib.get_close_matches(path, numbers)
            what = f"{path} holds several" if inside else f"there is no {path}"
            raise Refused(
                f"an ensemble must vary single values of the configuration; {what}. "
                + (f"Did you mean {' or '.join(inside[:3] if inside else close)}?" if inside or close
                   else "`--cfg job` prints all keys.")
            )  # fmt: skip


def must_lift(experiments: Sequence[Experiment]) -> None:
    """Play a lifted round on a small batch: whatever cannot be lifted shows here.

    Raises:
        Refused: the members differ in what cannot be lifted, or a part decides by a number that varies.
    """
    members = [experiment.member for experiment in experiments]
    methods = [member.method for member in members]
    device = torch.device("cpu")
    states = [start(one.game, one.dynamics, one.averages, device) for one in methods]
    for state in states:
        if _shapes(state) != _shapes(states[0]):
            first, other = (sum(map(len, one.players)) for one in (states[0], state))
            raise Unlike(
                "members of an ensemble must have networks and memories of the same shapes; got networks of "
                f"{first:,} and {other:,} parameters."
            )
    num = min(members[0].batch_size, 2 * methods[0].game.pack)
    batches = [replace(member, batch_size=num).draw(0) for member in members]
    step = together(methods, EAGER, states[0].players.generator)
    try:
        step.play(step.join(states), step.join(batches), 0)
    except (RuntimeError, TypeError) as error:
        raise Unlike(
            "every part of an ensemble must only calculate with its numbers; a lifted round fails with: "
            f"{str(error).splitlines()[0]}"
        ) from error


def _shapes(state: Any) -> list[tuple[int, ...]]:
    return [tuple(leaf.shape) for leaf in pytree.tree_leaves(state)]
