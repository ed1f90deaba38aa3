"""Mixtures of equal round Gaussians, such as the ring and the grid on which modes are counted; point masses.

"The ring" is not one dataset: papers differ in radius, in standard deviation, in whether modes get
equal counts, and one notebook has seven distinct modes. Each variant is a file in ``conf/data``
that names its paper; numbers of different variants are never comparable.

A set is drawn once, from a seed of its own: the training seed changes the game, not the data.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from saddle.data.dataset import Dataset, of_tensors
from saddle.game.randomness import generator
from saddle.game.refusals import Refused


@dataclass(frozen=True, eq=False)
class Mixture:
    """Σⱼ wⱼ N(μⱼ, σ²I).

    Args:
        centers: μ, (m, d), all different.
        std: σ of every mode, in data units, > 0.
        weights: w, (m,), positive; rescaled to sum to 1. None means equal weights.

    Raises:
        ValueError: centers are not an (m, d) matrix of different rows, or std or a weight is not positive.
    """

    centers: Tensor
    std: float
    weights: Tensor | None = None

    def __post_init__(self) -> None:
        if self.centers.ndim != 2 or len(self.centers.unique(dim=0)) != len(self.centers):
            raise Refused(
                "centers must be an (m, d) matrix of different rows; got shape "
                f"{tuple(self.centers.shape)}. Merge equal centers into one with a larger weight."
            )
        if not self.std > 0:
            raise Refused(f"std must be positive; got {self.std}. Give the spread of one mode in data units.")
        if self.weights is not None and (
            self.weights.shape != self.centers.shape[:1] or not bool((self.weights > 0).all())
        ):
            raise Refused(
                f"weights must be {len(self.centers)} positive numbers, one a center; got "
                f"{self.weights.tolist()}. Drop the centers that have no weight."
            )

    @property
    def num_modes(self) -> int:
        """m, the number of centers."""
        return len(self.centers)

    @property
    def probabilities(self) -> Tensor:
        """(m,) float64, sums to 1."""
        if self.weights is None:
            return torch.full((self.num_modes,), 1 / self.num_modes, dtype=torch.float64)
        weights = self.weights.to(torch.float64)
        return weights / weights.sum()

    def sample(
        self, num_samples: int, random: torch.Generator, equal_counts: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Draw samples and the modes they belong to.

        Args:
            num_samples: N.
            random: source of every draw, on the CPU.
            equal_counts: sample i belongs to mode i mod m, instead of to a mode drawn at random.

        Returns:
            Samples (N, d) float32 and modes (N,) int64.

        Raises:
            ValueError: equal counts asked of a mixture with unequal weights.
        """
        if equal_counts and self.weights is not None:
            raise Refused("equal counts need equal weights; got weights. Drop one of the two.")
        if equal_counts:
            modes = torch.arange(num_samples) % self.num_modes
        else:
            modes = torch.multinomial(self.probabilities, num_samples, replacement=True, generator=random)
        shape = (num_samples, self.centers.shape[1])
        noise = torch.randn(shape, generator=random, dtype=torch.float64)
        samples = self.centers.to(torch.float64)[modes] + self.std * noise
        return samples.to(torch.float32), modes


def ring(num_modes: int, radius: float, std: float, weights: list[float] | None = None) -> Mixture:
    """Mode k at radius · (cos, sin)(2πk/m), k = 0 … m−1: the first is at (radius, 0).

    Args:
        num_modes: m.
        radius: in data units.
        std: spread of one mode, in data units.
        weights: one a mode, in order of k; None means equal.
    """
    angles = torch.arange(num_modes, dtype=torch.float64) * (2 * math.pi / num_modes)
    centers = radius * torch.stack([angles.cos(), angles.sin()], dim=1)
    return Mixture(centers, std, None if weights is None else torch.tensor(weights, dtype=torch.float64))


def grid(side: int, spacing: float, std: float) -> Mixture:
    """side × side modes, ``spacing`` apart in each axis, centred at the origin.

    Args:
        side: modes along one axis; 5 makes the 25 modes of the usual grid.
        spacing: in data units.
        std: spread of one mode, in data units.
    """
    ticks = (torch.arange(side, dtype=torch.float64) - (side - 1) / 2) * spacing
    return Mixture(torch.cartesian_prod(ticks, ticks), std)


def line(num_modes: int, spacing: float, std: float) -> Mixture:
    """Modes on the line, ``spacing`` apart and centred at the origin.

    Args:
        num_modes: m.
        spacing: in data units.
        std: spread of one mode, in data units.
    """
    ticks = (torch.arange(num_modes, dtype=torch.float64) - (num_modes - 1) / 2) * spacing
    return Mixture(ticks[:, None], std)


def gaussian(mean: list[float], std: float) -> Mixture:
    """One round Gaussian: a mixture with a single mode.

    Args:
        mean: (d,), in data units.
        std: of every coordinate, in data units.
    """
    return Mixture(torch.tensor([mean], dtype=torch.float64), std)


def point_mass(name: str, at: list[float], num_train: int = 1000, num_held_out: int = 1000) -> Dataset:
    """The same point over and over: what the generator must hit is known exactly.

    Args:
        name: of the dataset.
        at: the point, (d,).
        num_train: copies to train on; a batch is no larger.
        num_held_out: copies held out.
    """
    point = torch.tensor(at, dtype=torch.float32)
    return of_tensors(name, point.repeat(num_train, 1), point.repeat(num_held_out, 1))


def uniform_clusters(
    name: str, starts: list[float], width: float, num_train: int, num_held_out: int, seed: int = 0
) -> Dataset:
    """Points on the line, uniform on [start, start + width] of each cluster, equally many by index.

    Args:
        name: of the dataset.
        starts: left ends of the clusters, in data units.
        width: of each.
        num_train: N.
        num_held_out: M, from a stream of its own.
        seed: of the dataset, not of the training run.
    """
    if not starts or not width > 0:
        raise Refused(f"clusters need a start each and a width above 0; got {starts} and {width}. Give them.")

    def draw(num: int, purpose: str) -> tuple[Tensor, Tensor]:
        clusters = torch.arange(num) % len(starts)
        places = torch.rand(num, generator=generator(seed, purpose), dtype=torch.float64)
        points = torch.tensor(starts, dtype=torch.float64)[clusters] + width * places
        return points.to(torch.float32)[:, None], clusters

    train, train_labels = draw(num_train, "dataset/train")
    held_out, held_out_labels = draw(num_held_out, "dataset/held_out")
    return of_tensors(name, train, held_out, train_labels, held_out_labels)


def mixture_dataset(
    name: str,
    mixture: Mixture,
    num_train: int = 100_000,
    num_held_out: int = 10_000,
    seed: int = 0,
    equal_counts: bool = False,
) -> Dataset:
    """A fixed set of samples of a mixture; labels are the modes they were drawn from.

    Samples are in no order but that of ``equal_counts``: the first n of them are n fair draws.

    Args:
        name: of the dataset.
        mixture: what is drawn from.
        num_train: N; 100,000 is PacGAN's set.
        num_held_out: M, from a stream of its own.
        seed: of the dataset, not of the training run.
        equal_counts: sample i belongs to mode i mod m (as in the code of "The Numerics of GANs").
    """
    train, train_labels = mixture.sample(num_train, generator(seed, "dataset/train"), equal_counts)
    held_out, held_out_labels = mixture.sample(
        num_held_out, generator(seed, "dataset/held_out"), equal_counts
    )
    return of_tensors(name, train, held_out, train_labels, held_out_labels)
