"""What every metric asks of its two feature matrices."""

import torch
from torch import Tensor


def feature_matrices(real: Tensor, fake: Tensor, at_least: int = 1) -> tuple[Tensor, Tensor]:
    """Both matrices in float64, once they are known to be comparable.

    Args:
        real: (N, d).
        fake: (M, d), same d.
        at_least: smallest N and M for which the metric is defined.

    Raises:
        ValueError: not two matrices of one width, too few rows, or a value that is NaN or infinite.
    """
    if real.ndim != 2 or fake.ndim != 2 or real.shape[1] != fake.shape[1]:
        raise ValueError(
            "real and fake features must be matrices (N, d) and (M, d) of one width; got shapes "
            f"{tuple(real.shape)} and {tuple(fake.shape)}. Take both from the same layer of one extractor."
        )
    for side, features in (("real", real), ("fake", fake)):
        if len(features) < at_least:
            raise ValueError(
                f"{side} features must have at least {at_least} rows for this metric; got {len(features)}. "
                "Evaluate more samples."
            )
        if not bool(torch.isfinite(features).all()):
            bad = int((~torch.isfinite(features).all(dim=1)).sum())
            raise ValueError(
                f"{side} features must be finite; got NaN or infinity in {bad} of {len(features)} rows. "
                "The generator or the feature network has diverged."
            )
    return real.detach().to(torch.float64), fake.detach().to(torch.float64)
