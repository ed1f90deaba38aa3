"""Counting modes: of a mixture by distance to its centers, of images by a classifier's answer.

KL is KL(histogram of the generated ‖ reference) = Σ pⱼ log(pⱼ/rⱼ) over the modes with pⱼ > 0, in nats and
without smoothing. It has a floor: a perfect sampler's histogram of N draws over m modes has the
expectation (m − 1)/(2N), to leading order in 1/N, not 0. The floor is returned beside it.
"""

import math

import torch
from torch import Tensor

from saddle.data.points import Mixture
from saddle.metrics.matrices import feature_matrices


def mixture_modes(real: Tensor, fake: Tensor, *, mixture: Mixture, num_std: float = 3.0) -> dict[str, float]:
    """Modes covered, share of high-quality samples and KL of their histogram, for points.

    A sample is of high quality when it lies within ``num_std`` standard deviations of its nearest
    center; a mode is covered when it has at least one such sample. In two dimensions a *perfect*
    sampler has 1 − exp(−9/2) = 98.889 % of high quality: more means too narrow modes.

    Args:
        real: (N, d); only its width is looked at: the mixture is known.
        fake: (M, d).
        mixture: what the data was drawn from.
        num_std: 3 in every paper.

    Returns:
        "modes", 0 … m; "high_quality", percent; "kl", of the high-quality samples' histogram to the
        mixture's weights (uniform over all m modes unless the mixture says otherwise); "kl_floor",
        (m − 1)/(2N) with N the number of high-quality samples. No kl_floor exceeds the largest KL there
        is, −log of the smallest weight (log m for equal ones); without high-quality samples both are that.

    Raises:
        ValueError: no rows, unlike widths, a value that is not finite, or a mixture of other dimension.

    Sources: Srivastava et al. 2017 (VEEGAN), arXiv:1705.07761, sec. 4.1; Lin et al. 2018 (PacGAN),
    arXiv:1712.04086, sec. 4.1.
    """
    _, fake = feature_matrices(real, fake)
    centers = mixture.centers.to(fake)
    if centers.shape[1] != fake.shape[1]:
        raise ValueError(
            f"points must have the mixture's dimension {centers.shape[1]}; got {fake.shape[1]}. "
            "Choose the model's output to match the data."
        )
    # Not by the matrix product: a distance of 3 std = 0.03 between points of norm 6 must be exact.
    distances, nearest = torch.cdist(fake, centers, compute_mode="donot_use_mm_for_euclid_dist").min(dim=1)
    counts = nearest[distances <= num_std * mixture.std].bincount(minlength=mixture.num_modes)
    return {
        "modes": float((counts > 0).sum()),
        "high_quality": 100 * float(counts.sum()) / len(fake),
        **_divergence(counts, mixture.probabilities.to(fake)),
    }


def class_modes(real: Tensor, fake: Tensor) -> dict[str, float]:
    """Classes seen among generated images and KL of their histogram to that of the real images.

    A sample's class is its largest logit, at any confidence. The reference is the histogram of the
    *real* images' answers, not the uniform one: the data's own imbalance and the classifier's own
    errors are no fault of the generator. A perfect sampler, one that draws real images at random,
    then has exactly the floor as expectation (to leading order).

    Args:
        real: logits (N, num_classes).
        fake: logits (M, num_classes).

    Returns:
        "modes", the number of classes seen at least once; "kl"; "kl_floor", (m − 1)/(2M) with m the
        number of classes.

    Raises:
        ValueError: no rows, unlike widths, a value that is not finite, or a class without real images.

    Source: the count is that of stacked MNIST in Srivastava et al. 2017, arXiv:1705.07761, sec. 4.2.
    """
    real, fake = feature_matrices(real, fake)
    real_counts, fake_counts = (x.argmax(dim=1).bincount(minlength=x.shape[1]) for x in (real, fake))
    if not bool((real_counts > 0).all()):
        missing = (real_counts == 0).nonzero().flatten().tolist()
        raise ValueError(
            f"every class must occur among the real images, or KL is infinite; got none of {missing}. "
            "Evaluate against more real images, or use a classifier of this data."
        )
    return {
        "modes": float((fake_counts > 0).sum()),
        **_divergence(fake_counts, real_counts.to(torch.float64) / len(real)),
    }


def _divergence(counts: Tensor, reference: Tensor) -> dict[str, float]:
    total = int(counts.sum())
    worst = -math.log(float(reference.min()))
    if total == 0:
        return {"kl": worst, "kl_floor": worst}
    shares = counts.to(torch.float64) / total
    kl = float((torch.xlogy(shares, shares) - torch.xlogy(shares, reference)).sum())
    return {"kl": max(kl, 0.0), "kl_floor": min((len(counts) - 1) / (2 * total), worst)}
