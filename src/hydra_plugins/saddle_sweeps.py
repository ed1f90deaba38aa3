"""Saddle's sweeper and launcher, where Hydra looks for plugins; the work is done in ``saddle.sweeps``.

Hydra imports this module at the start of every command: what is heavy is imported where it is used.
"""

import math
import re
import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, RangeSweep
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

if TYPE_CHECKING:
    from saddle.sweeps.executors import Executor


class ProductSweeper(BasicSweeper):
    """All combinations, as Hydra's own sweeper makes them; but counted before they are made.

    Of the compositions it checks every value of every word, the other words at their first value: the sum of
    the choices, not their product. A combination that fits in neither is refused by its own job.
    """

    def sweep(self, arguments: list[str]) -> Any:
        from saddle.game.refusals import Refused

        assert self.config is not None
        assert self.hydra_context is not None
        assert self.launcher is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        overrides = parser.parse_overrides([*self._parse_config(), *arguments])
        if ensemble := [o.input_line for o in overrides if o.get_key_element().startswith("ensemble.")]:
            raise Refused(
                f"a sweep must be of single runs; got {ensemble[0]}. Drop -m to train an ensemble in one "
                "process, or give its seeds and values as words of the sweep, such as seed=range(8)."
            )
        by_key = {override.get_key_element(): override for override in overrides}  # the last word counts
        number, limit = math.prod(map(_num_values, by_key.values())), self.config.max_jobs
        if not 1 <= number <= limit:
            raise Refused(
                f"a sweep must have between 1 and max_jobs={limit} jobs; got {number:,}. "
                + ("Give each word a value." if number < 1 else f"Ask for fewer, or give max_jobs={number}.")
            )
        values = [_words(override) for override in by_key.values()]
        first = [words[0] for words in values]
        alone = [
            [*first[:place], word, *first[place + 1 :]]
            for place, words in enumerate(values)
            for word in words[1:]
        ]
        self.validate_batch_is_legal([first, *alone])
        jobs = [[*words] for words in product(*values)]
        return [found.return_value for found in self.launcher.launch(jobs, initial_job_idx=0)]


def _num_values(override: Override) -> int:
    """How many values a word has, without making them: range(0,1000000000) is counted as fast as range(3)."""
    if not override.is_sweep_override():
        return 1
    if not override.is_discrete_sweep():
        raise HydraException(
            f"a sweep must list its values; got {override.input_line}. Use a,b,c or range(n)."
        )
    value = override.value()
    if isinstance(value, RangeSweep):
        assert value.start is not None
        assert value.stop is not None
        if value.step == 0:
            raise HydraException(
                f"the step of a range must not be 0; got {override.input_line}. Give another."
            )
        return max(0, math.ceil((value.stop - value.start) / value.step))
    return sum(1 for _ in override.sweep_iterator())


def _words(override: Override) -> list[str]:
    key = override.get_key_element()
    if override.is_sweep_override():
        return [f"{key}={value}" for value in override.sweep_string_iterator()]
    if override.is_delete():
        return [str(override.input_line)]
    return [f"{key}={override.get_value_element_as_str()}"]


class SweepLauncher(Launcher):
    """Runs each job as a process of its own, on what ``executor`` offers."""

    def __init__(self, executor: "Executor") -> None:
        self.executor = executor

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Raises SystemExit with the status of ``launch`` if that is not 0."""
        from saddle.game.refusals import Refused
        from saddle.records.names import job_folders, job_words
        from saddle.sweeps.jobs import Job
        from saddle.sweeps.launch import launch

        settings = self.config.hydra
        hydra_words = [*settings.overrides.hydra]
        if given := [word for word in hydra_words if word.lstrip("+").startswith("hydra.sweep.subdir=")]:
            raise Refused(
                f"the jobs of a sweep must lie in folders named after what they do; got {given[0]}. "
                "Drop it; hydra.sweep.dir=PATH may be given."
            )
        flags = []
        for source in settings.runtime.config_sources:
            if source.provider == "command-line":
                flags += ["--config-dir", source.path]
        program = (sys.executable, "-m", "saddle.commands.child", *flags)
        of_the_sweep = re.compile(r"[+~]*hydra[./](sweep|sweeper|launcher|run|mode)\b")
        kept = [word for word in hydra_words if not of_the_sweep.match(word)]
        folder = Path(str(settings.sweep.dir)).absolute()
        try:
            words = [job_words(one) for one in job_overrides]
            jobs = [
                Job(number, (*one, *kept), place, program)
                for number, (one, place) in enumerate(zip(words, job_folders(folder, words), strict=True))
            ]
            status = launch(folder, jobs, self.executor)
        except (ValueError, OSError) as error:
            raise Refused(str(error)) from error
        if status:
            sys.exit(status)
        return [
            JobReturn(job.words, working_dir=str(job.directory), status=JobStatus.COMPLETED) for job in jobs
        ]
