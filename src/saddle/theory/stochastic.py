"""Gradient descent with noisy gradients near an equilibrium: the spread at which it settles."""

import math

from saddle.game.refusals import Refused
from saddle.theory.domain import not_negative, positive

TTUR_CURVATURES = (200.0, 2.0)
"""Of x and of y at the saddle (0, 0) of f = (1 + x²)(100 − y²), x minimising and y maximising.

Source: Heusel et al. 2017, arXiv:1706.08500, the toy game of figure 4."""


def contraction(lr: float, curvature: float) -> float:
    """λ = 1 − lr·curvature: what a step of descent leaves of a displacement."""
    positive(lr=lr, curvature=curvature)
    return 1 - lr * curvature


def stationary_std(lr: float, curvature: float, noise: float = 1.0) -> float:
    """lr·σ/√(1 − λ²), λ = 1 − lr·curvature: spread of x ← λx − lr·σε once it no longer depends on the start.

    Exact for a quadratic; of a smooth saddle, the linearization.

    Args:
        lr: learning rate of the player.
        curvature: of its loss in its own parameter.
        noise: σ, standard deviation of the noise on the gradient.

    Raises:
        ValueError: |λ| ≥ 1, so that the spread grows without bound.
    """
    not_negative(noise=noise)
    kept = contraction(lr, curvature)
    if not abs(kept) < 1:
        raise Refused(
            f"lr must be below 2/curvature = {2 / curvature:g}; got {lr:g}. Beyond it the spread grows."
        )
    return lr * noise / math.sqrt(1 - kept**2)
