"""Two sets of samples against each other, or a run's own numbers again: what ``saddle-evaluate`` computes."""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from saddle.evaluation.evaluator import Features, Measures, declared, of_matrices, settings_of
from saddle.evaluation.results import Results
from saddle.features import files as feature_files
from saddle.game.refusals import Refused
from saddle.metrics.evidence import SAMPLES, Evidence, Judge, must_have
from saddle.metrics.protocol import Extraction, Protocol
from saddle.metrics.values import Value, said
from saddle.records.names import quoted
from saddle.records.questions import key as canonical
from saddle.training.configuration import composing
from saddle.training.refusing import refusing
from saddle.training.restore import restore
from saddle.training.sides import BATCH, Side, Track, side


class Metrics(NamedTuple):
    """Metrics: of the two matrices of a layer, of all the evidence, and what their values mean."""

    measures: Measures
    judges: Mapping[str, Judge]
    meanings: Mapping[str, Value]


def chosen_metrics(config: DictConfig) -> Metrics:
    """Make the metrics of a ``metrics`` configuration, of an evaluation or of a run, without its features.

    Beside ``higher_is_better`` it may say ``higher: {name: true}``, which adds up over several choices.

    Raises:
        Refused: there is none.
    """
    measures, judges = (instantiate(config.get(key, {}), _convert_="all") for key in ("measures", "evidence"))
    if not measures and not judges:
        raise Refused("metrics must name at least one; got none. Say metrics=[fid,kid].")
    higher = [*config.get("higher", ()), *config.get("higher_is_better", ())]
    return Metrics(measures, judges, said(declared(measures, judges), higher, config.get("floors")))


class Asked(NamedTuple):
    """Two sides and how they are measured.

    Args:
        fake, real, held_out: words; see ``saddle.training.sides``.
        num_samples, num_real: take the first so many; None takes all.
        extractor: makes the features that are not on file; made when it is needed.
        resize: side of the square that files of a folder are brought to.
        averaged: of a run as ``fake``; see ``saddle.training.restore``.
        save_features: folder for the features of each side; in an existing one.
        device: None takes a GPU where there is one.
    """

    fake: str
    real: str
    metrics: Metrics
    extractor: Callable[[], Features]
    held_out: str | None = None
    num_samples: int | None = None
    num_real: int | None = None
    resize: int | None = None
    averaged: bool | str = True
    save_features: Path | None = None
    device: str | None = None


def untracked(items: Iterable[Any], what: str, num: int) -> Iterable[Any]:
    """Show no progress."""
    return items


def note(text: str) -> None:
    """Tell on the standard error what does not change a number."""
    print(f"note: {text}", file=sys.stderr)


def score(asked: Asked, track: Track = untracked) -> Results:
    """Score ``fake`` against ``real`` by every metric, from one feature pass a side.

    Raises:
        Refused: a side that names nothing, sides that do not compare, or a metric that lacks what it needs.
    """
    folder = asked.save_features
    if folder is not None and (not folder.absolute().parent.is_dir() or folder.is_file()):
        raise Refused(
            f"save_features must be a folder in an existing one; got {folder}. Make its parent first."
        )
    device = torch.device(asked.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    words = {"real": (asked.real, asked.num_real), "fake": (asked.fake, asked.num_samples)}
    if asked.held_out is not None:
        words["held_out"] = (asked.held_out, None)
    files = [str(word).endswith(".safetensors") for word, _ in words.values()]
    # first: weights that are missing should not be found out after an hour of reading
    extractor = None if all(files) else asked.extractor().to(device)
    sides = {
        key: side(str(word), key, num, asked.resize, asked.averaged, track)
        for key, (word, num) in words.items()
    }
    extraction = _one_extraction(sides, extractor)
    must_have(asked.metrics.judges, "held_out" in sides, sides["fake"].generator is not None)
    for other in [one for key, one in sides.items() if key != "real"]:
        _must_be_alike(sides["real"], other)
    features = {}
    for key, one in sides.items():
        keep = key != "fake" and extractor is not None and extractor.is_costly
        features[key] = _features(one, extractor, device, track, keep)
        if SAMPLES in asked.metrics.measures and one.batches is not None and key != "held_out":
            features[key] |= {SAMPLES: torch.cat([*one.batches(BATCH)])}  # held in memory only if asked
    real, fake = features["real"], features["fake"]
    values = of_matrices(asked.metrics.measures, real, fake)
    evidence = Evidence(real, fake, features.get("held_out"), sides["fake"].generator)
    for judge in asked.metrics.judges.values():
        values |= judge(evidence)
    if folder is not None:
        folder.mkdir(exist_ok=True)
        for key, one in sides.items():
            layers = {layer: found for layer, found in features[key].items() if layer != SAMPLES}
            feature_files.write(folder / f"{key}.safetensors", layers, extraction, one.describe())
    settings = settings_of(asked.metrics.measures, asked.metrics.judges)
    protocol = Protocol(extraction, sides["real"].as_real(), sides["fake"].origin.fake, settings).to_dict()
    notes = [text for one in sides.values() for text in one.notes]
    about = {"fake": asked.fake, "real": asked.real, "held_out": asked.held_out}
    return Results(values, asked.metrics.meanings, protocol, about, notes)


class Rescored(NamedTuple):
    """A run's metrics computed again, beside what the run recorded at that step."""

    results: Results
    recorded: Mapping[str, float]  # {} where it recorded under another protocol
    title: str


def rescore(
    run: str | Path,
    checkpoint: str = "last",
    averaged: bool | str = True,
    num_samples: int | None = None,
    num_real: int | None = None,
) -> Rescored:
    """Compute a run's own metrics of one of its checkpoints.

    Raises:
        Refused: as ``saddle.training.restore.restore``.
    """
    record, experiment, step, params, averaging = restore(run, checkpoint, averaged)
    evaluator = replace(
        experiment.evaluator,
        num_samples=num_samples or experiment.evaluator.num_samples,
        num_real=num_real or experiment.evaluator.num_real,
    )
    evaluator = evaluator.prepare(experiment.dataset, params.device)
    _, values = evaluator.of_generator(experiment.sampler, params)
    own = evaluator.protocol(experiment.dataset, experiment.sampler, experiment.averaging)
    protocol = evaluator.protocol(experiment.dataset, experiment.sampler, averaging)
    same = own["fingerprint"] == record.read_summary()["protocol"].get("fingerprint")
    kinds = {True: "eval", experiment.averaging: "eval", False: "eval_raw"}
    prefix = f"{kinds.get(averaged, f'eval_{averaged}')}/"
    recorded = {
        name.removeprefix(prefix): steps[step]
        for name, steps in record.series().items()
        if same and name.startswith(prefix) and step in steps
    }
    notes = (
        []
        if same
        else ["The run recorded its numbers under another protocol: they cannot be compared with these."]
    )
    about = {"run": str(run), "checkpoint": checkpoint, "averaged": averaged, "step": step}
    results = Results(values, evaluator.meanings, protocol, about, notes)
    title = f"{record.directory.name}: {checkpoint} at generator step {step}"
    return Rescored(results, recorded, title)


OF_TWO_SIDES = ("fake", "real", "held_out", "features", "metrics", "resize", "save_features", "device")


def evaluate(sides: Mapping[str, str | Path | None], words: Sequence[str]) -> Results:
    """Evaluate what ``saddle-evaluate`` would by these sides and words; see ``saddle.evaluate``."""
    given = [f"{key}={quoted(side)}" for key, side in sides.items() if side is not None]
    with refusing(), composing("evaluate", [*given, *words]) as config:
        check(config, [*given, *words])
        return score(asked_of(config)) if config.run is None else rescore_of(config).results


def check(config: DictConfig, words: Sequence[str]) -> None:
    """Refuse settings of an evaluation that do not go together.

    Args:
        words: overrides, as typed.
    """
    keys = [canonical(word).partition(".")[0] for word in words]
    for name in ("num_samples", "num_real"):
        value = config[name]
        if value is not None and (not isinstance(value, int) or value < 2):
            raise Refused(
                f"{name} must be a whole number of at least 2; got {value}. Give such a number or null."
            )
    own = config.run is not None
    others = [name for name in keys if name in OF_TWO_SIDES]
    if own and others:
        raise Refused(
            f"run has metrics of its own and must be given without {', '.join(OF_TWO_SIDES)}; got "
            f"{', '.join(others)} beside it. Say fake=DIRECTORY real=... to score a run by other metrics."
        )
    if not own and "checkpoint" in keys:
        raise Refused(
            f"checkpoint must go with run; got checkpoint={config.checkpoint} alone. "
            "Say run=DIRECTORY, or fake=DIRECTORY/checkpoints/NAME.ckpt."
        )
    if not own and (config.fake is None or config.real is None):
        raise Refused(
            f"fake and real must be given, or run; got fake={config.fake} real={config.real}. "
            "Say fake=SAMPLES real=SAMPLES, or run=runs/NAME/TIME."
        )


def asked_of(config: DictConfig) -> Asked:
    """Read two sides from a configuration of ``evaluate``."""
    return Asked(
        config.fake,
        config.real,
        chosen_metrics(config.get("metrics", OmegaConf.create())),
        lambda: instantiate(config.features, _convert_="all"),
        config.held_out,
        config.num_samples,
        config.num_real,
        config.resize,
        config.averaged,
        None if config.save_features is None else Path(config.save_features),
        config.device,
    )


def rescore_of(config: DictConfig) -> Rescored:
    """Score the run of a configuration of ``evaluate`` by its own metrics."""
    return rescore(config.run, config.checkpoint, config.averaged, config.num_samples, config.num_real)


def _one_extraction(sides: Mapping[str, Side], extractor: Features | None) -> Extraction:
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


def _must_be_alike(real: Side, fake: Side) -> None:
    """Refuse images against points, and unlike sizes; grey against colour is the extractor's affair."""
    if real.shape is None or fake.shape is None:
        return
    if len(real.shape) != len(fake.shape) or (len(real.shape) == 3 and real.shape[1:] != fake.shape[1:]):
        raise Refused(
            f"real and fake samples must be of one size; got {real.shape} in {real.word} and {fake.shape} in "
            f"{fake.word}. Say resize=SIDE to bring folders to one square."
        )


def _features(
    one: Side, extractor: Features | None, device: torch.device, track: Track, keep: bool
) -> dict[str, Tensor]:
    """The matrices of one side on the CPU, of which the real one's are kept on disk."""
    if one.extracted is not None or extractor is None:
        assert one.extracted is not None
        return dict(one.extracted.features)
    size = getattr(extractor, "batch_size", BATCH)
    num = -(-one.origin.num // size)

    def compute() -> dict[str, Tensor]:
        assert one.batches is not None
        passes = [
            {role: matrix.cpu() for role, matrix in extractor(batch.to(device)).items()}
            for batch in track(one.batches(size), f"features of {one.word}", num)
        ]
        return {role: torch.cat([found[role] for found in passes]) for role in passes[0]}

    if not keep:
        return compute()
    return feature_files.cached(extractor.describe(), one.as_real(), device, compute, note)
