"""From a configuration to the objects of a run, checked against each other before anything starts."""

from dataclasses import replace
from typing import Any, NamedTuple

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from saddle.averages import ExponentialAverage
from saddle.data.dataset import Dataset
from saddle.data.sampling import draw_batches
from saddle.evaluation import Evaluator, Sampler
from saddle.execution import Dynamics
from saddle.game import AUTOGRAD, Calculus, Function, Game
from saddle.module import GANModule
from saddle.network import Network
from saddle.questions import config_hash as config_hash
from saddle.randomness import seed_of


class Experiment(NamedTuple):
    dataset: Dataset
    game: Game
    dynamics: Dynamics
    average: ExponentialAverage
    module: GANModule
    sampler: Sampler
    evaluator: Evaluator


def assemble(config: DictConfig) -> Experiment:
    """Build everything that a configuration of ``train`` names.

    Raises:
        ValueError: a number out of range, or parts that do not fit each other.
    """
    _check_numbers(config)
    dataset: Dataset = instantiate(config.data)
    if not 1 <= config.batch_size <= len(dataset.train):
        raise ValueError(
            f"batch_size must lie between 1 and the {len(dataset.train)} training samples of "
            f"{dataset.name}; got {config.batch_size}. Choose a size in that range."
        )
    with torch.random.fork_rng(devices=[]):  # modules draw their first weights from the global generator
        torch.manual_seed(seed_of(config.seed, "initial weights"))
        model = instantiate(config.model, _convert_="all")
    game = Game(
        Network(model["generator"]),
        Network(model["discriminator"]),
        instantiate(config.loss),
        instantiate(config.regularizer, _convert_="all"),
        generator_penalties=instantiate(config.generator_regularizer, _convert_="all"),
        transforms=instantiate(config.transform, _convert_="all"),
        pack=config.pack,
    )
    dynamics, average = instantiate(config.dynamics), instantiate(config.average)
    _check_steps(config, dynamics)
    _check_shapes(game, dataset, model["latents"], config)
    module = GANModule(
        game,
        dynamics,
        average,
        dataset,
        model["latents"],
        batch_size=config.batch_size,
        seed=config.seed,
        num_steps=config.num_steps,
        steps_per_execution=config.steps_per_execution,
        periods=(config.evaluate_every, config.checkpoint_every),
    )
    metrics = instantiate(config.metrics, _convert_="all")
    sampler = Sampler(game.generator, model["latents"], config.batch_size, metrics.pop("seed"))
    evaluator = Evaluator(**metrics)
    evaluator.features(dataset.train[:2])  # refuses data that it cannot see
    return Experiment(dataset, game, dynamics, average, module, sampler, evaluator)


def _check_numbers(config: DictConfig) -> None:
    for key in ("num_steps", "steps_per_execution", "evaluate_every", "checkpoint_every", "pack"):
        if not isinstance(config[key], int) or config[key] < 1:
            raise ValueError(
                f"{key} must be a whole number of at least 1; got {config[key]}. Give such a number."
            )
    if config.trainer.get("devices", 1) != 1:
        raise ValueError(
            f"a run must use one device; got trainer.devices={config.trainer.devices}. "
            "Start one run a device instead, each with its own seed."
        )
    for name, penalty in config.regularizer.items():
        for key in ("gamma", "weight"):
            value = penalty.get(key, 0)
            if not isinstance(value, int | float) or not value >= 0:
                raise ValueError(
                    f"regularizer.{name}.{key} must be a number of at least 0; got {value}. "
                    f"Give such a number, or leave {name} out of regularizer=[...]."
                )


def _check_steps(config: DictConfig, dynamics: Dynamics) -> None:
    per_round = dynamics.num_generator_steps
    for key in ("num_steps", "evaluate_every", "checkpoint_every"):
        if config[key] % per_round:
            raise ValueError(
                f"{key} must be a multiple of dynamics.num_generator_steps={per_round}; got {config[key]}. "
                f"Take {max(1, config[key] // per_round) * per_round}."
            )


def _check_shapes(game: Game, dataset: Dataset, latents: Any, config: DictConfig) -> None:
    """Play one round of gradients on a small batch: whatever does not fit shows here."""
    if config.batch_size % config.pack:
        raise ValueError(
            f"batch_size must be a multiple of pack={config.pack}; got {config.batch_size}. "
            f"Take {max(1, config.batch_size // config.pack) * config.pack}."
        )
    num = min(config.batch_size, 2 * config.pack)
    (batch,) = draw_batches(dataset.train, latents, game, num, 1, config.seed, 0)
    players = game.init()
    game = game.remember(game.init_memory(players))
    fits = (
        "model=mlp makes points (2,), dcgan28 and mlp28 make images (1, 28, 28), mlp8 makes images (1, 8, 8)"
    )
    try:
        made = tuple(game.generate(players, batch).shape[1:])
    except RuntimeError as error:
        raise ValueError(
            f"the generator must accept latents {tuple(batch.latent.shape)}; got: "
            f"{str(error).splitlines()[0]}. Set model.generator.num_latents to model.latents.size."
        ) from error
    if made != dataset.event_shape:
        raise ValueError(
            f"the model must make samples of the data's shape, {dataset.event_shape} for {dataset.name}; "
            f"its generator makes {made}. Choose a model for this data: {fits}."
        )
    slopes: list[Tensor] = []

    def watched(function: Function, samples: Tensor) -> tuple[Tensor, Tensor]:
        slopes.append(samples)
        return AUTOGRAD.slope(function, samples)

    game = replace(game, calculus=Calculus(AUTOGRAD.gradient, watched))
    try:
        game.discriminator_gradient(players, batch)
        game.generator_gradient(players, batch)
    except RuntimeError as error:
        raise ValueError(
            f"the discriminator, loss and regularizers must accept samples {tuple(batch.real.shape)}; "
            f"got: {str(error).splitlines()[0]}. Choose a model for this data: {fits}."
        ) from error
    if slopes and any(isinstance(layer, _BatchNorm) for layer in game.discriminator.module.modules()):
        raise ValueError(
            "a penalty on the slope at each sample must go with a discriminator that sees each sample by "
            f"itself; got batch normalization in it and regularizer=[{','.join(config.regularizer)}]. Take "
            "normalization@model.discriminator.normalization=layer, or leave the penalty out."
        )
