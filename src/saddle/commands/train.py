"""``saddle-train``: one run, or an ensemble of runs, from a configuration to records that can be judged."""

import sys
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from saddle.commands import entry
from saddle.training.refusing import refusing

if TYPE_CHECKING:
    from rich.console import Console

    from saddle.records.record import Record


def main() -> None:
    """Console entry point."""
    entry.run("train", train)


def train(config: DictConfig) -> float | None:
    """Train, and return the last value of the metric whose best checkpoint is kept (for sweepers)."""
    from rich.console import Console

    from saddle.training import configuration, runs

    runs.quieten()
    request = configuration.of_command(config)
    if config.resume is None and configuration.asks_for_ensemble(config):
        from saddle.commands import ensemble

        ensemble.train(request)
        return None
    with refusing():
        recorder = runs.prepare(request)
        if config.resume is not None:
            entry.remove_if_empty(request.directory)  # Hydra made it, for a new run
    for sentence in recorder.experiment.advice:
        print(f"saddle: warning: {sentence}", file=sys.stderr)
    summary: dict[str, Any] = {}
    runs.play(
        [recorder],
        lambda of, outcome: summary.update(of.end(outcome)),
        runs.ON_DIVERGENCE[config.on_divergence],
    )
    # a pipe has no width of its own, and the table needs more than the 80 columns assumed for one
    _print_results(Console(width=None if sys.stdout.isatty() else 120), recorder.record, summary)
    if summary["message"]:
        print(f"saddle: {summary['message']}", file=sys.stderr)
    if summary["exit_status"]:
        sys.exit(summary["exit_status"])
    return summary["metrics"].get(next(iter(recorder.evaluator.best), ""), {}).get("last")


def _print_results(console: "Console", record: "Record", summary: dict[str, Any]) -> None:
    from rich.table import Table

    from saddle.metrics.values import of_stored

    def show(value: float | None) -> str:
        return "-" if value is None else f"{value:.4g}"

    series = record.series()
    table = Table(title=f"{summary['status']} at generator step {summary['step']}")
    table.add_column("metric")
    averages = summary["averages"]
    for column in ("step 0", "best", "at step", "last", *averages, "raw G", "real", "floor"):
        table.add_column(column, justify="right")
    for name, found in summary["metrics"].items():
        table.add_row(
            f"{name} {of_stored(found).arrow}",
            show(series[f"eval/{name}"].get(0)),
            show(found["best"]),
            str(found["step_of_best"]),
            show(found["last"]),
            *[show(values.get(name)) for values in averages.values()],
            show(summary["raw"].get(name)),
            show(summary["held_out"].get(name)),
            show(found["floor"]),
        )
    console.print(table)
    seconds, verdict = summary["time"], summary["verdict"]
    lines = [
        f"verdict: {verdict['word']}: {verdict['reason']}",
        f"time:    {seconds['total']:.0f} s, of which training {seconds.get('train', 0):.0f} s, "
        f"evaluation {seconds.get('evaluate', 0):.0f} s",
        f"report:  {record.report}",
        *[f"samples: {path}" for path in list(record.read_samples().values())[-1:]],
    ]
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()
