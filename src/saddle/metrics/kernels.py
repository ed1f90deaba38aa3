"""Maximum mean discrepancy: KID with its polynomial kernel, distances with Gaussian kernels, CMMD.

All but CMMD are the unbiased estimate of MMD² over *all* pairs,
Σ_{i≠j} k(xᵢ,xⱼ)/(N(N−1)) + Σ_{i≠j} k(yᵢ,yⱼ)/(M(M−1)) − 2 Σ k(xᵢ,yⱼ)/(NM):
its mean is 0 for equal distributions at any N, so it may be negative. No subsets are drawn, so it
has none of their variance and needs no random numbers. Kernel matrices are made in blocks of rows.

Sources: Gretton et al. 2012, JMLR 13, eq. 3; Bińkowski et al. 2018, arXiv:1801.01401, sec. 4 (KID).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from saddle.game.refusals import Refused
from saddle.metrics.distances import squared_distances
from saddle.metrics.matrices import feature_matrices
from saddle.metrics.values import Role, Value, metric

Kernel = Callable[[Tensor, Tensor], Tensor]
KID = Value(role=Role.QUALITY, rank=3, near_zero=True)


@metric(KID)
def kid(real: Tensor, fake: Tensor, *, block_size: int = 256) -> float:
    """Kernel inception distance: unbiased MMD² with k(x, y) = (x·y/d + 1)³ over all pairs.

    Published KIDs are often means over 100 subsets of 1,000, ``kid_of_subsets``: the same expectation,
    more variance.

    Args:
        real: (N, d), N ≥ 2.
        fake: (M, d), M ≥ 2.
        block_size: rows of the kernel matrix held at once.

    Returns:
        0 on average for equal distributions, also negative; smaller is better. Not multiplied by 1,000.

    Raises:
        ValueError: fewer than two rows, unlike widths, or a value that is not finite.

    Source: Bińkowski et al. 2018, arXiv:1801.01401, sec. 4.
    """
    real, fake = feature_matrices(real, fake, at_least=2)
    return _row_sums(real, fake, _cubic, block_size).unbiased()


@metric({"kid": KID, "kid_se": Value()})
def kid_and_error(real: Tensor, fake: Tensor, *, block_size: int = 256) -> dict[str, float]:
    """``kid`` with its standard error, from the spread of each sample's own contribution.

    Var ≈ 4·Var(a)/N + 4·Var(b)/M with aᵢ = Σ_{j≠i} k(xᵢ,xⱼ)/(N−1) − Σⱼ k(xᵢ,yⱼ)/M, b likewise: the first
    order of the U-statistic's variance. For equal distributions, where the first order vanishes, it is
    too large, by √2 for N = M.

    Returns:
        "kid", smaller is better, and "kid_se".

    Source: Sutherland et al. 2017, arXiv:1611.04488, after Hoeffding 1948.
    """
    real, fake = feature_matrices(real, fake, at_least=2)
    sums = _row_sums(real, fake, _cubic, block_size)
    return {"kid": sums.unbiased(), "kid_se": sums.standard_error()}


@metric({"kid_subsets": Value(), "kid_subsets_std": Value()})
def kid_of_subsets(
    real: Tensor, fake: Tensor, *, num_subsets: int = 100, subset_size: int = 1000, seed: int = 2020
) -> dict[str, float]:
    """Mean of ``kid`` over subsets drawn without replacement: the form in which most papers print KID.

    With the default seed the subsets are those of torch-fidelity with the fakes as its first input.

    Args:
        real: (N, d), N ≥ subset_size.
        fake: (M, d), M ≥ subset_size.
        num_subsets: drawn from either side.
        subset_size: 1,000 in papers.
        seed: of the subsets.

    Returns:
        "kid_subsets", smaller is better, and "kid_subsets_std", over the subsets: not a standard error, for
        it does not fall with num_subsets.

    Raises:
        ValueError: fewer rows than a subset has, unlike widths, or a value that is not finite.

    Source: Bińkowski et al. 2018, arXiv:1801.01401, sec. 4; torch-fidelity 0.4.
    """
    real, fake = feature_matrices(real, fake, at_least=max(subset_size, 2))
    # the legacy generator is the published protocol
    random = np.random.RandomState(seed)
    values = []
    for _ in range(num_subsets):
        of_fake, of_real = (
            torch.from_numpy(random.choice(len(side), subset_size, replace=False)).to(side.device)
            for side in (fake, real)
        )
        values.append(_row_sums(real[of_real], fake[of_fake], _cubic, subset_size).unbiased())
    return {"kid_subsets": float(np.mean(values)), "kid_subsets_std": float(np.std(values))}


@metric(Value(role=Role.QUALITY, rank=1, near_zero=True))
def gaussian_mmd(real: Tensor, fake: Tensor, *, bandwidths: Sequence[float], block_size: int = 256) -> float:
    """Unbiased MMD² with the mean of Gaussian kernels exp(−‖x − y‖²/(2(b·s)²)), one for each bandwidth b.

    s is the real samples' root mean square deviation a coordinate, so that one list of bandwidths
    serves data of any scale, and the value does not change when data and samples are rescaled together.

    Args:
        real: (N, d), N ≥ 2, not all equal.
        fake: (M, d), M ≥ 2.
        bandwidths: b, in units of s. Small ones see the shape of a mode, large ones the mass between modes.
        block_size: rows of the kernel matrix held at once.

    Returns:
        0 on average for equal distributions, also negative, below 2; smaller is better.

    Raises:
        ValueError: fewer than two rows, unlike widths, a value that is not finite, real samples all equal,
            or a bandwidth that is not positive.

    Source: Gretton et al. 2012, JMLR 13, eq. 3.
    """
    real, fake = feature_matrices(real, fake, at_least=2)
    if not bandwidths or min(bandwidths) <= 0:
        raise Refused(
            f"bandwidths must be positive numbers, at least one; got {list(bandwidths)}. Try [0.05, 1]."
        )
    centre = real.mean(0)
    scale = (real - centre).square().mean().sqrt()
    if not float(scale) > 0:
        raise Refused(
            "real samples must differ, for bandwidths are in units of their spread; got equal ones."
        )
    kernel = _gaussians(bandwidths)
    return _row_sums((real - centre) / scale, (fake - centre) / scale, kernel, block_size).unbiased()


@metric(Value())
def cmmd(
    real: Tensor, fake: Tensor, *, bandwidth: float = 10.0, scale: float = 1000.0, block_size: int = 256
) -> float:
    """MMD² with a Gaussian kernel on features of unit length, times 1,000: CMMD where they are CLIP's.

    scale·(mean k(x,x') + mean k(y,y') − 2·mean k(x,y)), all means over all pairs, also of a sample with
    itself: the biased estimate, as in the authors' code. Each side adds about scale·(1 − mean k)/N.

    Args:
        real: (N, d); rows are scaled to length 1.
        fake: (M, d), likewise.
        bandwidth: σ, 10 in the paper.
        scale: 1,000 in the paper.
        block_size: rows of the kernel matrix held at once.

    Returns:
        ≥ 0; smaller is better.

    Raises:
        ValueError: no rows, unlike widths, or a value that is not finite.

    Source: Jayasumana et al. 2024, arXiv:2401.09603, sec. 4, and the authors' code.
    """
    real, fake = feature_matrices(real, fake)
    tiny = torch.finfo(torch.float64).tiny
    real, fake = (side / side.norm(dim=1, keepdim=True).clamp(min=tiny) for side in (real, fake))
    sums = _row_sums(real, fake, _gaussians([bandwidth]), block_size)
    return scale * sums.biased()


def _cubic(x: Tensor, y: Tensor) -> Tensor:
    base = torch.mm(x, y.mT).div_(x.shape[1]).add_(1)
    return base.square().mul_(base)


def _gaussians(bandwidths: Sequence[float]) -> Kernel:
    def kernel(x: Tensor, y: Tensor) -> Tensor:
        squared = squared_distances(x, y)
        total = torch.zeros_like(squared)
        for bandwidth in bandwidths:
            total += torch.exp(squared * (-0.5 / bandwidth**2))
        return total / len(bandwidths)

    return kernel


class _Sums(NamedTuple):
    """Of kernel matrices, for each sample: over its own kind without itself, itself, over the other kind."""

    real: Tensor  # (N,)
    real_diagonal: Tensor
    real_across: Tensor
    fake: Tensor  # (M,)
    fake_diagonal: Tensor
    fake_across: Tensor

    def unbiased(self) -> float:
        n, m = len(self.real), len(self.fake)
        within = self.real.sum() / (n * (n - 1)) + self.fake.sum() / (m * (m - 1))
        return float(within - 2 * self.real_across.sum() / (n * m))

    def biased(self) -> float:
        n, m = len(self.real), len(self.fake)
        within = (self.real + self.real_diagonal).sum() / n**2 + (self.fake + self.fake_diagonal).sum() / m**2
        return max(float(within - 2 * self.real_across.sum() / (n * m)), 0.0)

    def standard_error(self) -> float:
        n, m = len(self.real), len(self.fake)
        of_real = self.real / (n - 1) - self.real_across / m
        of_fake = self.fake / (m - 1) - self.fake_across / n
        return float((4 * of_real.var() / n + 4 * of_fake.var() / m).sqrt())


def _row_sums(real: Tensor, fake: Tensor, kernel: Kernel, block_size: int) -> _Sums:
    across_real, across_fake = real.new_zeros(len(real)), fake.new_zeros(len(fake))
    for start in range(0, len(real), block_size):
        block = kernel(real[start : start + block_size], fake)
        across_real[start : start + block_size] = block.sum(1)
        across_fake += block.sum(0)
    return _Sums(
        *_own_sums(real, kernel, block_size), across_real, *_own_sums(fake, kernel, block_size), across_fake
    )


def _own_sums(x: Tensor, kernel: Kernel, block_size: int) -> tuple[Tensor, Tensor]:
    """Σ_{j≠i} k(xᵢ, xⱼ) and k(xᵢ, xᵢ) for each i; blocks below the diagonal are never made."""
    sums, diagonal = x.new_zeros(len(x)), x.new_zeros(len(x))
    for start in range(0, len(x), block_size):
        stop = min(start + block_size, len(x))
        block = kernel(x[start:stop], x[start:])
        diagonal[start:stop] = block.diagonal()
        block.diagonal().zero_()
        sums[start:stop] += block.sum(1)
        sums[stop:] += block[:, stop - start :].sum(0)
    return sums, diagonal
