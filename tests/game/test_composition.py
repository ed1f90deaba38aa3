"""What a part can ask of the whole around it, and how what parts say is collected."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pytest
from torch import Tensor, nn

from saddle.dynamics import Alternating, Simultaneous
from saddle.dynamics.averages import UniformAverage
from saddle.dynamics.lookahead import Lookahead
from saddle.dynamics.optimizers import SGD, Adam, Bounded
from saddle.dynamics.second_order import Consensus
from saddle.game.composition import Composition, Data
from saddle.game.game import Game, Players, says
from saddle.game.losses import NonSaturating, Wasserstein
from saddle.game.network import Network
from saddle.game.penalties.consistency import Consistency
from saddle.game.penalties.discriminator import r1
from saddle.game.penalties.weights import spectral
from saddle.game.transforms import InstanceNoise
from saddle.models import mlp
from saddle.models.normalization import BATCH, SPECTRAL, Normalization, layers_of

R1 = partial(r1, gamma=1.0)


def whole(
    around: Normalization | None = None, dynamics: Any = None, takes_slopes: bool = False, **parts: Any
) -> Composition:
    """Points, a plain generator, and a discriminator with a normalization, of batches of 12 for 60 steps."""
    game = Game(
        Network(mlp.Generator(3, (2,), [4], 0.2)),
        Network(mlp.Discriminator((2,), [4, 4], 0.2, normalization=around or Normalization(_same, _none))),
        **{"loss": NonSaturating(), **parts},
    )
    return Composition(
        game,
        dynamics or Simultaneous(SGD(0.1), SGD(0.1)),
        {"mean": UniformAverage()},
        Data("points", (2,), lambda: 3.0),
        batch_size=12,
        num_steps=60,
        layers=Players(layers_of(game.generator), layers_of(game.discriminator)),
        takes_slopes=takes_slopes,
    )


def _same(layer: nn.Module) -> nn.Module:
    return layer


def _none(num_features: int) -> nn.Module:
    return nn.Identity()


def test_the_rule_and_the_bound_of_a_player_are_found_inside_what_wraps_them():
    plain = Alternating(Bounded(Bounded(Adam(0.1)), max_weight=2.0), SGD(0.2), num_generator_steps=3)
    at = whole(dynamics=Lookahead(Lookahead(plain)))
    assert at.plain_dynamics is plain
    assert (at.rule("generator"), at.rule("discriminator")) == (Adam(0.1), SGD(0.2))
    assert (at.max_weight("generator"), at.max_weight("discriminator")) == (2.0, None)
    assert at.num_rounds == 20


def test_the_discriminator_sees_a_pack_as_one():
    at = whole(pack=3)
    assert (at.batch_of("generator"), at.batch_of("discriminator")) == (12, 4)


def test_a_penalty_is_found_without_its_numbers_and_a_part_by_its_name():
    noise, consistency = InstanceNoise(0.1), Consistency(1.0)
    at = whole(penalties={"r1": R1, "cr": consistency}, transforms={"fog": noise})
    assert at.penalties("discriminator") == [r1, consistency]
    assert at.penalties("generator") == []
    assert (at.name_of(R1), at.name_of(consistency), at.name_of(noise)) == ("r1", "cr", "fog")


@pytest.mark.parametrize(
    ("around", "bound", "takes_slopes", "found"),
    [
        (None, None, False, []),
        (BATCH, None, False, []),
        (SPECTRAL, None, False, ["spectral normalization"] * 3),  # of three layers
        (None, 0.1, False, ["update.discriminator.max_weight"]),
        (None, 0.1, True, ["update.discriminator.max_weight", "a penalty on slopes"]),
    ],
)
def test_what_bounds_the_discriminators_slope_is_known(around, bound, takes_slopes, found):
    bounded = Simultaneous(SGD(0.1), Bounded(SGD(0.1), max_weight=bound))
    at = whole(around, bounded, takes_slopes, loss=Wasserstein())
    assert at.bounds == found
    assert any("no minimum over unbounded critics" in text for text in at.advice()) == (not found)


def test_what_three_layers_say_is_told_once():
    at = whole(SPECTRAL, penalties={"spectral": partial(spectral, weight=0.1)})
    (found,) = at.advice()
    assert found.startswith("the penalty spectral shrinks the discriminator's weights before spectral")


def test_a_layer_of_ones_own_is_called_by_its_own_words():
    class Ghost(nn.Module):
        mixes_samples = "ghost batch normalization"

        def forward(self, inputs: Tensor) -> Tensor:
            return inputs - inputs.mean(0)

    at = whole(Normalization(_same, lambda _num_features: Ghost()), penalties={"kept": Consistency(1.0)})
    (found,) = at.advice()
    assert found.startswith("kept compares the logits of two batches, and ghost batch normalization in D ")


def test_lazy_penalties_ask_for_a_dynamics_that_takes_them():
    rules = SGD(0.1), SGD(0.1)

    @dataclass(frozen=True)
    class Patient(Consensus):
        takes_lazy_penalties = True

    def conflicts(dynamics: Any) -> list[str]:
        return whole(dynamics=dynamics, penalties={"r1": R1}, intervals={"regularizer.r1": 4}).conflicts()

    assert [*map(conflicts, (Simultaneous(*rules), Alternating(*rules), Patient(*rules)))] == [[], [], []]
    (found,) = conflicts(Lookahead(Consensus(*rules)))
    assert "got regularizer.r1.every_n_steps=4 and Consensus" in found


def test_a_function_is_given_what_it_says_and_stays_itself():
    def conflicts(composition: Composition) -> Iterator[str]:
        yield f"got {composition.batch_size}"

    def penalty(*arguments: Any, weight: float) -> None: ...

    marked: Callable[..., None] = says(conflicts=conflicts, is_soft=True)(penalty)
    assert marked is penalty
    assert marked.is_soft  # type: ignore[attr-defined]
    at = whole(penalties={"own": partial(marked, weight=1.0)})
    assert at.conflicts() == ["got 12"]
    assert replace(at, batch_size=5).conflicts() == ["got 5"]
