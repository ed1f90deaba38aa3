"""Courses of runs, from their records, with theory's levels."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from hydra.utils import instantiate

from saddle.commands.pictures.subject import Subject
from saddle.game.losses import Hinge, LeastSquares, Minimax, NonSaturating, Relativistic
from saddle.game.refusals import Refused
from saddle.records.record import Record, open_record
from saddle.reports.trajectories import Panel as Courses
from saddle.reports.trajectories import Trajectories
from saddle.theory import held_modes

# what the discriminator loses at best when the generator holds a share of the modes
LEVELS: Mapping[type, Callable[[float], float]] = {
    Minimax: held_modes.logistic_loss,
    NonSaturating: held_modes.logistic_loss,
    Hinge: held_modes.hinge_loss,
    LeastSquares: held_modes.least_squares_loss,
    Relativistic: held_modes.relativistic_loss,
}


def trajectories(
    subject: Subject, *, panels: Mapping[str, Sequence[str]], levels: Mapping[str, Sequence[float]]
) -> Trajectories:
    """What the records of runs hold of each panel's series, and theory's levels where all runs share them.

    Raises:
        ValueError: no run, or none that holds any of the series.
    """
    if not subject.runs:
        raise Refused(
            "trajectories must be of runs; got none. Give runs=[DIRECTORY], as training printed it."
        )
    records = {str(directory): open_record(directory) for directory in subject.runs}
    names = dict(zip(records, _apart([*map(Path, records)]), strict=True))
    series = {names[place]: record.series() for place, record in subject.track([*records.items()], "reading")}
    losses = [_level(record) for record in records.values()]
    known = losses[0] if all(one is losses[0] for one in losses) else None
    found = []
    for title, wanted in panels.items():
        courses = {
            run: {
                name: [[float(step), value] for step, value in held[name].items()]
                for name in wanted
                if name in held
            }
            for run, held in series.items()
        }
        courses = {run: course for run, course in courses.items() if course}
        if courses:
            marks = {_share(r): known(r) for r in levels.get(title, ())} if known else {}
            found.append(Courses(title, courses, marks))
    if not found:
        wanted = ", ".join(name for names in panels.values() for name in names)
        raise Refused(
            f"a picture of trajectories must have something to draw; the runs hold none of {wanted}. Give "
            "others, such as +picture.compute.panels.fid=[eval/fid]."
        )
    return Trajectories(found)


def _apart(directories: Sequence[Path]) -> list[str]:
    """The shortest ends of their paths that tell them apart."""
    for depth in range(1, max(len(one.parts) for one in directories) + 1):
        names = ["/".join(one.parts[-depth:]) for one in directories]
        if len({*names}) == len(names):
            return names
    return [str(one) for one in directories]


def _share(r: float) -> str:
    return "all modes held" if r == 1 else f"{r:.3g} of modes"


def _level(record: Record) -> Callable[[float], float] | None:
    """Of a run's loss, where theory knows it; a penalty keeps the discriminator from reaching it."""
    loss = instantiate(record.read_config()["loss"], _convert_="all")
    known = LEVELS.get(type(loss))
    return (
        known if known is not None and loss == type(loss)() else None
    )  # or another form, or smoothed targets
