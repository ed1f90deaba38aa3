"""Saddle: a laboratory for GAN convergence.

    run = saddle.train(["data=ring8", "model=mlp", "num_steps=500"], out="runs/mine")
    run.summary["metrics"]["kl"]["last"], run.series("eval/kl"), run.config["loss"]
    points = saddle.load("runs/mine").sample(1000, seed=1)
    saddle.evaluate("runs/mine", "ring8:held_out", words=["features=identity", "metrics=[one_nn]"]).metrics
    saddle.compare(["runs/mine", "runs/sweep"]).groups

Words are those of the command lines, which call the same functions. What cannot be done is refused with
``saddle.Refused``, a ValueError.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from saddle.game.refusals import Refused

if TYPE_CHECKING:
    from saddle.evaluation.results import Results
    from saddle.reports.csv_files import Tables
    from saddle.training.run import Run

__all__ = ["Refused", "__version__", "compare", "evaluate", "load", "train", "train_ensemble"]


def train(words: Sequence[str] = (), *, out: "str | Path | None" = None) -> "Run":
    """Train what ``saddle-train *words`` would, and return the run.

    A run that diverges, or that Ctrl-C stops at its next round, is returned too: ``run.summary["status"]``
    says so. What is unwise about it is warned of.

    Args:
        words: overrides, such as ``data=ring8`` or ``optimizer.generator.lr=1e-4``; ``resume=DIRECTORY`` goes
            on with a run, and ``hydra.searchpath=[file://FOLDER]`` adds choices of one's own.
        out: directory of the record, relative to the working directory; None is ``runs/<name>/<time>``.

    Raises:
        Refused: it cannot be done; nothing is written.
    """
    from saddle.training import run

    return run.train(words, out)


def train_ensemble(words: Sequence[str], *, out: "str | Path | None" = None) -> "list[Run]":
    """Train the members that ``saddle-train ensemble...`` would in one lifted step, and return their runs.

    Given again, it leaves members alone that have ended and goes on with the others.

    Args:
        words: as for ``train``, with ``ensemble.seeds``, ``ensemble.vary`` or ``ensemble.members``.
        out: folder of the records; None names it after the words, under ``runs/sweep``.

    Raises:
        Refused: it cannot be done; nothing is written.
    """
    from saddle.sweeps import ensembles

    return ensembles.train_words(words, out)


def load(path: "str | Path", *, checkpoint: str = "last", averaged: bool | str = True) -> "Run":
    """Open a run that was made, wherever.

    Args:
        path: its directory.
        checkpoint: whose generator is meant: ``last``, or a file of its ``checkpoints`` such as ``best-fid``.
        averaged: True for the average that the run evaluated, False for the raw generator, or an average's
            name.

    Raises:
        Refused: it is no run, or cannot be read.
    """
    from saddle.records.record import open_record
    from saddle.training.run import Run

    return Run(open_record(Path(path)).directory.absolute(), checkpoint, averaged)


def evaluate(
    fake: "str | Path | None" = None,
    real: "str | Path | None" = None,
    *,
    run: "str | Path | None" = None,
    held_out: "str | Path | None" = None,
    words: Sequence[str] = (),
) -> "Results":
    """Score samples against real ones, or a run by its own metrics, as ``saddle-evaluate`` does.

    Args:
        fake, real, held_out: a folder of images, an array, a run, a checkpoint, a feature file, or a dataset
            by name, such as ``mnist5k:held_out``.
        run: a run to be scored again by its own metrics, instead of ``fake`` and ``real``.
        words: the other settings, such as ``metrics=[fid,kid]``, ``features=mnist5k``, ``num_samples=1000``.

    Returns:
        Numbers by name (``metrics``), with the protocol that they were computed by.

    Raises:
        Refused: a side that names nothing, or a metric that lacks what it needs.
    """
    from saddle.training.scoring import evaluate

    return evaluate({"fake": fake, "real": real, "run": run, "held_out": held_out}, words)


def compare(
    runs: "Sequence[str | Path]",
    *,
    metrics: Sequence[str] = (),
    columns: Sequence[str] = (),
    baseline: str | None = None,
    across_protocols: bool = False,
) -> "Tables":
    """Compare runs over seeds, as ``saddle-compare`` does: rows for a data frame, or to read as they are.

    Args:
        runs: folders of runs or of sweeps, or globs.
        metrics: such as ``fid``; all if empty.
        columns: of numbers that are no metrics, such as ``seconds`` or ``diag/spectral_radius``.
        baseline: words of the group that others are compared with, such as ``loss=hinge``.
        across_protocols: rank numbers of unlike protocols too, which do not compare.

    Returns:
        ``groups``, ``pairs`` and ``runs``: lists of rows, each a mapping; and the ``comparison`` they are of.

    Raises:
        Refused: nothing to compare, or a name that the runs do not know.
    """
    from saddle.reports.csv_files import tables
    from saddle.training.configuration import config_directory
    from saddle.training.refusing import refusing

    with refusing():
        places = [str(place) for place in runs]
        return tables(places, metrics, columns, baseline, across_protocols, config_directory())


def __getattr__(name: str) -> str:
    if name == "__version__":  # reading it takes a look at what is installed
        from saddle.metrics.protocol import package_version

        return package_version("saddle-gan") or "unknown"
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
