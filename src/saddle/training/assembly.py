"""From a configuration to the objects of a run, checked against each other before anything starts."""

from functools import partial
from typing import Any, NamedTuple

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from saddle.data.dataset import Dataset
from saddle.diagnosis.probes import Probe
from saddle.evaluation.evaluator import Evaluator, Sampler, configured
from saddle.game.game import Game, Players
from saddle.game.network import Network
from saddle.game.randomness import seed_of
from saddle.records.older import upgraded
from saddle.records.questions import config_hash as config_hash
from saddle.rounds.execution import EAGER, Averages, Dynamics, Execution, Method
from saddle.training import checks
from saddle.training.member import Member
from saddle.training.module import Pace


class Experiment(NamedTuple):
    """The objects of a run.

    Args:
        dataset: on the CPU; the member's own follows it to its device.
        member: what is trained.
        pace: of its rounds; ``execution``: how they are run.
        advice: what works, but is probably not what was meant.
    """

    dataset: Dataset
    member: Member
    pace: Pace
    execution: Execution
    sampler: Sampler
    evaluator: Evaluator
    probes: dict[str, Probe]
    advice: list[str]

    @property
    def game(self) -> Game:
        """Both networks, their losses and penalties."""
        return self.member.method.game

    @property
    def dynamics(self) -> Dynamics:
        """Who moves when."""
        return self.member.method.dynamics

    @property
    def averages(self) -> Averages:
        """Averages of the generator's weights, by name."""
        return self.member.method.averages

    @property
    def averaging(self) -> str:
        """Name of the average that is evaluated, or "none"."""
        return next(iter(self.averages), "none")


def assemble(config: DictConfig, like: Experiment | None = None) -> Experiment:
    """Build everything that a configuration of ``train`` names.

    Args:
        config: of this version, or of an earlier one's record.
        like: an experiment with the same data and metrics, which are taken from there.

    Raises:
        ValueError: a number out of range, or parts that do not fit each other.
    """
    config = _of_today(config)
    checks.parts(config)
    checks.names(config)
    checks.numbers(config)
    dataset: Dataset = like.dataset if like else instantiate(config.data)
    checks.data(dataset, config.batch_size)
    with torch.random.fork_rng(devices=[]):  # modules draw their first weights from the global generator
        torch.manual_seed(seed_of(config.seed, "initial weights"))
        model = _plain(instantiate(config.model, _convert_="all"))
    penalties, intervals = _penalties(config, "regularizer")
    generator_penalties, generator_intervals = _penalties(config, "generator_regularizer")
    game = Game(
        Network(model["generator"]),
        Network(model["discriminator"]),
        instantiate(config.loss),
        penalties,
        generator_penalties=generator_penalties,
        transforms=instantiate(config.transform, _convert_="all"),
        pack=config.pack,
        intervals=intervals | generator_intervals,
    )
    dynamics = instantiate(config.dynamics)
    averages = instantiate(config.average, _convert_="all")
    composition = checks.composition(game, dynamics, averages, dataset, model["latents"], config)
    schedules = Players(**instantiate(config.schedule, _convert_="all"))
    member = Member(
        Method(game, dynamics, averages, schedules),
        dataset,
        model["latents"],
        config.batch_size,
        config.seed,
        config.num_steps,
        _plain({"order": instantiate(config.sampling)})["order"],
    )
    pace = Pace(config.steps_per_execution, (config.evaluate_every, config.checkpoint_every))
    # a record from before there was a choice has none
    execution = instantiate(config.execution) if "execution" in config else EAGER
    metrics = instantiate(config.metrics, _convert_="all")
    sampler = Sampler(
        game.generator, model["latents"], config.batch_size, metrics.pop("seed"), dataset.num_classes
    )
    evaluator = like.evaluator if like else configured(**metrics)
    if not like:
        evaluator.features(dataset.train.first(2))  # refuses data that it cannot see
    probes = instantiate(config.get("diagnostics") or {}, _convert_="all")  # an older run has none
    return Experiment(dataset, member, pace, execution, sampler, evaluator, probes, composition.advice())


def _of_today(config: DictConfig) -> DictConfig:
    content: Any = OmegaConf.to_container(config, resolve=False)
    found = OmegaConf.create(upgraded(content))
    assert isinstance(found, DictConfig)
    return found


def _penalties(config: DictConfig, group: str) -> tuple[dict[str, Any], dict[str, int]]:
    """The penalties of a group by name, and the intervals of the lazy ones by their part in the game."""
    nodes = OmegaConf.create({group: OmegaConf.to_container(config[group], resolve=True)})[group]
    intervals = {f"{group}.{name}": node.pop("every_n_steps", 1) for name, node in nodes.items()}
    return _plain(instantiate(nodes, _convert_="all")), {name: n for name, n in intervals.items() if n > 1}


def _plain(parts: dict[str, Any]) -> dict[str, Any]:
    """With Hydra's partials made functools' own: of theirs each call is authorized anew, in 80 µs, and a step
    of a small network calls two."""
    return {
        name: partial(part.func, *part.args, **part.keywords) if isinstance(part, partial) else part
        for name, part in parts.items()
    }
