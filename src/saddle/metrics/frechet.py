"""Fréchet distance between Gaussians fitted to two feature matrices: FID for any feature network.

‖μ₁ − μ₂‖² + tr(Σ₁ + Σ₂ − 2(Σ₁Σ₂)^½). The trace of the root needs no general matrix root: with Σ₁ = LLᵀ,
Σ₁Σ₂ has the eigenvalues of the symmetric LᵀΣ₂L, which are real and nonnegative also for singular Σ.

Bias: for equal distributions and d features the expectation is about d/N + d(d+1)/(4N) from the
sampling of each side, in units of the variance, so numbers of unlike N are not comparable.

Source: Heusel et al. 2017, arXiv:1706.08500, eq. 6.
"""

import warnings
from typing import NamedTuple

import torch
from torch import Tensor

from saddle.game.randomness import generator
from saddle.game.refusals import Refused
from saddle.metrics.matrices import class_labels, comparable, gram, mean
from saddle.metrics.values import Role, Value, metric

ENOUGH = 5  # samples a feature: below, the bias at equal distributions is above 5 % of the total variance
FID = Value(role=Role.QUALITY, rank=0)


class FewSamples(UserWarning):
    """A Fréchet distance of so few samples that its bias is what one sees."""


class Moments(NamedTuple):
    """Mean and unbiased covariance of a feature matrix."""

    num: int
    mean: Tensor  # (d,) float64
    covariance: Tensor  # (d, d) float64


@metric(FID)
def fid(real: Tensor, fake: Tensor) -> float:
    """Fréchet distance of the Gaussians with the samples' means and (unbiased) covariances.

    Args:
        real: (N, d), N ≥ 2.
        fake: (M, d), likewise.

    Returns:
        ≥ 0, in squared feature units; smaller is better. Biased upwards, see above.

    Raises:
        ValueError: fewer than two rows, unlike widths, or a value that is not finite.

    Warns:
        FewSamples: N or M below 5·d; the message says both numbers.
    """
    return fid_and_sizes(real, fake)["fid"]


@metric({"fid": FID, "fid_num_real": Value(), "fid_num_fake": Value()})
def fid_and_sizes(real: Tensor, fake: Tensor) -> dict[str, float]:
    """``fid`` with the numbers of samples that its bias depends on.

    Returns:
        "fid", smaller is better; "fid_num_real", N; "fid_num_fake", M.

    Source: Heusel et al. 2017, arXiv:1706.08500, eq. 6.
    """
    real, fake = comparable(real, fake, at_least=2)
    warn_of_bias(len(real), len(fake), real.shape[1])
    a, b = moments(real), moments(fake)
    value = frechet_distance(a.mean, a.covariance, b.mean, b.covariance)
    return {"fid": value, "fid_num_real": float(a.num), "fid_num_fake": float(b.num)}


@metric({"fid_infinity": Value(), "fid_infinity_se": Value()})
def fid_infinity(
    real: Tensor, fake: Tensor, *, num_points: int = 15, smallest_fraction: float = 0.1, seed: int = 0
) -> dict[str, float]:
    """FID extrapolated to infinitely many fake samples: the intercept of a line in 1/N.

    FID of the first n of a random order of the fakes, n in ``num_points`` equal steps, against all the
    real samples; then a least-squares line in 1/n, evaluated at 0. This removes the bias of the fake
    side; that of the real side remains, as in the paper.

    Args:
        real: (N, d).
        fake: (M, d).
        num_points: n's, from smallest_fraction·M to M.
        smallest_fraction: in (0, 1); the authors' code has 5,000 of 50,000. The n's must be well above d.
        seed: of the orders, one for each n.

    Returns:
        "fid_infinity", smaller is better, below 0 if the line so falls; "fid_infinity_se", standard error of
        the intercept by the scatter about the line, which does not know that all n share samples.

    Raises:
        ValueError: fewer than 3 points, or fewer than two rows at the smallest of them.

    Source: Chong and Forsyth 2020, arXiv:1911.07023, and the authors' code (15 points).
    """
    real, fake = comparable(real, fake, at_least=2)
    smallest = round(smallest_fraction * len(fake))
    if num_points < 3 or smallest < 2 or smallest >= len(fake):
        raise Refused(
            "a line must go through at least 3 different sizes of at least 2 samples; got "
            f"{num_points} sizes from {smallest} to {len(fake)}. Evaluate more samples."
        )
    warn_of_bias(len(real), smallest, real.shape[1])
    against = moments(real)
    root = covariance_root(against.covariance)
    sizes = torch.linspace(smallest, len(fake), num_points).round().to(torch.int64).tolist()
    values = []
    for index, size in enumerate(sizes):
        order = torch.randperm(len(fake), generator=generator(seed, "fid_infinity", index))[:size]
        part = moments(fake[order.to(fake.device)])
        values.append(_distance(against.mean, against.covariance, root, part.mean, part.covariance))
    inverse = torch.tensor([1 / size for size in sizes], dtype=torch.float64)
    lines = torch.stack([torch.ones_like(inverse), inverse], dim=1)
    found = torch.tensor(values, dtype=torch.float64)
    line = torch.linalg.lstsq(lines, found[:, None]).solution[:, 0]
    scatter = (found - lines @ line).square().sum() / (num_points - 2)
    error = scatter * torch.linalg.inv(lines.mT @ lines)[0, 0]
    return {"fid_infinity": float(line[0]), "fid_infinity_se": float(error.clamp(min=0).sqrt())}


@metric({"class_fid": Value(), "class_fid_worst": Value(), "classes_missing": Value()})
def class_fid(real: Tensor, fake: Tensor, *, real_classes: Tensor, fake_classes: Tensor) -> dict[str, float]:
    """Fréchet distance within each class, its mean and its worst: iFID, or intra-FID.

    Args:
        real: (N, d).
        fake: (M, d).
        real_classes: (N,) integer; every class of the fakes has at least two real samples.
        fake_classes: (M,) integer.

    Returns:
        "class_fid", mean over the classes of the real samples, "class_fid_worst" and "classes_missing", how
        many of them have fewer than two fakes and are left out of the other two; smaller is better. With
        a few samples a class the bias of ``fid`` is large: compare at equal numbers only.

    Raises:
        ValueError: labels are not one integer a row, or no class has two samples of either side.

    Source: Miyato and Koyama 2018, arXiv:1802.05637 (intra FID).
    """
    real, fake = comparable(real, fake, at_least=2)
    real_classes = class_labels(real_classes, real, "real")
    fake_classes = class_labels(fake_classes, fake, "fake")
    values = []
    classes = real_classes.unique().tolist()
    for label in classes:
        sides = real[real_classes == label], fake[fake_classes == label]
        if min(map(len, sides)) >= 2:
            a, b = map(moments, sides)
            warn_of_bias(a.num, b.num, real.shape[1])
            values.append(frechet_distance(a.mean, a.covariance, b.mean, b.covariance))
    if not values:
        raise Refused(
            f"some class must have two real and two fake samples; got none of {len(classes)}. "
            "Evaluate more samples."
        )
    missing = float(len(classes) - len(values))
    return {
        "class_fid": sum(values) / len(values),
        "class_fid_worst": max(values),
        "classes_missing": missing,
    }


def frechet_distance(mean_a: Tensor, covariance_a: Tensor, mean_b: Tensor, covariance_b: Tensor) -> float:
    """Squared 2-Wasserstein distance of N(mean_a, covariance_a) and N(mean_b, covariance_b).

    Args:
        mean_a, mean_b: (d,) float64.
        covariance_a, covariance_b: (d, d) float64, symmetric, nonnegative definite, possibly singular.

    Returns:
        ≥ 0; rounding below zero is cut off.
    """
    return _distance(mean_a, covariance_a, covariance_root(covariance_a), mean_b, covariance_b)


def moments(features: Tensor, *, block_size: int = 4096) -> Moments:
    """Mean and covariance (d, d) of rows (N, d), in float64 whatever the rows are; blocks bound memory."""
    centre, width = mean(features), features.shape[1]
    total = torch.zeros(width, width, dtype=torch.float64, device=features.device)
    # one buffer for all blocks: fresh memory for each costs a fifth of the product
    buffer = torch.empty(min(block_size, len(features)), width, dtype=torch.float64, device=features.device)
    for block in features.split(block_size):
        total += gram(buffer[: len(block)].copy_(block).sub_(centre))
    return Moments(len(features), centre, total / (len(features) - 1))


def covariance_root(covariance: Tensor) -> Tensor:
    """Some L with LLᵀ = Σ: Cholesky's, or the symmetric root where Σ is singular."""
    factor, singular = torch.linalg.cholesky_ex(covariance)
    if not bool(singular):
        return factor
    values, vectors = torch.linalg.eigh(covariance)
    return vectors * values.clamp(min=0).sqrt()  # clamp: rounding leaves −1e-16


def warn_of_bias(num_real: int, num_fake: int, width: int) -> None:
    """Warn if there are fewer than 5 samples a feature on either side."""
    if min(num_real, num_fake) < ENOUGH * width:
        warnings.warn(
            f"FID should have at least {ENOUGH} samples a feature; got N = {num_real} real and "
            f"{num_fake} fake for d = {width}. Its bias, about d²/(4N) a side, is then most of what one "
            "sees: compare at equal N only, or evaluate more samples.",
            FewSamples,
            stacklevel=3,
        )


def _distance(
    mean_a: Tensor, covariance_a: Tensor, root_a: Tensor, mean_b: Tensor, covariance_b: Tensor
) -> float:
    shared = torch.linalg.eigvalsh(root_a.mT @ covariance_b @ root_a).clamp(min=0).sqrt().sum()
    spread = covariance_a.trace() + covariance_b.trace() - 2 * shared
    return max(float((mean_a - mean_b).square().sum() + spread), 0.0)
