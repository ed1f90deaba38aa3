"""``saddle-evaluate``: two sets of samples against each other, or a run's own numbers again."""

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from saddle.commands import entry
from saddle.game.refusals import Refused
from saddle.metrics.values import Value, said

if TYPE_CHECKING:
    import torch
    from rich.console import Console
    from torch import Tensor

    from saddle.evaluation.evaluator import Features, Measures
    from saddle.metrics.evidence import Judge
    from saddle.metrics.protocol import Extraction
    from saddle.records.record import Record
    from saddle.training.assembly import Experiment
    from saddle.training.sides import Side, Track

OF_TWO_SIDES = ("fake", "real", "held_out", "features", "metrics", "resize", "save_features", "device")


class Restored(NamedTuple):
    """A run's experiment with the generator of one of its checkpoints."""

    record: "Record"
    experiment: "Experiment"
    step: int
    params: "Tensor"  # (P,) of the generator asked for
    averaging: str  # of its weights: an average's name, or none


def restore(run: str, checkpoint: str, averaged: bool | str) -> Restored:
    """Rebuild a run from its record.

    Args:
        averaged: True for the average that the run evaluated, False for the raw generator, or the name of
            one of its averages.

    Raises:
        ValueError: no such run, no such average, or no such or no readable checkpoint.
    """
    from pathlib import Path

    import torch

    from saddle.records import checkpoints
    from saddle.records.record import open_record
    from saddle.rounds.execution import start
    from saddle.training.assembly import assemble

    record = open_record(Path(run))
    config = OmegaConf.load(record.config)
    assert isinstance(config, DictConfig)
    path = record.checkpoint(checkpoint)
    if not path.is_file():
        names = sorted(found.stem for found in record.checkpoints.glob("*.ckpt")) or ["none"]
        raise Refused(
            f"checkpoint must be one of the run's: {', '.join(names)}; got {checkpoint}. Choose one of them."
        )
    experiment = assemble(config)
    device = torch.device(
        "cuda" if torch.cuda.is_available() and config.trainer.accelerator != "cpu" else "cpu"
    )
    fresh = start(experiment.game, experiment.dynamics, experiment.averages, device)
    found = checkpoints.load(path, fresh, record.read_provenance()["run_id"])
    experiment.game.generator.module.to(device)
    state = found.state
    called: dict[bool | str, str] = {True: experiment.averaging, False: "none"}
    called |= {name: name for name in state.averages}
    if averaged not in called:
        known = ", ".join(["true", "false", *state.averages])
        raise Refused(f"averaged must be one of {known}; got {averaged}. Choose one of them.")
    averaging = called[averaged]
    params = state.averages[averaging].params if averaging in state.averages else state.players.generator
    return Restored(record, experiment, found.step, params, averaging)


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

    # a pipe has no width of its own
    console = Console(width=None if sys.stdout.isatty() else 120)
    words = [
        word.lstrip("+~").partition("=")[0].partition(".")[0] for word in HydraConfig.get().overrides.task
    ]
    with entry.refusing():
        _at_least_two(config.num_samples, "num_samples")
        _at_least_two(config.num_real, "num_real")
        own = config.run is not None
        others = [word for word in words if word in OF_TWO_SIDES]
        if own and others:
            raise Refused(
                f"run has metrics of its own and must be given without {', '.join(OF_TWO_SIDES)}; got "
                f"{', '.join(others)} beside it. Say fake=DIRECTORY real=... to score a run by other metrics."
            )
        if not own and "checkpoint" in words:
            raise Refused(
                f"checkpoint must go with run; got checkpoint={config.checkpoint} alone. "
                "Say run=DIRECTORY, or fake=DIRECTORY/checkpoints/NAME.ckpt."
            )
        if not own and (config.fake is None or config.real is None):
            raise Refused(
                f"fake and real must be given, or run; got fake={config.fake} real={config.real}. "
                "Say fake=SAMPLES real=SAMPLES, or run=runs/NAME/TIME."
            )
    (_of_run if own else _of_two_sides)(config, console)


def _of_run(config: DictConfig, console: "Console") -> None:
    """Print the metrics of one checkpoint beside those that the run recorded at that step."""
    from dataclasses import replace

    from rich.markup import escape
    from rich.table import Table

    from saddle.evaluation import results

    with entry.refusing():
        restored = restore(config.run, config.checkpoint, config.averaged)
        record, experiment, step, params, averaging = restored
        paths = results.outputs(_plain(config.output))
    evaluator = replace(
        experiment.evaluator,
        num_samples=config.num_samples or experiment.evaluator.num_samples,
        num_real=config.num_real or experiment.evaluator.num_real,
    )
    with console.status(f"evaluating {evaluator.num_samples} samples"):
        evaluator = evaluator.prepare(experiment.dataset, params.device)
        _, values = evaluator.of_generator(experiment.sampler, params)
    own = evaluator.protocol(experiment.dataset, experiment.sampler, experiment.averaging)
    protocol = evaluator.protocol(experiment.dataset, experiment.sampler, averaging)
    same = own["fingerprint"] == record.read_summary()["protocol"].get("fingerprint")
    kinds = {True: "eval", experiment.averaging: "eval", False: "eval_raw"}
    prefix = kinds.get(config.averaged, f"eval_{config.averaged}")
    recorded = {name: steps.get(step) for name, steps in record.series().items()}
    table = Table(title=escape(f"{record.directory.name}: {config.checkpoint} at generator step {step}"))
    for column in ("metric", "now", "recorded") if same else ("metric", "now"):
        table.add_column(column, justify="left" if column == "metric" else "right")
    for name, value in values.items():
        then = recorded.get(f"{prefix}/{name}")
        table.add_row(name, f"{value:.6g}", *(["-" if then is None else f"{then:.6g}"] if same else []))
    console.print(table)
    notes = [] if same else [
        "The run recorded its numbers under another protocol: they cannot be compared with these."
    ]  # fmt: skip
    _print_protocol(console, protocol, notes)
    about = {
        "run": config.run,
        "checkpoint": config.checkpoint,
        "averaged": config.averaged,
        "step": step,
    }
    results.write(paths, results.Results(values, evaluator.meanings, protocol, about, notes))


def _of_two_sides(config: DictConfig, console: "Console") -> None:
    """Print how ``fake`` scores against ``real``."""
    from pathlib import Path

    import torch
    from hydra.utils import instantiate
    from rich.console import Console
    from rich.table import Table

    from saddle.evaluation import results
    from saddle.evaluation.evaluator import of_matrices, settings_of
    from saddle.features import files as feature_files
    from saddle.metrics.evidence import SAMPLES, Evidence, must_have
    from saddle.metrics.protocol import Protocol
    from saddle.training.sides import BATCH, side

    with entry.refusing(), _progress(Console(stderr=True)) as track:
        paths = results.outputs(_plain(config.output))
        folder = None if config.save_features is None else Path(config.save_features)
        if folder is not None and (not folder.absolute().parent.is_dir() or folder.is_file()):
            raise Refused(
                f"save_features must be a folder in an existing one; got {folder}. Make its parent first."
            )
        device = torch.device(config.device or ("cuda" if torch.cuda.is_available() else "cpu"))
        chosen = chosen_metrics(config.get("metrics", OmegaConf.create()))
        words = {"real": (config.real, config.num_real), "fake": (config.fake, config.num_samples)}
        if config.held_out is not None:
            words["held_out"] = (config.held_out, None)
        files = [str(word).endswith(".safetensors") for word, _ in words.values()]
        # first: weights that are missing should not be found out after an hour of reading
        extractor = None if all(files) else instantiate(config.features, _convert_="all").to(device)
        sides = {
            key: side(str(word), key, num, config.resize, config.averaged, track)
            for key, (word, num) in words.items()
        }
        extraction = _one_extraction(sides, extractor)
        must_have(chosen.judges, "held_out" in sides, sides["fake"].generator is not None)
        for other in [one for key, one in sides.items() if key != "real"]:
            _must_be_alike(sides["real"], other)
        features = {}
        for key, one in sides.items():
            keep = key != "fake" and extractor is not None and extractor.is_costly
            features[key] = _features(one, extractor, device, track, keep)
            if SAMPLES in chosen.measures and one.batches is not None and key != "held_out":
                features[key] |= {SAMPLES: torch.cat([*one.batches(BATCH)])}  # held in memory only if asked
        real, fake = features["real"], features["fake"]
        values = of_matrices(chosen.measures, real, fake)
        evidence = Evidence(real, fake, features.get("held_out"), sides["fake"].generator)
        for judge in chosen.judges.values():
            values |= judge(evidence)
        if folder is not None:
            folder.mkdir(exist_ok=True)
            for key, one in sides.items():
                described = one.describe()
                layers = {layer: found for layer, found in features[key].items() if layer != SAMPLES}
                feature_files.write(folder / f"{key}.safetensors", layers, extraction, described)
    settings = settings_of(chosen.measures, chosen.judges)
    protocol = Protocol(extraction, sides["real"].as_real(), sides["fake"].origin.fake, settings).to_dict()
    console.print(f"{config.fake} against {config.real}", highlight=False, markup=False, soft_wrap=True)
    table = Table()
    table.add_column("metric")
    table.add_column("value", justify="right")
    for name, value in values.items():
        table.add_row(f"{name} {chosen.meanings.get(name, Value()).arrow}", f"{value:.6g}")
    console.print(table)
    notes = [note for one in sides.values() for note in one.notes]
    _print_protocol(console, protocol, notes)
    about = {"fake": config.fake, "real": config.real, "held_out": config.held_out}
    results.write(paths, results.Results(values, chosen.meanings, protocol, about, notes))


class Chosen(NamedTuple):
    """Metrics: of the two matrices of a layer, of all the evidence, and what their values mean."""

    measures: "Measures"
    judges: "Mapping[str, Judge]"
    meanings: "Mapping[str, Value]"


def chosen_metrics(config: DictConfig) -> Chosen:
    """Make the metrics of a ``metrics`` configuration, of an evaluation or of a run, without its features.

    Beside ``higher_is_better`` it may say ``higher: {name: true}``, which adds up over several choices.

    Raises:
        ValueError: there is none.
    """
    from hydra.utils import instantiate

    from saddle.evaluation.evaluator import declared

    measures, judges = (instantiate(config.get(key, {}), _convert_="all") for key in ("measures", "evidence"))
    if not measures and not judges:
        raise Refused("metrics must name at least one; got none. Say metrics=[fid,kid].")
    higher = [*config.get("higher", ()), *config.get("higher_is_better", ())]
    meanings = said(declared(measures, judges), higher, config.get("floors"))
    return Chosen(measures, judges, meanings)


def _one_extraction(sides: Mapping[str, "Side"], extractor: "Features | None") -> "Extraction":
    """How the features of both sides are made."""
    found = {key: one.extracted.extraction for key, one in sides.items() if one.extracted is not None}
    if extractor is not None:
        found["features"] = extractor.describe()
    (key, first), *rest = found.items()
    for other, extraction in rest:
        if extraction != first:
            raise Refused(
                f"both sides must be features of one extractor; got {first} in {key} and {extraction} "
                f"in {other}. "
                "Choose the features that the file was made with, or make it again."
            )
    return first


def _must_be_alike(real: "Side", fake: "Side") -> None:
    """Refuse images against points, and unlike sizes; grey against colour is the extractor's affair."""
    if real.shape is None or fake.shape is None:
        return
    if len(real.shape) != len(fake.shape) or (len(real.shape) == 3 and real.shape[1:] != fake.shape[1:]):
        raise Refused(
            f"real and fake samples must be of one size; got {real.shape} in {real.word} and {fake.shape} in "
            f"{fake.word}. Say resize=SIDE to bring folders to one square."
        )


def _features(
    one: "Side", extractor: "Features | None", device: "torch.device", track: "Track", keep: bool
) -> dict[str, "Tensor"]:
    """The matrices of one side on the CPU, of which the real one's are kept on disk."""
    import torch

    from saddle.features import files as feature_files
    from saddle.training.sides import BATCH

    if one.extracted is not None or extractor is None:
        assert one.extracted is not None
        return dict(one.extracted.features)
    size = getattr(extractor, "batch_size", BATCH)
    num = -(-one.origin.num // size)

    def compute() -> dict[str, "Tensor"]:
        assert one.batches is not None
        passes = [
            {role: matrix.cpu() for role, matrix in extractor(batch.to(device)).items()}
            for batch in track(one.batches(size), f"features of {one.word}", num)
        ]
        return {role: torch.cat([found[role] for found in passes]) for role in passes[0]}

    if not keep:
        return compute()
    note = lambda text: print(f"note: {text}", file=sys.stderr)  # noqa: E731
    return feature_files.cached(extractor.describe(), one.as_real(), device, compute, note)


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


def must_name_run(config: DictConfig) -> None:
    """Raise ValueError unless ``run=`` was given."""
    if config.run is None:
        raise Refused("run must be the directory of a run; got none. Say run=runs/NAME/TIME.")


def _at_least_two(value: int | None, key: str) -> None:
    if value is not None and (not isinstance(value, int) or value < 2):
        raise Refused(f"{key} must be a whole number of at least 2; got {value}. Give such a number or null.")


def _plain(node: Any) -> Any:
    return OmegaConf.to_container(node) if OmegaConf.is_config(node) else node


if __name__ == "__main__":
    main()
