"""Methods that use the game's Jacobian J = ∂ξ/∂ω, always through products with vectors.

They differentiate the gradient once more, so inside them the game runs under ``torch.func`` whatever
its own calculus.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.func import vjp
from torch.utils import _pytree as pytree

from saddle.dynamics.moves import Rules, exact_for_sgd, gradient_norms, move, start
from saddle.dynamics.optimizers import UpdateRule
from saddle.game.calculus import Logs
from saddle.game.game import Batch, Game, Players
from saddle.game.ranges import COUNT, FINITE, NOT_NEGATIVE, SWITCH, require

Field = Callable[[Players], tuple[Players, Logs]]
Product = Callable[[Players], Players]  # v -> Jv, or v -> Jᵀv


def field(game: Game, batch: Batch) -> Field:
    """ω -> ξ(ω) and what it logged, on one batch, differentiable."""
    functional = game.functional()
    return lambda players: functional.gradients(players, batch)


def transposed(field: Field, players: Players) -> tuple[Players, Product, Logs]:
    """ξ, v -> Jᵀv, and the logs."""
    gradients, pull_back, logs = vjp(field, players, has_aux=True)  # type: ignore[misc]
    return gradients, lambda vector: pull_back(vector)[0], logs


def forward(field: Field, players: Players, vector: Players) -> Players:
    """Jv, as the transpose of the linear map u -> Jᵀu: half the time of forward-mode differentiation."""
    _, pull_back, _ = vjp(field, players, has_aux=True)  # type: ignore[misc]
    _, pull_back_again = vjp(lambda vector: pull_back(vector)[0], vector)  # type: ignore[misc]
    (product,) = pull_back_again(vector)
    return product


def _plus(first: Players, second: Players, factor: Any = 1.0) -> Players:
    return Players(*(a + factor * b for a, b in zip(first, second, strict=True)))


def _dot(first: Players, second: Players) -> Tensor:
    return (first.generator * second.generator).sum() + (first.discriminator * second.discriminator).sum()


@dataclass(frozen=True)
class Consensus:
    """Consensus optimization: descend the game and, with weight γ, the size of its gradient.

    ω' = ω − η(ξ + γ∇½‖ξ‖²) = ω − η(ξ + γJᵀξ): 4 gradients a round. On the bilinear game
    λ = 1 − ηγσ² ± is. It is drawn to every stationary point, stable or not.

    Source: Mescheder et al. 2017, arXiv:1705.10461, algorithm 2 (γ = 10 for images there).
    """

    generator: UpdateRule
    discriminator: UpdateRule
    gamma: float = 10.0
    num_batches: ClassVar[int] = 1
    num_generator_steps: ClassVar[int] = 1
    num_discriminator_steps: ClassVar[int] = 1
    num_gradients: ClassVar[int] = 4

    def __post_init__(self) -> None:
        require("gamma", self.gamma, NOT_NEGATIVE, "0 is simultaneous descent.")

    def init(self, players: Players) -> Players:
        return start(Rules(self.generator, self.discriminator), players)

    def step(
        self, game: Game, players: Players, state: Players, batches: tuple[Batch, ...]
    ) -> tuple[Players, Players, Logs]:
        (batch,) = batches
        gradients, jacobian_transposed, logs = transposed(field(game, batch), players)
        direction = _plus(gradients, jacobian_transposed(gradients), self.gamma)
        players, state = move(Rules(self.generator, self.discriminator), direction, players, state)
        return players, state, logs | gradient_norms(gradients)


@dataclass(frozen=True)
class SymplecticGradientAdjustment:
    """SGA: step along ξ + λAᵀξ, A = (J − Jᵀ)/2 the rotating part of the Jacobian: 6 gradients a round.

    With alignment λ = sign(⟨ξ, h⟩⟨Aᵀξ, h⟩/n + ε)·|λ|, h = ∇½‖ξ‖² = Jᵀξ, n the number of parameters:
    towards stable and away from unstable points. Without it λ keeps its sign. On the bilinear game
    λ = 1 − ηλσ² ± is, as for ``Consensus``.

    Source: Balduzzi et al. 2018, arXiv:1802.05642, sec. 3 and algorithm 1 (ε = 1/10).
    """

    generator: UpdateRule
    discriminator: UpdateRule
    weight: float = 1.0
    align: float = 1.0  # 1 aligns, 0 does not: a number, so that an ensemble can vary it
    epsilon: float = 0.1
    num_batches: ClassVar[int] = 1
    num_generator_steps: ClassVar[int] = 1
    num_discriminator_steps: ClassVar[int] = 1
    num_gradients: ClassVar[int] = 6

    def __post_init__(self) -> None:
        require("weight", self.weight, FINITE, "1 is usual.")
        require("align", self.align, SWITCH, "1 aligns, 0 does not.")
        require("epsilon", self.epsilon, FINITE, "0.1 is usual.")

    def init(self, players: Players) -> Players:
        return start(Rules(self.generator, self.discriminator), players)

    def step(
        self, game: Game, players: Players, state: Players, batches: tuple[Batch, ...]
    ) -> tuple[Players, Players, Logs]:
        (batch,) = batches
        of_game = field(game, batch)
        gradients, jacobian_transposed, logs = transposed(of_game, players)
        consensus = jacobian_transposed(gradients)  # Jᵀξ
        adjustment = Players(
            *(0.5 * part for part in _plus(consensus, forward(of_game, players, gradients), -1.0))
        )
        num = players.generator.numel() + players.discriminator.numel()
        towards = _dot(gradients, consensus) * _dot(adjustment, consensus) / num + self.epsilon
        sign = torch.where(towards < 0, -1.0, 1.0) * self.align + (1.0 - self.align)
        direction = _plus(gradients, adjustment, self.weight * sign)
        players, state = move(Rules(self.generator, self.discriminator), direction, players, state)
        return players, state, logs | gradient_norms(gradients)


@dataclass(frozen=True)
class CompetitiveGradientDescent:
    """CGD: each player anticipates the other's move in the local bilinear game.

    direction d solves (I + J_off·diag(η))d = ξ, where J_off holds the mixed derivatives D²_θψL_G and
    D²_ψθL_D alone and η is each player's ``rule.lr``; elimination gives the paper's
    (I − η²D²_θψL_G D²_ψθL_D)⁻¹(∇_θL_G − ηD²_θψL_G ∇_ψL_D). Solved by conjugate gradients on the normal
    equations, ``num_iterations`` of them, each 2 Jacobian products of each kind: exact after as many
    iterations as the operator has distinct singular values. 14 + 8·num_iterations gradients a round.
    On the bilinear game |λ| = (1 + s²)^(−½), at any s.

    Source: Schaefer and Anandkumar 2019, arXiv:1905.12103.
    """

    generator: UpdateRule
    discriminator: UpdateRule
    num_iterations: int = 8
    num_batches: ClassVar[int] = 1
    num_generator_steps: ClassVar[int] = 1
    num_discriminator_steps: ClassVar[int] = 1
    advice = exact_for_sgd

    def __post_init__(self) -> None:
        require("num_iterations", self.num_iterations, COUNT, "Give such a number.")

    @property
    def num_gradients(self) -> int:
        return 14 + 8 * self.num_iterations

    def init(self, players: Players) -> Players:
        return start(Rules(self.generator, self.discriminator), players)

    def step(
        self, game: Game, players: Players, state: Players, batches: tuple[Batch, ...]
    ) -> tuple[Players, Players, Logs]:
        (batch,) = batches
        of_game = field(game, batch)
        gradients, jacobian_transposed, logs = transposed(of_game, players)
        rates = Players(self.generator.lr, self.discriminator.lr)  # type: ignore[attr-defined]
        none = pytree.tree_map(torch.zeros_like, players)

        def operator(vector: Players) -> Players:
            scaled = Players(*(rate * part for rate, part in zip(rates, vector, strict=True)))
            from_discriminator = forward(of_game, players, none._replace(discriminator=scaled.discriminator))
            from_generator = forward(of_game, players, none._replace(generator=scaled.generator))
            return _plus(vector, Players(from_discriminator.generator, from_generator.discriminator))

        def adjoint(vector: Players) -> Players:
            to_discriminator = jacobian_transposed(none._replace(generator=vector.generator)).discriminator
            to_generator = jacobian_transposed(none._replace(discriminator=vector.discriminator)).generator
            mixed = Players(rates.generator * to_generator, rates.discriminator * to_discriminator)
            return _plus(vector, mixed)

        direction = least_squares(operator, adjoint, gradients, gradients, self.num_iterations)
        players, state = move(Rules(self.generator, self.discriminator), direction, players, state)
        return players, state, logs | gradient_norms(gradients)


@dataclass(frozen=True)
class FollowTheRidge:
    """Gradient descent for the leader G; D also makes up for G's move to stay on the ridge.

    θ' = θ − η_G∇_θL_G,  ψ' = ψ − η_D∇_ψL_D + η_G H⁻¹(∂²L_D/∂ψ∂θ)∇_θL_G, H = ∂²L_D/∂ψ². Converges to
    local minimax points and leaves other stationary points. H⁻¹b minimises ‖Hz − b‖² + damping·‖z‖² by
    ``num_iterations`` conjugate gradient steps: 10 + 4·num_iterations gradients a round. The correction
    is added after the rule's own step, with ``generator.lr`` as η_G.

    Source: Wang, Zhang and Ba 2020, arXiv:1910.07512.
    """

    generator: UpdateRule
    discriminator: UpdateRule
    num_iterations: int = 5
    damping: float = 0.0
    num_batches: ClassVar[int] = 1
    num_generator_steps: ClassVar[int] = 1
    num_discriminator_steps: ClassVar[int] = 1
    advice = exact_for_sgd

    def __post_init__(self) -> None:
        require("num_iterations", self.num_iterations, COUNT, "Give such a number.")
        require("damping", self.damping, NOT_NEGATIVE, "0 does not damp.")

    @property
    def num_gradients(self) -> int:
        return 10 + 4 * self.num_iterations

    def init(self, players: Players) -> Players:
        return start(Rules(self.generator, self.discriminator), players)

    def step(
        self, game: Game, players: Players, state: Players, batches: tuple[Batch, ...]
    ) -> tuple[Players, Players, Logs]:
        (batch,) = batches
        of_game = field(game, batch)
        gradients, logs = game.gradients(players, batch)
        none = pytree.tree_map(torch.zeros_like, players)
        mixed = forward(of_game, players, none._replace(generator=gradients.generator)).discriminator

        def hessian(vector: Players) -> Players:  # symmetric; G's part stays 0
            return none._replace(
                discriminator=forward(
                    of_game, players, none._replace(discriminator=vector.discriminator)
                ).discriminator
            )

        correction = least_squares(
            hessian, hessian, none._replace(discriminator=mixed), none, self.num_iterations, self.damping
        )
        moved, state = move(Rules(self.generator, self.discriminator), gradients, players, state)
        follow = self.generator.lr * correction.discriminator  # type: ignore[attr-defined]
        players = moved._replace(discriminator=moved.discriminator + follow)
        return players, state, logs | gradient_norms(gradients)


def least_squares(
    operator: Product,
    adjoint: Product,
    target: Players,
    guess: Players,
    num_iterations: int,
    damping: float = 0.0,
) -> Players:
    """argmin ‖Mz − b‖² + damping·‖z‖² by conjugate gradients on the normal equations, from ``guess``.

    A fixed number of iterations and no branch, so that it can be lifted; once the residual is 0 it
    stays where it is. Source: Hestenes and Stiefel 1952 (CGNR).
    """

    def normal(vector: Players) -> Players:
        return _plus(adjoint(operator(vector)), vector, damping)

    solution = guess
    residual = _plus(adjoint(target), normal(guess), -1.0)
    search, size = residual, _dot(residual, residual)
    for _ in range(num_iterations):
        image = normal(search)
        curvature = _dot(search, image)
        moving = curvature > 0
        length = torch.where(moving, size / torch.where(moving, curvature, 1.0), 0.0)
        solution, residual = _plus(solution, search, length), _plus(residual, image, -length)
        last, size = size, _dot(residual, residual)
        turn = torch.where(last > 0, size / torch.where(last > 0, last, 1.0), 0.0)
        search = _plus(residual, search, turn)
    return solution
