"""``saddle-search``: settings of training that better some metrics, sought by Optuna."""

import json
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from saddle.commands import entry
from saddle.game.refusals import Refused
from saddle.metrics.values import Value
from saddle.records.names import job_words
from saddle.records.questions import key
from saddle.training.refusing import refusing

if TYPE_CHECKING:
    from optuna import Study
    from rich.console import Console

    from saddle.sweeps.trials import Ended, Question

OWN = ("search", "study", "storage", "storage_timeout", "num_trials", "objectives", "score")  # not train's


def main() -> None:
    """Console entry point."""
    entry.run("search", search)


def search(config: DictConfig) -> None:
    """Run trials until the study has ``num_trials``, and print the best."""
    from rich.console import Console

    from saddle.sweeps import trials
    from saddle.sweeps.launch import stopping

    folder = Path(HydraConfig.get().runtime.output_dir)
    with refusing():
        question = _question(config)
        with _storage_errors(config):
            study = _open(config, question, folder)
    worker = trials.enrol(folder)
    # a generator of its own for every worker, also for one that goes on: the first draws are not repeated
    study.sampler = _sampler(config, worker.number)
    console, count, full = Console(stderr=True), len(study.get_trials(deepcopy=False)), None
    print(f"search:  {folder}: {count} of {question.num_trials} trials begun before", flush=True)
    with worker.lock, refusing(), _storage_errors(config), stopping() as stop:
        try:
            for ended in trials.search(study, question, folder, worker, config.jobs, stop):
                _print_trial(console, ended, question)
        except trials.OutOfRoom as error:
            full = str(error)
        num_complete = _print_best(
            Console(width=None if sys.stdout.isatty() else 140), study, question, folder
        )
    if full is not None:
        print(f"saddle: {full}", file=sys.stderr)
        sys.exit(1)
    if stop.received is not None:
        print("saddle: stopped; the same command goes on", file=sys.stderr)
        sys.exit(128 + stop.received)
    if not num_complete:
        print("saddle: no trial came to an end with numbers; see the reasons above", file=sys.stderr)
        sys.exit(1)


def _question(config: DictConfig) -> "Question":
    """What is sought, checked: every word composes at each end of its range and for each choice."""
    import hydra

    from saddle.sweeps.executors import must_be_positive
    from saddle.sweeps.trials import Question, distributions

    try:
        import optuna
    except ImportError as error:
        raise Refused(
            f"a search must have Optuna; got {error}. Install it: pip install 'saddle-gan[search]'."
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    must_be_positive(config.jobs)
    if config.resume is not None:
        raise Refused(f"a search must begin its own runs; got resume={config.resume}. Drop it.")
    if not isinstance(config.num_trials, int) or not 1 <= config.num_trials <= config.max_jobs:
        raise Refused(
            f"num_trials must be a whole number between 1 and max_jobs={config.max_jobs}; "
            f"got {config.num_trials}. Give such a number."
        )
    if config.score not in ("last", "best", "area"):
        raise Refused(f"score must be one of last, best, area; got {config.score}. Choose one of them.")
    if not OmegaConf.is_list(config.objectives) or not config.objectives:
        raise Refused(f"objectives must list metrics; got {config.objectives}. Say objectives=[kl].")
    space: Any = OmegaConf.to_container(config.search.space, resolve=True)
    given = [*HydraConfig.get().overrides.task]
    words = [word for word in job_words(given) if key(word).partition(".")[0] not in OWN]
    question = Question(
        tuple(words), distributions(space), [*config.objectives], config.score, config.num_trials
    )
    first = {name: bounds.get("low", bounds.get("choices", [None])[0]) for name, bounds in space.items()}
    for name, bounds in space.items():
        for value in bounds.get("choices", [bounds.get("high")]):
            tried = [f"{other}={value if other == name else start}" for other, start in first.items()]
            hydra.compose("train", [*words, *tried])
    return question


@contextmanager
def _storage_errors(config: DictConfig) -> Iterator[None]:
    """One message for a database that is locked, broken or out of reach."""
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (optuna.exceptions.StorageInternalError, SQLAlchemyError, ImportError) as error:
        cause = error.__cause__ or error
        why = str(getattr(cause, "orig", None) or cause).splitlines()[0]
        advice = {
            "locked": "Wait for the program that holds it, or give a longer storage_timeout",
            "not a database": "Restore the file, or move it away: the runs beside it are kept",
            "malformed": "Restore the file, or move it away: the runs beside it are kept",
        }
        do = next((text for sign, text in advice.items() if sign in why), "Check storage and its server")
        raise Refused(
            f"the study's database must be one that Optuna can read and write; got: {why}. {do}. "
            "Runs that have been made are kept, and the same command goes on."
        ) from error


def _open(config: DictConfig, question: "Question", folder: Path) -> "Study":
    """The study, new or as it stands.

    Raises:
        ValueError: it asks another question, or for a metric that is best in between.
    """
    import optuna
    from hydra.utils import instantiate

    from saddle.training.scoring import chosen_metrics

    meanings = chosen_metrics(config.metrics).meanings
    directions = [_direction(name, meanings.get(name, Value())) for name in question.objectives]
    folder.mkdir(parents=True, exist_ok=True)
    url = config.storage or f"sqlite:///{(folder / 'study.db').absolute()}"
    # SQLite waits for its turn by itself; other databases have servers
    arguments = {"connect_args": {"timeout": config.storage_timeout}} if url.startswith("sqlite") else {}
    study = optuna.create_study(
        storage=optuna.storages.RDBStorage(url, engine_kwargs=arguments),
        study_name=config.study,
        directions=directions,
        sampler=_sampler(config, 0),
        pruner=instantiate(config.search.pruner),
        load_if_exists=True,
    )
    asked = {
        "words": sorted(question.words),
        "space": json.loads(json.dumps({name: repr(law) for name, law in question.space.items()})),
        "objectives": [*question.objectives],
        "score": question.score,
    }
    before = study.user_attrs.get("question", asked)
    if changed := [name for name in asked if asked[name] != before[name]]:
        raise Refused(
            f"a study must keep its question; {config.study} has other {', '.join(changed)}: "
            f"{before[changed[0]]}, now {asked[changed[0]]}. Give those again, or begin another: study=NAME."
        )
    study.set_user_attr("question", asked)
    return study


def _direction(name: str, value: Value) -> Literal["maximize", "minimize"]:
    """Name Optuna's word for where a metric is better."""
    if math.isfinite(value.ideal):
        raise Refused(
            f"an objective must be better high or low; got {name}, which is best at {value.ideal:g}. "
            "Choose another."
        )
    return "maximize" if value.higher_is_better else "minimize"


def _sampler(config: DictConfig, number: int) -> Any:
    """The sampler with the seed of a worker."""
    from hydra.utils import instantiate

    node = config.search.sampler
    seed = node.get("seed")
    return instantiate(node, **({} if seed is None else {"seed": seed + number}))


def _print_trial(console: "Console", ended: "Ended", question: "Question") -> None:
    scores = _scores(question.objectives, ended.values or [])
    text = f"trial {ended.number}/{question.num_trials}: {ended.state} ({ended.status})  {scores}"
    why = f"  {ended.message.splitlines()[0]}" if ended.message else ""
    console.print(text + why, markup=False, highlight=False, soft_wrap=True)


def _scores(names: Sequence[str], values: Sequence[float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in zip(names, values, strict=False))


def _print_best(console: "Console", study: "Study", question: "Question", folder: Path) -> int:
    """The best trial, or the Pareto front; returns how many trials have values."""
    from collections import Counter

    from rich.markup import escape
    from rich.table import Table

    trials = study.get_trials(deepcopy=False)
    num_complete = sum(trial.state.name == "COMPLETE" for trial in trials)
    if num_complete:
        one = len(question.objectives) == 1
        best = [study.best_trial] if one else study.best_trials
        table = Table(title="best trial" if one else "trials that none betters in every objective")
        for column in ("trial", *question.objectives, *question.space, "folder"):
            table.add_column(column, overflow="fold")
        for trial in best:
            params = (_short(trial.params.get(name)) for name in question.space)
            place = trial.user_attrs.get("directory", "")
            cells = (trial.number, *map(_short, trial.values), *params, place)
            table.add_row(*(escape(str(cell)) for cell in cells))
        console.print(table)
    counts = Counter(trial.state.name.lower() for trial in trials)
    lines = [
        "trials:  " + ", ".join(f"{number} {state}" for state, number in counts.most_common()),
        f"study:   {study.study_name} in {folder}",
    ]
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    return num_complete


def _short(value: Any) -> Any:
    return f"{value:.4g}" if isinstance(value, float) else value


if __name__ == "__main__":
    main()
