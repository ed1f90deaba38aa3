"""Duality gaps of games whose best responses are known: max_y' f(x, y') − min_x' f(x', y).

x minimises f and y maximises it. A gap is never negative, and 0 exactly at an equilibrium. All derived, by
putting in the best responses.
"""

import numpy as np
from numpy.typing import ArrayLike

from saddle.game.refusals import Refused
from saddle.theory.domain import positive


def quadratic_gap(x: ArrayLike, y: ArrayLike, a: ArrayLike, b: ArrayLike, c: ArrayLike) -> float:
    """½xᵀ(A + BC⁻¹Bᵀ)x + ½yᵀ(C + BᵀA⁻¹B)y, of f = ½xᵀAx + xᵀBy − ½yᵀCy.

    For numbers: x²(a/2 + b²/2c) + y²(c/2 + b²/2a). The responses are y' = C⁻¹Bᵀx and x' = −A⁻¹By.

    Args:
        x: (n,) or a number.
        y: (m,) or a number.
        a: A, (n, n), symmetric and positive definite.
        b: B, (n, m).
        c: C, (m, m), symmetric and positive definite.

    Raises:
        ValueError: A or C is not positive definite: a player without a best response.
    """
    x, y = np.atleast_1d(np.asarray(x, float)), np.atleast_1d(np.asarray(y, float))
    a, b, c = (np.atleast_2d(np.asarray(matrix, float)) for matrix in (a, b, c))
    for name, matrix in (("a", a), ("c", c)):
        lowest = float(np.linalg.eigvalsh((matrix + matrix.T) / 2)[0])
        if not (np.array_equal(matrix, matrix.T) and lowest > 0):
            raise Refused(
                f"{name} must be symmetric and positive definite; got smallest eigenvalue {lowest:g} of its "
                "symmetric part. Without that a player has no best response; bound it, as in bilinear_gap."
            )
    of_x = x @ (a + b @ np.linalg.solve(c, b.T)) @ x
    of_y = y @ (c + b.T @ np.linalg.solve(a, b)) @ y
    return float(0.5 * (of_x + of_y))


def bilinear_gap(x: ArrayLike, y: ArrayLike, matrix: ArrayLike, radius: float = 1.0) -> float:
    """R(‖Aᵀx‖ + ‖Ay‖), of f = xᵀAy with both players held in balls of radius R around 0.

    Raises:
        ValueError: R is not positive, or a player is outside its ball.
    """
    positive(radius=radius)
    x, y = np.atleast_1d(np.asarray(x, float)), np.atleast_1d(np.asarray(y, float))
    for name, player in (("x", x), ("y", y)):
        if np.linalg.norm(player) > radius * (1 + 1e-12):
            raise Refused(
                f"{name} must lie within radius {radius:g} of 0; got norm {np.linalg.norm(player):g}. Give a "
                "larger radius."
            )
    a = np.atleast_2d(np.asarray(matrix, float))
    return float(radius * (np.linalg.norm(a.T @ x) + np.linalg.norm(a @ y)))


def matrix_game_gap(x: ArrayLike, y: ArrayLike, matrix: ArrayLike) -> float:
    """max(Aᵀx) − min(Ay), of f = xᵀAy with mixed strategies: x pays y, both are probabilities.

    Raises:
        ValueError: x or y is no probability vector.
    """
    x, y = np.asarray(x, float), np.asarray(y, float)
    for name, player in (("x", x), ("y", y)):
        if player.min() < 0 or abs(player.sum() - 1) > 1e-9:
            raise Refused(f"{name} must be probabilities that sum to 1; got {player.tolist()}. Rescale them.")
    a = np.asarray(matrix, float)
    return float((a.T @ x).max() - (a @ y).min())
