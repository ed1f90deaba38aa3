"""The linear-quadratic GAN: data N(μ, σ²), x = b + az, D(x) = w₁x + w₂x²; equilibrium (±σ, μ, 0, 0).

The smallest game whose equilibrium has both rotation and curvature of the discriminator. As in
``theory.dirac``, ``slope`` is f'(0) and ``curvature`` f''(0): ½ and −¼ for the logistic losses, 1 and 0 for
the Wasserstein loss. Parameters are in the order (a, b, w₁, w₂), at a = σ.

Source: Nagarajan and Kolter 2017, arXiv:1706.04156, theorem 3.1.
"""

import numpy as np

from saddle.theory.dirac import CURVATURE, SLOPE
from saddle.theory.domain import positive


def second_moments(mu: float, sigma: float) -> np.ndarray:
    """E[(x, x²)(x, x²)ᵀ] for x ~ N(μ, σ²): [[μ² + σ², μ³ + 3μσ²], [·, μ⁴ + 6μ²σ² + 3σ⁴]]."""
    positive(sigma=sigma)
    second, third = mu**2 + sigma**2, mu**3 + 3 * mu * sigma**2
    return np.array([[second, third], [third, mu**4 + 6 * mu**2 * sigma**2 + 3 * sigma**4]])


def covariance(mu: float, sigma: float) -> np.ndarray:
    """Cov(x, x²) for x ~ N(μ, σ²): [[σ², 2μσ²], [·, 4μ²σ² + 2σ⁴]]."""
    positive(sigma=sigma)
    mixed = 2 * mu * sigma**2
    return np.array([[sigma**2, mixed], [mixed, 4 * mu**2 * sigma**2 + 2 * sigma**4]])


def field_jacobian(mu: float, sigma: float, slope: float = SLOPE, curvature: float = CURVATURE) -> np.ndarray:
    """[[0, B], [−Bᵀ, 2f''(0)·M]], shape (4, 4): Jacobian of the vector field at the equilibrium.

    B = f'(0)·∂²E[D]/∂(a, b)∂w = f'(0)·[[0, 2σ], [1, 2μ]] since E[x] = b and E[x²] = a² + b²;
    M = ``second_moments``, once for the real and once for the generated samples. Each loss but the
    relativistic ones. (This D is high on real samples; the paper's is too.)
    """
    return _jacobian(mu, sigma, slope, 2 * curvature * second_moments(mu, sigma))


def relativistic_field_jacobian(
    mu: float, sigma: float, slope: float = SLOPE, curvature: float = CURVATURE
) -> np.ndarray:
    """The same for a relativistic loss, with ``covariance`` in the place of ``second_moments``.

    Derived: f''(0)·E[(D(x) − D(x'))²] over independent pairs is 2f''(0)·Var D, so constants do not count.
    """
    return _jacobian(mu, sigma, slope, 2 * curvature * covariance(mu, sigma))


def _jacobian(mu: float, sigma: float, slope: float, of_discriminator: np.ndarray) -> np.ndarray:
    cross = slope * np.array([[0.0, 2 * sigma], [1.0, 2 * mu]])
    return np.block([[np.zeros((2, 2)), cross], [-cross.T, of_discriminator]])
