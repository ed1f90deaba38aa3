"""What a picture is of, and its games put together as training does it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from saddle.data.sampling import draw_batches
from saddle.game.game import Batch, Players
from saddle.game.refusals import Refused
from saddle.training.assembly import Experiment, assemble


class Subject(NamedTuple):
    """What a picture is of."""

    methods: Mapping[str, DictConfig]  # name -> a configuration of train
    runs: Sequence[Path]  # directories
    track: Callable[..., Iterable[Any]]  # (items, what they are) -> the items, progress shown
    warn: Callable[[str], None]


def unseen(items: Iterable[Any], what: str) -> Iterable[Any]:
    """Progress that is not shown."""
    return items


def assembled(config: DictConfig) -> Experiment:
    """The experiment of a picture's configuration, as training would put it together."""
    content: Any = OmegaConf.to_container(config, resolve=False)
    own = OmegaConf.create({key: value for key, value in content.items() if key not in ("picture", "out")})
    resolved = OmegaConf.create(OmegaConf.to_container(own, resolve=True))
    assert isinstance(resolved, DictConfig)
    return assemble(resolved)


def batches_of(experiment: Experiment, index: int, num: int | None = None) -> tuple[Batch, ...]:
    """Those of a round as training draws them, or as many."""
    module = experiment.module
    return draw_batches(
        experiment.dataset.train,
        module.latents,
        experiment.game,
        module.batch_size,
        num or experiment.dynamics.num_batches,
        module.seed,
        index,
        module.order,
    )


def vector(at: float | Sequence[float], players: Players) -> Tensor:
    """Both players as one vector of these numbers."""
    like = torch.cat(players)
    if isinstance(at, int | float):
        return torch.full_like(like, at)
    if len(at) != len(like):
        raise Refused(
            f"a point must have a number for each of the game's {len(like)} parameters, the generator's "
            f"first; got {len(at)}. One number stands for all."
        )
    return torch.tensor([*at]).to(like)
