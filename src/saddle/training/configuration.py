"""Where configurations lie, which choices there are, and what a run is asked for, wherever it is asked."""

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from saddle.game.refusals import Refused
from saddle.records.names import sweep_name
from saddle.records.questions import OF_THE_SWEEP


def config_directory() -> Path:
    """Find ``conf/``: inside the installed package, or at the top of a checkout."""
    package = Path(__file__).parents[1]
    return next(path for path in (package / "conf", package.parents[1] / "conf") if path.is_dir())


class Request(NamedTuple):
    """What is asked of training.

    Args:
        config: as composed, interpolations unresolved.
        words: overrides, as typed.
        choices: config group -> choice.
        directory: where the run's record is to lie.
        sweep_directory: where an ensemble's are.
        command_line: that did it, for the record.
    """

    config: DictConfig
    words: tuple[str, ...]
    choices: Mapping[str, Any]
    directory: Path
    sweep_directory: Path
    command_line: tuple[str, ...]


def of_command(config: DictConfig) -> Request:
    """Read what Hydra's main function was asked, in the task that it runs."""
    settings = HydraConfig.get()
    return Request(
        config,
        (*settings.overrides.task,),
        settings.runtime.choices,
        Path(settings.runtime.output_dir),
        Path(settings.sweep.dir).absolute(),
        (*sys.argv,),
    )


def of_words(words: Sequence[str], out: str | Path | None = None) -> Request:
    """Compose what ``saddle-train *words`` would be asked.

    Args:
        words: overrides such as ``data=ring8``; ``hydra.searchpath=[file://FOLDER]`` adds one's own choices.
        out: directory of the record; None makes one as the command does.

    Raises:
        Refused: a word that does not compose.
    """
    given = [str(word) for word in words]
    with composing("train", given) as config:
        own = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
        own.name = str(own.name)  # while the choices are at hand, to which it refers
        settings = config.hydra
        place = settings.run.dir if out is None else out
        return Request(
            own,
            (*(word for word in given if not word.startswith("hydra")),),
            OmegaConf.to_container(settings.runtime.choices),  # type: ignore[arg-type]
            Path(str(place)).absolute(),
            Path(str(settings.sweep.dir if out is None else out)).absolute(),
            ("saddle.train", *given),
        )


@contextmanager
def composing(name: str, words: Sequence[str]) -> Iterator[DictConfig]:
    """Compose a configuration of a command, Hydra's settings in it, which are its own meanwhile.

    Within, ``choices`` sees what the words' ``hydra.searchpath`` does.

    Raises:
        Refused: a word that does not compose.
    """
    with finding():
        held = HydraConfig.instance()
        before = held.cfg
        own = any(word.startswith("hydra.searchpath=") for word in words)
        try:
            config = hydra.compose(name, [*words, *([] if own else _searching())], return_hydra_config=True)
        except (HydraException, OmegaConfBaseException) as error:
            raise Refused(_first_paragraph(error)) from error
        try:
            held.set_config(config)
            yield config
        except OmegaConfBaseException as error:
            raise Refused(refused_by_a_resolver(error) or str(error).partition("\n")[0]) from error
        finally:
            held.cfg = before


@contextmanager
def finding() -> Iterator[None]:
    """Let Hydra find our configurations: within our commands, another's, or without any."""
    register_resolvers()
    current = GlobalHydra.instance()
    if current.is_initialized() and _is_ours(current):  # with its own search path
        yield
        return
    settings = HydraConfig.instance()
    before, current.hydra = current.hydra, None
    theirs, settings.cfg = settings.cfg, None
    try:
        with hydra.initialize_config_dir(str(config_directory()), version_base="1.3"):
            yield
    finally:
        current.hydra, settings.cfg = before, theirs


def _is_ours(current: GlobalHydra) -> bool:
    """Whether Hydra looks for configurations where ours are."""
    places = [element.path for element in current.config_loader().get_search_path().get_path()]
    return any(str(place).removeprefix("file://") == str(config_directory()) for place in places)


def _first_paragraph(error: Exception) -> str:
    return str(error).partition("\nConfig search path:")[0].strip()


def asks_for_ensemble(config: DictConfig) -> bool:
    """Whether a configuration of ``train`` is of many runs at once."""
    return any(value is not None for value in config.ensemble.values())


def choices(group: str, folders: Sequence[str] = ()) -> list[str]:
    """List the choices of a config group.

    Args:
        folders: of one's own choices, looked in beside ours; those of a running command are known.
    """
    with finding():
        loader: Any = GlobalHydra.instance().config_loader()
        found = loader.get_group_options(group, ObjectType.CONFIG, "train", _searching(folders))
        return sorted(found)


def content_of(name: str, words: Sequence[str], arguments: Sequence[str] = ()) -> dict[str, Any]:
    """Compose a configuration, unresolved, as a mapping.

    Args:
        arguments: of the command line, which may name folders of one's own choices.
    """
    with finding():
        config = hydra.compose(name, [*words, *_searching(search_path(arguments))])
    content: Any = OmegaConf.to_container(config, resolve=False)
    return dict(content)


def _searching(folders: Sequence[str] = ()) -> list[str]:
    """Overrides that make Hydra look in these folders too, and where the running command looks."""
    places = [f"file://{Path(one).absolute()}" for one in folders]
    if HydraConfig.initialized():
        given = [word for word in HydraConfig.get().overrides.hydra if word.startswith("hydra.searchpath=")]
        places += re.findall(r"[\w.]+://[^,\]\s'\"]+", " ".join(given))
    return [f"hydra.searchpath=[{','.join(dict.fromkeys(places))}]"] if places else []


def search_path(arguments: Sequence[str]) -> list[str]:
    """Find the folders of one's own choices that a command line names."""
    found = []
    for index, word in enumerate(arguments):
        name, _, value = word.partition("=")
        if name in ("--config-dir", "-cd"):
            found += [value] if value else list(arguments[index + 1 : index + 2])
        elif name == "hydra.searchpath":
            found += re.findall(r"file://([^,\]\s'\"]+)", value)
    return [folder for folder in found if Path(folder).is_dir()]


def own_config(config: DictConfig) -> DictConfig:
    """Resolve what a run keeps of a configuration: all that does not say how many runs are made."""
    content: Any = OmegaConf.to_container(config, resolve=True)
    return OmegaConf.create({key: value for key, value in content.items() if key not in OF_THE_SWEEP})


def folder(name: Any, key: str = "name") -> str:
    """Give back a name that is one folder's, for a path in a configuration.

    Raises:
        Refused: it is empty, or leads elsewhere.
    """
    if name is None or str(name) in ("", ".", "..") or {"/", "\\"} & {*str(name)}:
        value = "null" if name is None else repr(name)
        raise Refused(f"{key} must be one folder's name; got {value}. Give a word without slashes.")
    return str(name)


def register_resolvers() -> None:
    """Tell OmegaConf of the functions that our configurations call."""
    OmegaConf.register_new_resolver("sweep_name", _sweep_name, replace=True)
    OmegaConf.register_new_resolver("folder", folder, replace=True)


def _sweep_name(name: Any, words: Sequence[str]) -> str:
    return sweep_name(None if name is None else folder(name, "sweep_name"), words)


def refused_by_a_resolver(error: Exception) -> str | None:
    """Find what a resolver of ours refused with, of which OmegaConf keeps no more than the words."""
    found = re.match(rf"{Refused.__name__} raised while resolving interpolation: (.*)", str(error))
    return found and found[1]
