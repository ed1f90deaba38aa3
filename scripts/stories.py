"""Put the runs of ``conf/experiment``'s stories into one table and one figure.

``stories.py runs/sweep`` reads the sweeps that the headers of those files make (one folder a story), takes
the last value of what each story is about, and writes ``scripts/results/stories.json`` (mean, standard
deviation and value of each seed, with commands and provenance) and ``stories.png``.
"""

import argparse
import json
import re
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from saddle.commands.pipes import ending_with_its_reader

ROOT = Path(__file__).parents[1]
SHOWN = {
    "equilibrium": ["loss/discriminator", "diag/game_value", "diag/duality_gap", "eval/wasserstein"],
    "optimal_discriminator": ["loss/discriminator", "diag/game_value", "diag/duality_upper"],
    "classic": ["eval/fid", "eval/modes", "eval/recall", "diag/discriminator_gap", "loss/discriminator"],
    "vanishing_gradient": [
        *("diag/saturating_gradient", "diag/non_saturating_gradient", "diag/fake_slope"),
        *("eval/fid", "eval/modes", "eval/recall"),
    ],
    "mode_collapse": ["eval/modes", "eval/kl", "eval/high_quality"],
    "mode_collapse_digits": ["eval/modes", "eval/kl", "eval/recall", "eval/vendi", "eval/fid"],
    "oscillation": ["eval/mean_error", "eval_raw/mean_error", "diag/rotation", "diag/duality_gap"],
    "oscillation_dirac": [
        "eval/mean_error",
        "eval_raw/mean_error",
        "diag/rotation",
        "diag/smallest_real_part",
    ],
    "capacity": [
        *("diag/discriminator_gap", "diag/train_accepted", "diag/held_out_accepted"),
        *("eval/fid", "eval/recall"),
    ],
}
PANELS = {  # story -> series, label, logarithmic
    "oscillation": ("eval/mean_error", "distance to the equilibrium", True),
    "equilibrium": ("diag/duality_gap", "duality gap", True),
    "vanishing_gradient": ("diag/saturating_gradient", "|gradient of log(1 − D)|", True),
    "mode_collapse": ("eval/modes", "modes held, of 8", False),
    "mode_collapse_digits": ("eval/vendi", "effective number of digits", False),
    "capacity": ("diag/discriminator_gap", "D(train) − D(held out), logits", False),
}
NOT_TOLD = re.compile(r"(experiment|seed|logger|trainer|hydra\.\S+|on_divergence|diagnostics)=")


@ending_with_its_reader()
def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, help="the folder of the sweeps")
    parser.add_argument(
        "--output", type=Path, default=ROOT / "scripts" / "results", help="folder to write to"
    )
    arguments = parser.parse_args()

    from saddle.data.files import atomic_write

    groups = {story: groups_of(arguments.runs / story) for story in SHOWN}
    table = {
        story: [summary(SHOWN[story], *group) for group in found.items()] for story, found in groups.items()
    }
    content = {"stories": table, "provenance": origin(groups)}
    atomic_write(arguments.output / "stories.json", json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    atomic_write(arguments.output / "stories.png", picture(groups))
    for story, rows in table.items():
        print(story)
        for row in rows:
            shown = "  ".join(
                f"{name.rpartition('/')[2] if not name.startswith('eval_') else name} "
                f"{found['mean']:.4g}±{found['std']:.2g}"
                for name, found in row["values"].items()
            )
            print(f"  {row['words'] or 'as it is'} {row['seeds']}: {shown}")


def groups_of(folder: Path) -> dict[str, list[Any]]:
    """What was typed, without the seed -> the story's runs with these words."""
    from saddle.reports.selection import find, read

    found: dict[str, list[Any]] = {}
    if folder.is_dir():
        for run in read(find([str(folder)])).runs:
            if run.status not in ("finished", "diverged"):
                print(f"left out: {run.name} is {run.status}")
                continue
            line = json.loads((Path(run.name) / "provenance.json").read_text())["command_line"][1:]
            found.setdefault(" ".join(word for word in line if not NOT_TOLD.match(word)), []).append(run)
    return dict(sorted(found.items(), key=lambda item: len(item[0].split())))


def summary(names: Sequence[str], words: str, runs: Sequence[Any]) -> dict[str, Any]:
    """Last values of one group: mean, standard deviation over seeds, and each."""
    values = {}
    for name in names:
        each = [next(reversed(run.series[name].values())) for run in runs if name in run.series]
        if each:
            spread = statistics.stdev(each) if len(each) > 1 else 0.0
            values[name] = {"mean": statistics.fmean(each), "std": spread, "each": each}
    return {
        "words": words,
        "seeds": sorted(run.seed for run in runs),
        "status": sorted({run.status for run in runs}),
        "step": max(run.summary["step"] for run in runs),
        "seconds": sum(run.summary["time"]["total"] for run in runs),
        "values": values,
    }


def origin(groups: dict[str, dict[str, list[Any]]]) -> dict[str, Any]:
    """What all runs share, and where they differ each value."""
    found = [
        json.loads((Path(run.name) / "provenance.json").read_text())
        for story in groups.values()
        for runs in story.values()
        for run in runs
    ]
    names = ("git", "versions", "hardware")
    shared: dict[str, list[Any]] = {}
    for name in names:
        for one in found:
            if name in one and one[name] not in shared.setdefault(name, []):
                shared[name].append(one[name])
    commands = {
        story: [
            line.removeprefix("#").strip()
            for line in (ROOT / "conf" / "experiment" / f"{path}.yaml").read_text().splitlines()
            if f"sweep_name={story} " in line
        ]
        for story in groups
        for path in [HEADER.get(story, story)]
    }
    cpu = {"logger": "none", "trainer": "cpu", "threads": 1}
    return {"commands": commands, "beside_the_commands": cpu, "num_runs": len(found), **shared}


HEADER = {
    "optimal_discriminator": "equilibrium",
    "oscillation_dirac": "oscillation",
}  # whose file they are in


def picture(groups: dict[str, dict[str, list[Any]]]) -> Any:
    """A panel a story: the mean over seeds, and each seed faintly."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    colours = ["#000000", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00"]  # Okabe and Ito
    marks = ["o", "s", "^", "D", "v", "x"]
    figure, axes = plt.subplots(2, 3, figsize=(11, 7.5), layout="constrained")
    for axis, (story, (name, label, logarithmic)) in zip(axes.flat, PANELS.items(), strict=True):
        for style, (words, runs) in enumerate(groups[story].items()):
            courses = [run.series[name] for run in runs if name in run.series]
            steps = sorted(set.intersection(*(set(course) for course in courses))) if courses else []
            colour = colours[style % len(colours)]
            for course in courses:
                axis.plot(list(course), list(course.values()), color=colour, alpha=0.2, lw=0.8)
            mean = [statistics.fmean(course[step] for course in courses) for step in steps]
            axis.plot(
                steps,
                mean,
                color=colour,
                marker=marks[style % len(marks)],
                ms=3.5,
                lw=1.5,
                label=short(words),
            )
        axis.set(title=story.replace("_", " "), xlabel="generator step", ylabel=label)
        if logarithmic:
            axis.set_yscale("log")
        axis.legend(fontsize=7, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.2))
        axis.grid(alpha=0.2)

    def save(file: Any) -> None:
        from io import BytesIO

        from PIL import Image

        drawn = BytesIO()
        figure.savefig(drawn, format="png", dpi=80)
        Image.open(drawn).convert("RGB").quantize(64).save(file, format="PNG", optimize=True)

    return save


def short(words: str) -> str:
    """A legend's words: the last part of every key, penalties' weights left out."""
    kept = [word for word in words.split() if "gamma" not in word and "unrolled_steps" not in word]
    return (
        " ".join(word.rpartition("=")[0].rpartition(".")[2] + "=" + word.rpartition("=")[2] for word in kept)
        or "as it is"
    )


if __name__ == "__main__":
    main()
