"""``saddle-evaluate``: two sets of samples against each other, or a run's own numbers again."""

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from saddle.commands import entry
from saddle.training.refusing import refusing

if TYPE_CHECKING:
    from rich.console import Console

    from saddle.training.sides import Track


def main() -> None:
    """Console entry point."""
    words: list[str] = []
    for word in sys.argv[1:]:  # the flag's common spelling, as one of Hydra's keys
        if words and words[-1] == "--save-features":
            words[-1] = f"save_features={word}"
        else:
            words.append(word.replace("--save-features=", "save_features="))
    sys.argv[1:] = words
    entry.run("evaluate", evaluate)


def evaluate(config: DictConfig) -> None:
    """Score ``fake`` against ``real``, or ``run`` by its own metrics."""
    from rich.console import Console

    from saddle.training.scoring import check

    # a pipe has no width of its own
    console = Console(width=None if sys.stdout.isatty() else 120)
    with refusing():
        check(config, HydraConfig.get().overrides.task)
    (_of_two_sides if config.run is None else _of_run)(config, console)


def _of_run(config: DictConfig, console: "Console") -> None:
    """Print the metrics of one checkpoint beside those that the run recorded at that step."""
    from rich.markup import escape
    from rich.table import Table

    from saddle.evaluation import results
    from saddle.training.scoring import rescore_of

    with refusing(), console.status("evaluating"):
        paths = results.outputs(_plain(config.output))
        found = rescore_of(config)
    table = Table(title=escape(found.title))
    for column in ("metric", "now", *(["recorded"] if found.recorded else [])):
        table.add_column(column, justify="left" if column == "metric" else "right")
    for name, value in found.results.metrics.items():
        then = found.recorded.get(name)
        recorded = ["-" if then is None else f"{then:.6g}"] if found.recorded else []
        table.add_row(name, f"{value:.6g}", *recorded)
    console.print(table)
    _print_protocol(console, found.results.protocol, found.results.notes)
    results.write(paths, found.results)


def _of_two_sides(config: DictConfig, console: "Console") -> None:
    """Print how ``fake`` scores against ``real``."""
    from rich.console import Console
    from rich.table import Table

    from saddle.evaluation import results
    from saddle.metrics.values import Value
    from saddle.training.scoring import asked_of, score

    with refusing(), _progress(Console(stderr=True)) as track:
        paths = results.outputs(_plain(config.output))
        found = score(asked_of(config), track)
    console.print(f"{config.fake} against {config.real}", highlight=False, markup=False, soft_wrap=True)
    table = Table()
    table.add_column("metric")
    table.add_column("value", justify="right")
    for name, value in found.metrics.items():
        table.add_row(f"{name} {found.meanings.get(name, Value()).arrow}", f"{value:.6g}")
    console.print(table)
    _print_protocol(console, found.protocol, found.notes)
    results.write(paths, found)


@contextmanager
def _progress(console: "Console") -> Iterator["Track"]:
    """A bar with the time left for each long loop; nothing where the output is no terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn()
    left = TimeRemainingColumn(), TextColumn("left")
    disabled = not console.is_terminal
    with Progress(*columns, *left, console=console, transient=True, disable=disabled) as progress:

        def track(items: Iterable[Any], what: str, num: int) -> Iterable[Any]:
            return progress.track(items, total=num, description=what)

        yield track


def _print_protocol(console: "Console", protocol: Mapping[str, Any], notes: Iterable[str]) -> None:
    for key, value in protocol.items():
        inside = isinstance(value, Mapping)
        text = ", ".join(f"{name}: {item}" for name, item in value.items()) if inside else value
        console.print(f"{key}: {text}", highlight=False, markup=False, soft_wrap=True)
    for note in notes:
        console.print(note, highlight=False, markup=False, soft_wrap=True)


def _plain(node: Any) -> Any:
    return OmegaConf.to_container(node) if OmegaConf.is_config(node) else node


if __name__ == "__main__":
    main()
