"""What works, but is probably not what was meant: one sentence each."""

from collections.abc import Iterator
from functools import partial
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from saddle.data.dataset import Dataset
from saddle.dynamics.extrapolation import ExtraGradient, Optimistic, PastExtraGradient
from saddle.dynamics.optimizers import SGD, AdamW, Bounded, OptimisticAdam
from saddle.dynamics.runge_kutta import RungeKutta2, RungeKutta4
from saddle.dynamics.second_order import CompetitiveGradientDescent, FollowTheRidge
from saddle.game.game import Game, Players
from saddle.game.losses import Relativistic, RelativisticAverage, Wasserstein
from saddle.game.penalties import generator as generator_regularizers
from saddle.game.penalties import weights as weight_regularizers
from saddle.game.penalties.consistency import BalancedConsistency, Consistency, LatentConsistency
from saddle.game.transforms import AdaptiveAugment, InstanceNoise
from saddle.models.normalization import SpectralNorm
from saddle.rounds.execution import Dynamics
from saddle.training.checks import has, innermost, max_weight

BLIND_TO_A_SHIFT = (Wasserstein, Relativistic, RelativisticAverage)
BY_LEARNING_RATE = (CompetitiveGradientDescent, FollowTheRidge, RungeKutta2, RungeKutta4)
LOOKS_AHEAD = (ExtraGradient, PastExtraGradient, Optimistic)
SCALED = (_BatchNorm, nn.GroupNorm)
COMPARES_LOGITS = (Consistency, BalancedConsistency, LatentConsistency)
OF_THE_GENERATORS_JACOBIAN = (generator_regularizers.PathLength, generator_regularizers.JacobianClamping)


def advice(game: Game, dynamics: Dynamics, dataset: Dataset, takes_slopes: bool, num_steps: int) -> list[str]:
    """All that there is to say about a composition that ``checks`` lets pass."""
    return [
        *_on_bounds(game, dynamics, takes_slopes),
        *_on_penalties(game, dataset),
        *_on_normalization(game, dynamics),
        *_on_transforms(game, dynamics, num_steps),
        *_on_dynamics(dynamics),
    ]


def _on_bounds(game: Game, dynamics: Dynamics, takes_slopes: bool) -> Iterator[str]:
    spectral = has(game.discriminator, SpectralNorm)
    clipped = max_weight(dynamics, "discriminator") is not None
    if isinstance(game.loss, Wasserstein) and not (takes_slopes or spectral or clipped):
        yield (
            "the Wasserstein loss has no minimum over unbounded critics. Add regularizer=[wgan_gp], "
            "update.discriminator.max_weight=0.01, or spectral normalization."
        )
    if takes_slopes and (spectral or clipped):
        first = "spectral normalization" if spectral else "update.discriminator.max_weight"
        yield f"{first} and a penalty on slopes both bound the discriminator's slope. One is usual."


def _on_penalties(game: Game, dataset: Dataset) -> Iterator[str]:
    if game.intervals and len(dataset.event_shape) == 1:
        yield (
            "penalties that are not taken in every round are known to break the convergence of small "
            "problems (Huang et al. 2024, arXiv:2501.05441). Take every_n_steps=1."
        )
    in_d = any(isinstance(part, LatentConsistency) for part in game.penalties.values())
    in_g = any(
        _function(part) is generator_regularizers.latent_diversity
        for part in game.generator_penalties.values()
    )
    if in_d != in_g:
        yield (
            f"zCR has a part in each player; got that of {'D' if in_d else 'G'} alone. Take "
            "regularizer=[zcr] and generator_regularizer=[zcr] together."
        )


def _on_normalization(game: Game, dynamics: Dynamics) -> Iterator[str]:
    of_weights = (
        ("discriminator", game.discriminator, game.penalties, weight_regularizers.spectral),
        ("generator", game.generator, game.generator_penalties, generator_regularizers.spectral),
    )
    for player, network, penalties, spectral in of_weights:
        if has(network, SpectralNorm) and any(_function(part) is spectral for part in penalties.values()):
            yield (
                f"the penalty spectral shrinks the {player}'s weights before spectral normalization divides "
                "their size away again: it changes no value of the network. Drop one of them."
            )
    for player, network in (("generator", game.generator), ("discriminator", game.discriminator)):
        rule = _rule(getattr(innermost(dynamics), player))
        if has(network, SpectralNorm) and isinstance(rule, AdamW) and rule.weight_decay:
            yield (
                f"weight decay shrinks the {player}'s weights before spectral normalization divides their "
                "size away again: it acts as a higher learning rate. Take weight_decay=0."
            )
        bound = max_weight(dynamics, player)
        if bound is not None and has(network, SCALED):
            yield (
                f"update.{player}.max_weight={bound:g} bounds every parameter, the scales of the {player}'s "
                "normalization too. Take no normalization with it."
            )
    consistency = [name for name, part in game.penalties.items() if isinstance(part, COMPARES_LOGITS)]
    if consistency and has(game.discriminator, _BatchNorm):
        yield (
            f"{consistency[0]} compares the logits of two batches, and batch normalization in D takes each "
            "by its own statistics. Take normalization@model.discriminator.normalization=layer."
        )
    jacobian = [
        name
        for name, part in game.generator_penalties.items()
        if isinstance(part, OF_THE_GENERATORS_JACOBIAN)
    ]
    if jacobian and has(game.generator, _BatchNorm):
        yield (
            f"{jacobian[0]} is about the generator's Jacobian at each latent, and batch normalization mixes "
            "those of a batch. Take normalization@model.generator.normalization=layer or none."
        )


def _on_transforms(game: Game, dynamics: Dynamics, num_steps: int) -> Iterator[str]:
    adaptive = any(isinstance(part, AdaptiveAugment) for part in game.transforms.values())
    if adaptive and isinstance(game.loss, BLIND_TO_A_SHIFT):
        yield (
            "ada follows the sign of D's logits on real samples, which means nothing under "
            f"{type(game.loss).__name__}: it does not see a common shift of all logits. Take "
            "transform=[diffaugment], or a loss such as non_saturating."
        )
    num_rounds = num_steps / dynamics.num_generator_steps
    for name, part in game.transforms.items():
        # the end of the run, meant in rounds and given in generator steps
        if isinstance(part, InstanceNoise) and part.num_rounds == num_steps > num_rounds:
            yield (
                f"{name} is annealed over num_rounds={part.num_rounds:g} rounds, and this run of {num_steps} "
                f"generator steps has {num_rounds:g}. Take transform.{name}.num_rounds={num_rounds:g}."
            )


def _on_dynamics(dynamics: Dynamics) -> Iterator[str]:
    plain = innermost(dynamics)
    rules = [_rule(getattr(plain, player)) for player in Players._fields]
    if isinstance(plain, BY_LEARNING_RATE) and not all(isinstance(rule, SGD) for rule in rules):
        yield (
            f"{type(plain).__name__} takes a rule's lr for its step size, which is exact for SGD alone; got "
            f"{' and '.join(type(rule).__name__ for rule in rules)}. Take optimizer=sgd for the method "
            "as published."
        )
    if isinstance(plain, LOOKS_AHEAD) and any(isinstance(rule, OptimisticAdam) for rule in rules):
        yield (
            f"{type(plain).__name__} and optimizer=optimistic_adam both look ahead. Take optimizer=adam, or "
            "dynamics=simultaneous."
        )


def _function(part: Any) -> Any:
    """The function whose numbers a configuration bound."""
    return part.func if isinstance(part, partial) else part


def _rule(rule: Any) -> Any:
    return rule.rule if isinstance(rule, Bounded) else rule
