"""A module as a pure function: parameters in one vector, random numbers and memory as buffers.

The module is a template. Nothing is ever written into it for longer than one call.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd
from torch.nn.modules.dropout import _DropoutNd

from saddle.game.refusals import Refused

Held = TypeVar("Held")


@dataclass(frozen=True)
class Network:
    """A module as a pure function of one vector of parameters.

    Raises:
        ValueError: the module is no pure function of its parameters and inputs: it keeps state between
            calls (BatchNorm with running statistics) or draws random numbers.
    """

    module: nn.Module

    def __post_init__(self) -> None:
        for name, layer in self.module.named_modules():
            if getattr(layer, "track_running_stats", False):
                raise Refused(
                    f"a player must have no memory between calls; its layer {name!r} is "
                    f"{type(layer).__name__} with running statistics. Build it with "
                    "track_running_stats=False: standing statistics are measured before sampling."
                )
            if isinstance(layer, _DropoutNd | nn.RReLU):
                raise Refused(
                    f"a player must draw no random number itself; its layer {name!r} is "
                    f"{type(layer).__name__}. Use saddle.models.dropout.Dropout, which is given its numbers."
                )

    @cached_property
    def shapes(self) -> dict[str, torch.Size]:
        """Parameter name -> shape, in the order in which they lie in the vector."""
        return {name: value.shape for name, value in self.module.named_parameters()}

    @cached_property
    def _sizes(self) -> list[int]:
        return [shape.numel() for shape in self.shapes.values()]

    @cached_property
    def num_uniform(self) -> dict[str, int]:
        """Buffer name -> how many uniform numbers a sample needs there.

        A layer that needs randomness (``models.dropout``) says so by an attribute ``num_uniform``
        and reads the numbers from its buffer ``uniform``.
        """
        return {
            f"{name}.uniform": layer.num_uniform
            for name, layer in self.module.named_modules()
            if hasattr(layer, "num_uniform")
        }

    @cached_property
    def _iterated(self) -> dict[str, Any]:
        """Name -> layer whose buffers are memory of the game (``models.normalization.SpectralNorm``)."""
        return {name: layer for name, layer in self.module.named_modules() if hasattr(layer, "iterate")}

    def init_memory(self) -> dict[str, Tensor]:
        """Buffer name -> value, for layers whose buffers follow the parameters from round to round.

        Iterated 15 times on the module's present parameters, as torch's own spectral norm begins.
        """
        memory = {
            f"{name}.{key}": value.clone()
            for name, layer in self._iterated.items()
            for key, value in layer.named_buffers(recurse=False)
        }
        for _ in range(15 if memory else 0):
            memory = self.advance_memory(memory, self.flatten())
        return memory

    def advance_memory(self, memory: Mapping[str, Tensor], vector: Tensor) -> dict[str, Tensor]:
        """The buffers one iteration on, with the parameters ``vector``; outside every gradient."""
        weights = self.unflatten(vector.detach())
        found = dict(memory)
        for name, layer in self._iterated.items():
            own = {key: memory[f"{name}.{key}"] for key, _ in layer.named_buffers(recurse=False)}
            moved = layer.iterate(weights[f"{name}.layer.weight"], own)
            found |= {f"{name}.{key}": value for key, value in moved.items()}
        return found

    @cached_property
    def _buffers(self) -> tuple[str, ...]:
        of_memory = (
            f"{name}.{key}"
            for name, layer in self._iterated.items()
            for key, _ in layer.named_buffers(recurse=False)
        )
        return (*self.num_uniform, *of_memory)

    @cached_property
    def _slots(self) -> list[tuple[dict[str, Any], str, int]]:
        """Where the module keeps each parameter and bound buffer: (table, key, which of the tensors)."""
        order = {id(value): index for index, value in enumerate(self.module.parameters())}
        places = {  # every place of a parameter that layers share
            name: order[id(value)] for name, value in self.module.named_parameters(remove_duplicate=False)
        } | {name: len(order) + index for index, name in enumerate(self._buffers)}
        slots = []
        for name, index in places.items():
            owner, _, key = name.rpartition(".")
            layer = self.module.get_submodule(owner)
            slots.append((layer._parameters if key in layer._parameters else layer._buffers, key, index))
        return slots

    def flatten(self) -> Tensor:
        """A copy of the module's present parameters as one vector (P,)."""
        values = [value.detach().flatten() for value in self.module.parameters()]
        return torch.cat(values) if values else torch.empty(0)

    def unflatten(self, vector: Tensor) -> dict[str, Tensor]:
        """Parameter name -> view of its place in ``vector``."""
        return dict(zip(self.shapes, self._views(vector), strict=True))

    def _views(self, vector: Tensor) -> list[Tensor]:
        pieces = torch.split_with_sizes(vector, self._sizes)
        return [
            piece if len(shape) == 1 else piece.view(shape)
            for piece, shape in zip(pieces, self.shapes.values(), strict=True)
        ]

    @cached_property
    def conditional(self) -> bool:
        """Whether the module takes labels (N,) as its second input: its class says ``conditional = True``."""
        return getattr(self.module, "conditional", False)

    def bind(self, vector: Tensor, buffers: Mapping[str, Tensor]) -> Callable[..., Tensor]:
        """The module as a function of its inputs alone, of which there may be several.

        ``buffers`` holds the uniform numbers and the memory that its layers ask for. This is what
        ``torch.func.functional_call`` does, with the places looked up once: on small networks that
        function's look-ups are a tenth of a training step.
        """
        tensors = [*self._views(vector), *(buffers[name] for name in self._buffers)]
        return lambda *inputs: self._holding(tensors, self._slots, lambda: self.module(*inputs))

    def bind_to(
        self, label: Tensor | None, vector: Tensor, buffers: Mapping[str, Tensor]
    ) -> Callable[[Tensor], Tensor]:
        """The module as a function of latents or samples alone; a conditional one is bound to labels, too.

        Args:
            label: class of each input, (N,) int64; unused by a module that is not conditional.
            vector, buffers: see ``bind``.

        Raises:
            ValueError: the module is conditional, and there are no labels.
        """
        bound = self.bind(vector, buffers)
        if not self.conditional:
            return bound
        if label is None:
            raise Refused(
                "a conditional player must be told the class of each sample; got "
                f"{type(self.module).__name__} and data without labels. Choose labelled data, or a network "
                "without classes."
            )
        return lambda inputs: bound(inputs, label)

    def matrices(self, vector: Tensor) -> dict[str, Tensor]:
        """Layer -> its weight as a matrix (outputs, rest), for every weight of two or more axes, once.

        As the layer uses it: after weight normalization, before the division of ``SpectralNorm``.
        """
        views = self._views(vector)
        slots = [slot for slot in self._slots if slot[2] < len(views)]  # buffers stay as they are

        def read() -> dict[str, Tensor]:
            found: dict[str, Tensor] = {}
            seen: list[Tensor] = []
            for name, layer in self.module.named_modules():
                weight = getattr(layer, "weight", None)
                if not isinstance(weight, Tensor) or weight.ndim < 2:
                    continue
                if any(weight is other for other in seen):  # layers may share one
                    continue
                seen.append(weight)
                # the first axis of a transposed convolution holds the inputs
                by_output = weight.transpose(0, 1) if isinstance(layer, _ConvTransposeNd) else weight
                found[name] = by_output.flatten(1)
            return found

        return self._holding(views, slots, read)

    def _holding(
        self, tensors: list[Tensor], slots: list[tuple[dict[str, Any], str, int]], work: Callable[[], Held]
    ) -> Held:
        """What ``work`` finds while the module holds these tensors."""
        own = [table[key] for table, key, _ in slots]
        try:
            for table, key, index in slots:
                table[key] = tensors[index]
            return work()
        finally:
            for (table, key, _), tensor in zip(slots, own, strict=True):
                table[key] = tensor
