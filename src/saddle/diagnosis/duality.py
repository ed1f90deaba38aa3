"""The duality gap: how much each player could gain if only it moved.

It is 0 at an equilibrium of the zero-sum game and nowhere else, and grows where a loss looks fine while the
game diverges or a mode is lost.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from saddle.dynamics.optimizers import UpdateRule
from saddle.game.calculus import Logs
from saddle.game.game import Batch, Game, Players
from saddle.game.refusals import Refused


class Unbounded(Refused):
    """A best response drove M beyond every finite number."""


class DualityGap(NamedTuple):
    """M is high where D does well; the gap is ``upper`` − ``lower``."""

    gap: float  # at least 0
    upper: float  # max over D' of M(G, D')
    lower: float  # min over G' of M(G', D)
    value: float  # M(G, D)
    steps: Tensor  # (m,), best-response steps made before each look, from 0
    upper_curve: Tensor  # (m,), M(G, D') after that many
    lower_curve: Tensor  # (m,), M(G', D)


def duality_gap(
    game: Game,
    players: Players,
    adversary: Callable[[int], Batch],
    evaluation: Sequence[Batch],
    generator: UpdateRule,
    discriminator: UpdateRule,
    num_steps: int = 500,
    evaluate_every: int = 50,
) -> DualityGap:
    """max_D' M(G, D') − min_G' M(G', D), each best response trained from the present weights.

    M(θ, ψ) = −L_D(θ, ψ) is D's whole loss as the game has it, penalties included, whatever G's own loss
    is: the value of the minimax game that D plays. For the classic game M = −2 log 2 + 2 JSD at the best D.
    ``replace(game, penalties={})`` leaves penalties out; Wasserstein's M is then unbounded.

    A side is the best that was seen on the evaluation batches, the start included, so that the gap is never
    negative; N steps of descent only bound each side from within, so the true gap is at least as large.

    Args:
        adversary: step -> the batch on which the responses learn. It must be drawn from other samples than
            ``evaluation``, else a memorizing D' counts as a gap: say, from two halves of the held-out split.
        generator: the rule by which G' descends M; its memory starts afresh. ``discriminator``: for D'.
        num_steps: N of either response; a few hundred of Adam are usual.

    Raises:
        ValueError: a count below 1, or no evaluation batch.
        Unbounded: M stopped being finite; a ValueError too.

    Source: Grnarova et al. 2019, arXiv:1811.05512.
    """
    for name, count in {"num_steps": num_steps, "evaluate_every": evaluate_every}.items():
        if count < 1:
            raise Refused(f"{name} must be at least 1; got {count}. Give it a whole number.")
    if not evaluation:
        raise Refused("a duality gap is measured on at least one batch; got none. Draw some.")

    def look(game: Game, at: Players) -> float:
        # not under no_grad: a penalty's slope is a derivative
        losses = [game.discriminator_loss(at, batch)[0].detach() for batch in evaluation]
        return -float(torch.stack(losses).mean())

    def best_response(player: str, rule: UpdateRule, sign: float) -> dict[int, float]:
        """Step -> M after that many steps of the rule down sign·L_D."""
        at, memory, rule_memory = players, dict(game.memory), rule.init(getattr(players, player))
        looks = {0: look(game, at)}
        for step in range(1, num_steps + 1):
            gradient, logs = _gradient(game.remember(memory), at, adversary(step - 1), player, sign)
            moved, rule_memory = rule.step(gradient, getattr(at, player), rule_memory)
            at = at._replace(**{player: moved})
            memory = game.advance_memory(memory, at, logs)
            if step % evaluate_every == 0 or step == num_steps:
                looks[step] = look(game.remember(memory), at)
        return looks

    ascent = best_response("discriminator", discriminator, 1.0)
    descent = best_response("generator", generator, -1.0)
    steps = torch.tensor(list(ascent))
    curves = torch.tensor([list(ascent.values()), list(descent.values())], dtype=torch.float64)
    if not torch.isfinite(curves).all():
        at = int(steps[~torch.isfinite(curves).all(0)][0])
        raise Unbounded(
            f"M must stay finite; a best response left it at step {at} or before. Lower the learning rates, "
            "or bound the discriminator with a penalty."
        )
    upper, lower = float(curves[0].max()), float(curves[1].min())
    return DualityGap(upper - lower, upper, lower, float(curves[0, 0]), steps, curves[0], curves[1])


def _gradient(game: Game, players: Players, batch: Batch, player: str, sign: float) -> tuple[Tensor, Logs]:
    """Of sign·L_D in one player."""

    def loss(vector: Tensor, part: Batch) -> tuple[Tensor, Logs]:
        value, logs = game.discriminator_loss(players._replace(**{player: vector}), part)
        return sign * value, logs

    return game.calculus.gradient(loss, getattr(players, player), batch)
