"""Maximum mean discrepancy: KID with its polynomial kernel, and a Gaussian-kernel distance.

Both are the unbiased estimate of MMD² over *all* pairs,
Σ_{i≠j} k(xᵢ,xⱼ)/(N(N−1)) + Σ_{i≠j} k(yᵢ,yⱼ)/(M(M−1)) − 2 Σ k(xᵢ,yⱼ)/(NM):
its mean is 0 for equal distributions at any N, so it may be negative. No subsets are drawn, so it
has none of their variance and needs no random numbers. Kernel matrices are made in blocks of rows.

Sources: Gretton et al. 2012, JMLR 13, eq. 3; Bińkowski et al. 2018, arXiv:1801.01401, sec. 4 (KID).
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from saddle.metrics.distances import squared_distances
from saddle.metrics.matrices import feature_matrices


def kid(real: Tensor, fake: Tensor, *, block_size: int = 256) -> float:
    """Kernel inception distance: unbiased MMD² with k(x, y) = (x·y/d + 1)³ over all pairs.

    Published KIDs are often means over 100 subsets of 1,000: the same expectation, more variance.

    Args:
        real: (N, d), N ≥ 2.
        fake: (M, d), M ≥ 2.
        block_size: rows of the kernel matrix held at once.

    Returns:
        0 on average for equal distributions, also negative; smaller is better. Not multiplied by 1,000.

    Raises:
        ValueError: fewer than two rows, unlike widths, or a value that is not finite.
    """
    real, fake = feature_matrices(real, fake, at_least=2)
    width = real.shape[1]

    def cubic(x: Tensor, y: Tensor) -> Tensor:
        base = torch.mm(x, y.mT).div_(width).add_(1)
        return base.square().mul_(base)

    return _unbiased_mmd2(real, fake, cubic, block_size)


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
    """
    real, fake = feature_matrices(real, fake, at_least=2)
    if not bandwidths or min(bandwidths) <= 0:
        raise ValueError(
            f"bandwidths must be positive numbers, at least one; got {list(bandwidths)}. Try [0.05, 1]."
        )
    centre = real.mean(0)
    scale = (real - centre).square().mean().sqrt()
    if not float(scale) > 0:
        raise ValueError(
            "real samples must differ, for bandwidths are in units of their spread; got equal ones."
        )
    real, fake = (real - centre) / scale, (fake - centre) / scale

    def gaussians(x: Tensor, y: Tensor) -> Tensor:
        squared = squared_distances(x, y)
        total = torch.zeros_like(squared)
        for bandwidth in bandwidths:
            total += torch.exp(squared * (-0.5 / bandwidth**2))
        return total / len(bandwidths)

    return _unbiased_mmd2(real, fake, gaussians, block_size)


def _unbiased_mmd2(
    real: Tensor, fake: Tensor, kernel: Callable[[Tensor, Tensor], Tensor], block_size: int
) -> float:
    num_real, num_fake = len(real), len(fake)
    across = 0.0
    for block in real.split(block_size):
        across += float(kernel(block, fake).sum())
    within_real = _sum_off_diagonal(real, kernel, block_size) / (num_real * (num_real - 1))
    within_fake = _sum_off_diagonal(fake, kernel, block_size) / (num_fake * (num_fake - 1))
    return within_real + within_fake - 2 * across / (num_real * num_fake)


def _sum_off_diagonal(x: Tensor, kernel: Callable[[Tensor, Tensor], Tensor], block_size: int) -> float:
    """Σ_{i≠j} k(xᵢ, xⱼ): the matrix is symmetric, so blocks below its diagonal are never made."""
    total = 0.0
    for start in range(0, len(x), block_size):
        block, rest = x[start : start + block_size], x[start + block_size :]
        square = kernel(block, block)
        total += float(square.sum() - square.diagonal().sum())
        if len(rest):
            total += 2 * float(kernel(block, rest).sum())
    return total
