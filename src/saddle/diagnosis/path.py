"""What the path of training says: angles along a segment, projections, autocorrelation.

Points are players, or vectors of both players' parameters; nothing here knows how they were trained.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from saddle.game.game import Batch, Game, Players
from saddle.game.refusals import Refused


class Path(NamedTuple):
    """The game's gradient ξ along the line ω_α = ω₀ + α(ω₁ − ω₀)."""

    alphas: Tensor  # (m,)
    angles: Tensor  # (m,), cosine of the angle between ω₁ − ω₀ and ξ(ω_α); NaN where ξ is 0
    norms: Tensor  # (m,), ‖ξ(ω_α)‖


def path_angle(
    game: Game, first: Players, last: Players, batches: Sequence[Batch], alphas: Tensor | None = None
) -> Path:
    """c(α) = ⟨ω₁ − ω₀, ξ(ω_α)⟩ / ‖ω₁ − ω₀‖‖ξ(ω_α)‖ and the path norm ‖ξ(ω_α)‖, ω₀ ``first``, ω₁ ``last``.

    With ω₁ near a stationary point: c jumps from −1 to 1 at α = 1 where the gradient attracts, is a bump
    of one sign around α = 1 where it rotates, and both at once where it spirals. The sign is for the
    *gradient*, which is descended; the authors' code uses ω₀ − ω₁ and so prints −c.

    Args:
        batches: ξ is the mean over them; the same along the whole path.
        alphas: where to look; None: 100 points from −0.1 to 1.1, as the authors do.

    Raises:
        ValueError: no batch, or the two points are the same.

    Source: Berard et al. 2020, arXiv:1906.04848, and the authors' code.
    """
    if not batches:
        raise Refused("the game's gradient is a mean over at least one batch; got none. Draw some.")
    difference = torch.cat(last) - torch.cat(first)
    length = difference.norm()
    if not length > 0:
        raise Refused(
            "a path must lead from one point to another; got the same point twice. Take an earlier "
            "checkpoint as the first."
        )
    like = first.generator
    alphas = (
        torch.linspace(-0.1, 1.1, 100, dtype=like.dtype, device=like.device) if alphas is None else alphas
    )
    angles, norms = [], []
    for alpha in alphas:
        at = Players(*(start + alpha * (end - start) for start, end in zip(first, last, strict=True)))
        gradient = torch.stack([torch.cat(game.gradients(at, batch)[0]) for batch in batches]).mean(0)
        norms.append(gradient.norm())
        angles.append(difference @ gradient / (length * gradient.norm()))
    return Path(alphas, torch.stack(angles), torch.stack(norms))


class Projection(NamedTuple):
    """A trajectory in the plane in which it moves most."""

    coordinates: Tensor  # (T, k)
    explained: Tensor  # (k,), share of the trajectory's variance along each axis
    axes: Tensor  # (k, n), orthonormal rows; the largest entry of each is positive
    mean: Tensor  # (n,)


def project(trajectory: Tensor, num_axes: int = 2) -> Projection:
    """Principal components of the points of a trajectory, by SVD of the centred (T, n) matrix.

    Components of a random walk in many dimensions are cosines of the time, the first with 6/π² = 61 % of
    the variance: a parabola in this plane is no sign of structure (Antognini and Sohl-Dickstein 2018,
    arXiv:1806.08805).

    Raises:
        ValueError: fewer than ``num_axes`` + 1 points or numbers a point than axes, or all points are equal.
    """
    num_points, num = trajectory.shape
    if num_points <= num_axes or num < num_axes:
        raise Refused(
            f"{num_axes} axes need at least {num_axes + 1} points of {num_axes} numbers; got {num_points} "
            f"of {num}. Record more points, or ask for fewer axes."
        )
    mean = trajectory.mean(0)
    left, singular, axes = torch.linalg.svd(trajectory - mean, full_matrices=False)
    total = singular.square().sum()
    if not total > 0:
        raise Refused("a trajectory must move to be projected; got equal points. Record it for longer.")
    largest = axes.gather(1, axes.abs().argmax(1, keepdim=True))  # (·, 1)
    sign = torch.where(largest < 0, -1.0, 1.0)[:num_axes]
    coordinates = left[:, :num_axes] * singular[:num_axes] * sign[:, 0]
    return Projection(coordinates, singular[:num_axes].square() / total, axes[:num_axes] * sign, mean)


def autocorrelation(series: Tensor, max_lag: int) -> Tensor:
    """ρ(k) = Σ⟨xₜ, xₜ₊ₖ⟩ / √(Σ‖xₜ‖² Σ‖xₜ₊ₖ‖²), the sums over t = 0 … T−1−k; k = 0 … max_lag.

    A spiral or circle that turns by φ a step has ρ(k) = cos(kφ) exactly, however fast it grows or shrinks;
    independent noise has ρ(k) ≈ 0, and a steady drift 1. Of the updates of a trajectory take
    ``trajectory.diff(dim=0)``, of its points ``trajectory - trajectory.mean(0)``.

    Args:
        series: (T, n), one vector a step, or (T,).
        max_lag: below T.

    Raises:
        ValueError: max_lag out of range, or the series is 0 for too long to have an autocorrelation.
    """
    series = series.reshape(len(series), -1)
    if not 0 <= max_lag < len(series):
        raise Refused(
            f"max_lag must lie between 0 and T − 1 = {len(series) - 1}; got {max_lag}. Record more steps, or "
            "ask for shorter lags."
        )
    products = series @ series.T  # (T, T)
    sizes = products.diagonal()
    total = torch.stack([products.diagonal(lag).sum() for lag in range(max_lag + 1)])
    num = len(series)
    scale = torch.stack([sizes[: num - lag].sum() * sizes[lag:].sum() for lag in range(max_lag + 1)]).sqrt()
    if not (scale > 0).all():
        raise Refused(
            "a series must not be 0 throughout to have an autocorrelation; got one that is 0 for at least "
            f"{num - max_lag} steps at an end. Ask for shorter lags."
        )
    return total / scale
