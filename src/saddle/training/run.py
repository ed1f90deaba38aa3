"""A run as one holds it in Python: trained here, or opened from its directory."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from saddle.game.refusals import Refused
from saddle.records.outcome import Outcome
from saddle.records.record import Record, open_record
from saddle.training import runs
from saddle.training.configuration import asks_for_ensemble, of_words
from saddle.training.recorder import Recorder
from saddle.training.refusing import refusing
from saddle.training.restore import Restored, restore


@dataclass(frozen=True)
class Run:
    """A run by its record; its generator is made when it is asked for.

    Args:
        directory: of the record.
        checkpoint: of which the generator is.
        averaged: True for the average that the run evaluated, False for the raw generator, or an average's
            name.
    """

    directory: Path
    checkpoint: str = "last"
    averaged: bool | str = True

    @property
    def record(self) -> Record:
        """The record, as it stands on disk."""
        return open_record(self.directory)

    @property
    def config(self) -> dict[str, Any]:
        """The resolved configuration."""
        return self.record.read_config()

    @property
    def summary(self) -> dict[str, Any]:
        """Status, verdict, and each metric's best, last and area; see ``summary.json``."""
        return self.record.read_summary()

    def series(self, name: str) -> Mapping[int, float]:
        """Give one series of numbers: generator step -> value, steps ascending.

        Args:
            name: such as ``eval/fid`` or ``loss/generator``.

        Raises:
            Refused: the run has no such series.
        """
        every = self.record.series()
        if name not in every:
            raise Refused(
                f"a series must be one of {', '.join(sorted(every))}; got {name}. Choose one of them."
            )
        return every[name]

    @cached_property
    def _restored(self) -> Restored:
        with refusing():
            return restore(self.directory, self.checkpoint, self.averaged)

    @cached_property
    def generator(self) -> nn.Module:
        """The generator, latents (N, d) -> samples (N, *event), ready to sample with standing statistics.

        It is on the device that the run's own evaluation uses here; a conditional one takes labels too.
        """
        return self._restored.experiment.sampler.module(self._restored.params)

    def latents(self, num: int, seed: int = 0) -> Tensor:
        """Draw latents (num, d) as training does, the same at every call with the same seed."""
        random = torch.Generator(self._restored.params.device).manual_seed(seed)
        return self._restored.experiment.member.latents(num, random)

    def sample(self, num: int, seed: int = 0) -> Tensor:
        """Draw samples (num, *event) on the CPU; the first m of them do not depend on ``num``.

        Images are floats in [−1, 1], (num, C, H, W). ``saddle-sample seed=...`` draws the same ones.
        """
        sampler, params = self._restored.experiment.sampler, self._restored.params
        return replace(sampler, seed=seed).draw(self.generator, num, params.device).cpu()


def train(words: Sequence[str], out: str | Path | None = None) -> Run:
    """Train what the words ask for; see ``saddle.train``."""
    request = of_words(words, out)
    if asks_for_ensemble(request.config):
        raise Refused(
            "saddle.train must be of one run; got ensemble words. Call saddle.train_ensemble with them."
        )
    with warnings.catch_warnings():
        runs.quieten()
        with refusing():
            recorder = runs.prepare(request)
        advise(recorder.experiment.advice)
        runs.play([recorder], _end, runs.ON_DIVERGENCE[request.config.on_divergence])
    return Run(recorder.record.directory.absolute())


def _end(recorder: Recorder, outcome: Outcome) -> None:
    recorder.end(outcome)


def advise(sentences: Sequence[str]) -> None:
    """Warn of what works, but is probably not what was meant."""
    for sentence in sentences:
        warnings.warn(sentence, UserWarning, stacklevel=4)
