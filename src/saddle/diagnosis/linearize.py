"""Linearization: Jacobians of a game's gradient, of its field and of whole rounds of training.

The game's *gradient* ξ(ω) = (∇_θL_G, ∇_ψL_D) is what is descended; its vector *field* is v = −ξ
(Mescheder et al. 2018). A round of training is the map (ω, memory) ↦ (ω', memory').

Each is a ``Map`` of Rⁿ to itself with the point where it is linearized. For a few thousand numbers take
``jacobian``; beyond that ``products`` with J and Jᵀ, which never form it. ``spectra`` does either.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.func import jacrev, vjp
from torch.utils import _pytree as pytree

from saddle.game.calculus import Function
from saddle.game.game import Batch, Game, Players
from saddle.game.refusals import Refused
from saddle.rounds.execution import Dynamics

# 200 MB in float64, and its eigenvalues take minutes on a core
MAX_DENSE = 5000

Tree = TypeVar("Tree")


class Map(NamedTuple):
    """A differentiable map of Rⁿ to itself, and where it is linearized."""

    function: Function  # (n,) -> (n,)
    point: Tensor  # (n,)


# ---- what is linearized


def game_gradient(
    game: Game, players: Players, batches: Sequence[Batch], dtype: torch.dtype | None = None
) -> Map:
    """ω ↦ ξ(ω), the mean over batches, at the players. The first P numbers of ω are the generator's.

    Penalties count; the memory of the game's parts is held fixed (see ``Game.remember``).

    Args:
        dtype: to compute in, whatever the players are stored in: float64 for eigenvalues to be trusted.

    Raises:
        ValueError: no batch; or the point is an exact equilibrium without a derivative (WGAN-GP at D = 0).
    """
    if not batches:
        raise Refused("the game's gradient is a mean over at least one batch; got none. Draw some.")
    game, (players, batches) = _functional(game, dtype), _cast((players, tuple(batches)), dtype)
    sizes = [len(vector) for vector in players]

    def function(point: Tensor) -> Tensor:
        at = Players(*point.split(sizes))
        return torch.stack([torch.cat(game.gradients(at, batch)[0]) for batch in batches]).mean(0)

    found = Map(function, torch.cat(players).detach())
    return _differentiable(found, [function(found.point)])


def game_field(
    game: Game, players: Players, batches: Sequence[Batch], dtype: torch.dtype | None = None
) -> Map:
    """ω ↦ v(ω) = −ξ(ω): the eigenvalues that papers print, in the left half-plane where v attracts."""
    gradient = game_gradient(game, players, batches, dtype)
    return Map(lambda point: -gradient.function(point), gradient.point)


def training_rounds(
    game: Game,
    dynamics: Dynamics,
    players: Players,
    memory: Any,
    rounds: Sequence[tuple[Batch, ...]],
    dtype: torch.dtype | None = None,
) -> Map:
    """(ω, memory) ↦ the same after some rounds: the operator whose spectral radius decides convergence.

    The point is one vector: the generator, the discriminator, then every vector that the dynamics and its
    update rules remember (velocities, Adam's moments, the last gradient, slow weights), in the order of
    their trees. Numbers without an axis are clocks (bias corrections, "started", rounds since a pull): they
    tick whatever the players do, so they start from where they stand in ``memory`` and are not perturbed.
    A whole period of ``Lookahead`` needs k rounds. The memory of the game's parts is held fixed.

    Args:
        memory: of the dynamics, from ``dynamics.init`` or from training.
        rounds: the batches of each round, ``dynamics.num_batches`` each.

    Raises:
        ValueError: a round has too few batches; or the point is an exact equilibrium and the rounds have no
            derivative there. Adam and RMSProp do not: √v at v = 0. Nor do methods that solve by conjugate
            gradients (CGD, Follow-the-Ridge): 0/0.
    """
    if not rounds or any(len(batches) != dynamics.num_batches for batches in rounds):
        raise Refused(
            f"each of at least one round must have {dynamics.num_batches} batches; got "
            f"{[len(batches) for batches in rounds]}. Draw dynamics.num_batches for each."
        )
    game = _functional(game, dtype)
    start, cast_rounds = _cast(((players, memory), tuple(rounds)), dtype)
    leaves, tree = pytree.tree_flatten(pytree.tree_map(lambda leaf: leaf.detach(), start))
    moving = [index for index, leaf in enumerate(leaves) if leaf.ndim]
    sizes = [leaves[index].numel() for index in moving]

    def function(point: Tensor) -> Tensor:
        placed = list(leaves)
        for index, part in zip(moving, point.split(sizes), strict=True):
            placed[index] = part
        at, remembered = pytree.tree_unflatten(placed, tree)
        for batches in cast_rounds:
            at, remembered, _ = dynamics.step(game, at, remembered, batches)
        found = pytree.tree_leaves((at, remembered))
        return torch.cat([found[index] for index in moving])

    found = Map(function, torch.cat([leaves[index] for index in moving]))
    return _differentiable(found, game.gradients(start[0], cast_rounds[0][0])[0])


def _functional(game: Game, dtype: torch.dtype | None) -> Game:
    return replace(game.functional(), memory=_cast(dict(game.memory), dtype))


def _cast(tree: Tree, dtype: torch.dtype | None) -> Tree:
    if dtype is None:
        return tree
    return pytree.tree_map(lambda leaf: leaf.to(dtype) if leaf.is_floating_point() else leaf, tree)


def _differentiable(at: Map, gradients: Sequence[Tensor]) -> Map:
    """The map, refused if it stands at an exact equilibrium of a game or step that has no derivative there.

    Elsewhere such a point is met with probability 0. A product is compared with a central difference.
    """
    eps = torch.finfo(at.point.dtype).eps
    if sum(float(vector.norm()) for vector in gradients) > eps:
        return at
    draw = torch.Generator().manual_seed(0)
    direction = torch.randn(len(at.point), generator=draw, dtype=at.point.dtype).to(at.point.device)
    step = eps ** (1 / 3)
    ends = [at.function(at.point + sign * step * direction).detach() for sign in (1, -1)]
    apart = products(at).forward(direction) - (ends[0] - ends[1]) / (2 * step)
    # a difference is off by some eps^(2/3) = 4e-11 in float64, times a third derivative
    if not apart.norm() <= 200 * eps ** (2 / 3) * direction.norm():
        raise Refused(
            "what is linearized must have a derivative; got an exact equilibrium, where a finite difference "
            f"contradicts it by {float(apart.norm() / direction.norm()):.1e}. {_WHERE_NOT}"
        )
    return at


_WHERE_NOT = (
    "At an equilibrium Adam and RMSProp divide by √v, which has no slope at v = 0, methods that solve by "
    "conjugate gradients (CGD, Follow-the-Ridge) divide 0 by 0, and WGAN-GP has a kink where D is constant. "
    "Linearize a little away from there, or with SGD; close to it Adam is SGD with lr/eps."
)


# ---- products with J and Jᵀ, and J itself


class Products(NamedTuple):
    forward: Callable[[Tensor], Tensor]  # u -> Ju
    transposed: Callable[[Tensor], Tensor]  # u -> Jᵀu


def products(at: Map) -> Products:
    """u -> Ju and u -> Jᵀu at the point, at the price of one backward pass each.

    Ju is the transpose of the linear map u ↦ Jᵀu. Both graphs are recorded once and kept in memory: a product
    takes 0.6 of the time of a fresh ``torch.func.jvp`` (fully connected pair, 10⁵ numbers).

    Raises (when called): ValueError if a product is not finite.
    """
    _, pull_back = vjp(at.function, at.point)  # type: ignore[misc]
    _, pull_back_again = vjp(lambda vector: pull_back(vector)[0], torch.zeros_like(at.point))  # type: ignore[misc]
    return Products(
        lambda vector: _finite(pull_back_again(vector)[0]), lambda vector: _finite(pull_back(vector)[0])
    )


def jacobian(at: Map, max_size: int = MAX_DENSE) -> Tensor:
    """J, (n, n), row i the derivatives of the i-th number.

    Raises:
        ValueError: n is above ``max_size``, or an entry is not finite.
    """
    num = len(at.point)
    if num > max_size:
        size = num**2 * at.point.element_size()
        raise Refused(
            f"a dense Jacobian must have at most {max_size:,} rows; got {num:,}, which makes "
            f"{size / 1e9:,.3g} GB ({size:,} bytes). Take products, or spectra.leading_eigenvalues and "
            "spectra.leading_singular_values, which never form it."
        )
    return _finite(jacrev(at.function, chunk_size=64)(at.point).detach())


def _finite(derivatives: Tensor) -> Tensor:
    if not torch.isfinite(derivatives).all():
        raise Refused(
            f"derivatives must be finite; got {int((~torch.isfinite(derivatives)).sum())} of "
            f"{derivatives.numel()} that are not. {_WHERE_NOT}"
        )
    return derivatives
