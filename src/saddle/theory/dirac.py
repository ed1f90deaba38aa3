"""The Dirac-GAN: data δ₀, generator δ_θ, discriminator D(x) = ψx; equilibrium (0, 0).

The game is L(θ, ψ) = f(ψθ) + f(0), θ descends it and ψ ascends it; ``slope`` is f'(0) and ``curvature`` is
f''(0). The logistic losses (minimax, non-saturating, relativistic) have f(t) = −log(1 + e^{−t}), ½ and −¼;
the Wasserstein loss has f(t) = t, 1 and 0. The paper's D is high on *generated* samples. Here, as in
``saddle.game.losses``, it is high on real ones: our ψ is the negative of the paper's, its start (1, 1) is
(1, −1), and its σ(−θψ) is σ(θψ). Eigenvalues do not change.

Source: Mescheder et al. 2018, arXiv:1801.04406, unless a function says otherwise.
"""

import math

from scipy.special import expit, i0

from saddle.game.refusals import Refused
from saddle.theory.domain import at_least, not_negative, positive
from saddle.theory.stability import largest_stable_step, quadratic_roots

SLOPE, CURVATURE = 0.5, -0.25  # f'(0) and f''(0) of the logistic losses

Pair = tuple[complex, complex]

# ---- continuous time: eigenvalues of the field at the equilibrium


def gan_eigenvalues(slope: float = SLOPE) -> Pair:
    """±i·f'(0): minimax, non-saturating and relativistic with ½, Wasserstein with 1. Nothing attracts."""
    positive(slope=slope)
    return -1j * slope, 1j * slope


def instance_noise_eigenvalues(std: float, slope: float = SLOPE, curvature: float = CURVATURE) -> Pair:
    """f''(0)σ² ± √(f''(0)²σ⁴ − f'(0)²), Gaussian noise of this standard deviation on real and generated.

    Attracts for σ > 0 and f''(0) < 0.
    """
    not_negative(std=std)
    positive(slope=slope)
    return quadratic_roots(2 * curvature * std**2, slope**2)


def critical_noise(slope: float = SLOPE, curvature: float = CURVATURE) -> float:
    """σ = √(f'(0)/|f''(0)|), √2 for the logistic losses: from here on no rotation."""
    positive(slope=slope)
    if not curvature < 0:
        raise Refused(
            f"curvature must be below 0; got {curvature:g}. Without it noise does not damp the game."
        )
    return math.sqrt(slope / -curvature)


def gradient_penalty_eigenvalues(gamma: float, slope: float = SLOPE) -> Pair:
    """−γ/2 ± √(γ²/4 − f'(0)²) for R1 or R2, penalty ½γψ². With both, γ is the sum of the two.

    Attracts for every γ > 0.
    """
    not_negative(gamma=gamma)
    positive(slope=slope)
    return quadratic_roots(-gamma, slope**2)


def critical_gamma(slope: float = SLOPE) -> float:
    """γ = 2f'(0), 1 for the logistic losses: from here on no rotation."""
    positive(slope=slope)
    return 2 * slope


def consensus_eigenvalues(gamma: float, slope: float = SLOPE) -> Pair:
    """−γf'(0)² ± i·f'(0): consensus optimization v − γ∇½‖v‖², here v − γJᵀv with J = f'(0)·rotation.

    Attracts for every γ > 0. Source of the method: Mescheder et al. 2017, arXiv:1705.10461.
    """
    not_negative(gamma=gamma)
    positive(slope=slope)
    return -gamma * slope**2 - 1j * slope, -gamma * slope**2 + 1j * slope


# ---- discrete time


def alternating_eigenvalues(
    h: float,
    num_generator_steps: int = 1,
    num_discriminator_steps: int = 1,
    slope: float = SLOPE,
    gamma: float = 0.0,
) -> Pair:
    """Of one round of n_D discriminator steps and n_G generator steps of size h; the order does not matter.

    Without a penalty: 1 − α²/2 ± √((1 − α²/2)² − 1), α = √(n_G n_D)·h·f'(0), of modulus 1 iff α ≤ 2.
    Derived for R1 or R2 of weight γ: with q = 1 − hγ, n_D steps take ψ to
    q^{n_D}ψ + h·f'(0)·S·θ, S = 1 + q + … + q^{n_D − 1}, so the determinant is q^{n_D} and the trace
    1 + q^{n_D} − n_G·S·h²f'(0)².
    """
    at_least(1, num_generator_steps=num_generator_steps, num_discriminator_steps=num_discriminator_steps)
    positive(h=h, slope=slope)
    not_negative(gamma=gamma)
    kept = 1 - h * gamma
    gathered = sum(kept**step for step in range(num_discriminator_steps))
    product = kept**num_discriminator_steps
    return quadratic_roots(1 + product - num_generator_steps * gathered * (h * slope) ** 2, product)


def alternating_step_limit(
    num_generator_steps: int = 1, num_discriminator_steps: int = 1, slope: float = SLOPE
) -> float:
    """2/(√(n_G n_D)·f'(0)): up to this h alternating descent stays on its orbit."""
    at_least(1, num_generator_steps=num_generator_steps, num_discriminator_steps=num_discriminator_steps)
    positive(slope=slope)
    return 2 / (math.sqrt(num_generator_steps * num_discriminator_steps) * slope)


def gradient_penalty_step_limit(gamma: float, slope: float = SLOPE) -> float:
    """The h below which simultaneous descent contracts under R1 or R2 of weight γ.

    γ/f'(0)² while γ ≤ 2f'(0) and the eigenvalues rotate, 4γ for the logistic losses; beyond that
    2/(γ/2 + √(γ²/4 − f'(0)²)), which falls as 2/γ. Derived from ``gradient_penalty_eigenvalues``.
    """
    return largest_stable_step(gradient_penalty_eigenvalues(gamma, slope))


def consensus_step_limit(gamma: float, slope: float = SLOPE) -> float:
    """2γ/(1 + γ²f'(0)²): the same for consensus optimization. Derived from ``consensus_eigenvalues``."""
    return largest_stable_step(consensus_eigenvalues(gamma, slope))


def simultaneous_growth(theta: float, psi: float, h: float) -> float:
    """r²ₖ₊₁/r²ₖ = 1 + h²σ(θψ)², r² = θ² + ψ²: exact for simultaneous descent on the minimax game.

    Derived: the field (σ(θψ)ψ, −σ(θψ)θ) is orthogonal to (θ, ψ) and of length σ(θψ)·r. Above 1 always.
    """
    return 1 + (h * float(expit(theta * psi))) ** 2


# ---- orbits


def orbit_period(radius: float) -> float:
    """2π(1 + I₀(r²/2)): how long the flow of the minimax game takes around its circle of radius r.

    Derived: r is conserved and the angle turns at the rate σ(θψ) = 1/(1 + e^{−½r² sin 2φ}), whose inverse
    integrates to 2π + 2πI₀(r²/2), I₀ the modified Bessel function. 2π/f'(0) = 4π at r = 0.
    """
    not_negative(radius=radius)
    return 2 * math.pi * (1 + float(i0(radius**2 / 2)))


def limit_cycle_radius(h: float) -> float:
    """√(2h): where simultaneous descent with step h settles on the non-saturating game, to first order in h.

    The fixed point of ``averaged_radius``. Within 0.5 % for h ≤ 0.4.
    """
    positive(h=h)
    return math.sqrt(2 * h)


def averaged_radius(time: float, start: float, h: float = 0.0) -> float:
    """Radius of the non-saturating game at a time, averaged over a turn: to first order in h and r².

    Derived: with t = θψ the flow has d(r²)/dt = −2t·tanh(t/2) ≈ −t², whose mean over a circle is −r⁴/8; a
    step of simultaneous descent adds h²r²/4. So u = r² obeys u' = −u²/8 + hu/4, and
    u(t) = 2h/(1 + (2h/u₀ − 1)e^{−ht/4}); for h = 0 (the flow, and alternating descent)
    r(t) = (r₀⁻² + t/8)^{−½}, slower than any exponential.

    Args:
        time: t = h times the number of steps.
        start: r₀, well below 1 for a good approximation.
        h: step of simultaneous descent, or 0.
    """
    not_negative(time=time, h=h)
    positive(start=start)
    # (1 − e^{−ht/4})/(2h), whose limit at h = 0 is t/8
    fed = time / 8 if h == 0 else -math.expm1(-h * time / 4) / (2 * h)
    return 1 / math.sqrt(math.exp(-h * time / 4) / start**2 + fed)
