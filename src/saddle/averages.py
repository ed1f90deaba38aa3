"""Averages of the generator's weights along training, as stateful rules on its vector."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class AverageState(NamedTuple):
    params: Tensor  # (P,)
    num_updates: Tensor  # ()


@dataclass(frozen=True)
class ExponentialAverage:
    """θ̄ ← βₜθ̄ + (1 − βₜ)θ with βₜ = min(β, (1 + t)/(10 + t)), t the updates so far.

    The ramp forgets the initial weights, of which a constant β = 0.999 would still hold 13 % after
    2,000 steps. β = 0 follows the generator itself. A player holds no buffers that training
    changes, so the vector is the whole generator.

    Source: Yazici et al. 2019, arXiv:1806.04498 (averages of GAN weights); the ramp is that of
    TensorFlow's ``ExponentialMovingAverage``.
    """

    beta: float = 0.999

    def __post_init__(self) -> None:
        if not isinstance(self.beta, Tensor) and not 0.0 <= self.beta < 1.0:
            raise ValueError(
                f"ema must lie in [0, 1); got {self.beta:g}. 0 turns averaging off, 0.999 is usual."
            )

    def init(self, params: Tensor) -> AverageState:
        return AverageState(params.clone(), torch.zeros((), dtype=params.dtype, device=params.device))

    def step(self, params: Tensor, state: AverageState) -> AverageState:
        ramp = (1.0 + state.num_updates) / (10.0 + state.num_updates)
        beta = ramp.clamp(max=self.beta)
        return AverageState(params.lerp(state.params, beta), state.num_updates + 1.0)
