"""What must hold of a run's configuration, and of its parts together, before anything starts.

What a part needs and refuses it says itself, where it is defined: see ``saddle.game.composition``. Here
stands what no part can say: that there is one, which numbers must be given, and that all shapes fit.
"""

from dataclasses import replace
from itertools import chain
from typing import Any

from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from saddle.data.dataset import Dataset
from saddle.data.sampling import draw_batches
from saddle.data.sources import blocks, reach
from saddle.dynamics.averages import RESERVED
from saddle.game.calculus import AUTOGRAD, Function
from saddle.game.composition import Composition, Data
from saddle.game.game import Game, Players
from saddle.game.ranges import is_whole
from saddle.game.refusals import Refused
from saddle.models.normalization import layers_of
from saddle.records.questions import LISTS, shown
from saddle.rounds.execution import Averages, Dynamics
from saddle.training.model_choices import fitting_choices

LEAST = {  # of whole numbers; the batch's, which depends on the data, is in ``data``
    "num_steps": 1,
    "steps_per_execution": 1,
    "evaluate_every": 1,
    "checkpoint_every": 1,
    "pack": 1,
    "seed": 0,
    "metrics.num_samples": 2,
    "metrics.num_real": 2,
}

# where one part stands, what it is, and what chooses it: Hydra takes a name there for a value
PARTS = {
    path.format(player): (what, choice.format(player))
    for player in Players._fields
    for path, what, choice in (
        ("optimizer.{}", "an update rule", "rule@optimizer.{}="),
        ("update.{}", "a bounded update rule", "rule@optimizer.{}="),
        ("update.{}.rule", "an update rule", "rule@optimizer.{}="),
        ("model.{}", "a network", "model="),
        ("model.{}.normalization", "a normalization", "normalization@model.{}.normalization="),
    )
} | {
    "dynamics.inner": ("a dynamics", "dynamics@dynamics.inner="),
    "metrics.features": ("a feature extractor", "features@metrics.features="),
}


def parts(config: DictConfig) -> None:
    """Refuse a plain value where a part must stand."""
    for path, (what, choice) in PARTS.items():
        parent, _, name = path.rpartition(".")
        above = OmegaConf.select(config, parent)
        if OmegaConf.is_dict(above) and name in above and not OmegaConf.is_dict(above[name]):
            value = above[name]
            raise Refused(
                f"{path} must be {what}; got {shown(value)}. "
                f"Take {choice}{value if isinstance(value, str) else 'NAME'}."
            )
    for player, schedule in config.schedule.items():
        if schedule is not None and not OmegaConf.is_dict(schedule):
            raise Refused(
                f"schedule.{player} must be a schedule, or null; got {shown(schedule)}. Take schedule=NAME, "
                "which is of both players, and set the other's to null."
            )
    for group in (*LISTS, "diagnostics"):
        for name, part in (config.get(group) or {}).items():
            if not OmegaConf.is_dict(part):
                raise Refused(
                    f"{group}.{name} must be a part with keys of its own; got {shown(part)}. "
                    f"Name it in {group}=[...], or leave it out there."
                )


def names(config: DictConfig) -> None:
    """Refuse the name of an average by which another generator is known."""
    for name in config.average or {}:
        if str(name).lower() in RESERVED:
            raise Refused(
                f"an average must not be named {', '.join(RESERVED[:-1])} or {RESERVED[-1]}, by which other "
                f"generators are known; got average.{shown(name)}. Give it another in its choice's file."
            )


def numbers(config: DictConfig) -> None:
    """Refuse numbers that no part could have refused by itself."""
    for key, least in LEAST.items():
        value = OmegaConf.select(config, key)
        if not is_whole(value, least):
            raise Refused(
                f"{key} must be a whole number of at least {least}; got {shown(value)}. Give such a number."
            )
    for group in ("regularizer", "generator_regularizer"):
        for name, penalty in config[group].items():
            interval = penalty.get("every_n_steps", 1)
            if not is_whole(interval, 1):
                raise Refused(
                    f"{group}.{name}.every_n_steps must be a whole number of at least 1; got "
                    f"{shown(interval)}. 1 takes the penalty in every round."
                )
            for key in ("gamma", "weight", "fake_weight", "eta"):
                value = penalty.get(key, 0)
                if not (is_whole(value, 0) or (isinstance(value, float) and value >= 0)):
                    raise Refused(
                        f"{group}.{name}.{key} must be a number of at least 0; got {shown(value)}. "
                        f"Give such a number, or leave {name} out of {group}=[...]."
                    )


def data(dataset: Dataset, batch_size: Any) -> None:
    """Refuse samples that are not finite, or too few for a batch."""
    every = chain(blocks(dataset.train), blocks(dataset.held_out))
    if num := sum(int((~block.isfinite().flatten(1).all(1)).sum()) for block in every):
        raise Refused(
            f"data must be finite; {dataset.name} has {num:,} samples with NaN or infinite numbers. "
            "Set data.* to finite numbers, or clean the files."
        )
    if not is_whole(batch_size, 1) or batch_size > len(dataset.train):
        raise Refused(
            f"batch_size must be a whole number between 1 and the {len(dataset.train)} training samples of "
            f"{dataset.name}; got {shown(batch_size)}. Choose a size in that range."
        )


def composition(
    game: Game, dynamics: Dynamics, averages: Averages, dataset: Dataset, latents: Any, config: DictConfig
) -> Composition:
    """Refuse parts that do not fit each other, and make known what is known of the whole once they do."""
    steps(config, dynamics)
    if config.batch_size % config.pack:
        raise Refused(
            f"batch_size must be a multiple of pack={config.pack}; got {config.batch_size}. "
            f"Take {max(1, config.batch_size // config.pack) * config.pack}."
        )
    whole = Composition(
        game,
        dynamics,
        averages,
        Data(dataset.name, dataset.event_shape, lambda: reach(dataset.train)),
        batch_size=config.batch_size,
        num_steps=config.num_steps,
        layers=Players(layers_of(game.generator), layers_of(game.discriminator)),
    )
    fit(whole)  # before a round, which would fail by the same conflicts in other words
    whole = replace(whole, takes_slopes=shapes(game, dataset, latents, config))
    fit(whole)
    return whole


def steps(config: DictConfig, dynamics: Dynamics) -> None:
    """Refuse periods that do not fall on the ends of rounds."""
    per_round = dynamics.num_generator_steps
    for key in ("num_steps", "evaluate_every", "checkpoint_every"):
        if config[key] % per_round:
            raise Refused(
                f"{key} must be a multiple of dynamics.num_generator_steps={per_round}; got {config[key]}. "
                f"Take {max(1, config[key] // per_round) * per_round}."
            )


def fit(whole: Composition) -> None:
    """Refuse parts that contradict each other, with the first that says so."""
    for conflict in whole.conflicts():
        raise Refused(conflict)


def shapes(game: Game, dataset: Dataset, latents: Any, config: DictConfig) -> bool:
    """Play one round of gradients on a small batch: whatever does not fit shows here.

    Returns:
        Whether a penalty on the discriminator takes its slope.
    """
    num = min(config.batch_size, 2 * config.pack)
    (batch,) = draw_batches(dataset.train, latents, game, num, 1, config.seed, 0)
    players = game.init()
    game = game.remember(game.init_memory(players))
    try:
        made = tuple(game.generate(players, batch).shape[1:])
    except RuntimeError as error:
        raise Refused(
            f"the generator must accept latents {tuple(batch.latent.shape)}; got: "
            f"{str(error).splitlines()[0]}. Set model.generator.num_latents to model.latents.size."
        ) from error
    if made != dataset.event_shape:
        raise Refused(
            f"the model must make samples of the data's shape, {dataset.event_shape} for {dataset.name}; "
            f"its generator makes {made}. Choose a model for this data: "
            f"{fitting_choices(dataset.event_shape)}."
        )
    slopes: list[Tensor] = []

    def watched(function: Function, samples: Tensor) -> tuple[Tensor, Tensor]:
        slopes.append(samples)
        return AUTOGRAD.slope(function, samples)

    game = replace(game, calculus=AUTOGRAD._replace(slope=watched))
    try:
        game.discriminator_gradient(players, batch)
        takes_slopes = bool(slopes)  # the generator's penalties take slopes of another function
        game.generator_gradient(players, batch)
    except RuntimeError as error:
        raise Refused(
            f"the discriminator, loss and regularizers must accept samples {tuple(batch.real.shape)}; got: "
            f"{str(error).splitlines()[0]}. Choose a model for this data: "
            f"{fitting_choices(dataset.event_shape)}."
        ) from error
    return takes_slopes
