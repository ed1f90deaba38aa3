"""What a generator does to its latents: how unevenly it stretches them, how smoothly it moves.

``generator`` is a function of latents (B, n) -> samples (B, *event), its parameters bound and each sample
depending on its own latent alone: what ``Sampler.module`` returns, with standing statistics.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import jacfwd, vmap

from saddle.game import randomness
from saddle.game.refusals import Refused
from saddle.metrics.values import Value, metric

Map = Callable[[Tensor], Tensor]


@metric({"log_condition": Value(), "log_condition_std": Value()})
def log_condition_number(generator: Map, latents: Tensor, *, batch_size: int = 8) -> dict[str, float]:
    """log κ(JᵀJ) = 2·log(σ₁/σₙ) of the generator's Jacobian J = ∂x/∂z, over latents.

    Args:
        generator: latents (B, n) -> samples (B, *event).
        latents: (N, n), drawn as in training.
        batch_size: Jacobians held at once.

    Returns:
        "log_condition", the mean over latents, and "log_condition_std". 0 for an isometry up to scale,
        smaller is better conditioned; runs with a large one tend to have lost modes. A direction that is not
        stretched at all, and a constant generator, count as stretched by the precision of the numbers.

    Source: Odena et al. 2018, arXiv:1802.08768, sec. 2.
    """

    def one(latent: Tensor) -> Tensor:
        return generator(latent[None])[0].flatten()

    values = []
    for some in latents.split(batch_size):
        jacobians = vmap(jacfwd(one))(some).detach()  # (B, D, n)
        stretch = torch.linalg.svdvals(jacobians.to(torch.float64))
        if stretch.shape[1] < latents.shape[1]:  # fewer outputs than latents: some directions are lost
            stretch = torch.nn.functional.pad(stretch, (0, 1))
        least = torch.finfo(jacobians.dtype).eps
        ratio = stretch[:, -1] / torch.where(stretch[:, 0] > 0, stretch[:, 0], 1)
        values.append(-2 * ratio.clamp(min=least).log())
    found = torch.cat(values)
    spread = float(found.std()) if len(found) > 1 else 0.0
    return {"log_condition": float(found.mean()), "log_condition_std": spread}


@metric({"path_length": Value(), "path_length_se": Value()})
@torch.no_grad()
def path_length(
    generator: Map,
    features: Map,
    latents: Tensor,
    *,
    interpolate: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None,
    epsilon: float = 1e-2,
    seed: int = 0,
    batch_size: int = 100,
) -> dict[str, float]:
    """Perceptual path length's form: E[‖φ(G(z_t)) − φ(G(z_{t+ε}))‖²]/ε² along paths between latents.

    As ε → 0, the mean squared speed of the features when the path is run through in unit time.

    Args:
        generator: latents (B, n) -> samples (B, *event).
        features: φ, samples -> (B, d). It must not quantize its input: steps of ε are below a grey level.
        latents: (2N, n): paths lead from each of the first half to one of the second.
        interpolate: (start, end, t (B, 1)) -> latents; ``slerp`` if None, ``torch.lerp`` for uniform latents.
        epsilon: step in t. 1e-4 in the paper, which needs float64 where φ is large.
        seed: of t, uniform on [0, 1 − ε).
        batch_size: paths at once.

    Returns:
        "path_length", smaller is smoother, and "path_length_se", its standard error. In squared feature
        units: of one extractor's scale only.

    Raises:
        ValueError: fewer than four latents, or an odd number.

    Source: Karras et al. 2019, arXiv:1812.04948, eq. 2.
    """
    if len(latents) < 4 or len(latents) % 2:
        raise Refused(
            f"paths must have two ends each and be at least two; got {len(latents)} latents. "
            "Give an even number."
        )
    path = interpolate or slerp
    start, end = latents.chunk(2)
    random = randomness.generator(seed, "path_length")
    times = torch.rand(len(start), 1, generator=random, dtype=torch.float64) * (1 - epsilon)
    times = times.to(latents)
    speeds = []
    for a, b, t in zip(*(x.split(batch_size) for x in (start, end, times)), strict=True):
        here, there = (features(generator(path(a, b, at))) for at in (t, t + epsilon))
        speeds.append(
            (here.to(torch.float64) - there.to(torch.float64)).flatten(1).square().sum(1) / epsilon**2
        )
    found = torch.cat(speeds)
    return {"path_length": float(found.mean()), "path_length_se": float(found.std()) / len(found) ** 0.5}


def slerp(start: Tensor, end: Tensor, t: Tensor) -> Tensor:
    """Along the great circle between directions, lengths interpolated: for Gaussian latents.

    Args:
        start, end: (B, n); opposite ones have no great circle, and parallel ones are joined by a line.
        t: (B, 1) in [0, 1].

    Source: Shoemake 1985, SIGGRAPH 19.
    """
    near, far = (x.norm(dim=1, keepdim=True) for x in (start, end))
    a, b = start / near, end / far
    angle = (a * b).sum(1, keepdim=True).clamp(-1, 1).acos()
    sine = angle.sin()
    straight = sine < 1e-4  # the two formulas agree there to 1e-8
    safe = torch.where(straight, 1, sine)
    first = torch.where(straight, 1 - t, ((1 - t) * angle).sin() / safe)
    second = torch.where(straight, t, (t * angle).sin() / safe)
    return torch.lerp(near, far, t) * (first * a + second * b)
