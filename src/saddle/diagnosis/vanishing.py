"""Does the generator's gradient vanish against a good discriminator, or drown in noise?

log(1 − D) loses its gradient as D nears the optimum where supports hardly overlap; −log D keeps one, but
heavy-tailed. Source: Arjovsky and Bottou 2017, arXiv:1701.04862, sec. 2.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import vjp, vmap
from torch.utils import _pytree as pytree

from saddle.dynamics.optimizers import UpdateRule
from saddle.game.game import Batch, Game, Players
from saddle.game.losses import Minimax, NonSaturating
from saddle.game.refusals import Refused


class Vanishing(NamedTuple):
    """The generator's gradients while a discriminator is trained against it; every column (m,)."""

    steps: Tensor  # of the discriminator
    saturating: Tensor  # ‖∇_θ E log(1 − D(G(z)))‖
    non_saturating: Tensor  # ‖∇_θ E[−log D(G(z))]‖
    loss: Tensor  # L_D on the evaluation batch: 2 log 2 − 2 JSD at the optimum, 0 on disjoint supports
    epsilon: Tensor  # max over generated samples of D + ‖∇ₓD‖: their part of ‖D − D*‖ on disjoint supports


def vanishing(
    game: Game,
    players: Players,
    sampler: Callable[[int], Batch],
    evaluation: Batch,
    rule: UpdateRule,
    steps: Sequence[int],
) -> Vanishing:
    """Freeze G, train D from the weights given with the cross-entropy, and look at both losses' gradients.

    Args:
        game: its penalties take part in D's training; its own adversarial loss does not.
        players: the generator to judge, and a *fresh* discriminator.
        sampler: step -> the batch of that step.
        evaluation: on which the gradients are taken; large, a few thousand, for their mean to stand out.
        steps: after how many steps of D to look, ascending; 0 is the fresh one.

    Raises:
        ValueError: steps are empty, negative or not ascending.

    Source: Arjovsky and Bottou 2017, arXiv:1701.04862, figures 2 and 3 and theorem 2.4.
    """
    if not steps or steps[0] < 0 or any(later <= sooner for sooner, later in pairwise(steps)):
        raise Refused(f"steps must ascend from 0 or above; got {list(steps)}. Sort them, without repeats.")
    training = replace(game, loss=NonSaturating())
    memory, rule_memory = dict(game.memory), rule.init(players.discriminator)
    rows = []
    for step in range(steps[-1] + 1):
        if step in steps:
            rows.append(_look(training.remember(memory), players, evaluation))
        if step < steps[-1]:
            gradient, logs = training.remember(memory).discriminator_gradient(players, sampler(step))
            moved, rule_memory = rule.step(gradient, players.discriminator, rule_memory)
            players = players._replace(discriminator=moved)
            memory = training.advance_memory(memory, players, logs)
    return Vanishing(torch.tensor(list(steps)), *torch.stack(rows).T)


def _look(game: Game, players: Players, batch: Batch) -> Tensor:
    norms = []
    for loss in (Minimax(), NonSaturating()):
        against = replace(game, loss=loss, generator_penalties={})
        norms.append(against.generator_gradient(players, batch)[0].norm())
    discriminator = game.functional().bind_discriminator(players, batch)
    with torch.no_grad():
        fake = game.packed(game.generate(players, batch))
        value = replace(game, penalties={}).discriminator_loss(players, batch)[0]
    probability, pull_back = vjp(lambda samples: discriminator(samples).sigmoid(), fake)  # type: ignore[misc]
    (slope,) = pull_back(torch.ones_like(probability))
    epsilon = (probability + slope.flatten(1).norm(dim=1)).max()
    return torch.stack([*norms, value, epsilon]).detach()


def generator_sensitivity(game: Game, players: Players, batch: Batch, chunk_size: int = 64) -> float:
    """M with M² = E‖J_θG(z)‖², Frobenius: how far samples move as the generator's parameters do.

    One backward pass for each number of each sample: for images take a small batch. Only for generators
    that treat every latent by itself, so not with batch normalization.
    """

    def of_one(one: Batch) -> Tensor:
        alone = pytree.tree_map(lambda numbers: numbers[None], one)
        _, pull_back = vjp(  # type: ignore[misc]
            lambda vector: game.generate(players._replace(generator=vector), alone).flatten(),
            players.generator,
        )
        outputs = torch.eye(batch.real[0].numel(), dtype=batch.real.dtype, device=batch.real.device)
        return torch.stack([pull_back(output)[0].square().sum() for output in outputs]).sum()

    squares = vmap(of_one, chunk_size=chunk_size)(batch)
    return float(squares.mean().sqrt())


def vanishing_bound(sensitivity: float, epsilon: Tensor) -> Tensor:
    """Mε/(1 − ε), above ‖∇_θ E log(1 − D(G(z)))‖ where supports are disjoint; infinite from ε = 1 on.

    Its proof only uses D and its slope at generated samples, so with M and ε measured on the same samples
    it holds for their mean gradient exactly. Source: Arjovsky and Bottou 2017, theorem 2.4.
    """
    return torch.where(epsilon < 1, sensitivity * epsilon / (1 - epsilon), torch.inf)


# ---- noise


class GradientNoise(NamedTuple):
    """How one batch's gradient scatters around the mean over batches."""

    signal_to_noise: float  # ‖mean‖ / √(trace of the covariance)
    kurtosis: float  # E(g − ḡ)⁴/(E(g − ḡ)²)² a coordinate, their mean; 3 for normal noise
    tail_index: float  # Hill's: moments above it are infinite; 1 for Cauchy noise, large for light tails


def generator_gradients(game: Game, players: Players, batches: Sequence[Batch]) -> Tensor:
    """∇_θL_G on each batch, (B, P)."""
    return torch.stack([game.generator_gradient(players, batch)[0] for batch in batches])


def gradient_noise(gradients: Tensor, tail_fraction: float = 0.01) -> GradientNoise:
    """Signal to noise, kurtosis and tail index of gradients (B, P) on B batches.

    Theorem 2.6 of Arjovsky and Bottou: where D − D* is white noise, each coordinate of the −log D gradient
    is centred Cauchy, with no mean and infinite variance. A sample's kurtosis cannot exceed B, so B well
    above 20 is needed to tell. The tail index pools coordinates, each centred at its median and divided by
    its median absolute deviation, and looks at the largest ``tail_fraction`` of them. Coordinates that never
    change are left out.

    Raises:
        ValueError: fewer than 4 batches, no coordinate that changes, or fewer than 10 numbers in the tail.
    """
    if len(gradients) < 4:
        raise Refused(f"noise needs at least 4 batches to show; got {len(gradients)}. Draw more.")
    centred = gradients - gradients.mean(0)
    variances = centred.square().mean(0)
    signal = gradients.mean(0).norm() / (centred.square().sum() / (len(gradients) - 1)).sqrt()
    away = (gradients - gradients.median(0).values).abs()
    deviations = away.median(0).values
    moving = (variances > 0) & (deviations > 0)
    num_tail = int(tail_fraction * int(moving.sum()) * len(gradients))
    if num_tail < 10:
        raise Refused(
            f"a tail index needs at least 10 numbers in the tail; got {num_tail}, from {len(gradients)} "
            f"batches and {int(moving.sum())} coordinates that change. Draw more batches, or raise "
            "tail_fraction."
        )
    kurtosis = (centred[:, moving].pow(4).mean(0) / variances[moving].square()).mean()
    tail = (away[:, moving] / deviations[moving]).flatten().topk(num_tail + 1).values
    return GradientNoise(float(signal), float(kurtosis), float(1 / (tail[:-1] / tail[-1]).log().mean()))
