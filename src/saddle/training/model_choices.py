"""Which choices of ``model=`` make which samples, found out by making some."""

from collections.abc import Sequence

import hydra
import torch
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate

from saddle.training.configuration import config_directory


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
    given = HydraConfig.get().runtime.config_sources if HydraConfig.initialized() else []
    escaped = (source.path.replace("'", r"\'") for source in given if source.schema == "file")
    folders = ",".join(f"'file://{path}'" for path in escaped)
    searched = f"hydra.searchpath=[{folders}]"
    outer, GlobalHydra.instance().hydra = GlobalHydra.instance().hydra, None
    try:
        with hydra.initialize_config_dir(str(config_directory()), version_base="1.3"):
            loader = GlobalHydra.instance().config_loader()
            choices = loader.get_group_options("model", config_name="train", overrides=[searched])
            found = {choice: _shape(choice, searched) for choice in choices}
    finally:
        GlobalHydra.instance().hydra = outer
    return {choice: shape for choice, shape in found.items() if shape is not None}


def _shape(choice: str, searched: str) -> tuple[int, ...] | None:
    try:
        model = hydra.compose("train", [searched, f"model={choice}"]).model
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
