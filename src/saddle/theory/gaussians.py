"""Two Gaussians on the line: their divergences, and what an optimal discriminator's loss is.

p is the data and q the generator's law. ``optimal_*`` return the best discriminator as a function of x;
losses are those of ``saddle.game.losses`` at it. Integrals without a closed form are done by adaptive
quadrature to an absolute 1e-10; the others are exact. Logarithms are natural: divergences in nats.
"""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from scipy.integrate import quad
from scipy.special import expit, ndtr

from saddle.game.refusals import Refused
from saddle.theory.domain import not_negative, positive

Function = Callable[[float], float]

WIDTHS = 12.0  # standard deviations on each side: what lies beyond is under 1e-32
EXACT_TO = 1e-10  # of every quadrature


class Gaussian(NamedTuple):
    """N(mean, std²)."""

    mean: float
    std: float = 1.0

    def log_density(self, x: float) -> float:
        return -0.5 * ((x - self.mean) / self.std) ** 2 - math.log(self.std * math.sqrt(2 * math.pi))

    def density(self, x: float) -> float:
        return math.exp(self.log_density(x))

    def below(self, x: float) -> float:
        """P(X ≤ x)."""
        return float(ndtr((x - self.mean) / self.std))

    def above(self, x: float) -> float:
        """P(X > x)."""
        return float(ndtr((self.mean - x) / self.std))

    def within(self, low: float, high: float) -> float:
        """P(low < X ≤ high), from the tail that loses no digits."""
        if low > self.mean:
            return self.above(low) - self.above(high)
        return self.below(high) - self.below(low)


# ---- the logistic losses


def optimal_logit(p: Gaussian, q: Gaussian) -> Function:
    """log p(x)/q(x): the best D of the minimax and non-saturating losses; σ of it is p/(p + q).

    Source: Goodfellow et al. 2014, arXiv:1406.2661, proposition 1.
    """
    _must_be_spread(p, q)
    return lambda x: p.log_density(x) - q.log_density(x)


def jensen_shannon(p: Gaussian, q: Gaussian) -> float:
    """½KL(p‖(p + q)/2) + ½KL(q‖(p + q)/2), from 0 to log 2."""
    return max(0.0, math.log(2) - 0.5 * logistic_loss(p, q))


def logistic_loss(p: Gaussian, q: Gaussian) -> float:
    """The discriminator's loss at its best, 2 log 2 − 2 JSD: both cross-entropies added.

    Source: Goodfellow et al. 2014, arXiv:1406.2661, theorem 1.
    """
    logit = optimal_logit(p, q)

    def integrand(x: float) -> float:  # −p·log σ(t) − q·log σ(−t)
        t = logit(x)
        return p.density(x) * np.logaddexp(0, -t) + q.density(x) * np.logaddexp(0, t)

    return _integral(integrand, p, q)


# ---- least squares and LeCam


def optimal_least_squares(
    p: Gaussian, q: Gaussian, real_target: float = 1.0, fake_target: float = 0.0
) -> Function:
    """(a·p + b·q)/(p + q), a and b the targets. Source: Mao et al. 2017, arXiv:1611.04076."""
    logit = optimal_logit(p, q)
    return lambda x: fake_target + (real_target - fake_target) * float(expit(logit(x)))


def overlap(p: Gaussian, q: Gaussian) -> float:
    """∫pq/(p + q), from ½ for equal laws to 0 for disjoint ones."""
    logit = optimal_logit(p, q)
    # pq/(p + q) = p·σ(−log p/q), finite where both densities underflow
    return _integral(lambda x: p.density(x) * float(expit(-logit(x))), p, q)


def least_squares_loss(p: Gaussian, q: Gaussian, real_target: float = 1.0, fake_target: float = 0.0) -> float:
    """½(a − b)²·∫pq/(p + q): ½E_p[(D − a)²] + ½E_q[(D − b)²] at the best D.

    Derived from ``optimal_least_squares``. The papers that leave out the ½ have twice this.
    """
    return 0.5 * (real_target - fake_target) ** 2 * overlap(p, q)


def lecam(p: Gaussian, q: Gaussian) -> float:
    """Δ = ∫(p − q)²/(p + q) = 2 − 4∫pq/(p + q), from 0 to 2: the LeCam (triangular) divergence."""
    return max(0.0, 2 - 4 * overlap(p, q))


def optimal_lecam(p: Gaussian, q: Gaussian, weight: float, anchor: float) -> Function:
    """(1/(2λ) − α)(p − q)/(p + q): the best Wasserstein critic under LeCam regularization.

    λ is the ``weight``; α, the ``anchor``, is the running mean of D on real samples and minus that on
    generated ones.

    Source: Tseng et al. 2021, arXiv:2104.03310. Holds for λ < 1/(2α).
    """
    height = _lecam_height(weight, anchor)
    logit = optimal_logit(p, q)
    return lambda x: height * math.tanh(logit(x) / 2)  # (p − q)/(p + q)


def lecam_gap(p: Gaussian, q: Gaussian, weight: float, anchor: float) -> float:
    """(1/(2λ) − α)·Δ = E_p[D] − E_q[D] at ``optimal_lecam``: what the generator then minimises."""
    return _lecam_height(weight, anchor) * lecam(p, q)


def _lecam_height(weight: float, anchor: float) -> float:
    positive(weight=weight)
    height = 1 / (2 * weight) - anchor
    if not height > 0:
        raise Refused(
            f"weight must be below 1/(2·anchor) = {1 / (2 * anchor):g}; got {weight:g}. Beyond it the best "
            "critic prefers generated samples."
        )
    return height


# ---- hinge


def optimal_hinge(p: Gaussian, q: Gaussian) -> Function:
    """sign(p − q). Source: Lim and Ye 2017, arXiv:1705.02894."""
    logit = optimal_logit(p, q)
    return lambda x: math.copysign(1.0, logit(x)) if logit(x) else 0.0


def hinge_loss(p: Gaussian, q: Gaussian) -> float:
    """2 − 2 TV = 2∫min(p, q): the discriminator's loss at its best; 4Φ(−m/2) for unit variances m apart.

    Exact, and without cancellation where hardly anything overlaps. Source: Lim and Ye 2017, arXiv:1705.02894.
    """
    _must_be_spread(p, q)
    if p == q:
        return 2.0
    if p.std == q.std:
        return 4 * float(ndtr(-abs(p.mean - q.mean) / (2 * p.std)))
    narrow, wide = sorted((p, q), key=lambda law: law.std)
    low, high = _crossings(narrow, wide)
    # the narrow one is the larger between its crossings with the wide one, and the smaller outside
    return 2 * (wide.within(low, high) + narrow.below(low) + narrow.above(high))


def total_variation(p: Gaussian, q: Gaussian) -> float:
    """½∫|p − q|, from 0 to 1; exact."""
    return 1 - 0.5 * hinge_loss(p, q)


def _crossings(p: Gaussian, q: Gaussian) -> tuple[float, float]:
    """Where two densities of unlike width are equal: the roots of a quadratic, log p − log q."""
    a = 0.5 / q.std**2 - 0.5 / p.std**2
    b = p.mean / p.std**2 - q.mean / q.std**2
    c = 0.5 * (q.mean / q.std) ** 2 - 0.5 * (p.mean / p.std) ** 2 + math.log(q.std / p.std)
    # the discriminant is positive: the narrower density is the larger one at its own mean
    far = -0.5 * (b + math.copysign(math.sqrt(b**2 - 4 * a * c), b))
    first, second = sorted((far / a, c / far))
    return first, second


# ---- others


def kullback_leibler(p: Gaussian, q: Gaussian) -> float:
    """KL(p‖q) = log(σ_q/σ_p) + (σ_p² + (μ_p − μ_q)²)/(2σ_q²) − ½."""
    _must_be_spread(p, q)
    return math.log(q.std / p.std) + (p.std**2 + (p.mean - q.mean) ** 2) / (2 * q.std**2) - 0.5


def wasserstein1(p: Gaussian, q: Gaussian) -> float:
    """E|μ + δZ|, μ and δ the differences of means and standard deviations; |μ| where the widths agree.

    = |δ|√(2/π)·e^{−μ²/2δ²} + μ(1 − 2Φ(−μ/|δ|)), the mean of a folded normal. Derived: on the line
    W₁ = ∫|F⁻¹ − G⁻¹|, and the quantile function of N(μ, σ²) is μ + σΦ⁻¹. A point mass (std 0) is allowed.
    """
    not_negative(std=min(p.std, q.std))
    mean, std = p.mean - q.mean, abs(p.std - q.std)
    if std == 0:
        return abs(mean)
    folded = std * math.sqrt(2 / math.pi) * math.exp(-0.5 * (mean / std) ** 2)
    return folded + mean * (1 - 2 * float(ndtr(-mean / std)))


def wgan_gp_slope(distance: float, weight: float) -> float:
    """1 + W/(2λ): slope of the best critic between two point masses at a distance W under WGAN-GP.

    Derived: it minimises −sW + λ(s − 1)² over its slope s. So the penalty does not hold it at 1.
    """
    not_negative(distance=distance)
    positive(weight=weight)
    return 1 + distance / (2 * weight)


def _must_be_spread(p: Gaussian, q: Gaussian) -> None:
    for law in (p, q):
        if not law.std > 0:
            raise Refused(
                f"std must be above 0 for a law with a density; got {law.std:g}. Point masses have a "
                "distance only: wasserstein1."
            )


def _integral(integrand: Function, p: Gaussian, q: Gaussian) -> float:
    """Over the union of both laws' ``WIDTHS`` standard deviations, split where either has its bulk."""
    edges = sorted({law.mean + step * law.std for law in (p, q) for step in (-WIDTHS, -4, 0, 4, WIDTHS)})
    pieces = [
        quad(integrand, low, high, epsabs=EXACT_TO / 100, epsrel=1e-12, limit=200)[0]
        for low, high in pairwise(edges)
    ]
    return float(math.fsum(pieces))
