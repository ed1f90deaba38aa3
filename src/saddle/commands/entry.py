"""How a command begins and how it refuses: one message, exit status 2, nothing left behind."""

import difflib
import errno
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from saddle.commands.pipes import ending_with_its_reader
from saddle.game.refusals import Refused
from saddle.records.questions import LISTS
from saddle.sweeps.jobs import NO_ROOM
from saddle.training import configuration

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def run(config_name: str, task: Callable[[DictConfig], Any]) -> None:
    """Compose ``config_name`` from the command line and do ``task``; exits 2 on refused input."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # hand errors on to us; Hydra's own report exits 1
    configuration.register_resolvers()
    began = False

    def begin(config: DictConfig) -> Any:
        nonlocal began
        began = True
        settings = HydraConfig.get()
        try:
            return task(config)
        except Refused as error:
            if settings.mode == RunMode.MULTIRUN:
                raise  # the other jobs go on; Hydra raises the first error after the last job
            remove_if_empty(Path(settings.runtime.output_dir))
            _refuse(error, str(error))  # here, since Hydra would first print a report of its own

    try:
        with ending_with_its_reader():
            hydra.main(str(configuration.config_directory()), config_name, version_base="1.3")(begin)()
    except Refused as error:
        _refuse(error, str(error))
    except (HydraException, OmegaConfBaseException) as error:
        if said := configuration.refused_by_a_resolver(error):
            _refuse(error, said)
        message = str(error).strip().partition("\nConfig search path:")[0]
        _refuse(error, _with_a_hint(message, config_name))
    except ValueError as error:
        if began or (hint := _of_a_group_set_to_null()) is None:
            raise
        _refuse(error, hint)
    except OSError as error:
        if began and error.errno in FULL:
            _out_of_room(error)
        if began:
            raise  # a fault in the run itself
        must = "the run directory must be one that can be made and written"
        _refuse(error, f"{must}; got: {error}. Give hydra.run.dir=PATH.")


def refuse(task: Callable[[], Any]) -> None:
    """Do ``task``, of a command that does not use Hydra; exits 2 on refused input."""
    try:
        task()
    except Refused as error:
        _refuse(error, str(error))


def _refuse(error: Exception, message: str) -> NoReturn:
    if any(re.fullmatch(r"\+*debug=(true|1|yes)", word, re.IGNORECASE) for word in sys.argv[1:]):
        raise error
    print(f"saddle: {message}", file=sys.stderr)
    sys.exit(2)


def _out_of_room(error: OSError) -> NoReturn:
    """Exit with ``NO_ROOM``, also where the message itself finds no room."""
    message = f"saddle: no room left on the disk: {error}. Make room, then go on with resume=DIRECTORY."
    try:
        print(message, file=sys.stderr, flush=True)
        sys.stdout.flush()
    except OSError:  # they go to a file on that disk; Python would fail again at its end
        sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    sys.exit(NO_ROOM)


def remove_if_empty(directory: Path) -> None:
    """Remove a run directory in which nothing was begun, and parents that were made for it alone."""
    here = Path.cwd()
    for path in (directory, *directory.parents[:2]):
        if path in (here, *here.parents):
            return
        try:
            path.rmdir()
        except OSError:  # not empty, or not there
            return


def _with_a_hint(message: str, config_name: str) -> str:
    """Hydra's message about an unknown key, group or choice, with what was probably meant."""
    if close := _nearest(message, config_name):
        # an unknown key that is near a known one is a slip, and appending it would do nothing
        lines = [line for line in message.splitlines() if not line.startswith("To append to your config")]
        return "\n".join([*lines, f"Did you mean {' or '.join(close)}?"])
    group = re.search(r"Could not (?:find|load|delete) '([^'/@=]+)", message)
    if group and group[1] in (*LISTS, "diagnostics"):
        return f"{message}\n{group[1]}=[] is none."
    return message


def _nearest(message: str, config_name: str) -> list[str]:
    """The known names that are nearest to an unknown key or choice."""
    if choice := re.search(r"Could not (?:find|load) '([^']+)/([^'/]+)'", message):
        group, wanted = choice.groups()
        known = _choices(group)
    elif key := re.search(r"Could not override '([^']+)'", message):
        wanted = key[1]
        known = [name for name in _keys(config_name) if not name.endswith("_")]  # not _target_
    else:
        return []
    return difflib.get_close_matches(wanted, known, n=3, cutoff=0.5)


def _of_a_group_set_to_null() -> str | None:
    """Of which choice Hydra says no more than that it must be a string or a list."""
    for word in sys.argv[1:]:
        group, _, value = word.partition("=")
        if "null" in value.split(",") and (known := _choices(group)):
            if group in (*LISTS, "diagnostics"):
                return f"{group} must be a list of choices; got null. {group}=[] is none."
            return f"{group} must be one of {', '.join(known)}; got null. Choose one of them."
    return None


def _choices(group: str) -> list[str]:
    return configuration.choices(group, configuration.search_path(sys.argv[1:]))


def _keys(config_name: str) -> list[str]:
    """All dotted keys of the configuration, with the choices of the command line where they are valid."""
    chosen = [word for word in sys.argv[1:] if re.fullmatch(r"\w+=[\w\[\],]+", word)]
    for overrides in (chosen, []):
        with suppress(HydraException, OmegaConfBaseException):
            return list(_flatten(configuration.content_of(config_name, overrides, sys.argv[1:])))
    return []


def _flatten(config: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in config.items():
        yield f"{prefix}{name}"
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{name}.")
