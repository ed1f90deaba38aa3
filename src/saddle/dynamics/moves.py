"""What every dynamics does: start both update rules, and move both players along two vectors."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from saddle.dynamics.optimizers import UpdateRule
from saddle.game.calculus import Logs
from saddle.game.composition import Composition
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


def exact_for_sgd(dynamics: Any, composition: Composition) -> Iterator[str]:
    """Advise SGD to a dynamics that takes each rule's ``lr`` for its step size."""
    rules = [composition.rule(player) for player in Players._fields]
    if not all(getattr(rule, "lr_is_step_size", False) for rule in rules):
        yield (
            f"{type(dynamics).__name__} takes a rule's lr for its step size, which is exact for SGD alone; "
            f"got {' and '.join(type(rule).__name__ for rule in rules)}. Take optimizer=sgd for the method "
            "as published."
        )
