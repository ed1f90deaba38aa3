"""Checkpoints: the whole training state in one file that needs no trust to open.

Plain tensors and text, so ``torch.load(path, weights_only=True)`` reads it without Saddle:
``generator``, ``discriminator`` and ``averaged_generator`` (the one that is evaluated) are ordinary
state dicts, ``averages`` holds one more for every average by its name; ``leaves`` are the tensors of
the training state in order, from which a run resumes exactly.
"""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.utils import _pytree as pytree

from saddle.data.files import atomic_write
from saddle.game.game import Game
from saddle.game.refusals import Refused
from saddle.rounds.execution import TrainingState

FORMAT = 1
KEYS = {"owner", "rounds", "step", "leaves", "names"}  # what resuming needs


class Checkpoint(NamedTuple):
    rounds: int  # of the game, played so far
    step: int  # generator steps
    state: TrainingState


class Best(NamedTuple):
    """What a best checkpoint holds: the generator step, and the value of its metric there."""

    step: int
    value: float | None  # None in a file from before it was kept there


def save(
    path: Path,
    game: Game,
    rounds: int,
    step: int,
    state: TrainingState,
    owner: str = "",
    best: Mapping[str, float] | None = None,
) -> None:
    """Write a checkpoint, whole or not at all.

    Args:
        owner: identity of the run that it belongs to.
        best: of a best checkpoint: its metric -> the value there.
    """
    leaves = [leaf.detach().cpu() for leaf in pytree.tree_leaves(state)]
    names = _names(state)
    on_cpu = pytree.tree_unflatten(leaves, pytree.tree_structure(state))
    content = {
        "format": FORMAT,
        "owner": owner,
        "rounds": rounds,
        "step": step,
        # views of the leaves: they take no room of their own in the file
        "generator": game.generator.unflatten(on_cpu.players.generator),
        "discriminator": game.discriminator.unflatten(on_cpu.players.discriminator),
        "averaged_generator": game.generator.unflatten(on_cpu.evaluated),
        "averages": {
            name: game.generator.unflatten(average.params) for name, average in on_cpu.averages.items()
        },
        "leaves": leaves,
        "names": names,
        "best": dict(best or {}),
    }
    atomic_write(path, lambda file: torch.save(content, file))


def load(path: Path, like: TrainingState, owner: str = "") -> Checkpoint:
    """Read a checkpoint into the structure, and onto the device, of a fresh training state.

    Raises:
        ValueError: the file is missing, truncated, not a checkpoint of Saddle, of another run than
            ``owner``, or of another game.
    """
    content = _read(path)
    _must_belong(path, content, owner)
    leaves = content["leaves"]
    expected, structure = pytree.tree_flatten(like)
    shapes, wanted = [leaf.shape for leaf in leaves], [leaf.shape for leaf in expected]
    if shapes != wanted or content["names"] != _names(like):
        raise Refused(
            f"a checkpoint must fit the run's networks, optimizers and dynamics; {path} holds "
            f"{len(shapes)} tensors with {sum(map(torch.Size.numel, shapes)):,} numbers, the run "
            f"{len(wanted)} with {sum(map(torch.Size.numel, wanted)):,}. Take the run's own checkpoint."
        )
    moved = [leaf.to(one.device, one.dtype) for leaf, one in zip(leaves, expected, strict=True)]
    return Checkpoint(content["rounds"], content["step"], pytree.tree_unflatten(moved, structure))


def read_best(path: Path, metric: str, owner: str) -> Best | None:
    """Read what a best checkpoint holds; None if there is no such file.

    Raises:
        Refused: the file cannot be read, or is another run's. It would be overwritten by the next best.
    """
    if not path.exists():
        return None
    content = _read(path)
    _must_belong(path, content, owner)
    return Best(content["step"], content.get("best", {}).get(metric))


def _must_belong(path: Path, content: Mapping[str, Any], owner: str) -> None:
    if content["owner"] != owner:
        raise Refused(
            f"a checkpoint must belong to the run; {path} was written by run {content['owner']!r}, this is "
            f"run {owner!r}. Put the run's own checkpoint back."
        )


def _names(state: TrainingState) -> list[str]:
    """The place of each leaf in the state, such as ``.memory.generator.square``."""
    return [pytree.keystr(place) for place, _ in pytree.tree_flatten_with_path(state)[0]]


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise Refused(
            f"a checkpoint must exist to be loaded; there is no {path}. "
            "Give another run directory, or train first."
        )
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, OSError, EOFError, LookupError, ValueError, pickle.UnpicklingError) as error:
        why = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise Refused(
            f"a checkpoint must be a whole file written by Saddle; {path} cannot be read ({why}). "
            "Use another checkpoint of the run."
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT or not content.keys() >= KEYS:
        found = sorted(map(str, content)) if isinstance(content, dict) else type(content).__name__
        raise Refused(
            f"a checkpoint must be of Saddle's format {FORMAT}; {path} holds {found}. "
            "Resume with a checkpoint that this version wrote."
        )
    return content
