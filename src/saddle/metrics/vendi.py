"""Vendi score: the effective number of different samples among the generated ones."""

import torch
from torch import Tensor

from saddle.metrics.matrices import class_labels, comparable, gram
from saddle.metrics.values import HIGH, Role, Value, metric


@metric(Value(HIGH, Role.COUNT, rank=1))
def vendi(real: Tensor, fake: Tensor, *, block_size: int = 8192) -> float:
    """exp(−Σ λ log λ), λ the eigenvalues of K/M, K the cosine similarities of the fake features.

    The nonzero λ are those of the smaller of K/M, (M, M), and XᵀX/M, X the rows scaled to length 1, so M
    or d may be large.
    A row of zeros has no direction: such rows count as equal to one another and orthogonal to the rest.

    Args:
        real: (N, d); only its width is looked at. Call ``vendi(real, real)`` for the data's own score.
        fake: (M, d).
        block_size: rows taken to float64 at once.

    Returns:
        From 1, all samples alike, to min(M, d + 1); larger is more diverse. Biased low: it grows with M.

    Raises:
        ValueError: no rows, unlike widths, or a value that is not finite.

    Source: Friedman and Dieng 2023, arXiv:2210.02410, def. 3.1.
    """
    _, fake = comparable(real, fake)
    if len(fake) <= fake.shape[1]:
        matrix = gram(_directions(fake).mT.contiguous())
    else:
        width = fake.shape[1] + 1
        matrix = torch.zeros(width, width, dtype=torch.float64, device=fake.device)
        for block in fake.split(block_size):
            matrix += gram(_directions(block))
    values = torch.linalg.eigvalsh(matrix / len(fake)).clamp(min=0)
    return float(torch.exp(-torch.xlogy(values, values).sum()))


@metric({"class_vendi": Value(HIGH), "class_vendi_worst": Value(HIGH)})
def class_vendi(real: Tensor, fake: Tensor, *, fake_classes: Tensor) -> dict[str, float]:
    """``vendi`` within each class of the fakes: diversity that is more than a mixture of classes.

    Args:
        real: (N, d); only its width is looked at.
        fake: (M, d).
        fake_classes: (M,) integer.

    Returns:
        "class_vendi", the mean over the classes that occur, and "class_vendi_worst"; larger is more diverse.

    Raises:
        ValueError: labels are not one integer a row; or as ``vendi``.

    Source: Friedman and Dieng 2023, arXiv:2210.02410, def. 3.1.
    """
    _, fake = comparable(real, fake)
    labels = class_labels(fake_classes, fake, "fake")
    values = [vendi(fake, fake[labels == label]) for label in labels.unique()]
    return {"class_vendi": sum(values) / len(values), "class_vendi_worst": min(values)}


def _directions(rows: Tensor) -> Tensor:
    """(N, d + 1) float64 of length 1; the last column marks rows of zeros."""
    rows = rows.to(torch.float64)
    largest = rows.abs().amax(dim=1, keepdim=True)
    scaled = rows / torch.where(largest > 0, largest, 1)  # the squares of tiny or huge rows stay in range
    lengths = scaled.norm(dim=1, keepdim=True)
    empty = lengths == 0
    return torch.cat([scaled / torch.where(empty, 1, lengths), empty.to(scaled.dtype)], dim=1)
