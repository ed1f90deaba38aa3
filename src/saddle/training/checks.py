"""What must hold between the parts of a run."""

from dataclasses import replace
from itertools import chain
from typing import Any

from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from saddle.data.dataset import Dataset
from saddle.data.sampling import draw_batches
from saddle.data.sources import blocks, reach
from saddle.dynamics.descent import Alternating, Simultaneous
from saddle.dynamics.lookahead import Lookahead
from saddle.game.calculus import AUTOGRAD, Function
from saddle.game.game import Game, Players
from saddle.game.network import Network
from saddle.game.penalties.discriminator import DraganCentred
from saddle.game.ranges import is_whole
from saddle.game.refusals import Refused
from saddle.models.normalization import SpectralNorm
from saddle.records.questions import LISTS, shown
from saddle.rounds.execution import Dynamics

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


def steps(config: DictConfig, dynamics: Dynamics) -> None:
    """Refuse periods that do not fall on the ends of rounds."""
    per_round = dynamics.num_generator_steps
    for key in ("num_steps", "evaluate_every", "checkpoint_every"):
        if config[key] % per_round:
            raise Refused(
                f"{key} must be a multiple of dynamics.num_generator_steps={per_round}; got {config[key]}. "
                f"Take {max(1, config[key] // per_round) * per_round}."
            )


def shapes(game: Game, dataset: Dataset, latents: Any, config: DictConfig) -> bool:
    """Play one round of gradients on a small batch: whatever does not fit shows here.

    Returns:
        Whether a penalty takes the discriminator's slope.
    """
    if config.batch_size % config.pack:
        raise Refused(
            f"batch_size must be a multiple of pack={config.pack}; got {config.batch_size}. "
            f"Take {max(1, config.batch_size // config.pack) * config.pack}."
        )
    for player, network, num in (
        ("generator", game.generator, config.batch_size),
        ("discriminator", game.discriminator, config.batch_size // config.pack),
    ):
        if num < 2 and has(network, _BatchNorm):
            raise Refused(
                "batch normalization must see at least two samples at once; got a batch of 1 for the "
                f"{player}, of batch_size={config.batch_size} and pack={config.pack}. Take larger "
                f"batches, or normalization@model.{player}.normalization=layer."
            )
    num = min(config.batch_size, 2 * config.pack)
    (batch,) = draw_batches(dataset.train, latents, game, num, 1, config.seed, 0)
    players = game.init()
    game = game.remember(game.init_memory(players))
    fits = (
        "model=mlp and bilinear make points (2,), dirac and linear_quadratic points (1,), dcgan28 and mlp28 "
        "images (1, 28, 28), mlp8 images (1, 8, 8)"
    )
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
            f"its generator makes {made}. Choose a model for this data: {fits}."
        )
    slopes: list[Tensor] = []

    def watched(function: Function, samples: Tensor) -> tuple[Tensor, Tensor]:
        slopes.append(samples)
        return AUTOGRAD.slope(function, samples)

    game = replace(game, calculus=AUTOGRAD._replace(slope=watched))
    try:
        game.discriminator_gradient(players, batch)
        game.generator_gradient(players, batch)
    except RuntimeError as error:
        raise Refused(
            f"the discriminator, loss and regularizers must accept samples {tuple(batch.real.shape)}; "
            f"got: {str(error).splitlines()[0]}. Choose a model for this data: {fits}."
        ) from error
    return bool(slopes)


def fit(game: Game, dynamics: Dynamics, dataset: Dataset, takes_slopes: bool) -> None:
    """Refuse parts that contradict each other."""
    clips = any(isinstance(part, DraganCentred) for part in game.penalties.values())
    if clips and (reached := reach(dataset.train)) > 1:
        raise Refused(
            "dragan_centred must see data in [-1, 1], to which it clips the places where it takes the slope; "
            f"got {dataset.name}, which reaches {reached:.3g}. Take regularizer=[dragan]."
        )
    if takes_slopes and has(game.discriminator, _BatchNorm):
        raise Refused(
            "a penalty on the slope at each sample must go with a discriminator that sees each sample by "
            f"itself; got batch normalization in it and regularizer=[{','.join(game.penalties)}]. Take "
            "normalization@model.discriminator.normalization=layer, or leave the penalty out."
        )
    for player, network in (("generator", game.generator), ("discriminator", game.discriminator)):
        bound = max_weight(dynamics, player)
        if bound is not None and has(network, SpectralNorm):
            raise Refused(
                f"weights must be bounded in one way; got spectral normalization in the {player} and "
                f"update.{player}.max_weight={bound:g}, which the normalization undoes. Drop one of them."
            )
    plain = innermost(dynamics)
    if game.intervals and not isinstance(plain, Simultaneous | Alternating):
        (part, interval), *_ = game.intervals.items()
        raise Refused(
            "a penalty that is not taken in every round must go with plain descent, which asks no more of a "
            f"gradient than its mean over rounds; got {part}.every_n_steps={interval} and "
            f"{type(plain).__name__}. Take dynamics=alternating or simultaneous, or every_n_steps=1."
        )


def has(network: Network, layer: type[nn.Module] | tuple[type[nn.Module], ...]) -> bool:
    """Whether a network has a layer of a kind."""
    return any(isinstance(module, layer) for module in network.module.modules())


def innermost(dynamics: Any) -> Any:
    """The dynamics that lookahead wraps, or the dynamics itself."""
    return innermost(dynamics.inner) if isinstance(dynamics, Lookahead) else dynamics


def max_weight(dynamics: Any, player: str) -> float | None:
    """The bound on a player's weights, if there is one."""
    return getattr(getattr(innermost(dynamics), player), "max_weight", None)
