"""What one step of size h, ω' = ω + h·v(ω), makes of the field's eigenvalues at an equilibrium.

An eigenvalue λ of the field becomes 1 + hλ, so the step contracts iff |1 + hλ| < 1, which is
h < 2|Re λ|/|λ|² for Re λ < 0. Source: Mescheder et al. 2017, arXiv:1705.10461, lemma 4.
"""

from collections.abc import Iterable
from itertools import combinations

import numpy as np

from saddle.game.refusals import Refused


def euler_radius(eigenvalues: Iterable[complex], h: float) -> float:
    """max |1 + hλ|: by how much the slowest direction shrinks (or grows) in one step."""
    return max(abs(1 + h * value) for value in eigenvalues)


def largest_stable_step(eigenvalues: Iterable[complex]) -> float:
    """min 2|Re λ|/|λ|²: below it every direction contracts. 0 if a real part is not negative: none does."""
    return max(0.0, min(-2 * value.real / abs(value) ** 2 if value else 0.0 for value in eigenvalues))


def fastest_step(eigenvalues: Iterable[complex]) -> tuple[float, float]:
    """The step h with the smallest ``euler_radius``, and that radius.

    Derived: max |1 + hλ|² is the largest of parabolas in h, so its minimum is at a parabola's own minimum,
    −Re λ/|λ|², or where two of them cross, −2(Re λ − Re μ)/(|λ|² − |μ|²).

    Raises:
        ValueError: a real part is not negative, so that no step contracts.
    """
    values = [complex(value) for value in eigenvalues]
    if largest_stable_step(values) == 0:
        raise Refused(
            f"every eigenvalue must have a negative real part; got {values}. No step contracts such a field."
        )
    candidates = [-value.real / abs(value) ** 2 for value in values]
    for one, other in combinations(values, 2):
        apart = abs(one) ** 2 - abs(other) ** 2
        if abs(apart) > 1e-12 * abs(one) ** 2:  # else one parabola is nowhere below the other, or they agree
            candidates.append(-2 * (one.real - other.real) / apart)
    best = min((h for h in candidates if h > 0), key=lambda h: euler_radius(values, h))
    return best, euler_radius(values, best)


def quadratic_roots(total: complex, product: complex) -> tuple[complex, complex]:
    """Both λ with λ² − total·λ + product = 0, that is of a 2×2 matrix with this trace and determinant."""
    root = complex(np.sqrt(complex(total) ** 2 / 4 - product))
    return total / 2 - root, total / 2 + root
