"""One side of an evaluation from one word: a folder, an array, a run, a checkpoint, a dataset, or features.

What a word names is found out in this order: a registered dataset (``mnist5k``, or ``mnist5k:held_out``
for the other split; write ``./mnist5k`` for a folder of that name), then what lies at that path.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from hydra.utils import instantiate
from torch import Tensor

from saddle.data import arrays, folder, sources
from saddle.data.pixels import digest
from saddle.features import files as feature_files
from saddle.game.refusals import Refused
from saddle.metrics.evidence import ReadyGenerator
from saddle.metrics.protocol import Fake, Real
from saddle.training.configuration import choices, of_words
from saddle.training.restore import restore

BATCH = 500  # samples made or read together
SPLITS = ("train", "held_out")
KINDS = (
    "a folder of images, a .npy or .npz array, a run's directory, a checkpoint in a run's checkpoints/, a "
    "feature file (.safetensors), or a dataset"
)

Track = Callable[[Iterable[Any], str, int], Iterable[Any]]  # items, what is done, how many


class Origin(NamedTuple):
    """What is told of samples in a protocol, for whichever side they are."""

    num: int
    sha256: str
    fake: Fake  # as the generated side
    resize: str = "none"


@dataclass(frozen=True, eq=False)
class Side:
    """Samples to be measured.

    Args:
        word: what the user said.
        shape: of one sample.
        origin: for the protocol.
        batches: makes an iterator over float images in [−1, 1], or points.
        features: role -> matrix, where they come from a feature file.
        extracted: how those were made.
        notes: what a reader of the numbers must know.
        generator: ready to sample, of a run or a checkpoint.
    """

    word: str
    origin: Origin
    shape: tuple[int, ...] | None = None
    batches: Callable[[int], Iterator[Tensor]] | None = None
    extracted: feature_files.FeatureFile | None = None
    notes: tuple[str, ...] = ()
    generator: ReadyGenerator | None = None

    def as_real(self) -> Real:
        return Real(self.word, self.origin.num, self.origin.sha256, self.origin.resize)

    def describe(self) -> Mapping[str, Any]:
        """For a feature file: all that a protocol on either side asks."""
        fake, shape = asdict(self.origin.fake), None if self.shape is None else [*self.shape]
        return {"word": self.word, "shape": shape, "fake": fake, "sha256": self.origin.sha256}


def side(
    word: str, key: str, num: int | None, resize: int | None, averaged: bool | str, track: Track
) -> Side:
    """What ``key=word`` names.

    Args:
        num: take the first so many; None takes all, of a run as many as it evaluates.
        resize: side of the square that files of a folder are brought to.
        averaged: of a run, True for the generator it evaluated, False for the raw one, or an average's name.
        track: wraps slow loops, to show progress.

    Raises:
        ValueError: it names nothing, or something that cannot be read as samples.
    """
    path = Path(word).expanduser()
    name, _, split = word.partition(":")
    datasets = choices("data")
    if name in datasets:
        return _of_dataset(word, name, split or SPLITS[0], num)
    if not path.exists():
        raise Refused(
            f"{key} must be {KINDS} ({', '.join(datasets)}); there is no {word}. Check the path, or name a "
            "dataset."
        )
    if (path / "config.yaml").is_file():
        return _of_run(word, path, "last", num, averaged)
    if path.is_dir():
        return _of_folder(word, path, num, resize, track)
    readers: dict[str, Callable[[], Side]] = {
        ".ckpt": lambda: _of_checkpoint(word, path, num, averaged),
        ".safetensors": lambda: _of_features(word, path, num),
        **dict.fromkeys(arrays.SUFFIXES, lambda: _of_array(word, path, num)),
    }
    if path.suffix.lower() not in readers:
        raise Refused(
            f"{key} must be {KINDS}; got the file {word}. Known suffixes are {', '.join(sorted(readers))}; "
            "for images give their folder."
        )
    return readers[path.suffix.lower()]()


def _of_folder(word: str, path: Path, num: int | None, resize: int | None, track: Track) -> Side:
    images = folder.read_folder(path, num, resize, track)
    resized = "none" if resize is None else f"bicubic, antialiased, to {resize}x{resize}"
    count, ignored = len(images.files), images.num_ignored
    notes = (f"{word}: {ignored} files that are no images were ignored",) if ignored else ()
    origin = Origin(count, images.digest, Fake(word, count, resize=resized), resized)
    return Side(word, origin, images.shape, images.batches, notes=notes)


def _of_array(word: str, path: Path, num: int | None) -> Side:
    samples = arrays.read_array(path, num)
    count = len(samples.values)
    origin = Origin(count, digest(samples.batches(BATCH)), Fake(word, count))
    return Side(word, origin, samples.shape, samples.batches)


def _of_dataset(word: str, name: str, split: str, num: int | None) -> Side:
    if split not in SPLITS:
        raise Refused(
            f"a dataset's split must be one of {', '.join(SPLITS)}; got {word}. Say {name}:held_out."
        )
    config = of_words([f"data={name}", "name=data"]).config
    source: sources.Source = getattr(instantiate(config.data), split)
    if num is not None and num > len(source):
        raise Refused(
            f"a dataset must hold at least {num} samples; {word} holds {len(source)}. Lower the number."
        )
    count = len(source) if num is None else num
    origin = Origin(count, digest(sources.blocks(source, count)), Fake(word, count))
    return Side(word, origin, source.event_shape, lambda size: sources.blocks(source, count, size))


def _of_checkpoint(word: str, path: Path, num: int | None, averaged: bool | str) -> Side:
    run = path.absolute().parent.parent
    if not (run / "config.yaml").is_file():
        raise Refused(
            f"a checkpoint must lie in checkpoints/ of its run, whose config.yaml says what network it fits; "
            f"{word} does not. Give the file inside the run's directory."
        )
    return _of_run(word, run, path.stem, num, averaged)


def _of_run(word: str, run: Path, checkpoint: str, num: int | None, averaged: bool | str) -> Side:
    _, experiment, step, params, averaging = restore(run, checkpoint, averaged)
    count = num or experiment.evaluator.num_samples
    module = experiment.sampler.module(params)
    samples = experiment.sampler.draw(module, count, params.device).cpu()
    ready = experiment.sampler.ready(module, params.device)
    fake = experiment.sampler.describe(word, count, averaging)
    origin = Origin(count, digest([samples]), fake)
    note = f"{word}: checkpoint {checkpoint} at generator step {step}"
    shape = tuple(samples.shape[1:])
    return Side(word, origin, shape, lambda size: iter(samples.split(size)), notes=(note,), generator=ready)


def _of_features(word: str, path: Path, num: int | None) -> Side:
    stored = feature_files.read(path)
    try:
        fake, shape = Fake(**stored.side["fake"]), stored.side["shape"]
        origin = Origin(fake.num, stored.side["sha256"], fake, fake.resize)
    except (KeyError, TypeError) as error:
        raise Refused(
            f"a feature file must tell what samples it was made from; {path} does not. Make it with "
            "save_features=FOLDER."
        ) from error
    if num is not None and num != fake.num:
        raise Refused(
            f"a feature file must be taken whole; {word} holds {fake.num} rows, asked for {num}. "
            "Leave the number out, or extract again."
        )
    return Side(word, origin, None if shape is None else tuple(shape), extracted=stored)
