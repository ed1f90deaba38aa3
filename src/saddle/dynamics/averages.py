"""Averages of the generator's weights along training, as stateful rules on its vector.

A player holds no buffers that training changes, so the vector is the whole generator.
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from saddle.game.ranges import AT_LEAST_ONE, COUNT, COUNT_OR_NONE, FRACTION, POSITIVE, require

RESERVED = ("raw", "none", "true", "false", "null")
"""No average's name: records and command lines know other generators by them, as in ``eval_raw/*``."""


class AverageState(NamedTuple):
    params: Tensor  # (P,)
    num_updates: Tensor  # ()


class Average(Protocol):
    """One update a round, with the generator's vector (P,) after it."""

    def init(self, params: Tensor) -> AverageState: ...
    def step(self, params: Tensor, state: AverageState) -> AverageState: ...


@dataclass(frozen=True)
class ExponentialAverage:
    """θ̄ ← βₜθ̄ + (1 − βₜ)θ with βₜ = min(β, (1 + t)/(w + t)), t the updates so far, w = ``warmup``.

    The ramp forgets the initial weights, of which a constant β = 0.999 would still hold 13 % after
    2,000 steps. w = 1 has no ramp. β = 0 follows the generator itself.

    Source: Yazici et al. 2019, arXiv:1806.04498 (averages of GAN weights); the ramp with w = 10 is that
    of TensorFlow's ``ExponentialMovingAverage``.
    """

    beta: float = 0.999
    warmup: float = 10.0

    def __post_init__(self) -> None:
        require("ema", self.beta, FRACTION, "0 turns averaging off, 0.999 is usual.")
        require("an average's warmup", self.warmup, AT_LEAST_ONE, "1 does not warm up.")

    def init(self, params: Tensor) -> AverageState:
        return _fresh(params)

    def step(self, params: Tensor, state: AverageState) -> AverageState:
        ramp = (1.0 + state.num_updates) / (self.warmup + state.num_updates)
        beta = ramp.clamp(max=self.beta)
        return AverageState(params.lerp(state.params, beta), state.num_updates + 1.0)


def ema_of_half_life(half_life: float, batch_size: int, warmup: float = 10.0) -> ExponentialAverage:
    """The exponential average whose memory halves every ``half_life`` images: β = 2^(−batch_size/half_life).

    Means the same at every batch size. Source: Karras et al. 2020, arXiv:1912.04958 (their code counts a
    half-life in thousands of images).

    Raises:
        ValueError: the half-life is not positive or not finite.
    """
    images = POSITIVE._replace(words="be a positive number of images")
    require("half_life", half_life, images, "A hundred batches is usual.")
    require("batch_size", batch_size, COUNT, "Give the run's.")
    return ExponentialAverage(2.0 ** (-batch_size / half_life), warmup)


@dataclass(frozen=True)
class UniformAverage:
    """The mean of the generator's weights after every round past the first ``num_skipped``.

    θ̄ₜ = θ̄ₜ₋₁ + (θₜ − θ̄ₜ₋₁)/(t − s), t the rounds, s = ``num_skipped``; until then it follows the
    generator. On a bilinear game it converges at 1/t where alternating descent circles, and diverges with
    simultaneous descent.

    Source: Gidel et al. 2019, arXiv:1802.10551, sec. 3.1 and proposition 1.
    """

    num_skipped: int = 0

    def __post_init__(self) -> None:
        require("num_skipped", self.num_skipped, COUNT_OR_NONE, "0 averages over all.")

    def init(self, params: Tensor) -> AverageState:
        return _fresh(params)

    def step(self, params: Tensor, state: AverageState) -> AverageState:
        num_updates = state.num_updates + 1.0
        kept = 1.0 - 1.0 / (num_updates - self.num_skipped).clamp(min=1.0)
        return AverageState(params.lerp(state.params, kept), num_updates)


def _fresh(params: Tensor) -> AverageState:
    return AverageState(params.clone(), torch.zeros((), dtype=params.dtype, device=params.device))
