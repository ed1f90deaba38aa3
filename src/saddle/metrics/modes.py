"""Counting modes: of a mixture by distance to its centers, of images by a classifier's answer.

KL is KL(histogram of the generated ‖ reference) = Σ pⱼ log(pⱼ/rⱼ) over the modes with pⱼ > 0, in nats and
without smoothing. It has a floor: a perfect sampler's histogram of N draws over m modes has the
expectation (m − 1)/(2N), to leading order in 1/N, not 0. The floor is returned beside it.
"""

import math

import torch
from torch import Tensor

from saddle.data.points import Mixture
from saddle.game.refusals import Refused
from saddle.metrics.matrices import feature_matrices
from saddle.metrics.values import HIGH, Role, Value, metric

MODES = Value(HIGH, Role.COUNT, rank=0)
KL = {
    "kl": Value(role=Role.QUALITY, rank=2, near_zero=True, floor="kl_floor"),
    "kl_floor": Value(),
}


@metric({"modes": MODES, "high_quality": Value(HIGH), **KL})
def mixture_modes(real: Tensor, fake: Tensor, *, mixture: Mixture, num_std: float = 3.0) -> dict[str, float]:
    """Modes covered, share of high-quality samples and KL of their histogram, for points.

    A sample is of high quality when it lies within ``num_std`` standard deviations of its nearest
    center; a mode is covered when it has at least one such sample. In two dimensions a *perfect*
    sampler has 1 − exp(−9/2) = 98.889 % of high quality: more means too narrow modes.

    Args:
        real: (N, d); only its width is looked at: the mixture is known.
        fake: (M, d).
        mixture: what the data was drawn from.
        num_std: 3 in both papers, for points in the plane.

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
    distances, nearest = _nearest_center(fake, mixture)
    counts = nearest[distances <= num_std * mixture.std].bincount(minlength=mixture.num_modes)
    return {
        "modes": float((counts > 0).sum()),
        "high_quality": 100 * float(counts.sum()) / len(fake),
        **_divergence(counts, mixture.probabilities.to(fake)),
    }


@metric({"covariance_ratio": Value(1.0), "covariance_log_ratio": Value()})
def mode_covariance(
    real: Tensor, fake: Tensor, *, mixture: Mixture, num_std: float = 3.0
) -> dict[str, float]:
    """Size of each mode's covariance against the mixture's: below 1 where a generator is too sure of a mode.

    rⱼ = tr Σ̂ⱼ/(d·σ²·c), Σ̂ⱼ the unbiased covariance of the samples of high quality nearest to center j and
    c = F_{d+2}(num_std²)/F_d(num_std²) what cutting a Gaussian at num_std leaves of its variance, F the
    distribution function of χ². Covariances of modes of two samples or fewer are not looked at.

    Args:
        real: (N, d); only its width is looked at: the mixture is known.
        fake: (M, d).
        mixture: what the data was drawn from.
        num_std: radius within which a sample is of high quality, as in ``mixture_modes``.

    Returns:
        "covariance_ratio", mean of rⱼ, 1 for a perfect sampler of modes that are well apart, and
        "covariance_log_ratio", mean of |log rⱼ|, smaller is better; its floor for n samples a mode is about
        √(4/(π·d·n)). Without any such mode they are 0 and the largest, −log of the smallest double.

    Raises:
        ValueError: no rows, unlike widths, a value that is not finite, or a mixture of other dimension.

    Source: the truncated second moment is that of Tallis 1963, Ann. Math. Stat. 34.
    """
    from scipy.stats import chi2

    _, fake = feature_matrices(real, fake)
    distances, nearest = _nearest_center(fake, mixture)
    width = fake.shape[1]
    left = chi2.cdf(num_std**2, width + 2) / chi2.cdf(num_std**2, width)
    ratios = []
    for mode in range(mixture.num_modes):
        own = fake[(nearest == mode) & (distances <= num_std * mixture.std)]
        if len(own) > 2:
            ratios.append(float(own.var(0).sum()) / (width * mixture.std**2 * left))
    tiny = torch.finfo(torch.float64).tiny
    logs = [abs(math.log(max(ratio, tiny))) for ratio in ratios] or [-math.log(tiny)]
    return {
        "covariance_ratio": sum(ratios) / max(len(ratios), 1),
        "covariance_log_ratio": sum(logs) / len(logs),
    }


@metric({"modes": MODES, **KL})
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
        raise Refused(
            f"every class must occur among the real images, or KL is infinite; got none of {missing}. "
            "Evaluate against more real images, or use a classifier of this data."
        )
    return {
        "modes": float((fake_counts > 0).sum()),
        **_divergence(fake_counts, real_counts.to(torch.float64) / len(real)),
    }


def _nearest_center(fake: Tensor, mixture: Mixture) -> tuple[Tensor, Tensor]:
    """Distance to the nearest center and which it is, (M,) each."""
    centers = mixture.centers.to(fake)
    if centers.shape[1] != fake.shape[1]:
        raise Refused(
            f"points must have the mixture's dimension {centers.shape[1]}; got {fake.shape[1]}. "
            "Choose the model's output to match the data."
        )
    # Not by the matrix product: a distance of 3 std = 0.03 between points of norm 6 must be exact.
    distances, nearest = torch.cdist(fake, centers, compute_mode="donot_use_mm_for_euclid_dist").min(dim=1)
    return distances, nearest


def _divergence(counts: Tensor, reference: Tensor) -> dict[str, float]:
    total = int(counts.sum())
    worst = -math.log(float(reference.min()))
    if total == 0:
        return {"kl": worst, "kl_floor": worst}
    shares = counts.to(torch.float64) / total
    kl = float((torch.xlogy(shares, shares) - torch.xlogy(shares, reference)).sum())
    return {"kl": max(kl, 0.0), "kl_floor": min((len(counts) - 1) / (2 * total), worst)}
