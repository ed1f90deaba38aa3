"""List every choice that makes a game: what it is, what it costs, who proposed it.

Read from the configurations and the docstrings of what they name; and every metric, and what each sees of
known faults (half a minute). ``catalogue.py --write`` puts the tables between the marks in README.md,
``--check`` exits 1 if they are not up to date there.
"""

import argparse
import re
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from saddle.commands.pipes import ending_with_its_reader

ROOT = Path(__file__).parents[1]
GROUPS = (
    *("loss", "regularizer", "generator_regularizer", "transform", "normalization"),
    *("dynamics", "rule", "schedule", "average", "diagnostics"),
)
# what is typed, where it is not the group
TYPED = {"rule": "`optimizer=`, `rule@optimizer.PLAYER=`"}
BEGIN, END = "<!-- catalogue: begin -->", "<!-- catalogue: end -->"
METRICS_BEGIN, METRICS_END = "<!-- metrics: begin -->", "<!-- metrics: end -->"


@ending_with_its_reader()
def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="update README.md")
    parser.add_argument("--check", action="store_true", help="exit 1 if README.md is not up to date")
    arguments = parser.parse_args()
    from saddle.metrics import bench

    blocks = {
        (BEGIN, END): tables(),
        (METRICS_BEGIN, METRICS_END): metrics(),
        (bench.BEGIN, bench.END): bench.table(bench.responses()),
    }
    if not arguments.write and not arguments.check:
        print("\n\n".join(blocks.values()))
        return
    readme = ROOT / "README.md"
    before = after = readme.read_text()
    for (begin, end), text in blocks.items():
        if begin not in before or end not in before:
            sys.exit(f"catalogue: README.md must hold {begin} and {end}; put them where the tables belong.")
        head, tail = after.partition(begin)[0], after.partition(end)[2]
        after = f"{head}{begin}\n{text}\n{end}{tail}"
    if arguments.write:
        readme.write_text(after)
    elif after != before:
        sys.exit("catalogue: README.md must show the present choices; run scripts/catalogue.py --write.")


def tables() -> str:
    """One Markdown table a group."""
    parts = []
    for group in GROUPS:
        title, cost_of = COSTS.get(group, ("", None))
        typed = TYPED.get(group, f"`{group}=`")
        rows = [f"| {typed} | what it is | {title and f'{title} | '}source |"]
        rows.append("| --- | --- | --- | --- |" if title else "| --- | --- | --- |")
        for path in sorted((ROOT / "conf" / group).glob("*.yaml")):
            config = _load(path)
            docstring, detail = _docstring(config), _detail(config)
            summary, source = _summary(docstring), _source(docstring)
            cost = f"{cost_of(path)} | " if cost_of else ""
            rows.append(f"| `{path.stem}` | {summary}{detail} | {cost}{source} |")
        parts.append("\n".join(rows))
    return "\n\n".join(parts)


def metrics() -> str:
    """One Markdown table of all metrics."""
    rows = ["| `saddle.metrics.` | what it is | source |", "| --- | --- | --- |"]
    for module, found in _metric_modules():
        name = module.__name__.rpartition(".")[2]
        for one in found:
            source = _source(one.__doc__) or _source(module.__doc__)
            rows.append(f"| `{name}.{one.__name__}` | {_summary(one.__doc__)} | {source} |")
    return "\n".join(rows)


def _metric_modules() -> list[tuple[ModuleType, list[Any]]]:
    """Each module of ``saddle.metrics`` with what it defines that says what its numbers mean.

    Modules of functions first, then that of what needs more than two matrices, each by name; within one, in
    the order of the file.
    """
    import importlib
    import inspect
    import pkgutil

    from saddle import metrics
    from saddle.metrics.values import Value

    found = []
    for info in pkgutil.iter_modules(metrics.__path__, f"{metrics.__name__}."):
        module = importlib.import_module(info.name)
        own = [one for one in vars(module).values() if getattr(one, "__module__", None) == info.name]
        if marked := [one for one in own if isinstance(getattr(one, "meaning", None), Value | Mapping)]:
            found.append((module, marked))
    return sorted(found, key=lambda pair: (inspect.isclass(pair[1][0]), pair[0].__name__))


def _load(path: Path) -> dict[str, Any]:
    """The node that names the object: the file itself, or the first player's or the penalty's part of it."""
    from omegaconf import OmegaConf

    config: Any = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    return config if "_target_" in config else next(iter(config.values())) or {}


def _docstring(config: dict[str, Any]) -> str:
    """Of the object that a node names: of its class or function, or the text below a constant."""
    import ast
    import inspect
    from importlib import import_module
    from itertools import pairwise

    from hydra.utils import get_object

    if not config:
        return "Left as it is. Source: —"
    if "path" not in config:
        return get_object(config["_target_"]).__doc__ or ""
    module, _, name = config["path"].rpartition(".")
    body = ast.parse(inspect.getsource(import_module(module))).body
    for statement, after in pairwise(body):
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == name:
            return str(ast.literal_eval(ast.unparse(after)))
    return ""


def _detail(config: dict[str, Any]) -> str:
    """Which form or divergence a choice binds: its name, and of a divergence its formulas."""
    if "form" in config:
        return f" Form: {config['form']['path'].rpartition('.')[2]}."
    if "divergence" in config:
        name = config["divergence"]["path"].rpartition(".")[2].replace("_", " ").lower()
        formulas = " ".join(_docstring(config["divergence"]).split()).split(". ")[0].rstrip(".")
        return f" Divergence: {name}, {formulas}."
    return ""


def _summary(docstring: str | None) -> str:
    """First sentence and first formula of a docstring, in one table cell."""
    paragraphs = [" ".join(part.split()) for part in (docstring or "").split("\n\n")]
    # a period after one letter ends no sentence
    first = re.split(r"(?<=[^A-Z])\. ", paragraphs[0])[0].rstrip(".").removesuffix(":")
    formula = next((part for part in paragraphs[1:2] if "=" in part.split(". ")[0]), "")
    formula = formula.split(". ")[0].rstrip(".,").split(", from")[0]
    cell = f"{first}{': ' + formula if formula else ''}."
    return cell.replace("|", "\\|").replace("``", "`")


def _source(docstring: str | None) -> str:
    found = re.search(r"Sources?: (.+?)(?:\n\n|\Z)", docstring or "", re.DOTALL)
    if not found:
        return ""
    return " ".join(found[1].split()).split(" (")[0].rstrip(".")


def _runs(path: Path) -> str:
    """How often a penalty runs G and D beyond what the loss of its player does, counted."""
    import torch
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    from saddle.data.sampling import draw_batches, normal_latents
    from saddle.data.sources import TensorSource
    from saddle.game.game import Game
    from saddle.game.losses import NonSaturating
    from saddle.game.network import Network
    from saddle.models.mlp import Discriminator, Generator

    nodes: Any = OmegaConf.load(path)
    for node in nodes.values():
        node.pop("every_n_steps")
    of_generator = path.parent.name == "generator_regularizer"
    counts = []
    taken: list[dict[str, Any]] = [{}, instantiate(nodes, _convert_="all")]
    for parts in taken:
        networks = Generator(2, (2,), [4], 0.2), Discriminator((2,), [4], 0.2)
        runs = [0, 0]
        for index, network in enumerate(networks):
            network.register_forward_hook(partial(_count, runs, index))
        chosen: Any = {"generator_penalties" if of_generator else "penalties": parts}
        game = Game(Network(networks[0]), Network(networks[1]), NonSaturating(), **chosen)
        source = TensorSource(torch.randn(8, 2))
        draws = draw_batches(source, partial(normal_latents, size=2), game, 4, 1, 0, 0)
        players = game.init()
        game = game.remember(game.init_memory(players))
        (game.generator_loss if of_generator else game.discriminator_loss)(players, draws[0])
        counts.append(runs)
    extra = [with_it - without for without, with_it in zip(*counts, strict=True)]
    return f"{extra[0]}, {extra[1]}"


def _count(runs: list[int], index: int, *_: Any) -> None:
    runs[index] += 1


def _num_gradients(path: Path) -> int:
    import hydra
    from hydra.utils import instantiate

    with hydra.initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        dynamics = instantiate(hydra.compose("train", [f"dynamics={path.stem}", "name=catalogue"]).dynamics)
    return int(dynamics.num_gradients)


COSTS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "dynamics": ("gradients a round", _num_gradients),
    "regularizer": ("further runs of G, D", _runs),
    "generator_regularizer": ("further runs of G, D", _runs),
}


if __name__ == "__main__":
    main()
