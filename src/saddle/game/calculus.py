"""How derivatives of a game are taken and averaged, and the discriminator whose slope a penalty asks for."""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.func import grad, vjp

from saddle.game.refusals import Refused

if TYPE_CHECKING:
    from saddle.game.game import Batch

Logs = dict[str, Tensor]  # name -> detached scalar
Function = Callable[[Tensor], Tensor]
LossFunction = Callable[[Tensor], tuple[Tensor, Logs]]
LossOnBatch = Callable[[Tensor, "Batch"], tuple[Tensor, Logs]]

Derivative = Callable[[LossFunction, Tensor], tuple[Tensor, Logs]]
"""(loss of a vector (P,), the vector) -> its gradient (P,), and what the loss logged."""

Slope = Callable[[Function, Tensor], tuple[Tensor, Tensor]]
"""(function (N, *event) -> (N,), samples) -> its values and its slope at each sample (N, *event)."""

Reduction = Callable[[Callable[["Batch"], tuple[Tensor, Logs]], "Batch"], tuple[Tensor, Logs]]
"""(batch -> gradient and logs on it, the batch) -> gradient and logs on the batch."""


def whole(gradient_of: Callable[["Batch"], tuple[Tensor, Logs]], batch: "Batch") -> tuple[Tensor, Logs]:
    """The gradient on a batch from all of it at once."""
    return gradient_of(batch)


class Calculus(NamedTuple):
    """How derivatives are taken and averaged; this module owns both choices.

    Either ``derivative`` gives the same numbers. ``reduce`` is the only place where gradients and logs may be
    averaged over parts of a batch, which is right for losses that are means over samples.
    """

    derivative: Derivative
    slope: Slope
    reduce: Reduction = whole

    def gradient(self, loss: LossOnBatch, vector: Tensor, batch: "Batch") -> tuple[Tensor, Logs]:
        """Differentiate a loss on a batch.

        Args:
            loss: (vector, batch) -> scalar, and what it logs.
            vector: (P,), where it is differentiated.
            batch: on which; ``loss`` must take it from its argument, which may be a part of it.

        Returns:
            Gradient (P,) and logs.
        """
        return self.reduce(lambda part: self.derivative(lambda at: loss(at, part), vector), batch)

    def functional(self) -> "Calculus":
        """Derivatives by ``torch.func``, averaged as they are here."""
        return FUNCTIONAL._replace(reduce=self.reduce)


def _autograd_gradient(function: LossFunction, vector: Tensor) -> tuple[Tensor, Logs]:
    vector = vector.detach().requires_grad_()
    loss, logs = function(vector)
    return torch.autograd.grad(loss, vector)[0], logs


def _autograd_slope(function: Function, samples: Tensor) -> tuple[Tensor, Tensor]:
    if not samples.requires_grad:  # else they depend on a player, and so does the slope
        samples = samples.detach().requires_grad_()
    values = function(samples)
    return values, torch.autograd.grad(values.sum(), samples, create_graph=True)[0]


def _functional_gradient(function: LossFunction, vector: Tensor) -> tuple[Tensor, Logs]:
    gradient, logs = grad(function, has_aux=True)(vector)
    return gradient, logs


def _functional_slope(function: Function, samples: Tensor) -> tuple[Tensor, Tensor]:
    values, pull_back = vjp(function, samples)  # type: ignore[misc]
    (slope,) = pull_back(torch.ones_like(values))
    return values, slope


AUTOGRAD = Calculus(_autograd_gradient, _autograd_slope)
"""By ``torch.autograd``: the fastest eagerly, by a tenth of a step on small networks."""

FUNCTIONAL = Calculus(_functional_gradient, _functional_slope)
"""By ``torch.func``: can be lifted over an ensemble, compiled, and differentiated again."""


class BoundDiscriminator:
    """D with its parameters bound: samples (N, *event) -> logits (N,), each point evaluated once.

    A penalty's slope brings the logits of the same samples with it. They are kept for the
    adversarial loss, so R1 or R2 costs a backward pass and no second forward pass. Lives within
    one evaluation of one loss.

    Args:
        weights: makes ``matrices``, when a penalty asks for them.
    """

    def __init__(
        self,
        function: Function,
        calculus: Calculus,
        weights: Callable[[], Mapping[str, Tensor]] = dict,
    ) -> None:
        self._function = function
        self._calculus = calculus
        self._weights = weights
        self._known: list[tuple[Tensor, Tensor, Tensor | None]] = []  # samples, logits, slope

    def __call__(self, samples: Tensor) -> Tensor:
        for known, logits, _ in self._known:
            if known is samples:
                return logits
        logits = self._one_per_sample(samples)
        self._known.append((samples, logits, None))
        return logits

    @cached_property
    def matrices(self) -> Mapping[str, Tensor]:
        """Layer -> its weight as a matrix (outputs, rest), differentiable; see ``Network.matrices``."""
        return self._weights()

    def slope(self, samples: Tensor) -> Tensor:
        """∇ₓD at each sample, shape (N, *event), differentiable in D's parameters."""
        for known, _, slope in self._known:
            if known is samples and slope is not None:
                return slope
        logits, found = self._calculus.slope(self._one_per_sample, samples)
        self._known.insert(0, (samples, logits, found))
        return found

    def _one_per_sample(self, samples: Tensor) -> Tensor:
        logits = self._function(samples)
        if logits.shape != samples.shape[:1]:
            raise Refused(
                f"discriminator must return one logit per sample, shape {tuple(samples.shape[:1])}; "
                f"got {tuple(logits.shape)}. End the network with .squeeze(-1) or .flatten()."
            )
        return logits
