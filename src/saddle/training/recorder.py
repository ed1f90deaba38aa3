"""What writes one run's record while it trains: a plain object a member, called between chunks.

In this order after each chunk: what the chunk measured, an evaluation, the probes, a checkpoint. The
checkpoint comes last so that all rows of its step are on disk before it: a resumed run cuts the record back
to its checkpoint and goes on as if never killed.

Rows are held as they are written. Nothing of the record is read again, so a checkpoint costs the same early
and late in a run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from omegaconf import DictConfig
from pytorch_lightning.loggers import Logger
from torch import Tensor

from saddle.data.files import atomic_write
from saddle.diagnosis import probes
from saddle.metrics.values import Value
from saddle.records import checkpoints
from saddle.records.outcome import Outcome
from saddle.records.record import Record, add_times
from saddle.reports.page import write_report
from saddle.reports.pictures import picture_of
from saddle.training import trackers
from saddle.training.assembly import Experiment
from saddle.training.member import Member
from saddle.training.stopwatch import Stopwatch

RUNNING = Outcome("running", None)


class Recorder:
    """A run's record under way.

    Args:
        record: exists, and ends where the member stands.
        config: the run's own, resolved.
        loggers: the run's trackers.
        stopwatch: of this session.
        earlier: seconds by part of the sessions before this one.
    """

    def __init__(
        self,
        record: Record,
        config: DictConfig,
        experiment: Experiment,
        loggers: Sequence[Logger] = (),
        stopwatch: Stopwatch | None = None,
        earlier: Mapping[str, float] | None = None,
    ) -> None:
        self.record, self.config, self.experiment = record, config, experiment
        self.loggers, self.earlier = loggers, earlier or {}
        self.stopwatch = stopwatch or Stopwatch()
        self.evaluator = experiment.evaluator
        self.series = record.series()
        self.latest: dict[str, float] = {}  # of the last evaluation
        self.owner = record.read_provenance()["run_id"]
        self.protocol = protocol_of(experiment)
        # what each best checkpoint holds, by the file itself
        self.kept = {
            metric: found
            for metric in self.evaluator.best
            if (found := checkpoints.read_best(record.checkpoint(f"best-{metric}"), metric, self.owner))
        }

    @property
    def member(self) -> Member:
        """The run under training."""
        return self.experiment.member

    def begin(self, device: torch.device) -> None:
        """Prepare the real side; before the first round also measure where the run starts."""
        member, dataset = self.member, self.member.dataset
        self.picture, num_pictured = picture_of(dataset.event_shape)
        with self.stopwatch("evaluate"):
            if self.evaluator.real is None:
                self.evaluator = self.evaluator.prepare(dataset, device)
            self.reference = dataset.train.first(num_pictured).cpu()
            atomic_write(self.record.real_sample, self.picture(self.reference, None))
        if member.rounds == 0:
            with self.stopwatch("evaluate"):
                held_out = self.evaluator.of_held_out(dataset)
                self._append(0, {f"held_out/{name}": value for name, value in held_out.items()})
            self._evaluate()
            self._probe()
            self._checkpoint()

    def after(self, num_rounds: int, stop_requested: bool) -> None:
        """Write what is due after a chunk of so many rounds, or after one that a stop has cut off."""
        member = self.member
        self.stopwatch.add("train", member.seconds)
        if member.logs is not None:
            self._log(num_rounds)
            if member.generator_steps % self.config.evaluate_every == 0 or member.finished:
                self._evaluate()
                self._probe()
        due = member.generator_steps % self.config.checkpoint_every == 0 or member.finished
        if stop_requested or (member.logs is not None and due):
            self._checkpoint()

    def end(self, outcome: Outcome) -> dict[str, Any]:
        """Write the last things: the summary, which is returned, the report, and the trackers' end."""
        summary = self.summarize(outcome)
        write_report(self.record)  # after it, and last: the sign that nothing is left to resume
        trackers.finish(self.loggers, summary, outcome.exit_status or 0)
        return summary

    def summarize(self, outcome: Outcome = RUNNING) -> dict[str, Any]:
        """Write the summary as the run stands."""
        member = self.member
        return self.record.write_summary(
            series=self.series,
            status=outcome.status,
            exit_status=outcome.exit_status,
            message=outcome.message,
            step=member.generator_steps,
            num_steps=member.num_steps,
            images_seen=member.images_seen,
            meanings=self.evaluator.meanings,
            time=add_times(self.earlier, self.stopwatch.total()),
            protocol=self.protocol,
            best_checkpoints={
                metric: {**found._asdict(), "file": f"checkpoints/best-{metric}.ckpt"}
                for metric, found in self.kept.items()
            },
        )

    def _append(self, step: int, values: Mapping[str, float]) -> None:
        self.record.append(step, values)
        for name, value in values.items():
            self.series.setdefault(name, {})[step] = float(value)

    def _track(
        self, step: int, values: Mapping[str, float], pictures: Mapping[str, str] | None = None
    ) -> None:
        with self.stopwatch("log"):
            for logger in self.loggers:
                logger.log_metrics({**values, "generator_step": step}, step=step)
                for key, path in (pictures or {}).items():
                    if hasattr(logger, "log_image"):
                        logger.log_image(key, [path], step=step)

    def _log(self, num_rounds: int) -> None:
        """Write means over the chunk of every loss, penalty and diagnostic."""
        member = self.member
        assert member.logs is not None
        values = member.logs | {
            "images_seen": float(member.images_seen),
            "gradient_evaluations": float(member.gradient_evaluations),
        }
        with self.stopwatch("log"):
            self._append(member.generator_steps, values)
        self._track(
            member.generator_steps, values | {"time/seconds_per_step": member.seconds / max(1, num_rounds)}
        )

    def _evaluate(self) -> None:
        """Measure the averaged generator, and draw it; keep it where it is the best so far.

        The first average is what ``eval/*`` measures; every other one stands beside it as ``eval_<name>/*``,
        and at the end the raw generator, as ``eval_raw/*``.
        """
        member, sampler = self.member, self.experiment.sampler
        step = member.generator_steps
        with self.stopwatch("evaluate"):
            samples, self.latest = self.evaluator.of_generator(sampler, member.state.evaluated)
            values = {f"eval/{name}": value for name, value in self.latest.items()}
            for kind, params in self._beside().items():
                _, found = self.evaluator.of_generator(sampler, params)
                values |= {f"eval_{kind}/{name}": value for name, value in found.items()}
            self._append(step, values)
            path = self.record.sample(step)
            atomic_write(path, self.picture(self.reference, samples[: len(self.reference)].cpu()))
        self._track(step, values, {"samples": str(path)})
        with self.stopwatch("checkpoint"):
            for metric in self.evaluator.best:
                course = self.series.get(f"eval/{metric}", {})
                if self.evaluator.meanings.get(metric, Value()).best_step(course) == step:
                    self.kept[metric] = checkpoints.Best(step, course[step])
                    self._write(f"best-{metric}", {metric: course[step]})

    def _beside(self) -> dict[str, Tensor]:
        """Parameters that are measured beside the first average, by their kind."""
        state = self.member.state
        found = {name: average.params for name, average in list(state.averages.items())[1:]}
        return found | ({"raw": state.players.generator} if self.member.finished else {})

    def _probe(self) -> None:
        """Write what the probes see of the game, as ``diag/*``; see ``saddle.diagnosis.probes``."""
        if not self.experiment.probes:
            return
        member = self.member
        step, state = member.generator_steps, member.state
        # lazy penalties count in every look, with their own weight
        game = replace(member.method.game, intervals={}).remember(state.game)
        with self.stopwatch("probe"):
            draws = probes.draws_of(game, member.dataset, member.latents, member.seed, step)
            values = {
                f"diag/{name}": value
                for probe in self.experiment.probes.values()
                for name, value in probe(game, state.players, draws).items()
            }
            self._append(step, values)
        self._track(step, values)

    def _checkpoint(self) -> None:
        with self.stopwatch("checkpoint"):
            self._write("last")
            self.summarize()

    def _write(self, name: str, best: Mapping[str, float] | None = None) -> None:
        member = self.member
        checkpoints.save(
            self.record.checkpoint(name),
            member.method.game,
            member.rounds,
            member.generator_steps,
            member.state,
            self.owner,
            best,
        )


def protocol_of(experiment: Experiment) -> dict[str, Any]:
    """Give the protocol of the evaluated generator's numbers, and the fingerprint of the raw one's."""
    evaluator, dataset, sampler = experiment.evaluator, experiment.dataset, experiment.sampler
    own, raw = (evaluator.protocol(dataset, sampler, kind) for kind in (experiment.averaging, "none"))
    return {**own, "raw_fingerprint": raw["fingerprint"]}
