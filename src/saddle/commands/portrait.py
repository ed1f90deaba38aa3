"""``saddle-portrait``: pictures of games and of runs, for papers, with their numbers beside them."""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig

from saddle.commands import entry
from saddle.data.files import atomic_write, strict
from saddle.game.refusals import Refused
from saddle.records.provenance import provenance
from saddle.training.refusing import refusing

# not train's: what a method cannot change
OWN = ("picture", "methods", "runs", "out", "width", "redraw", "debug")


def main() -> None:
    """Console entry point."""
    entry.run("portrait", portrait)


def portrait(config: DictConfig) -> None:
    """Compute or read a picture's numbers, draw it, and write both."""
    from saddle.reports import paper

    choice = _choices()["picture"]
    with refusing():
        paper.new_figure(config.width, 1)  # refuses a width before anything is computed
        content = _computed(config, choice) if config.redraw is None else _read(Path(config.redraw), choice)
        numbers = instantiate(config.picture.numbers)(**content["numbers"])
        figure = instantiate(config.picture.draw)(numbers, config.width)
        out = Path(config.out)
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            for kind in ("png", "svg"):
                atomic_write(_beside(out, kind), paper.file(figure, kind))
            atomic_write(_beside(out, "json"), json.dumps(content, allow_nan=False) + "\n")
        except OSError as error:
            raise Refused(
                f"out must be a place that can be made and written; got: {error}. Name another."
            ) from error
    for kind in ("png", "svg", "json"):
        print(_beside(out, kind))


def _computed(config: DictConfig, choice: str) -> dict[str, Any]:
    """What the picture's file holds: its numbers, and where they come from."""
    from rich.console import Console
    from rich.progress import track

    from saddle.commands.pictures.subject import Subject
    from saddle.diagnosis.spectra import NotConverged
    from saddle.reports.selection import find

    console = Console(stderr=True)

    def progress(items: Iterable[Any], what: str) -> Iterable[Any]:
        hidden = not console.is_terminal
        return track(items, what, console=console, transient=True, disable=hidden)

    methods = _methods(config)
    runs = find([*config.runs]) if config.runs else []
    composed = {name: hydra.compose("portrait", words) for name, words in methods.items()}
    compute = instantiate(config.picture.compute, _convert_="all")
    try:
        numbers = compute(Subject(composed, runs, progress, _warn))
    except NotConverged as error:
        raise Refused(str(error)) from error
    content = {
        "picture": choice,
        "methods": {} if runs else {name: [*_training(words)] for name, words in methods.items()},
        "runs": [str(run) for run in runs],
        "numbers": numbers._asdict(),
        "provenance": provenance(sys.argv, None),
    }
    return dict(strict(content))


def _choices() -> dict[str, Any]:
    return dict(HydraConfig.get().runtime.choices)


def _beside(out: Path, kind: str) -> Path:
    return out.with_name(f"{out.name}.{kind}")


def _warn(sentence: str) -> None:
    print(f"saddle: warning: {sentence}", file=sys.stderr)


def _methods(config: DictConfig) -> dict[str, list[str]]:
    """What is compared: its name -> training words.

    Raises:
        ValueError: a method that is no words, or changes what only the whole picture can.
    """
    settings = HydraConfig.get()
    given: Any = config.methods
    if not given:
        return {_choices()["dynamics"]: [*settings.overrides.task]}
    named = given if isinstance(given, DictConfig) else {str(words): words for words in given}
    found = {}
    for name, words in named.items():
        own = str(words).split()
        keys = {_key(word) for word in own}
        wrong = [word for word in own if "=" not in word or _key(word).partition(".")[0] in OWN]
        if wrong or not own:
            raise Refused(
                f"a method must be training words such as dynamics=alternating, with spaces between; got "
                f'{wrong[0] if wrong else words!r}. Quote several: "dynamics=simultaneous regularizer=[r1]".'
            )
        found[str(name)] = [
            *(word for word in settings.overrides.task if _key(word) not in keys),
            *own,
        ]
    return found


def _training(words: Iterable[str]) -> Iterable[str]:
    return (word for word in words if _key(word).partition(".")[0] not in OWN)


def _key(word: str) -> str:
    return word.lstrip("+~").partition("=")[0]


def _read(path: Path, choice: str) -> dict[str, Any]:
    """An earlier picture's file.

    Raises:
        ValueError: it is not there, not whole, or of another picture.
    """
    try:
        content = json.loads(path.read_text())
        made, _ = content["picture"], dict(content["numbers"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Refused(
            f"redraw must be the .json that an earlier picture wrote; {path} is not ({error}). Give another."
        ) from error
    if made != choice:
        raise Refused(f"redraw must be of picture={choice}; {path} is of {made}. Say picture={made}.")
    return content


if __name__ == "__main__":
    main()
