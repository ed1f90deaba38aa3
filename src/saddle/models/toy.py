"""Players of games small enough to solve: the Dirac-GAN, bilinear games, the linear-quadratic GAN.

With the Wasserstein loss and data at the origin a ``Point`` against ``Linear`` or ``Bilinear`` is a bilinear
game; with a logistic loss in one dimension it is the Dirac-GAN. Their solutions are in ``saddle.theory``.

The papers count D's logits the other way round, as high on generated samples: their ψ is the negative of
ours, so their usual start θ = ψ = 1 is θ = 1, ψ = −1 here.

Raises (all): ValueError if a number is not finite.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from saddle.game.ranges import FINITE, require
from saddle.game.refusals import Refused

Numbers = float | Sequence[float] | Sequence[Sequence[float]] | Tensor


def _finite(name: str, given: Numbers) -> Tensor:
    try:
        values = given if isinstance(given, Tensor) else torch.tensor(given)
    except (TypeError, ValueError, RuntimeError) as error:
        raise Refused(
            f"{name} must be a number or a list of numbers, rows of equal length; got {given!r}. Give such."
        ) from error
    if not values.isfinite().all():
        raise Refused(f"{name} must be finite; got {values.tolist()}. Choose other numbers.")
    return values


def _parameter(name: str, start: Numbers) -> nn.Parameter:
    given = _finite(name, start).clone()
    values = given.to(torch.get_default_dtype())  # whole numbers too
    return nn.Parameter(values.reshape(1) if values.ndim == 0 else values)


class Point(nn.Module):
    """The generator that sends every latent to θ. Source: Mescheder et al. 2018, arXiv:1801.04406.

    Args:
        theta: where it starts: a number, or one for each axis of an event.
    """

    def __init__(self, theta: Numbers) -> None:
        super().__init__()
        self.theta = _parameter("theta", theta)

    def forward(self, latents: Tensor) -> Tensor:
        return self.theta.expand(len(latents), *self.theta.shape)


class Linear(nn.Module):
    """D(x) = scale · Σ ψx, for samples of the shape of ψ: points (d,), or images (C, H, W).

    Args:
        psi: where it starts, in the shape of an event; a number for points on the line.
        scale: the coupling; the equilibrium's f'(0) is multiplied by it.
    """

    def __init__(self, psi: Numbers, scale: float = 1.0) -> None:
        super().__init__()
        self.psi = _parameter("psi", psi)
        require("scale", scale, FINITE, "1 is usual.")
        self.scale = scale

    def forward(self, samples: Tensor) -> Tensor:
        return self.scale * (samples * self.psi).flatten(1).sum(1)


class Bilinear(nn.Module):
    """D(x) = ψᵀMx: every singular value of M is one rotation of the game.

    Args:
        psi: where it starts, (m,).
        matrix: M, (m, n), for points (n,). It is no parameter.

    Raises:
        ValueError: M is not a matrix with a row for each number of ψ.
    """

    matrix: Tensor

    def __init__(self, psi: Numbers, matrix: Numbers) -> None:
        super().__init__()
        self.psi = _parameter("psi", psi)
        given = _finite("matrix", matrix)
        if given.ndim != 2 or given.shape[:1] != self.psi.shape:
            raise Refused(
                f"matrix must have a row for each of psi's {tuple(self.psi.shape)} numbers; got shape "
                f"{tuple(given.shape)}. Give a list of rows, each as long as a point."
            )
        self.register_buffer("matrix", given.to(self.psi.dtype), persistent=False)

    def forward(self, samples: Tensor) -> Tensor:
        return samples @ (self.psi @ self.matrix.to(self.psi))  # which may be bound in another precision


class Affine(nn.Module):
    """The generator of the linear-quadratic GAN: x = b + az, for latents and points (1,).

    Source: Nagarajan and Kolter 2017, arXiv:1706.04156.

    Args:
        a: spread at the start; its sign is not seen in the samples' law.
        b: mean at the start.
    """

    def __init__(self, a: float, b: float) -> None:
        super().__init__()
        self.ab = _parameter("a and b", [a, b])

    def forward(self, latents: Tensor) -> Tensor:
        return self.ab[1] + self.ab[0] * latents


class Quadratic(nn.Module):
    """The discriminator of the linear-quadratic GAN: D(x) = w₁x + w₂x², for points (1,).

    Args:
        w: (w₁, w₂) at the start.
    """

    def __init__(self, w: Sequence[float]) -> None:
        super().__init__()
        self.w = _parameter("w", w)

    def forward(self, samples: Tensor) -> Tensor:
        x = samples.squeeze(-1)
        return self.w[0] * x + self.w[1] * x.square()
