"""A generator that holds r of equal, disjoint modes: divergences and the discriminator's best loss.

The data are uniform on n modes, the generator on rn of them, each mode matched where it is held. None of
the numbers depends on n or on the shape of a mode. So a loss that sits still between its two ends tells how
many modes are held.
"""

import math

from saddle.game.refusals import Refused

Share = float  # r, in (0, 1]


def _must_be_share(r: Share) -> None:
    if not 0 < r <= 1:
        raise Refused(f"r must lie in (0, 1]; got {r:g}. It is the share of modes that are held.")


def jensen_shannon(r: Share) -> float:
    """½[r log(2r/(1 + r)) + (1 − r) log 2 + log(2/(1 + r))], in nats: 0 for all modes, towards log 2.

    Derived: p/(p + q) is r/(1 + r) on held modes and 1 on the others.
    """
    _must_be_share(r)
    return 0.5 * (r * math.log(2 * r / (1 + r)) + (1 - r) * math.log(2) + math.log(2 / (1 + r)))


def logistic_loss(r: Share) -> float:
    """2 log 2 − 2 JSD: minimax and non-saturating. Source: Goodfellow et al. 2014, arXiv:1406.2661, thm 1."""
    return 2 * math.log(2) - 2 * jensen_shannon(r)


def relativistic_loss(r: Share) -> float:
    """r·log 2: a real sample of a lost mode is told apart for certain, one of a held mode not at all.

    Source: Sun et al. 2020, arXiv:2011.04926, for r = ½.
    """
    _must_be_share(r)
    return r * math.log(2)


def total_variation(r: Share) -> float:
    """1 − r."""
    _must_be_share(r)
    return 1 - r


def hinge_loss(r: Share) -> float:
    """2 − 2 TV = 2r. Source: Lim and Ye 2017, arXiv:1705.02894."""
    return 2 - 2 * total_variation(r)


def overlap(r: Share) -> float:
    """∫pq/(p + q) = r/(1 + r)."""
    _must_be_share(r)
    return r / (1 + r)


def least_squares_loss(r: Share, real_target: float = 1.0, fake_target: float = 0.0) -> float:
    """½(a − b)²·r/(1 + r), a and b the targets. Derived from Mao et al. 2017, arXiv:1611.04076."""
    return 0.5 * (real_target - fake_target) ** 2 * overlap(r)


def lecam(r: Share) -> float:
    """∫(p − q)²/(p + q) = 2(1 − r)/(1 + r)."""
    _must_be_share(r)
    return 2 * (1 - r) / (1 + r)


def reverse_kullback_leibler(r: Share) -> float:
    """KL(q‖p) = −log r. KL(p‖q) is infinite for r < 1."""
    _must_be_share(r)
    return -math.log(r) + 0.0  # + 0.0: not −0 at r = 1
