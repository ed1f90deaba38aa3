"""Penalties on a network's weights rather than on its values.

A weight is a matrix W (outputs, rest), one row for each unit or filter: see ``Network.matrices``. Biases and
the scales of normalization layers have no part in it; under spectral normalization W is the weight before
the division, under weight normalization the one in use. Every penalty is a sum over the network's layers
and depends on no sample, hence on no batch size. The three functions with the signature of
``penalties.discriminator`` are for the discriminator; the generator's are in ``penalties.generator``.

Raises (all): ValueError if the network has no such weight, or if the penalty's weight is not in [0, inf).
"""

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from saddle.game.calculus import BoundDiscriminator
from saddle.game.composition import Composition
from saddle.game.game import Batch, says
from saddle.game.ranges import NOT_NEGATIVE, require
from saddle.game.refusals import Refused


def _total(values: Iterable[Tensor]) -> Tensor:
    found = list(values)
    if not found:
        raise Refused(
            "a penalty on weights must have a layer with a weight matrix; the network has none. Leave "
            "orthogonal, orthonormal and spectral out."
        )
    return torch.stack(found).sum()


def _small_gram(matrix: Tensor) -> Tensor:
    """WWᵀ or WᵀW, whichever is smaller: both have the same eigenvalues but for zeros."""
    return matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix


def correlation(matrices: Iterable[Tensor]) -> Tensor:
    """Σ ‖WWᵀ ⊙ (1 − I)‖²_F: the squared inner products of different filters."""

    def of_one(matrix: Tensor) -> Tensor:
        gram = _small_gram(matrix)
        if matrix.shape[0] <= matrix.shape[1]:
            return (gram - gram.diagonal().diag_embed()).square().sum()
        # ‖WWᵀ‖ = ‖WᵀW‖; more filters than dimensions cannot all be at right angles, so the difference is
        # not of two like numbers unless some of the filters vanish
        return gram.square().sum() - matrix.square().sum(1).square().sum()

    return _total(map(of_one, matrices))


def distance_from_orthonormal(matrices: Iterable[Tensor]) -> Tensor:
    """Σ ‖WWᵀ − I‖²_F."""

    def of_one(matrix: Tensor) -> Tensor:
        gram = _small_gram(matrix)
        excess = gram - torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
        # each filter beyond the number of dimensions adds an eigenvalue 0, at distance 1
        return excess.square().sum() + max(0, matrix.shape[0] - matrix.shape[1])

    return _total(map(of_one, matrices))


def squared_spectral_norms(matrices: Iterable[Tensor]) -> Tensor:
    """Σ σ(W)², σ the largest singular value, exact: the largest eigenvalue of the smaller Gram matrix.

    Its gradient is 2σuvᵀ for a leading pair of singular vectors; where several pairs share σ, that of one
    of them. A derivative of that gradient divides by the gaps between singular values.
    """
    return _total(torch.linalg.eigvalsh(_small_gram(matrix))[-1] for matrix in matrices)


def orthogonal(discriminator: BoundDiscriminator, batch: Batch, fake: Tensor, *, weight: float) -> Tensor:
    """Different filters of a layer of D at right angles, of any length: β · Σ ‖WWᵀ ⊙ (1 − I)‖²_F.

    The sum is over layers, W (outputs, rest); the paper's W is our Wᵀ. A layer of one output adds 0.
    Source: Brock et al. 2019, arXiv:1809.11096, sec. 3.1 (β = 10⁻⁴).
    """
    require("orthogonal's weight", weight, NOT_NEGATIVE)
    return weight * correlation(discriminator.matrices.values())


def orthonormal(discriminator: BoundDiscriminator, batch: Batch, fake: Tensor, *, weight: float) -> Tensor:
    """Filters of a layer of D at right angles and of length 1: β · Σ ‖WWᵀ − I‖²_F.

    The sum is over layers, W (outputs, rest). Cannot reach 0 where a layer has more outputs than inputs.
    Source: Brock et al. 2017, arXiv:1609.07093, in the squared form of Brock et al. 2019, sec. 3.1.
    """
    require("orthonormal's weight", weight, NOT_NEGATIVE)
    return weight * distance_from_orthonormal(discriminator.matrices.values())


def under_spectral_normalization(player: str) -> Callable[[Composition], Iterator[str]]:
    """Make the advice of a penalty that shrinks weights whose size is divided away again."""

    def advice(composition: Composition) -> Iterator[str]:
        for layer in composition.facts(player, "divides_weights"):
            yield (
                f"the penalty spectral shrinks the {player}'s weights before {layer} divides their size away "
                "again: it changes no value of the network. Drop one of them."
            )

    return advice


@says(advice=under_spectral_normalization("discriminator"))
def spectral(discriminator: BoundDiscriminator, batch: Batch, fake: Tensor, *, weight: float) -> Tensor:
    """Largest singular value of each layer of D: ½λ · Σ σ(W)².

    The sum is over layers, W (outputs, rest). σ is exact and not a power iteration's estimate: an
    eigenvalue problem of the smaller side of W for each layer. Source: Yoshida and Miyato 2017,
    arXiv:1705.10941, sec. 3 (λ = 0.01).
    """
    require("spectral's weight", weight, NOT_NEGATIVE)
    return 0.5 * weight * squared_spectral_norms(discriminator.matrices.values())
