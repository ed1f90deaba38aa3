"""Normalization, chosen per player, and what must be done about it before sampling.

A normalization has two places: ``around`` a layer with weights, and ``after`` it, given the number of
features. In training BatchNorm uses the statistics of its own batch and keeps none (a player has no
memory). For sampling, its mean and variance are measured afresh over many batches of latents with the
very weights that will be used, averaged or not: *standing statistics* (Brock et al. 2019,
arXiv:1809.11096).
"""

from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from math import prod
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.parametrizations import weight_norm

from saddle.game.composition import Composition
from saddle.game.network import Network
from saddle.game.refusals import Refused


class Normalization(NamedTuple):
    around: Callable[[nn.Module], nn.Module]  # a layer with weights -> the layer to use in its place
    after: Callable[[int], nn.Module]  # number of features -> the layer that follows


class BatchNorm(_BatchNorm):
    """BatchNorm over all axes but the features', for (N, C) and (N, C, H, W), with no memory."""

    mixes_samples: ClassVar[str] = "batch normalization"

    def __init__(self, num_features: int) -> None:
        super().__init__(num_features, track_running_stats=False)

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim < 2:
            raise Refused(
                f"BatchNorm needs inputs (N, C) or (N, C, ...); got shape {tuple(input.shape)}. Add the axis."
            )

    def conflicts(self, composition: Composition, player: str) -> Iterator[str]:
        if composition.batch_of(player) < 2:
            yield (
                "batch normalization must see at least two samples at once; got a batch of 1 for the "
                f"{player}, of batch_size={composition.batch_size} and pack={composition.game.pack}. Take "
                f"larger batches, or normalization@model.{player}.normalization=layer."
            )
        if composition.takes_slopes and player == "discriminator":
            taken = ",".join(composition.game.penalties)
            yield (
                "a penalty on the slope at each sample must go with a discriminator that sees each sample by "
                f"itself; got batch normalization in it and regularizer=[{taken}]. Take "
                "normalization@model.discriminator.normalization=layer, or leave the penalty out."
            )


class InstanceNorm(nn.GroupNorm):
    """Each feature map of a sample by its own mean and variance.

    Raises:
        ValueError: a map has one place, whose number is its own mean.
    """

    def __init__(self, num_features: int) -> None:
        super().__init__(num_features, num_features)

    def forward(self, input: Tensor) -> Tensor:
        if prod(input.shape[2:]) < 2:
            raise Refused(
                "instance normalization must see feature maps (N, C, ...) of at least two places; got "
                f"{tuple(input.shape)}, one number a feature, which it would make 0. Take layer or group."
            )
        return super().forward(input)


class SpectralNorm(nn.Module):
    """A linear or convolutional layer with its weight divided by (an estimate of) its largest singular value.

    σ = uᵀWv, W the weight as a matrix (outputs, rest) and u, v unit vectors that power iteration brings
    to the leading singular pair. They are memory of the game: one iteration a round, outside every gradient
    (``Game.advance_memory``), while σ is differentiated through W. Source: Miyato et al. 2018,
    arXiv:1802.05957, algorithm 1.
    """

    u: Tensor  # (outputs,)
    v: Tensor  # (rest,)
    bounds_slope: ClassVar[str] = "spectral normalization"
    divides_weights: ClassVar[str] = "spectral normalization"

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer = layer
        self.transposed = isinstance(layer, nn.ConvTranspose2d)  # its first axis holds the inputs
        matrix = self.matrix(layer.weight.detach())
        self.register_buffer("u", F.normalize(torch.randn(matrix.shape[0], dtype=matrix.dtype), dim=0))
        self.register_buffer("v", F.normalize(torch.randn(matrix.shape[1], dtype=matrix.dtype), dim=0))

    def matrix(self, weight: Tensor) -> Tensor:
        """The weight as a matrix (outputs, rest)."""
        return (weight.transpose(0, 1) if self.transposed else weight).flatten(1)

    def iterate(self, weight: Tensor, buffers: dict[str, Tensor]) -> dict[str, Tensor]:
        """One power iteration."""
        matrix = self.matrix(weight)
        v = F.normalize(matrix.T @ buffers["u"], dim=0)
        return {"u": F.normalize(matrix @ v, dim=0), "v": v}

    def forward(self, inputs: Tensor) -> Tensor:
        weight = self.layer.weight
        sigma = self.u @ self.matrix(weight) @ self.v
        # the weight is scaled and not the inputs, which are many times larger in a convolution
        self.layer._parameters["weight"] = weight / sigma
        try:
            return self.layer(inputs)
        finally:
            self.layer._parameters["weight"] = weight

    def conflicts(self, composition: Composition, player: str) -> Iterator[str]:
        bound = composition.max_weight(player)
        if bound is not None:
            yield (
                f"weights must be bounded in one way; got spectral normalization in the {player} and "
                f"update.{player}.max_weight={bound:g}, which the normalization undoes. Drop one of them."
            )

    def advice(self, composition: Composition, player: str) -> Iterator[str]:
        if composition.takes_slopes and player == "discriminator":
            yield (
                "spectral normalization and a penalty on slopes both bound the discriminator's slope. One is "
                "usual."
            )


def _as_it_is(layer: nn.Module) -> nn.Module:
    return layer


def _nothing(num_features: int) -> nn.Module:
    return nn.Identity()


def _layer_norm(num_features: int) -> nn.Module:
    return nn.GroupNorm(1, num_features)


def _group_norm(num_features: int) -> nn.Module:
    return nn.GroupNorm(next(groups for groups in (8, 4, 2, 1) if num_features % groups == 0), num_features)


NONE = Normalization(_as_it_is, _nothing)
"""No normalization. Source: —"""

BATCH = Normalization(_as_it_is, BatchNorm)
"""Mean and variance over the batch. Source: Ioffe and Szegedy 2015, arXiv:1502.03167."""

LAYER = Normalization(_as_it_is, _layer_norm)
"""Mean and variance over all of a sample's own features. Source: Ba et al. 2016, arXiv:1607.06450."""

GROUP = Normalization(_as_it_is, _group_norm)
"""Over 8 groups of a sample's features, or as many as divide. Source: Wu and He 2018, arXiv:1803.08494."""

INSTANCE = Normalization(_as_it_is, InstanceNorm)
"""Over each feature map of a sample; images only. Source: Ulyanov et al. 2016, arXiv:1607.08022."""

WEIGHT = Normalization(weight_norm, _nothing)
"""Length and direction of each output's weights apart. Source: Salimans and Kingma 2016, arXiv:1602.07868."""

SPECTRAL = Normalization(SpectralNorm, _nothing)
"""Weights divided by their largest singular value. Source: Miyato et al. 2018, arXiv:1802.05957."""


def layers_of(network: Network) -> list[nn.Module]:
    """A network's layers, itself first, to be asked what they need and refuse.

    For torch's own batch normalization, which says nothing, one of ours stands in.
    """
    return [
        BatchNorm(layer.num_features)
        if isinstance(layer, _BatchNorm) and not hasattr(layer, "mixes_samples")
        else layer
        for layer in network.module.modules()
    ]


@torch.no_grad()
def for_sampling(network: Network, vector: Tensor, inputs: Iterable[tuple[Tensor, ...]]) -> nn.Module:
    """A module with the parameters ``vector``, ready to sample: evaluation mode, nothing batch-wise.

    Spectral norms are iterated to convergence for these very weights.

    Args:
        network: the player whose module is copied; it is not changed itself.
        vector: its parameters (P,).
        inputs: of the module, batch by batch: latents (N, d), and labels (N,) of a conditional one.
            BatchNorm's means and variances are averaged over them; unused by a network without BatchNorm.
    """
    module = deepcopy(network.module).to(vector.device)
    module.load_state_dict(network.unflatten(vector), strict=False)  # strict: buffers are not in it
    for norm in [layer for layer in module.modules() if isinstance(layer, SpectralNorm)]:
        buffers = dict(norm.named_buffers(recurse=False))
        for _ in range(100):
            buffers = norm.iterate(norm.layer.weight, buffers)
        norm.u, norm.v = buffers["u"], buffers["v"]
    layers = [layer for layer in module.modules() if isinstance(layer, _BatchNorm)]
    for layer in layers:
        layer.track_running_stats = True
        layer.momentum = None  # a plain average over all batches, in torch's convention
        layer.running_mean = vector.new_zeros(layer.num_features)
        layer.running_var = vector.new_ones(layer.num_features)
        layer.num_batches_tracked = torch.zeros((), dtype=torch.long, device=vector.device)
    module.eval()
    for layer in layers:
        layer.train()
    if layers:
        for batch in inputs:
            module(*batch)
    return module.eval()
