"""The bilinear game min_x max_y σxy under every dynamics: eigenvalues, stability limits, best strides.

s = ησ, the learning rate times the coupling. A game xᵀMy of any dimension is one of these for each singular
value σ of M. What a method makes of the pair (x, y) in one round is most often a polynomial p of the turn
[[0, −s], [s, 0]], with the eigenvalues p(±is); of each conjugate pair one is given.

The limits of the families (consensus, unrolled, Nagarajan-Kolter, momentum) are derived: |λ| < 1 for both
roots of λ² − Tλ + d iff d < 1 and |T| < 1 + d.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq, minimize_scalar

from saddle.game.refusals import Refused
from saddle.theory.domain import at_least, not_negative, positive
from saddle.theory.stability import quadratic_roots

Eigenvalues = Callable[[float], tuple[complex, ...]]


@dataclass(frozen=True)
class Method:
    """How a dynamics acts on the bilinear game.

    Args:
        eigenvalues: s -> eigenvalues of ``num_rounds`` rounds.
        stable_below: the s up to which the radius is at most 1; 0: it grows at any s, inf: at none.
        best: the s with the smallest radius; inf: the larger the better; nan: none contracts.
        num_rounds: after how many rounds the eigenvalues are taken.
    """

    eigenvalues: Eigenvalues
    stable_below: float
    best: float
    num_rounds: int = 1

    def radius(self, s: float) -> float:
        """By how much one round stretches the distance to the equilibrium, in the long run, at s = ησ."""
        not_negative(s=s)
        return max(abs(value) for value in self.eigenvalues(s)) ** (1 / self.num_rounds)


def _never(eigenvalues: Eigenvalues) -> Method:
    return Method(eigenvalues, 0.0, math.nan)


SIMULTANEOUS = _never(lambda s: (1 + 1j * s,))
"""|λ| = √(1 + s²): grows at any s. Source: Mescheder et al. 2017, arXiv:1705.10461."""

ALTERNATING = Method(lambda s: quadratic_roots(2 - s**2, 1), 2.0, math.nan)
"""λ² − (2 − s²)λ + 1 = 0: |λ| = 1, a closed orbit, for s ≤ 2. Source: Gidel et al. 2019, arXiv:1807.04740."""

EXTRAGRADIENT = Method(lambda s: (1 + 1j * s - s**2,), 1.0, 1 / math.sqrt(2))
"""|λ|² = 1 − s² + s⁴, at best √¾. Source: Gidel et al. 2019, arXiv:1802.10551."""

LINEARIZED_CGD = EXTRAGRADIENT
"""Linearized competitive gradient descent: ξ − ηJ_off ξ has the eigenvalues of extragradient here.

Source: Schaefer and Anandkumar 2019, arXiv:1905.12103."""

OPTIMISTIC = Method(lambda s: quadratic_roots(1 - 2j * s, -1j * s), 1 / math.sqrt(3), 0.5)
"""λ² − (1 − 2is)λ − is = 0, at best 1/√2, a double root. Also of extragradient from the past.

Sources: Daskalakis et al. 2018, arXiv:1711.00141; Gidel et al. 2019, arXiv:1802.10551; limit derived."""

COMPETITIVE = Method(lambda s: (1 / (1 - 1j * s),), math.inf, math.inf)
"""|λ| = (1 + s²)^{−½}: competitive gradient descent, which is the implicit (proximal point) step here.

Source: Schaefer and Anandkumar 2019, arXiv:1905.12103, sec. 2."""

RUNGE_KUTTA2 = _never(lambda s: (1 + 1j * s + (1j * s) ** 2 / 2,))
"""|λ|² = 1 + s⁴/4: grows at any s. Source: Qin et al. 2020, arXiv:2010.15040."""

RUNGE_KUTTA4 = Method(
    lambda s: (sum(((1j * s) ** power / math.factorial(power) for power in range(5)), start=0j),),
    2 * math.sqrt(2),
    math.sqrt(6),
)
"""|λ|² = 1 − s⁶/72 + s⁸/576, at best ½. Source: Qin et al. 2020, arXiv:2010.15040."""


def consensus(gamma: float, sigma: float = 1.0) -> Method:
    """λ = 1 − ηγσ² ± is = 1 − gs ± is, g = γσ: stable for s < 2g/(1 + g²), at best (1 + g²)^{−½}.

    Also symplectic gradient adjustment with λ = γ. Sources: Mescheder et al. 2017, arXiv:1705.10461;
    Balduzzi et al. 2018, arXiv:1802.05642.
    """
    positive(gamma=gamma, sigma=sigma)
    g = gamma * sigma
    return Method(lambda s: (1 - g * s + 1j * s,), 2 * g / (1 + g**2), g / (1 + g**2))


def unrolled(k: int) -> Method:
    """Eigenvalues of [[1 − 2ks², −s], [s, 1]]: k discriminator steps unrolled, both players at once.

    Stable for s < 2/√(4k − 1); at best 1 − 1/k at s = 1/k, where the roots meet. k = 0 is simultaneous
    descent. Source: Metz et al. 2017, arXiv:1611.02163, eqs. 6-11.
    """
    at_least(0, k=k)
    if k == 0:
        return SIMULTANEOUS
    return Method(
        lambda s: quadratic_roots(2 - 2 * k * s**2, 1 - (2 * k - 1) * s**2),
        2 / math.sqrt(4 * k - 1),
        1 / k,
    )


def nagarajan_kolter(eta: float, sigma: float = 1.0) -> Method:
    """Eigenvalues of [[1 − cs, −s], [s, 1]], c = 2·eta·σ: the generator's loss has eta·‖∇_ψL_D‖² added.

    Stable for s < c if c ≤ 2, else for s < c − √(c² − 4); at best √(1 − c²/4) at s = c/2, or √(1 − 4/c²) at
    s = 2/c. Source: Nagarajan and Kolter 2017, arXiv:1706.04156, sec. 4.
    """
    positive(eta=eta, sigma=sigma)
    c = 2 * eta * sigma
    limit, best = (c, c / 2) if c <= 2 else (4 / (c + math.sqrt(c**2 - 4)), 2 / c)
    return Method(lambda s: quadratic_roots(2 - c * s, 1 - c * s + s**2), limit, best)


def momentum_simultaneous(beta: float) -> Method:
    """λ² − (1 + β + is)λ + β = 0: heavy-ball descent of both players at once grows at any s, for any β.

    Source: Gidel et al. 2019, arXiv:1807.04740.
    """
    _must_be_momentum(beta)
    return _never(lambda s: quadratic_roots(1 + beta + 1j * s, beta))


def momentum_alternating(beta: float) -> Method:
    """(λ − 1)²(λ − β)² + s²λ³ = 0: heavy-ball descent of one player after the other.

    For β < 0 it contracts up to s = 2(1 + β), where λ = −1 is a root: so negative momentum helps. For
    β > 0 it grows at any s. The best s is found numerically, to 1e-8. β = 0 is ``ALTERNATING``.
    Source: Gidel et al. 2019, arXiv:1807.04740.
    """
    _must_be_momentum(beta)
    if beta == 0:
        return ALTERNATING
    square = np.polymul([1, -1 - beta, beta], [1, -1 - beta, beta])

    def eigenvalues(s: float) -> tuple[complex, ...]:
        return tuple(complex(root) for root in np.roots(np.polyadd(square, [s**2, 0, 0, 0])))

    if beta > 0:
        return _never(eigenvalues)
    limit = 2 * (1 + beta)
    return Method(eigenvalues, limit, _best(eigenvalues, limit))


def lookahead(inner: Method, k: int, alpha: float) -> Method:
    """1 − α + αλᵏ for each eigenvalue λ of ``inner``: pulled back every k rounds. The radius is per round.

    Holds for an inner method without memory (not for momentum or the optimistic ones: the pull leaves their
    memory alone). Around ``SIMULTANEOUS`` it is stable for small s iff α < 1 − 1/k. The limit and the best s
    are found numerically, to 1e-12 and 1e-8. Source: Chavdarova et al. 2021, arXiv:2006.14567.
    """
    at_least(1, k=k)
    if not 0 < alpha <= 1:
        raise Refused(f"alpha must lie in (0, 1]; got {alpha:g}. 0.5 is usual.")

    def eigenvalues(s: float) -> tuple[complex, ...]:
        return tuple(1 - alpha + alpha * value**k for value in inner.eigenvalues(s))

    limit = first_exit(eigenvalues)
    best = _best(eigenvalues, limit) if 0 < limit < math.inf else (math.nan if limit == 0 else math.inf)
    return Method(eigenvalues, limit, best, k * inner.num_rounds)


def alternating_invariant(x: float, y: float, s: float) -> float:
    """x² + y² − sxy: conserved by alternating descent, L_D = σxy = −L_G, y moving first, for any s.

    Its level sets are ellipses for s < 2. Derived: symplectic Euler's modified energy.
    """
    return x**2 + y**2 - s * x * y


def first_exit(eigenvalues: Eigenvalues, up_to: float = 8.0, resolution: float = 1e-3) -> float:
    """The smallest s beyond which some |λ| exceeds 1, to 1e-12; 0 if at once, inf if not below ``up_to``.

    A passage above 1 narrower than ``resolution`` is missed.
    """

    def excess(s: float) -> float:
        return max(abs(value) for value in eigenvalues(s)) - 1

    before = resolution
    if excess(before) > 0:
        return 0.0
    for s in np.arange(2, int(up_to / resolution) + 1) * resolution:
        if excess(s) > 1e-12:  # round-off where |λ| = 1 all along
            return float(brentq(excess, before, s, xtol=1e-13)) if excess(before) < 0 else before
        before = float(s)
    return math.inf


def _best(eigenvalues: Eigenvalues, limit: float) -> float:
    def radius(s: float) -> float:
        return max(abs(value) for value in eigenvalues(s))

    grid = np.linspace(0, limit, 401)
    index = int(np.argmin([radius(s) for s in grid]))
    around = (grid[max(index - 1, 0)], grid[min(index + 1, len(grid) - 1)])
    return float(minimize_scalar(radius, bounds=around, method="bounded", options={"xatol": 1e-10}).x)


def _must_be_momentum(beta: float) -> None:
    if not -1 < beta < 1:
        raise Refused(f"beta must lie in (-1, 1); got {beta:g}. Choose a value in that range.")
