"""One player's update rule: gradient and parameters in, new parameters and state out.

A rule is pure: ``init(params) -> state`` and ``step(gradient, params, state) -> (params, state)``.
Parameters, gradients and the tensors of a state are vectors (P,). The rule descends: it never
knows which player it moves, nor when. One whose step is ``lr`` times a gradient says ``lr_is_step_size``.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor

from saddle.game.composition import Composition
from saddle.game.ranges import FRACTION, NOT_NEGATIVE, POSITIVE_OR_INFINITE, SIGNED_FRACTION, require
from saddle.game.refusals import Refused


class UpdateRule(Protocol):
    """What a dynamics asks of an optimizer."""

    def init(self, params: Tensor) -> Any: ...
    def step(self, gradient: Tensor, params: Tensor, state: Any) -> tuple[Tensor, Any]: ...


USUAL_EPS = "1e-8 is usual."


def _root(square: Tensor) -> Tensor:
    """√v, with a derivative also at 0: an unrolled step is differentiated, and some gradients are exactly 0.

    Below 1e-30 it is 1e-15, which every usual ε drowns.
    """
    return square.clamp(min=1e-30).sqrt()


class SGDState(NamedTuple):
    velocity: Tensor  # (P,)


@dataclass(frozen=True)
class SGD:
    """Gradient descent with heavy-ball momentum of either sign: v ← βv + g, x ← x − η·v.

    Equal to x_{t+1} = x_t − ηg_t + β(x_t − x_{t−1}). Negative β damps games.

    Source: Polyak 1964; for games Gidel et al. 2019, arXiv:1807.04740, sec. 4.
    """

    lr: float
    momentum: float = 0.0
    lr_is_step_size: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require("lr", self.lr, NOT_NEGATIVE)
        require("momentum", self.momentum, SIGNED_FRACTION)

    def init(self, params: Tensor) -> SGDState:
        return SGDState(torch.zeros_like(params))

    def step(self, gradient: Tensor, params: Tensor, state: SGDState) -> tuple[Tensor, SGDState]:
        velocity = self.momentum * state.velocity + gradient
        return params - self.lr * velocity, SGDState(velocity)


class RMSPropState(NamedTuple):
    square: Tensor  # (P,)


@dataclass(frozen=True)
class RMSProp:
    """v ← αv + (1 − α)g², x ← x − η·g / (√v + ε), as in ``torch.optim.RMSprop``.

    Source: Tieleman and Hinton 2012, lecture 6.5.
    """

    lr: float
    alpha: float = 0.99
    eps: float = 1e-8

    def __post_init__(self) -> None:
        require("lr", self.lr, NOT_NEGATIVE)
        require("alpha", self.alpha, FRACTION)
        require("eps", self.eps, NOT_NEGATIVE, USUAL_EPS)

    def init(self, params: Tensor) -> RMSPropState:
        return RMSPropState(torch.zeros_like(params))

    def step(self, gradient: Tensor, params: Tensor, state: RMSPropState) -> tuple[Tensor, RMSPropState]:
        square = state.square.lerp(gradient.square(), 1.0 - self.alpha)
        return params - self.lr * gradient / (_root(square) + self.eps), RMSPropState(square)


class AdamState(NamedTuple):
    mean: Tensor  # (P,)
    square: Tensor  # (P,)
    mean_decay: Tensor  # (), β₁ᵗ
    square_decay: Tensor  # (), β₂ᵗ


@dataclass(frozen=True)
class Adam:
    """m ← β₁m + (1 − β₁)g, v ← β₂v + (1 − β₂)g², x ← x − η·m̂ / (√v̂ + ε), hats bias-corrected.

    Source: Kingma and Ba 2015, arXiv:1412.6980, algorithm 1.
    """

    lr: float
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    def __post_init__(self) -> None:
        require("lr", self.lr, NOT_NEGATIVE)
        require("beta1", self.beta1, FRACTION)
        require("beta2", self.beta2, FRACTION)
        require("eps", self.eps, NOT_NEGATIVE, USUAL_EPS)

    def init(self, params: Tensor) -> AdamState:
        one = torch.ones((), dtype=params.dtype, device=params.device)
        return AdamState(torch.zeros_like(params), torch.zeros_like(params), one, one)

    def step(self, gradient: Tensor, params: Tensor, state: AdamState) -> tuple[Tensor, AdamState]:
        mean = state.mean.lerp(gradient, 1.0 - self.beta1)
        square = state.square.lerp(gradient.square(), 1.0 - self.beta2)
        mean_decay, square_decay = self.beta1 * state.mean_decay, self.beta2 * state.square_decay
        # √(v/c) + ε = (√v + ε√c)/√c: the corrections touch scalars, not another pass over vectors
        root = (1.0 - square_decay).sqrt()
        rate = self.lr * root / (1.0 - mean_decay)
        moved = params - rate * (mean / (_root(square) + self.eps * root))
        return moved, AdamState(mean, square, mean_decay, square_decay)


@dataclass(frozen=True)
class AdamW:
    """Adam with decoupled weight decay: x ← (1 − η·λ)x, then Adam's step.

    Source: Loshchilov and Hutter 2019, arXiv:1711.05101, algorithm 2 (with ``torch.optim.AdamW``'s
    convention that λ is multiplied by η).
    """

    lr: float
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.01

    def __post_init__(self) -> None:
        self._adam  # noqa: B018  its own checks
        require("weight_decay", self.weight_decay, NOT_NEGATIVE)
        if not isinstance(self.lr * self.weight_decay, Tensor) and not self.lr * self.weight_decay < 1:
            raise Refused(
                f"lr times weight_decay must be below 1, or weights would change sign at each step; got "
                f"{self.lr} times {self.weight_decay}. Make one of them smaller."
            )

    @property
    def _adam(self) -> Adam:
        return Adam(self.lr, self.beta1, self.beta2, self.eps)

    def init(self, params: Tensor) -> AdamState:
        return self._adam.init(params)

    def step(self, gradient: Tensor, params: Tensor, state: AdamState) -> tuple[Tensor, AdamState]:
        return self._adam.step(gradient, (1.0 - self.lr * self.weight_decay) * params, state)

    def advice(self, composition: Composition, player: str) -> Iterator[str]:
        for layer in composition.facts(player, "divides_weights") if self.weight_decay else ():
            yield (
                f"weight decay shrinks the {player}'s weights before {layer} divides their size away again: "
                "it acts as a higher learning rate. Take weight_decay=0."
            )


class OptimisticAdamState(NamedTuple):
    adam: AdamState
    past: Tensor  # (P,), the last step that plain Adam would have made
    started: Tensor  # (), 0 before the first step, then 1


@dataclass(frozen=True)
class OptimisticAdam:
    """Optimistic mirror descent on Adam's steps dₜ: x ← x + 2dₜ − dₜ₋₁. The first step is d₀.

    Source: Daskalakis et al. 2018, arXiv:1711.00141, algorithm 1 (which starts from d₋₁ = 0, so that its
    first step alone is twice as long).
    """

    lr: float
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    def __post_init__(self) -> None:
        self._adam  # noqa: B018  its own checks

    @property
    def _adam(self) -> Adam:
        return Adam(self.lr, self.beta1, self.beta2, self.eps)

    def init(self, params: Tensor) -> OptimisticAdamState:
        zero = torch.zeros((), dtype=params.dtype, device=params.device)
        return OptimisticAdamState(self._adam.init(params), torch.zeros_like(params), zero)

    def step(
        self, gradient: Tensor, params: Tensor, state: OptimisticAdamState
    ) -> tuple[Tensor, OptimisticAdamState]:
        moved, adam = self._adam.step(gradient, params, state.adam)
        now = moved - params
        step = now + state.started * (now - state.past)
        return params + step, OptimisticAdamState(adam, now, torch.ones_like(state.started))

    def advice(self, composition: Composition, player: str) -> Iterator[str]:
        plain = composition.plain_dynamics
        if getattr(plain, "looks_ahead", False):
            yield (
                f"{type(plain).__name__} and optimizer=optimistic_adam both look ahead. Take optimizer=adam, "
                "or dynamics=simultaneous."
            )


@dataclass(frozen=True)
class Bounded:
    """A rule whose gradient is clipped before, or whose parameters are projected after, its step.

    g ← g·min(1, c/(‖g‖ + 10⁻⁶)) with c = ``max_gradient_norm``, as ``torch.nn.utils.clip_grad_norm_``, and
    x ← max(−b, min(b, x)) with b = ``max_weight``: of every parameter, biases too. None leaves out.
    A dynamics that looks ahead clips and projects there as well.

    Source: Pascanu et al. 2013, arXiv:1211.5063, algorithm 1; Arjovsky et al. 2017, arXiv:1701.07875,
    algorithm 1 (b = 0.01 for the critic).
    """

    rule: Any  # an update rule
    max_gradient_norm: float | None = None
    max_weight: float | None = None

    def __post_init__(self) -> None:
        for name in ("max_gradient_norm", "max_weight"):
            value = getattr(self, name)
            if value is not None:
                require(name, value, POSITIVE_OR_INFINITE, "null does not bound.")

    @property
    def lr(self) -> Any:
        """The learning rate, for dynamics that ask for it."""
        return self.rule.lr

    def init(self, params: Tensor) -> Any:
        return self.rule.init(params)

    def step(self, gradient: Tensor, params: Tensor, state: Any) -> tuple[Tensor, Any]:
        if self.max_gradient_norm is not None:
            gradient = gradient * (self.max_gradient_norm / (gradient.norm() + 1e-6)).clamp(max=1.0)
        params, state = self.rule.step(gradient, params, state)
        if self.max_weight is not None:
            params = params.clamp(-self.max_weight, self.max_weight)
        return params, state

    def advice(self, composition: Composition, player: str) -> Iterator[str]:
        if self.max_weight is None:
            return
        if composition.takes_slopes and player == "discriminator":
            yield (
                "update.discriminator.max_weight and a penalty on slopes both bound the discriminator's "
                "slope. One is usual."
            )
        if composition.facts(player, "affine"):
            yield (
                f"update.{player}.max_weight={self.max_weight:g} bounds every parameter, the scales of the "
                f"{player}'s normalization too. Take no normalization with it."
            )
