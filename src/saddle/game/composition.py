"""What a part may ask of the whole in which it stands, and how it says what it needs and refuses.

Parts are losses, penalties, transforms, layers of a network, dynamics, update rules and averages. Each may
have two methods:

- ``conflicts(composition) -> sentences``: why it cannot stand where it stands. A sentence says what must
  hold, what was got, and what to do. The first that any part gives is what a user is refused with.
- ``advice(composition) -> sentences``: what works, but is probably not what was meant.

A layer and an update rule are told their player too: ``(composition, player)``. A penalty that is a plain
function is given its two by ``saddle.game.game.says``. Conflicts are asked for twice, before and after one
round is played: only then is it known whether slopes are taken.

What others may ask of a part is an attribute of it. A part without the attribute says no.

- A loss has ``shift_invariant``: a common shift of all logits changes nothing.
- A layer has, each in words, ``mixes_samples`` (it takes a sample by the statistics of its batch),
  ``bounds_slope`` (it holds D's slope) and ``divides_weights`` (the size of its weights changes nothing). It
  has ``affine``, torch's own name, if it scales features by parameters.
- An update rule has ``lr_is_step_size``: a step is ``lr`` times a gradient. ``max_weight`` is its bound.
- A dynamics has ``takes_lazy_penalties`` (it asks for no more than a gradient's mean over rounds) and
  ``looks_ahead`` (it acts on the gradient of a point ahead).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from saddle.game.game import Game, Players


class Data(NamedTuple):
    """What is known of the training samples."""

    name: str
    event: tuple[int, ...]  # the shape of one: (2,) for points, (C, H, W) for images
    reach: Callable[[], float]  # their largest absolute value, by a pass over all of them


class LazyPenalties(NamedTuple):
    """The penalties of a game that are not taken in every round; see ``Game.intervals``."""

    intervals: Mapping[str, int]

    def conflicts(self, composition: "Composition") -> Iterator[str]:
        plain = composition.plain_dynamics
        if self.intervals and not getattr(plain, "takes_lazy_penalties", False):
            (part, interval), *_ = self.intervals.items()
            yield (
                "a penalty that is not taken in every round must go with plain descent, which asks no more "
                f"of a gradient than its mean over rounds; got {part}.every_n_steps={interval} and "
                f"{type(plain).__name__}. Take dynamics=alternating or simultaneous, or every_n_steps=1."
            )

    def advice(self, composition: "Composition") -> Iterator[str]:
        if self.intervals and len(composition.data.event) == 1:
            yield (
                "penalties that are not taken in every round are known to break the convergence of small "
                "problems (Huang et al. 2024, arXiv:2501.05441). Take every_n_steps=1."
            )


@dataclass(frozen=True)
class Composition:
    """A game, who moves it, and on what: all that there is to know before training begins.

    Args:
        dynamics: of ``saddle.dynamics``; it may wrap another one as ``inner``.
        averages: of the generator's weights, by name; the first is evaluated.
        batch_size: samples of a batch; D sees ``game.pack`` of them as one.
        num_steps: generator steps of the run.
        layers: of each player, a list of its network's layers, the network itself first.
        takes_slopes: whether a penalty on D takes D's slope at each sample. Known once a round was played.
    """

    game: Game
    dynamics: Any
    averages: Mapping[str, Any]
    data: Data
    batch_size: int
    num_steps: int
    layers: Players
    takes_slopes: bool = False

    def conflicts(self) -> list[str]:
        """Why parts cannot stand together, in their own words, each sentence once."""
        return self._told("conflicts")

    def advice(self) -> list[str]:
        """What parts say of a composition that works, each sentence once."""
        return self._told("advice")

    def _told(self, what: str) -> list[str]:
        found = [
            sentence
            for part, player in self._parts()
            if hasattr(part, what)
            for sentence in getattr(part, what)(self, *player)
        ]
        return list(dict.fromkeys(found))

    def _parts(self) -> Iterator[tuple[Any, tuple[str, ...]]]:
        """Every part, with what it is told beside the composition: its player, if it is of one."""
        in_game = [
            self.game.loss,
            *self.penalties("discriminator"),
            *self.penalties("generator"),
            *map(_unbound, self.game.transforms.values()),
        ]
        around = [
            *_around(self.dynamics, "inner"),
            *self.averages.values(),
            LazyPenalties(self.game.intervals),
        ]
        yield from ((part, ()) for part in in_game)
        for player in Players._fields:
            yield from ((part, (player,)) for part in (*getattr(self.layers, player), *self._rules(player)))
        yield from ((part, ()) for part in around)

    @property
    def num_rounds(self) -> float:
        """Rounds of the run."""
        return self.num_steps / self.dynamics.num_generator_steps

    @property
    def plain_dynamics(self) -> Any:
        """The dynamics inside those that wrap another."""
        return _around(self.dynamics, "inner")[-1]

    def _rules(self, player: str) -> list[Any]:
        """A player's update rule, outside in."""
        return _around(getattr(self.plain_dynamics, player, None), "rule")

    def rule(self, player: str) -> Any:
        """A player's update rule inside what bounds it."""
        return self._rules(player)[-1]

    def max_weight(self, player: str) -> float | None:
        """The bound on a player's weights, if there is one."""
        bounds = (getattr(rule, "max_weight", None) for rule in self._rules(player))
        return next((bound for bound in bounds if bound is not None), None)

    def penalties(self, player: str) -> list[Any]:
        """The penalties on a player; of a function that a configuration gave numbers, the function."""
        of = Players(self.game.generator_penalties, self.game.penalties)
        return [*map(_unbound, getattr(of, player).values())]

    def name_of(self, part: Any) -> str:
        """Under what name a penalty or transform stands in the game."""
        game = self.game
        of = (*game.penalties.items(), *game.generator_penalties.items(), *game.transforms.items())
        return next(name for name, one in of if one is part)

    def facts(self, player: str, fact: str) -> list[Any]:
        """What a player's layers say of themselves under this attribute."""
        found = (getattr(layer, fact, None) for layer in getattr(self.layers, player))
        return [value for value in found if value]

    def batch_of(self, player: str) -> int:
        """How many samples a player's network sees at once, a pack being one to D."""
        return getattr(Players(self.batch_size, self.batch_size // self.game.pack), player)

    @property
    def bounds(self) -> list[str]:
        """What holds D's slope, in words; empty where nothing does."""
        found = self.facts("discriminator", "bounds_slope")
        if self.max_weight("discriminator") is not None:
            found.append("update.discriminator.max_weight")
        if self.takes_slopes:
            found.append("a penalty on slopes")
        return found


def _unbound(part: Any) -> Any:
    return part.func if isinstance(part, partial) else part


def _around(part: Any, within: str) -> list[Any]:
    """A part, what it wraps under the attribute ``within``, and so on."""
    return [part, *_around(getattr(part, within), within)] if hasattr(part, within) else [part]
