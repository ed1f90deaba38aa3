"""Trained mixtures: hopping and unrolling, the grid of 25, PacGAN's ring, two clusters on the line."""

import math
from itertools import pairwise

import torch
from torch import Tensor

from saddle.claims.games import spread
from saddle.claims.measured import Asked, Figure, Measured, mean_course
from saddle.claims.training import Arm, Seen, arm, samples, train
from saddle.data.points import Mixture, grid, ring
from saddle.game.calculus import Logs
from saddle.game.game import Batch
from saddle.game.randomness import generator
from saddle.metrics.modes import mixture_modes

NUM_SAMPLES = 2500


def _counted(of: Arm, seen: Seen, mixture: Mixture) -> list[dict[str, float]]:
    """Modes, high quality (a share), KL, and which modes hold above 1 % of the samples nearest to them."""
    found = []
    for points in samples(of, seen.players, NUM_SAMPLES).cpu():
        measured = mixture_modes(points, points, mixture=mixture)
        nearest = torch.cdist(points.double(), mixture.centers.double()).argmin(1)
        counts = nearest.bincount(minlength=mixture.num_modes)
        active = counts > 0.01 * len(points)
        shares = counts.double() / len(points)
        found.append({
            "modes": measured["modes"],
            "high_quality": measured["high_quality"] / 100,
            "kl": measured["kl"],
            "nearest_kl": math.log(mixture.num_modes) + float(torch.xlogy(shares, shares).sum()),
            "active": float(active.sum()),
            "identity": float((active * 2 ** torch.arange(len(active))).sum()),
        })  # fmt: skip
    return found


def _jaccard(first: float, second: float) -> float:
    one, other = int(first), int(second)
    return (one & other).bit_count() / max(1, (one | other).bit_count())


def _courses(
    asked: Asked, mixture: Mixture, num_looks: int, num_rounds: int | None
) -> tuple[dict[str, list[list[dict[str, float]]]], list[int]]:
    """Arm -> looks -> seeds -> what was counted; and at which rounds."""
    found: dict[str, list[list[dict[str, float]]]] = {}
    looks: list[int] = []
    for position, (name, words) in enumerate(asked.arms.items()):
        of = arm(words, asked.seeds)
        total = num_rounds or of.num_rounds
        looks = [round(total * (index + 1) / num_looks) for index in range(num_looks)]

        def every(index: int, logs: Logs, position: int = position, total: int = total) -> None:
            if index % 50 == 0:
                asked.progress((position + index / total) / len(asked.arms))

        found[name] = [_counted(of, seen, mixture) for seen in train(of, looks, every=every)]
    return found, looks


def _figure(found: dict[str, list[list[dict[str, float]]]], looks: list[int], key: str, label: str) -> Figure:
    courses = [
        mean_course(name, looks, [[row[seed][key] for row in rows] for seed in range(len(rows[0]))])
        for name, rows in found.items()
    ]
    return Figure(f"{label}; band: the seeds' range", "generator step", label, courses)


def unrolled_ring(asked: Asked, num_rounds: int | None = None, num_looks: int = 5) -> Measured:
    """``<arm>/active`` (the most over the looks), ``/modes``, ``/high_quality``, ``/kl`` at the end, and
    ``/overlap``: the mean Jaccard overlap of the active modes between looks. KL is of the nearest modes."""
    found, looks = _courses(asked, ring(8, 2.0, 0.02), num_looks, num_rounds)
    values: dict[str, list[float]] = {}
    seeds = range(len(asked.seeds))
    for name, rows in found.items():
        values |= {
            f"{name}/active": [max(row[seed]["active"] for row in rows) for seed in seeds],
            f"{name}/modes": [rows[-1][seed]["modes"] for seed in seeds],
            f"{name}/high_quality": [rows[-1][seed]["high_quality"] for seed in seeds],
            f"{name}/kl": [rows[-1][seed]["nearest_kl"] for seed in seeds],
            f"{name}/overlap": [
                sum(
                    _jaccard(before[seed]["identity"], after[seed]["identity"])
                    for before, after in pairwise(rows)
                )
                / max(1, len(rows) - 1)
                for seed in seeds
            ],
        }
    panels = [("active", "modes with 1 % of samples"), ("high_quality", "share of high quality")]
    return Measured(values, [_figure(found, looks, key, label) for key, label in panels])


def _at_the_end(asked: Asked, mixture: Mixture, num_looks: int, num_rounds: int | None) -> Measured:
    found, looks = _courses(asked, mixture, num_looks, num_rounds)
    values = {
        f"{name}/{key}": [one[key] for one in rows[-1]]
        for name, rows in found.items()
        for key in ("modes", "high_quality", "kl", "active")
    }
    panels = [("modes", "modes"), ("kl", "KL of the high-quality samples")]
    return Measured(values, [_figure(found, looks, key, label) for key, label in panels])


def grid25(asked: Asked, num_rounds: int | None = None, num_looks: int = 8) -> Measured:
    """``<arm>/modes``, ``/high_quality``, ``/kl`` and ``/active`` (1 % of nearest samples) at the end."""
    return _at_the_end(asked, grid(5, 2.0, 0.05), num_looks, num_rounds)


def pacgan_ring(asked: Asked, num_rounds: int | None = None, num_looks: int = 8) -> Measured:
    """The same on the ring of radius 1 and std 0.01."""
    return _at_the_end(asked, ring(8, 1.0, 0.01), num_looks, num_rounds)


def two_clusters(
    asked: Asked, scales: dict[str, float], num_rounds: int | None = None, num_checks: int = 1000
) -> Measured:
    """Per arm: ``/lost`` and ``/held``, D's loss (times the arm's scale) while one cluster has nearly all
    samples and while both are held, medians over looks; ``/lowest``, the loss at its lowest look; and
    ``/epochs`` until both are held for good.

    Every batch holds all 100 real samples, in an order of its own, and fresh latents. A cluster is held by a
    tenth of the samples, and has nearly all with nine tenths: at first they lie between the two. Seeds that
    never hold both count with the rounds there were.

    Args:
        scales: arm -> factor; ½ for a cross-entropy that the paper divides by two.
    """
    values: dict[str, list[float]] = {}
    courses, epochs = [], {}
    for position, (name, words) in enumerate(asked.arms.items()):
        of = arm(words, asked.seeds)
        total = num_rounds or of.num_rounds
        losses: list[Tensor] = []

        def draw(seed: int, index: int, of: Arm = of) -> tuple[Batch, ...]:
            source = of.dataset.train
            random, num = generator(seed, "claim/batch", index, source.device), len(source)

            def whole() -> Batch:
                real, _ = source.take(torch.randperm(num, generator=random, device=source.device))
                return Batch(real, of.latents(num, random), real.new_zeros(num))

            return tuple(whole() for _ in range(of.dynamics.num_batches))

        def every(
            index: int,
            logs: Logs,
            losses: list[Tensor] = losses,
            position: int = position,
            total: int = total,
        ) -> None:
            losses.append(logs["loss/discriminator"])
            if index % 20 == 0:
                asked.progress((position + index / total) / len(asked.arms))

        looks = sorted({max(1, round(total * (index + 1) / num_checks)) for index in range(num_checks)})
        held, alone = [], []
        for seen in train(of, looks, draw, every):
            points = samples(of, seen.players, 500)[..., 0]  # (seeds, num)
            shares = torch.stack([((points - centre).abs() < 1).float().mean(1) for centre in (0.15, 4.15)])
            held.append((shares > 0.1).all(0).cpu())
            alone.append((shares >= 0.9).any(0).cpu())
        both, one = torch.stack(held, 1), torch.stack(alone, 1)  # (seeds, looks)
        course = torch.stack(losses, 1).double().cpu() * scales[name]  # (seeds, rounds)
        at_look = course[:, [look - 1 for look in looks]]
        epochs[name] = [_for_good(row.tolist(), looks) for row in both]
        values |= {
            f"{name}/lost": [_median(loss[row]) for loss, row in zip(at_look, one, strict=True)],
            f"{name}/lowest": at_look.amin(1).tolist(),
            f"{name}/held": [_median(loss[row]) for loss, row in zip(at_look, both, strict=True)],
            f"{name}/epochs": epochs[name],
        }
        kept = spread(looks, 150)
        rows = [[float(loss[i]) for i in kept] for loss in at_look]
        courses.append(mean_course(name, [looks[i] for i in kept], rows))
    first, second = asked.arms
    values["speed-up"] = [here / there for here, there in zip(epochs[first], epochs[second], strict=True)]
    return Measured(values, [Figure("Loss of D; band: the seeds' range", "epoch", "loss", courses)])


def _for_good(held: list[bool], looks: list[int]) -> float:
    """The look from which on it holds both at nine of ten looks; the last if there is none."""
    for index, look in enumerate(looks):
        if held[index] and sum(held[index:]) >= 0.9 * (len(held) - index):
            return float(look)
    return float(looks[-1])


def _median(values: Tensor) -> float:
    return float(values.median()) if len(values) else math.nan
