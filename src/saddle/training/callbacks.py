"""Lightning callbacks: what happens between chunks of training.

In this order after each chunk: ``Log`` writes what the chunk measured, ``Evaluate`` measures the
generator, ``Probe`` looks at the game, ``Checkpoint`` saves. The checkpoint comes last so that all
rows of its step are on disk before it: a resumed run cuts the record back to its checkpoint and goes
on as if never killed.
"""

import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import FrameType
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from torch import Tensor

from saddle.data.files import atomic_write
from saddle.diagnosis import probes
from saddle.evaluation.evaluator import Evaluator, Sampler
from saddle.records import checkpoints
from saddle.records.record import Record
from saddle.training.module import GANModule

Picture = Callable[[Tensor, Tensor | None], bytes]  # real samples, generated ones or None -> PNG


@dataclass
class Stopwatch:
    """Seconds by part of this session; of the whole, the share of one of ``sharers`` runs in one process."""

    seconds: dict[str, float] = field(default_factory=dict)
    started: float = field(default_factory=time.perf_counter)
    sharers: int = 1

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[part] = self.seconds.get(part, 0.0) + time.perf_counter() - begin

    def total(self) -> dict[str, float]:
        return {"total": (time.perf_counter() - self.started) / self.sharers, **self.seconds}


def _scalars(trainer: Trainer, step: int, values: Mapping[str, float]) -> None:
    for logger in trainer.loggers:
        logger.log_metrics({**values, "generator_step": step}, step=step)


def _picture(trainer: Trainer, step: int, key: str, path: str) -> None:
    for logger in trainer.loggers:
        if hasattr(logger, "log_image"):
            logger.log_image(key, [path], step=step)


class Log(Callback):
    """Means over the chunk of every loss, penalty and diagnostic, by the generator step it ended at."""

    def __init__(self, record: Record, stopwatch: Stopwatch) -> None:
        self.record, self.stopwatch = record, stopwatch

    def on_train_batch_end(  # type: ignore[override]
        self, trainer: Trainer, module: GANModule, outputs: Any, batch: range, batch_idx: int
    ) -> None:
        self.stopwatch.seconds["train"] = self.stopwatch.seconds.get("train", 0.0) + module.seconds
        if module.logs is None:
            return
        with self.stopwatch("log"):
            values = module.logs | {
                "images_seen": float(module.images_seen),
                "gradient_evaluations": float(module.gradient_evaluations),
            }
            self.record.append(module.generator_steps, values)
            _scalars(
                trainer,
                module.generator_steps,
                values | {"time/seconds_per_step": module.seconds / len(batch)},
            )


class Evaluate(Callback):
    """The averaged generator's metrics and picture every so many generator steps, from step 0 on.

    The first average is what ``eval/*`` measures; every other one stands beside it as ``eval_<name>/*``,
    and at the end the raw generator, as ``eval_raw/*``.
    """

    def __init__(
        self,
        record: Record,
        evaluator: Evaluator,
        sampler: Sampler,
        every: int,
        picture: Picture,
        num_pictured: int,
        stopwatch: Stopwatch,
    ) -> None:
        self.record, self.evaluator, self.sampler = record, evaluator, sampler
        self.every, self.picture, self.num_pictured = every, picture, num_pictured
        self.stopwatch = stopwatch
        self.latest: dict[str, float] = {}

    def on_train_start(self, trainer: Trainer, module: GANModule) -> None:  # type: ignore[override]
        with self.stopwatch("evaluate"):
            if self.evaluator.real is None:
                self.evaluator = self.evaluator.prepare(module.dataset, module.device)
            self.reference = module.dataset.train.first(self.num_pictured).cpu()
            atomic_write(self.record.real_sample, self.picture(self.reference, None))
        if module.rounds == 0:
            with self.stopwatch("evaluate"):
                held_out = self.evaluator.of_held_out(module.dataset)
                self.record.append(0, {f"held_out/{name}": value for name, value in held_out.items()})
            self._evaluate(trainer, module)

    def on_train_batch_end(  # type: ignore[override]
        self, trainer: Trainer, module: GANModule, outputs: Any, batch: range, batch_idx: int
    ) -> None:
        if module.logs is not None and (module.generator_steps % self.every == 0 or module.finished):
            self._evaluate(trainer, module)

    def _evaluate(self, trainer: Trainer, module: GANModule) -> None:
        step = module.generator_steps
        with self.stopwatch("evaluate"):
            samples, self.latest = self.evaluator.of_generator(self.sampler, module.state.evaluated)
            values = {f"eval/{name}": value for name, value in self.latest.items()}
            beside = {name: average.params for name, average in list(module.state.averages.items())[1:]}
            if module.finished:
                beside["raw"] = module.state.players.generator
            for kind, params in beside.items():
                _, found = self.evaluator.of_generator(self.sampler, params)
                values |= {f"eval_{kind}/{name}": value for name, value in found.items()}
            self.record.append(step, values)
            path = self.record.sample(step)
            atomic_write(path, self.picture(self.reference, samples[: len(self.reference)].cpu()))
        with self.stopwatch("log"):
            _scalars(trainer, step, values)
            _picture(trainer, step, "samples", str(path))


class Probe(Callback):
    """What the probes see of the game at every evaluation, as ``diag/*``; see ``diagnostics.probes``."""

    def __init__(
        self, record: Record, probes: Mapping[str, probes.Probe], every: int, stopwatch: Stopwatch
    ) -> None:
        self.record, self.probes, self.every, self.stopwatch = record, probes, every, stopwatch

    def on_train_start(self, trainer: Trainer, module: GANModule) -> None:  # type: ignore[override]
        if module.rounds == 0:
            self._probe(trainer, module)

    def on_train_batch_end(  # type: ignore[override]
        self, trainer: Trainer, module: GANModule, outputs: Any, batch: range, batch_idx: int
    ) -> None:
        if module.logs is not None and (module.generator_steps % self.every == 0 or module.finished):
            self._probe(trainer, module)

    def _probe(self, trainer: Trainer, module: GANModule) -> None:
        if not self.probes:
            return
        step, state = module.generator_steps, module.state
        # lazy penalties count in every look, with their own weight
        game = replace(module.game, intervals={}).remember(state.game)
        with self.stopwatch("probe"):
            draws = probes.draws_of(game, module.dataset, module.latents, module.seed, step)
            values = {
                f"diag/{name}": value
                for probe in self.probes.values()
                for name, value in probe(game, state.players, draws).items()
            }
            self.record.append(step, values)
        with self.stopwatch("log"):
            _scalars(trainer, step, values)


class Checkpoint(Callback):
    """``last.ckpt`` every so many generator steps and when the run is stopped; ``best-<metric>.ckpt``.

    The best so far is read from the record, so a resumed run keeps the best that it would have kept.
    """

    def __init__(
        self,
        record: Record,
        evaluator: Evaluator,
        every: int,
        stopwatch: Stopwatch,
        on_save: Callable[[], object],
    ) -> None:
        self.record, self.evaluator, self.every = record, evaluator, every
        self.stopwatch, self.on_save = stopwatch, on_save

    def on_train_start(self, trainer: Trainer, module: GANModule) -> None:  # type: ignore[override]
        if module.rounds == 0:
            self._save(module)

    def on_train_batch_end(  # type: ignore[override]
        self, trainer: Trainer, module: GANModule, outputs: Any, batch: range, batch_idx: int
    ) -> None:
        due = module.generator_steps % self.every == 0 or module.finished
        if module.stop_requested or (module.logs is not None and due):
            self._save(module)

    def _save(self, module: GANModule) -> None:
        step = module.generator_steps
        with self.stopwatch("checkpoint"):
            for metric in self.evaluator.best:
                if (
                    best_step(
                        self.record.series().get(f"eval/{metric}", {}),
                        metric in self.evaluator.higher_is_better,
                    )
                    == step
                ):
                    self._write(module, f"best-{metric}")
            self._write(module, "last")
            self.on_save()

    def _write(self, module: GANModule, name: str) -> None:
        path = self.record.checkpoint(name)
        owner = self.record.read_provenance()["run_id"]
        checkpoints.save(path, module.game, module.rounds, module.generator_steps, module.state, owner)


def best_step(values: Mapping[int, float], higher_is_better: bool) -> int | None:
    """The earliest step with the best finite value; None without one."""
    finite = {step: value for step, value in values.items() if torch.isfinite(torch.tensor(value))}
    return (max if higher_is_better else min)(finite, key=finite.__getitem__, default=None)


class StopOnSignal(Callback):
    """SIGTERM and Ctrl-C end the run at its next round, with a checkpoint; a second Ctrl-C at once."""

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._before: dict[int, Any] = {}

    def on_train_start(self, trainer: Trainer, module: GANModule) -> None:  # type: ignore[override]
        # here, not earlier: Lightning installs handlers of its own when fit begins
        def stop(number: int, frame: FrameType | None) -> None:
            if self.received == signal.SIGINT == number:
                raise KeyboardInterrupt
            self.received = signal.Signals(number)
            module.stop_requested = True

        self._before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}

    def teardown(self, trainer: Trainer, module: GANModule, stage: str) -> None:  # type: ignore[override]
        for number, handler in self._before.items():
            signal.signal(number, handler)


class ProgressBar(Callback):
    """One line: step, losses, steps a second, the latest of some metrics, time left.

    Where the output is no terminal, a line is printed at every evaluation instead.
    """

    def __init__(self, evaluate: Evaluate, shown: tuple[str, ...], console: Console | None = None) -> None:
        self.evaluate, self.shown = evaluate, shown
        self.console = console or Console(stderr=True)
        self.progress: Progress | None = None
        self.task = TaskID(0)
        self._printed = -1

    def on_train_start(self, trainer: Trainer, module: GANModule) -> None:  # type: ignore[override]
        self.began, self.first = time.perf_counter(), module.generator_steps
        if self.console.is_terminal:
            self.progress = Progress(
                TextColumn("step"),
                MofNCompleteColumn(),
                BarColumn(),
                TextColumn("{task.fields[text]}"),
                TimeRemainingColumn(),
                TextColumn("left"),
                console=self.console,
            )
            self.progress.start()
            self.task = self.progress.add_task(
                "", total=module.num_steps, completed=self.first, text=self._metrics()
            )
        else:
            self._line(module, self._metrics())

    def on_train_batch_end(  # type: ignore[override]
        self, trainer: Trainer, module: GANModule, outputs: Any, batch: range, batch_idx: int
    ) -> None:
        if module.logs is None:
            return
        step = module.generator_steps
        rate = (step - self.first) / (time.perf_counter() - self.began)
        text = (
            f"D {module.logs['loss/discriminator']:.3f}  G {module.logs['loss/generator']:.3f}  "
            f"{rate:.1f} steps/s  {self._metrics()}"
        )
        if self.progress is not None:
            self.progress.update(self.task, completed=step, text=text)
        elif step % self.evaluate.every == 0 or module.finished:
            self._line(module, text)

    def _metrics(self) -> str:
        latest = self.evaluate.latest
        return "  ".join(f"{name} {latest[name]:.4g}" for name in self.shown if name in latest)

    def _line(self, module: GANModule, text: str) -> None:
        self.console.print(
            f"step {module.generator_steps}/{module.num_steps}  {text}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )

    def on_train_end(self, trainer: Trainer, module: GANModule) -> None:  # type: ignore[override]
        self._stop()

    def on_exception(self, trainer: Trainer, module: GANModule, exception: BaseException) -> None:  # type: ignore[override]
        self._stop()

    def _stop(self) -> None:
        if self.progress is not None:
            self.progress.stop()
