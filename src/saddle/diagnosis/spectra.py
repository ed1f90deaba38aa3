"""Spectra of linearized games: eigenvalues, singular values, rotation, and the largest stable step.

Dense for small games; otherwise ``leading_eigenvalues`` (Arnoldi), ``leading_singular_values`` (Lanczos on
JᵀJ) and ``antisymmetric_share``, which only multiply by J and Jᵀ. The maps are made by ``linearize``.
"""

import math
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

import numpy as np
import torch
from scipy.sparse.linalg import ArpackError, LinearOperator, eigs, svds
from torch import Tensor

from saddle.diagnosis.linearize import MAX_DENSE, Map, jacobian, products
from saddle.game.refusals import Refused

LOOSE = 0.1  # the tolerance at which a failed iteration is asked how far it came


class NotConverged(RuntimeError):
    """An iteration ended before its values could be trusted; the message holds their residuals."""


def eigenvalues(at: Map, max_size: int = MAX_DENSE) -> Tensor:
    """All n eigenvalues of J, complex, largest modulus first; conjugate pairs stay together.

    Of a defective J they are only good to √eps. Raises: as ``jacobian``.
    """
    values = torch.linalg.eigvals(jacobian(at, max_size)).cpu()
    return values[_order(values)]


class Leading(NamedTuple):
    """Leading eigenvalues or singular values, largest modulus first, with an estimate of their error."""

    values: Tensor  # (k,), on the CPU
    residuals: Tensor  # (k,): ‖Ju − λu‖/|λ|, u a unit vector; for singular values see there
    num_products: int  # with J or Jᵀ


def leading_eigenvalues(
    at: Map,
    num: int = 10,
    tolerance: float | None = None,
    num_vectors: int | None = None,
    max_restarts: int = 100,
    seed: int = 0,
) -> Leading:
    """The eigenvalues of J of largest modulus, by implicitly restarted Arnoldi (ARPACK), matrix-free.

    Residuals are computed afterwards from J itself. A residual r bounds the error of a simple eigenvalue by
    r·|λ| times its condition number. A copy of a multiple eigenvalue can be missed. Eigenvalues that differ
    little in modulus converge slowly: those of a round of training crowd at 1 when its step is small, so
    take the gradient's there, λ ↦ 1 − ηλ for plain descent.

    Args:
        num: k; one more is returned where a conjugate pair would be cut.
        tolerance: largest residual. None: 1e-8 in float64 and 1e-3 in float32.
        num_vectors: kept between restarts, n numbers each; None: 4k, at least 40.
        max_restarts: each costs num_vectors − k products or fewer.
        seed: of the vector to start from.

    Raises:
        NotConverged: a residual stayed above the tolerance.
        ValueError: fewer than k + 2 numbers, or a product is not finite.

    Source: Lehoucq, Sorensen and Yang 1998, ARPACK Users' Guide.
    """
    size = len(at.point)
    _must_fit(num, size, "eigenvalues")
    tolerance = _default_tolerance(at) if tolerance is None else tolerance
    counted = _Counted(at)
    options = {
        "k": num,
        "ncv": min(size, num_vectors or max(4 * num, 40)),
        "maxiter": max_restarts,
        "v0": np.random.default_rng(seed).standard_normal(size),
    }

    def solve(tol: float) -> Found:
        values, vectors = eigs(counted.operator, which="LM", tol=tol, **options)
        residuals = []
        for value, vector in zip(values, vectors.T, strict=True):
            image = counted.forward(vector.real) + (1j * counted.forward(vector.imag) if value.imag else 0)
            residuals.append(np.linalg.norm(image - value * vector) / np.linalg.norm(vector) / abs(value))
        return torch.from_numpy(values), torch.tensor(residuals, dtype=torch.float64)

    values, residuals = _converged(solve, tolerance, num, counted, max_restarts)
    cut = ~torch.isclose(values[:, None], values.conj()).any(1)  # its conjugate was beyond the k-th
    values, residuals = torch.cat([values, values[cut].conj()]), torch.cat([residuals, residuals[cut]])
    return _sorted(values, residuals, counted)


def leading_singular_values(
    at: Map, num: int = 10, tolerance: float | None = None, max_restarts: int = 100, seed: int = 0
) -> Leading:
    """The largest singular values σ of J, matrix-free: Lanczos on JᵀJ (ARPACK).

    Residuals are max(‖Jv − σu‖, ‖Jᵀu − σv‖)/σ, computed afterwards; there is a singular value of J within
    that relative distance. Arguments and errors as for ``leading_eigenvalues``.
    """
    size = len(at.point)
    _must_fit(num, size, "singular values")
    tolerance = _default_tolerance(at) if tolerance is None else tolerance
    counted = _Counted(at)
    start = np.random.default_rng(seed).standard_normal(size)

    def solve(tol: float) -> Found:
        left, values, right = svds(
            counted.operator, num, tol=tol, maxiter=max_restarts, v0=start, solver="arpack"
        )
        residuals = [
            max(
                np.linalg.norm(counted.forward(v) - value * u),
                np.linalg.norm(counted.transposed(u) - value * v),
            )
            / value
            for u, value, v in zip(left.T, values, right, strict=True)
        ]
        return torch.from_numpy(values.copy()), torch.tensor(np.array(residuals), dtype=torch.float64)

    return _sorted(*_converged(solve, tolerance, num, counted, max_restarts), counted)


class _Counted:
    """J as a float64 operator on NumPy vectors, counting its products."""

    def __init__(self, at: Map) -> None:
        self._products, self._like, self.num = products(at), at.point, 0
        shape = (len(at.point), len(at.point))
        self.operator = LinearOperator(shape, self.forward, self.transposed, dtype=np.float64)

    def _apply(self, product: Callable[[Tensor], Tensor], vector: np.ndarray) -> np.ndarray:
        self.num += 1
        given = torch.as_tensor(np.ascontiguousarray(vector.reshape(-1))).to(self._like)
        return product(given).detach().double().cpu().numpy()

    def forward(self, vector: np.ndarray) -> np.ndarray:
        return self._apply(self._products.forward, vector)

    def transposed(self, vector: np.ndarray) -> np.ndarray:
        return self._apply(self._products.transposed, vector)


Found = tuple[Tensor, Tensor]  # values and residuals, (k,) each


def _converged(
    solve: Callable[[float], Found], tolerance: float, num: int, counted: _Counted, max_restarts: int
) -> Found:
    """What ``solve`` finds at the tolerance, or an error that says how far it came."""
    cause = None
    try:
        # ARPACK's own estimate is not the residual of what it returns: ask for more than is needed
        values, residuals = solve(0.1 * tolerance)
        if (residuals <= tolerance).all():
            return values, residuals
    except ArpackError as error:
        cause, residuals = error, torch.empty(0)
        with suppress(ArpackError):
            residuals = solve(LOOSE)[1]  # it returns only what converged, and hides how far the rest came
    listed = ", ".join(f"{value:.1e}" for value in residuals.tolist()) or f"above {LOOSE}"
    raise NotConverged(
        f"{num} values must converge to a relative residual of {tolerance:.1e}; after {counted.num} "
        f"products, {max_restarts} restarts at most, the residuals are: {listed}. Raise max_restarts, ask "
        "for fewer values, compute in float64, or loosen the tolerance."
    ) from cause


def _default_tolerance(at: Map) -> float:
    return 1e-8 if at.point.dtype == torch.float64 else 1e-3


def _must_fit(num: int, size: int, what: str) -> None:
    if not 1 <= num <= size - 2:
        raise Refused(
            f"Arnoldi finds between 1 and n − 2 {what}; got {num} of n = {size}. Take the dense jacobian."
        )


def _order(values: Tensor) -> Tensor:
    """Largest modulus first; rounded for the order only, so that conjugate pairs stay together."""
    array = values.cpu().numpy()
    modulus = np.abs(array)
    relative = (modulus / (modulus.max(initial=0.0) or 1.0)).round(9)
    return torch.from_numpy(np.lexsort((-array.imag, -array.real, -relative)))


def _sorted(values: Tensor, residuals: Tensor, counted: _Counted) -> Leading:
    order = _order(values)
    return Leading(values[order], residuals[order], counted.num)


# ---- what a spectrum says


def largest_stable_step(values: Tensor) -> float:
    """The η below which simultaneous descent contracts: min 2 Re λ/|λ|² over the gradient's eigenvalues.

    0 if an eigenvalue has Re λ ≤ 0 (no step is small enough), infinite if all of them are 0. Given all
    eigenvalues it is exact at an equilibrium. Given leading ones only it is an upper bound: an eigenvalue of
    smaller modulus with Re λ near 0 can ask for a smaller step.

    Args:
        values: of the *gradient's* Jacobian (``game_gradient``); those of the field have the other sign.
            A modulus below 1e-12 of the largest counts as 0, a direction in which nothing moves.

    Source: Mescheder et al. 2017, arXiv:1705.10461, sec. 3 (lemma 4).
    """
    moduli = values.abs()
    values = values[moduli > 1e-12 * moduli.max()] if len(values) else values
    steps = 2 * values.real / values.abs().square()
    return max(0.0, float(steps.min())) if len(steps) else math.inf


class Parts(NamedTuple):
    """J = S + A, S symmetric (potential: what descent resolves), A antisymmetric (rotation)."""

    symmetric: Tensor  # (n, n)
    antisymmetric: Tensor  # (n, n)
    antisymmetric_share: float  # ‖A‖²/‖J‖² in Frobenius norms; the symmetric share is the rest


def parts(matrix: Tensor) -> Parts:
    """(J + Jᵀ)/2 and (J − Jᵀ)/2. Source: Balduzzi et al. 2018, arXiv:1802.05642, sec. 2."""
    symmetric, antisymmetric = (matrix + matrix.T) / 2, (matrix - matrix.T) / 2
    share = antisymmetric.square().sum() / matrix.square().sum()  # ⟨S, A⟩ = 0
    return Parts(symmetric, antisymmetric, float(share))


class Estimate(NamedTuple):
    value: float
    standard_error: float


def antisymmetric_share(at: Map, num_probes: int = 64, seed: int = 0) -> Estimate:
    """‖A‖²/‖J‖² without forming J: E‖Au‖² = ‖A‖² for random signs u. Two products a probe.

    Args:
        num_probes: at least 2; the error falls as its square root.
    """
    if num_probes < 2:
        raise Refused(f"a standard error needs at least 2 probes; got {num_probes}. Ask for more.")
    of_map, draw = products(at), torch.Generator().manual_seed(seed)
    turning, whole = [], []
    for _ in range(num_probes):
        signs = torch.randint(0, 2, at.point.shape, generator=draw).to(at.point) * 2 - 1
        forward, backward = of_map.forward(signs), of_map.transposed(signs)
        turning.append(0.25 * (forward - backward).square().sum())  # ‖Au‖²
        whole.append(0.5 * (forward.square().sum() + backward.square().sum()))  # ‖Au‖² + ‖Su‖²
    turn, all_of_it = torch.stack(turning), torch.stack(whole)
    share = turn.mean() / all_of_it.mean()
    error = (turn - share * all_of_it).std() / all_of_it.mean() / num_probes**0.5  # of a ratio
    return Estimate(float(share), float(error))
