"""What every dynamics does: start both update rules, and move both players along two vectors."""

from typing import NamedTuple

from saddle.dynamics.optimizers import UpdateRule
from saddle.game.calculus import Logs
from saddle.game.game import Players


class Rules(NamedTuple):
    """Each player's update rule."""

    generator: UpdateRule
    discriminator: UpdateRule


def start(rules: Rules, players: Players) -> Players:
    """Each rule's fresh state."""
    return Players(*(rule.init(params) for rule, params in zip(rules, players, strict=True)))


def move(rules: Rules, gradients: Players, players: Players, memory: Players) -> tuple[Players, Players]:
    """Both players one step of their rules along ``gradients``, from the same point."""
    generator, generator_memory = rules.generator.step(
        gradients.generator, players.generator, memory.generator
    )
    discriminator, discriminator_memory = rules.discriminator.step(
        gradients.discriminator, players.discriminator, memory.discriminator
    )
    return Players(generator, discriminator), Players(generator_memory, discriminator_memory)


def gradient_norms(gradients: Players) -> Logs:
    """Euclidean norms of both players' gradients, as they are logged."""
    return {
        "diag/generator_gradient_norm": gradients.generator.norm(),
        "diag/discriminator_gradient_norm": gradients.discriminator.norm(),
    }
