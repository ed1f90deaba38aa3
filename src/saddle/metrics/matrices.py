"""What every metric asks of its two feature matrices."""

import torch
from torch import Tensor

from saddle.game.refusals import Refused


def comparable(real: Tensor, fake: Tensor, at_least: int = 1) -> tuple[Tensor, Tensor]:
    """Both matrices as they are, once they are known to be comparable.

    Args:
        real: (N, d).
        fake: (M, d), same d.
        at_least: smallest N and M for which the metric is defined.

    Raises:
        ValueError: not two matrices of one width, too few rows, or a value that is NaN or infinite.
    """
    if real.ndim != 2 or fake.ndim != 2 or real.shape[1] != fake.shape[1]:
        raise Refused(
            "real and fake features must be matrices (N, d) and (M, d) of one width; got shapes "
            f"{tuple(real.shape)} and {tuple(fake.shape)}. Take both from the same layer of one extractor."
        )
    for side, features in (("real", real), ("fake", fake)):
        if len(features) < at_least:
            raise Refused(
                f"{side} features must have at least {at_least} rows for this metric; got {len(features)}. "
                "Evaluate more samples."
            )
        # the extremes tell, at a tenth of the time: NaN is the least and the largest of what holds one
        if features.numel() and not all(bool(torch.isfinite(value)) for value in torch.aminmax(features)):
            bad = int((~torch.isfinite(features).all(dim=1)).sum())
            raise Refused(
                f"{side} features must be finite; got NaN or infinity in {bad} of {len(features)} rows. "
                "The generator or the feature network has diverged."
            )
    return real.detach(), fake.detach()


def feature_matrices(real: Tensor, fake: Tensor, at_least: int = 1) -> tuple[Tensor, Tensor]:
    """Both matrices in float64, once they are known to be ``comparable``."""
    real, fake = comparable(real, fake, at_least)
    return real.to(torch.float64), fake.to(torch.float64)


def mean(x: Tensor) -> Tensor:
    """Mean row (d,) in float64 of (N, d): in blocks, for torch would take a copy of all rows to float64."""
    total = torch.zeros(x.shape[1], dtype=torch.float64, device=x.device)
    for block in x.split(1024):
        total += block.sum(0, dtype=torch.float64)
    return total / len(x)


def gram(x: Tensor) -> Tensor:
    """XᵀX, (d, d), of float64 rows (N, d).

    On the CPU by numpy, which sees that both factors are one matrix and computes half of the product.
    """
    if x.device.type != "cpu":
        return x.mT @ x
    rows = x.numpy()
    return torch.from_numpy(rows.T @ rows)


def class_labels(classes: Tensor, features: Tensor, side: str) -> Tensor:
    """One class a row, as given.

    Raises:
        ValueError: not one integer for each row of ``features``.
    """
    if classes.shape != features.shape[:1] or classes.is_floating_point():
        raise Refused(
            f"{side} classes must be one integer for each of {len(features)} rows; got shape "
            f"{tuple(classes.shape)} of {classes.dtype}. Give labels, not logits: logits.argmax(1)."
        )
    return classes
