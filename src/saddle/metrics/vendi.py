"""Vendi score: the effective number of different samples among the generated ones."""

import torch
from torch import Tensor

from saddle.metrics.matrices import feature_matrices


def vendi(real: Tensor, fake: Tensor) -> float:
    """exp(−Σ λ log λ), λ the eigenvalues of K/M, K the cosine similarities of the fake features.

    The nonzero λ are those of the d × d matrix XᵀX/M, X the rows scaled to length 1, so M may be large.
    A row of zeros has no direction: such rows count as equal to one another and orthogonal to the rest.

    Args:
        real: (N, d); only its width is looked at. Call ``vendi(real, real)`` for the data's own score.
        fake: (M, d).

    Returns:
        From 1, all samples alike, to min(M, d + 1); larger is more diverse. Grows with M.

    Raises:
        ValueError: no rows, unlike widths, or a value that is not finite.

    Source: Friedman & Dieng 2023, arXiv:2210.02410, def. 2.1.
    """
    _, fake = feature_matrices(real, fake)
    largest = fake.abs().amax(dim=1, keepdim=True)
    scaled = fake / torch.where(largest > 0, largest, 1)  # the squares of tiny or huge rows stay in range
    lengths = scaled.norm(dim=1, keepdim=True)
    empty = lengths == 0
    rows = torch.cat([scaled / torch.where(empty, 1, lengths), empty.to(scaled.dtype)], dim=1)  # (M, d + 1)
    values = torch.linalg.eigvalsh(rows.mT @ rows / len(rows)).clamp(min=0)
    return float(torch.exp(-torch.xlogy(values, values).sum()))
