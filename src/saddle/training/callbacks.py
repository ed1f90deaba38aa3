"""Lightning callbacks: what happens between chunks, who may stop a run, and what a terminal shows."""

import signal
import threading
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

from pytorch_lightning import Callback, Trainer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from saddle.training.member import Member
from saddle.training.module import Chunk, GANModule
from saddle.training.recorder import Recorder


class Recording(Callback):
    """Calls each member's recorder after the chunks that it played.

    Args:
        recorders: one a member. They share one evaluator's real side.
        on_fault: is told once of a recorder whose member has diverged.
    """

    def __init__(self, recorders: Sequence[Recorder], on_fault: Callable[[Recorder], object]) -> None:
        self.recorders = {recorder.member: recorder for recorder in recorders}
        self.on_fault = on_fault
        self._told: set[Member] = set()

    def on_train_start(self, trainer: Trainer, module: GANModule) -> None:  # type: ignore[override]
        first, *others = self.recorders.values()
        first.begin(module.device)
        for recorder in others:
            recorder.evaluator = first.evaluator
            recorder.begin(module.device)

    def on_train_batch_end(  # type: ignore[override]
        self, trainer: Trainer, module: GANModule, outputs: Any, batch: Chunk, batch_idx: int
    ) -> None:
        for member in batch.group:
            recorder = self.recorders[member]
            if member.fault is None:
                recorder.after(len(batch.rounds), module.stop_requested)
            elif member not in self._told:
                self._told.add(member)
                self.on_fault(recorder)


class StopOnSignal(Callback):
    """SIGTERM and Ctrl-C end the run at its next round, with a checkpoint; a second Ctrl-C at once.

    In another thread than the first of a process, where no signal arrives, it does nothing.
    """

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

        if threading.current_thread() is threading.main_thread():
            numbers = (signal.SIGTERM, signal.SIGINT)
            self._before = {number: signal.signal(number, stop) for number in numbers}

    def teardown(self, trainer: Trainer, module: GANModule, stage: str) -> None:  # type: ignore[override]
        for number, handler in self._before.items():
            signal.signal(number, handler)


class ProgressBar(Callback):
    """One line: step, losses, steps a second, time left; latest metrics, or the number of members.

    Where the output is no terminal, a line is printed at every evaluation instead.
    """

    def __init__(self, recorders: Sequence[Recorder], console: Console | None = None) -> None:
        self.recorders = recorders
        self.console = console or Console(stderr=True)
        self.progress: Progress | None = None
        self.task = TaskID(0)

    def on_train_start(self, trainer: Trainer, module: GANModule) -> None:  # type: ignore[override]
        self.began, self.first = time.perf_counter(), self._step(module.members)
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
            total = module.members[0].num_steps
            self.task = self.progress.add_task("", total=total, completed=self.first, text=self._metrics())
        elif len(module.members) == 1:
            self._line(module, self.first, self._metrics())

    def on_train_batch_end(  # type: ignore[override]
        self, trainer: Trainer, module: GANModule, outputs: Any, batch: Chunk, batch_idx: int
    ) -> None:
        played = [member for member in batch.group if member.fault is None and member.logs is not None]
        if not played:
            return
        step = played[0].generator_steps
        rate = (step - self.first) / (time.perf_counter() - self.began)
        means = [
            sum((member.logs or {})[f"loss/{player}"] for member in played) / len(played)
            for player in ("discriminator", "generator")
        ]
        times = "" if len(module.members) == 1 else f"{len(played)} members × "
        text = f"D {means[0]:.3f}  G {means[1]:.3f}  {times}{rate:.1f} steps/s  {self._metrics()}".rstrip()
        if self.progress is not None:
            self.progress.update(self.task, completed=step, text=text)
        elif step % self.recorders[0].config.evaluate_every == 0 or played[0].finished:
            self._line(module, step, text)

    @staticmethod
    def _step(members: Sequence[Member]) -> int:
        """Where the member that is furthest behind stands."""
        return min(member.generator_steps for member in members)

    def _metrics(self) -> str:
        if len(self.recorders) > 1:
            return ""
        (recorder,) = self.recorders
        shown, latest = recorder.experiment.evaluator.shown, recorder.latest
        return "  ".join(f"{name} {latest[name]:.4g}" for name in shown if name in latest)

    def _line(self, module: GANModule, step: int, text: str) -> None:
        self.console.print(
            f"step {step}/{module.members[0].num_steps}  {text}",
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
