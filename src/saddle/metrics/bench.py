"""What each metric sees: its response to faults that grow, on data whose faults are known.

Data is a mixture of ten modes in eight dimensions, features and "classifier" both exact. At fraction 0
the fakes are fresh samples of the data's own law; a fault then spoils a growing fraction of them. Every
metric is averaged over seeds, and its course is called ``WORSE`` where it moves for the worse beyond
chance and without turning back, ``BETTER`` where it so moves for the better (it is fooled), ``TURNS``
where it moves both ways and ``BLIND`` where it does not move.

Source: the design of Xu et al. 2018, arXiv:1806.07755.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from saddle.data.points import Mixture
from saddle.game.randomness import generator
from saddle.metrics.frechet import fid
from saddle.metrics.histograms import prd
from saddle.metrics.inception import inception_score
from saddle.metrics.kernels import cmmd, gaussian_mmd, kid
from saddle.metrics.memorization import authenticity, birthday_support, memorization
from saddle.metrics.modes import class_modes
from saddle.metrics.neighbours import prdc
from saddle.metrics.transport import exact_wasserstein, sliced_wasserstein
from saddle.metrics.two_sample import one_nearest_neighbour
from saddle.metrics.values import Value, meanings_of
from saddle.metrics.vendi import vendi

BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"
WORSE, BETTER, TURNS, BLIND = "worse", "**better**", "turns", "–"
FRACTIONS = (0.0, 0.3, 0.6, 0.9)
NUM, NUM_MODES, WIDTH, NUM_SEEDS = 300, 10, 8, 6
BEYOND_CHANCE = 4.0  # standard errors, of 6 seeds, between first and last; between neighbours, half of it


class Samples(NamedTuple):
    """What one seed draws, all of the data's law, (N, d) each."""

    train: Tensor
    held_out: Tensor
    fresh: Tensor
    modes: Tensor  # (N,) of the fresh ones
    mixture: Mixture


Fault = Callable[[Samples, float, torch.Generator], Tensor]
Metric = Callable[[Tensor, Tensor], float | Mapping[str, float]]


def noise(data: Samples, fraction: float, random: torch.Generator) -> Tensor:
    """Replaced by noise, twice as wide as all of the data."""
    spread = 2 * data.train.std(0) * torch.randn(NUM, WIDTH, generator=random, dtype=torch.float64)
    return _replaced(data.fresh, data.train.mean(0) + spread, fraction)


def collapsed(data: Samples, fraction: float, random: torch.Generator) -> Tensor:
    """Replaced by the center of its mode."""
    return _replaced(data.fresh, data.mixture.centers[data.modes], fraction)


def dropped(data: Samples, fraction: float, random: torch.Generator) -> Tensor:
    """That fraction of the modes is lost; the others take their share."""
    kept = NUM_MODES - round(fraction * NUM_MODES)
    centers = data.mixture.centers
    return data.fresh + (centers[data.modes % kept] - centers[data.modes])


def shifted(data: Samples, fraction: float, random: torch.Generator) -> Tensor:
    """All moved, by up to the standard deviation of a mode in every coordinate."""
    return data.fresh + fraction * data.mixture.std


def memorized(data: Samples, fraction: float, random: torch.Generator) -> Tensor:
    """Replaced by training samples."""
    return _replaced(data.fresh, data.train, fraction)


def duplicated(data: Samples, fraction: float, random: torch.Generator) -> Tensor:
    """Replaced by copies of the fakes that are left."""
    left = NUM - round(fraction * NUM)
    return data.fresh[torch.arange(NUM) % left]


FAULTS: Mapping[str, Fault] = {
    fault.__name__: fault for fault in (noise, collapsed, dropped, shifted, memorized, duplicated)
}
SHOWN = (
    *("fid", "kid", "mmd", "cmmd", "sliced_wasserstein", "wasserstein", "kl"),
    *("precision", "recall", "density", "coverage", "f8", "f1_8", "vendi"),
    *("modes", "inception_score", "authenticity", "birthday_support"),
    *("one_nn", "one_nn_real", "one_nn_fake", "nearer_train"),
)


class Measured(NamedTuple):
    """A number with what it means."""

    number: float
    meaning: Value

    @property
    def badness(self) -> float:
        return self.meaning.badness(math.log(self.number) if self.meaning.relative else self.number)


def measure(data: Samples, fake: Tensor) -> dict[str, Measured]:
    """Every value of the bench for these fakes."""
    real = data.train

    def logits(x: Tensor) -> Tensor:
        return -torch.cdist(x, data.mixture.centers).square() / (2 * data.mixture.std**2)

    of_features: dict[str, Metric] = {
        "fid": fid,
        "kid": kid,
        "mmd": partial(gaussian_mmd, bandwidths=[0.5, 2.0]),
        "cmmd": partial(cmmd, bandwidth=1.0),
        "sliced_wasserstein": partial(sliced_wasserstein, num_projections=64),
        "wasserstein": exact_wasserstein,
        "vendi": vendi,
        "authenticity": authenticity,
        "prdc": prdc,
        "prd": partial(prd, num_clusters=NUM_MODES, num_runs=1, num_angles=101),
        "one_nn": one_nearest_neighbour,
        "memorization": partial(memorization, held_out=data.held_out),
        "birthday_support": birthday_support,
    }
    of_logits: dict[str, Metric] = {
        "modes": class_modes,
        "inception_score": partial(inception_score, num_splits=1),
    }
    found: dict[str, Measured] = {}
    for metrics, sides in ((of_features, (real, fake)), (of_logits, (logits(real), logits(fake)))):
        for entry, metric in metrics.items():
            numbers, meanings = metric(*sides), meanings_of(entry, metric)
            named = numbers if isinstance(numbers, Mapping) else {entry: numbers}
            found |= {name: Measured(number, meanings[name]) for name, number in named.items()}
    return {name: found[name] for name in SHOWN}


def responses() -> dict[str, dict[str, str]]:
    """Metric -> fault -> its course, one of the four words."""
    whole = [_measured(seed, shifted, 0.0) for seed in range(NUM_SEEDS)]  # every fault's fraction 0
    courses = {
        (seed, name): [whole[seed], *(_measured(seed, fault, fraction) for fraction in FRACTIONS[1:])]
        for seed in range(NUM_SEEDS)
        for name, fault in FAULTS.items()
    }
    return {
        metric: {
            name: _course(
                torch.tensor(
                    [[at[metric].badness for at in courses[seed, name]] for seed in range(NUM_SEEDS)],
                    dtype=torch.float64,
                )
            )
            for name in FAULTS
        }
        for metric in SHOWN
    }


def table(found: Mapping[str, Mapping[str, str]]) -> str:
    """The responses in Markdown."""
    lines = [f"| metric | {' | '.join(FAULTS)} |", "| --- |" + " --- |" * len(FAULTS)]
    lines += [f"| `{metric}` | {' | '.join(row.values())} |" for metric, row in found.items()]
    return "\n".join(lines)


def draw(seed: int) -> Samples:
    """Three sets of the mixture's law; its centers, too, are the seed's."""
    random = generator(seed, "metric bench")
    centers = 2 * torch.randn(NUM_MODES, WIDTH, generator=random, dtype=torch.float64)
    mixture = Mixture(centers, 0.5)
    train, held_out = (mixture.sample(NUM, random)[0].to(torch.float64) for _ in range(2))
    fresh, modes = mixture.sample(NUM, random)
    return Samples(train, held_out, fresh.to(torch.float64), modes, mixture)


def _measured(seed: int, fault: Fault, fraction: float) -> dict[str, Measured]:
    data = draw(seed)
    return measure(data, fault(data, fraction, generator(seed, "metric bench/fault")))


def _replaced(fresh: Tensor, by: Tensor, fraction: float) -> Tensor:
    num = round(fraction * NUM)
    return torch.cat([by[:num], fresh[num:]])


def _course(badness: Tensor) -> str:
    """One of the four words for the badness (seeds, fractions) of a metric."""
    steps = [badness[:, -1] - badness[:, 0], *(badness[:, 1:] - badness[:, :-1]).unbind(1)]
    means = torch.stack([step.mean() for step in steps])
    errors = torch.stack([step.std() for step in steps]) / NUM_SEEDS**0.5
    size = 1e-9 * float(badness.abs().max())  # rounding, where nothing at all moves
    total, neighbours = means[0], means[1:]
    beyond = BEYOND_CHANCE * errors[0] + size
    turn = BEYOND_CHANCE / 2 * errors[1:] + size
    rises, falls = bool((neighbours > turn).any()), bool((neighbours < -turn).any())
    if rises and falls:
        return TURNS
    if float(total.abs()) <= float(beyond):
        return BLIND
    return WORSE if float(total) > 0 else BETTER
