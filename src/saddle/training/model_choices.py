"""Which choices of ``model=`` make which samples, found out by making some."""

from collections.abc import Sequence

import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from saddle.training.configuration import choices, content_of


def fitting_choices(event: tuple[int, ...]) -> str:
    """Name every model choice and the shape of its samples, in words; those of the shape ``event`` first."""
    made: dict[tuple[int, ...], list[str]] = {}
    for choice, shape in sample_shapes().items():
        made.setdefault(shape, []).append(choice)
    others = sorted(made.keys() - {event}, key=lambda shape: (len(shape), shape))
    first, *rest = [shape for shape in (event, *others) if shape in made]
    verb = "make" if made[first][1:] else "makes"
    found = [f"model={_listed(made[first])} {verb} {_kind(first)}"]
    found += [f"{_listed(made[shape])} {_kind(shape)}" for shape in rest]
    if event not in made:
        found = [f"none makes {_kind(event)} as it stands", *found]
    return "; ".join(found)


def sample_shapes() -> dict[str, tuple[int, ...]]:
    """Make samples by every model choice as it stands, and give their shapes.

    The choices are those of the folders in use, of ``--config-dir`` and ``hydra.searchpath`` too. One that
    cannot be made, a user's unfinished one, is left out.
    """
    found = {choice: _shape(choice) for choice in choices("model")}
    return {choice: shape for choice, shape in found.items() if shape is not None}


def _shape(choice: str) -> tuple[int, ...] | None:
    try:
        model = OmegaConf.create(content_of("train", [f"model={choice}"])).model
        with torch.random.fork_rng(devices=[]), torch.no_grad():  # modules draw their first weights
            generator = instantiate(model.generator, _convert_="all")
            latents = instantiate(model.latents, _convert_="all")(2, torch.Generator().manual_seed(0))
            return tuple(generator(latents).shape[1:])
    except Exception:  # whatever is wrong with it, the user must hear of another model
        return None


def _kind(shape: tuple[int, ...]) -> str:
    name = {1: "points", 3: "images"}.get(len(shape), "samples")
    return f"{name} {shape}"


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names)
