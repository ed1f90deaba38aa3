"""What a run asks: its configuration without the seed; and the words that tell two questions apart.

A question is named as a user would type it: by config groups first (``loss=hinge``), then by dotted keys
(``optimizer.generator.lr=0.0001``). Of the keys that vary, those that follow from others are left out: with
another loss come other ``_target_`` and parameters, which nobody typed.

Reading needs no torch: a comparison of many runs must start fast.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple, cast

import yaml
from omegaconf import DictConfig, OmegaConf

from saddle.records.older import upgraded, upgraded_choices

# keys that say how many runs are made, and how, and reach none of them
OF_THE_SWEEP = ("jobs", "max_jobs", "sweep_name", "ensemble")
# keys that neither change the numbers of a run nor tell two questions apart
OF_THE_RUN = (
    *("seed", "name", "tags", "logger", "resume", "on_divergence", "debug", "trainer", "execution"),
    "diagnostics",  # they look on
)
NOT_THE_EXPERIMENT = (*OF_THE_RUN, *OF_THE_SWEEP)

# groups of which a list is chosen; each entry lies under the name of its choice
LISTS = ("regularizer", "generator_regularizer", "transform", "average")

Words = Mapping[str, str]  # key or group -> value as typed


class Labels(NamedTuple):
    """The varying keys, in the order of a command line, and the words of each question for them."""

    keys: tuple[str, ...]
    words: tuple[dict[str, str], ...]  # of each question: key -> value, without those it lacks

    def texts(self, alone: str) -> list[str]:
        """Each question as one line; ``alone`` where nothing varies."""
        return [" ".join(f"{key}={word}" for key, word in found.items()) or alone for found in self.words]


def question(content: Mapping[str, Any]) -> dict[str, Any]:
    """Drop from a resolved configuration, read as today's would say it, what is not part of the question."""
    return {str(key): value for key, value in upgraded(content).items() if key not in NOT_THE_EXPERIMENT}


def as_text(content: Mapping[str, Any]) -> str:
    """The question of a resolved configuration, equal for equal ones: 1 and 1.0 are one number."""
    return json.dumps(_plain(question(content)), sort_keys=True, default=str)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def config_hash(config: DictConfig | Mapping[str, Any]) -> str:
    """Short name of the question that a run asks: its configuration without the seed."""
    content = OmegaConf.to_container(config, resolve=True) if isinstance(config, DictConfig) else config
    return sha256(as_text(cast(Mapping[str, Any], content)).encode()).hexdigest()[:10]


def chosen(hydra_choices: Mapping[str, Any]) -> dict[str, str]:
    """Hydra's choices of one job that are part of the question, for the record."""
    return {
        group: typed(choice)
        for group, choice in sorted(hydra_choices.items())
        if not group.startswith("hydra/") and group not in NOT_THE_EXPERIMENT
    }


def typed(value: Any) -> str:
    """A value as Hydra's command line takes it: true, null, [r1,r2], 0.001."""
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple):
        return "[" + ",".join(typed(item) for item in value) + "]"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{typed(item)}" for key, item in value.items()) + "}"
    return json.dumps(value)


def shown(value: Any) -> str:
    """A value of a configuration in a message: as Python has it, but null, true and false as typed."""
    return typed(value) if value is None or isinstance(value, bool) else str(value)


def key(word: str) -> str:
    """Name the key that a word of a command line sets: ``loss`` of ``+loss=hinge``."""
    return word.lstrip("+~").partition("=")[0]


def typed_keys(command_line: Sequence[str]) -> set[str]:
    """Keys that a command line sets, one by one: ``+a.b=1`` gives a.b."""
    return {word.partition("=")[0].lstrip("+~") for word in command_line if "=" in word}


def words(content: Mapping[str, Any], choices: Mapping[str, str] | None, conf: Path | None) -> Words:
    """A question as everything that could be typed: choices first, then dotted keys.

    Args:
        content: the resolved configuration.
        choices: what the record says was chosen; None in an older record, whose choices are then told from
            the targets and numbers that they brought, where only one choice brings them.
        conf: the folder of the config groups, for that.
    """
    asked = question(content)
    found = upgraded_choices(choices) if choices is not None else _told_by(asked, conf)
    found |= {group: typed(list(asked[group] or {})) for group in LISTS if group in asked}
    return {**found, **{key: typed(value) for key, value in flatten(asked).items() if key not in LISTS}}


def labels(questions: Sequence[Words], typed: Collection[str] | None) -> Labels:
    """What tells questions apart, in as few words as keep them apart.

    A varying key is kept if a user typed it, or if the keys kept so far do not determine it. So any two
    questions that differ have different labels.

    Args:
        questions: each as ``words`` gives it.
        typed: keys that the command lines set. None where nobody knows: then only keys of the same group
            are taken to follow from each other, since a user may have changed two at once.
    """
    every = list(dict.fromkeys(key for asked in questions for key in asked))
    every.sort(key=lambda key: "." in key and "@" not in key)  # choices and top-level keys first
    varying = [key for key in every if len({asked.get(key) for asked in questions}) > 1]
    kept = [key for key in varying if key in (typed or ())]
    for key in varying:
        if key not in kept:
            near = [other for other in kept if typed is not None or _group(other) == _group(key)]
            told = {tuple(asked.get(other) for other in near) for asked in questions}
            told_with = {tuple(asked.get(other) for other in (*near, key)) for asked in questions}
            if len(told_with) > len(told):
                kept.append(key)
    kept.sort(key=varying.index)
    return Labels(
        tuple(kept), tuple({key: asked[key] for key in kept if key in asked} for asked in questions)
    )


def flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    """A tree of mappings as dotted path -> leaf; lists and empty mappings are leaves."""
    if not isinstance(tree, Mapping) or (not tree and prefix):
        return {prefix: tree}
    found: dict[str, Any] = {}
    for key, value in tree.items():
        found |= flatten(value, f"{prefix}.{key}" if prefix else str(key))
    return found


def _group(key: str) -> str:
    return key.rpartition("@")[2].partition(".")[0]


def _told_by(asked: Mapping[str, Any], conf: Path | None) -> dict[str, str]:
    found: dict[str, str] = {}
    for group in asked:
        if conf is not None and group not in LISTS and isinstance(asked[group], Mapping):
            leaves = flatten(asked[group])
            score = {
                stem: sum(leaves.get(key) == value for key, value in choice.items())
                for stem, choice in _choices(conf / group).items()
                if choice
                and all(leaves.get(key) == v for key, v in choice.items() if key.endswith("_target_"))
            }
            best = [stem for stem, agreeing in score.items() if agreeing == max(score.values())]
            if len(best) == 1:
                found[group] = best[0]
    return found


@lru_cache
def _choices(folder: Path) -> dict[str, dict[str, Any]]:
    """Choice -> its leaves, without what is filled in later."""
    return {path.stem: _leaves(path) for path in sorted(folder.glob("*.yaml"))}


def _leaves(path: Path) -> dict[str, Any]:
    """Of a choice, and of the choices that it brings by ``/group@place: choice``."""
    content = yaml.load(path.read_text("utf-8"), yaml.CSafeLoader) or {}
    found: dict[str, Any] = {}
    for entry in content.pop("defaults", []):
        for key, choice in entry.items() if isinstance(entry, Mapping) else ():
            group, _, place = key.removeprefix("/").partition("@")
            if not place or place.startswith("_global_"):  # not below the choice itself
                continue
            brought = _leaves(path.parents[1] / group / f"{choice}.yaml")
            found |= {f"{place}.{leaf}": value for leaf, value in brought.items()}
    own = {key: value for key, value in flatten(content).items() if not _filled_in_later(value)}
    return found | own


def _filled_in_later(value: Any) -> bool:
    return isinstance(value, str) and "${" in value
