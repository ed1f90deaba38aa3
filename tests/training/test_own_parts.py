"""A part of one's own, a class or function and a YAML file, says by itself what it needs and refuses."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from compositions import composed
from saddle.dynamics.averages import UniformAverage
from saddle.dynamics.descent import Simultaneous
from saddle.dynamics.lookahead import Lookahead
from saddle.dynamics.optimizers import SGD
from saddle.game.calculus import BoundDiscriminator
from saddle.game.composition import Composition
from saddle.game.game import Batch, Game, Players, says
from saddle.game.losses import Hinge
from saddle.game.refusals import Refused
from saddle.models.normalization import Normalization
from saddle.training.assembly import assemble

Saying = Callable[..., Iterator[str]]


def refuses(what: str) -> Saying:
    """A conflict that there is where D sees packs; the player is named where there is one."""

    def conflicts(composition: Composition, *player: str) -> Iterator[str]:
        if composition.game.pack > 1:
            yield " ".join([what, *player, f"takes no packs; got pack={composition.game.pack}. Take pack=1."])

    return conflicts


def advises(what: str) -> Saying:
    def advice(composition: Composition, *player: str) -> Iterator[str]:
        yield " ".join([what, *player, f"is new to {composition.data.name}. Look twice."])

    return advice


def of_class(saying: Saying) -> Saying:
    return lambda _part, *told: saying(*told)


class Loss(Hinge):
    conflicts, advice = map(of_class, (refuses("own loss"), advises("own loss")))


@says(conflicts=refuses("own penalty"), advice=advises("own penalty"))
def penalty(discriminator: BoundDiscriminator, batch: Batch, fake: Tensor, *, weight: float) -> Tensor:
    return weight * discriminator(fake).square().mean()


@says(conflicts=refuses("own penalty on G"), advice=advises("own penalty on G"))
def generator_penalty(game: Game, players: Players, batch: Batch, fake: Tensor, *, weight: float) -> Tensor:
    return weight * fake.square().mean()


@dataclass(frozen=True)
class Transform:
    factor: float

    def __call__(self, samples: Tensor) -> Tensor:
        return self.factor * samples

    conflicts, advice = map(of_class, (refuses("own transform"), advises("own transform")))


class Layer(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.sinh()

    conflicts, advice = map(of_class, (refuses("own layer of the"), advises("own layer of the")))


OWN = Normalization(lambda layer: layer, lambda _num_features: Layer())


class Dynamics(Simultaneous):
    conflicts, advice = map(of_class, (refuses("own dynamics"), advises("own dynamics")))


class Around(Lookahead):
    conflicts, advice = map(of_class, (refuses("own wrapper"), advises("own wrapper")))


class Rule(SGD):
    conflicts, advice = map(of_class, (refuses("own rule of the"), advises("own rule of the")))


class Average(UniformAverage):
    conflicts, advice = map(of_class, (refuses("own average"), advises("own average")))


HERE = f"_target_: {__name__}"
PLAYERS = "generator: ${update.generator}\ndiscriminator: ${update.discriminator}\n"
FILES = {
    "loss": f"{HERE}.Loss\n",
    "regularizer": f"own:\n  {HERE}.penalty\n  _partial_: true\n  weight: 0.1\n",
    "generator_regularizer": f"own:\n  {HERE}.generator_penalty\n  _partial_: true\n  weight: 0.1\n",
    "transform": f"own:\n  {HERE}.Transform\n  factor: 0.5\n",
    "normalization": f"_target_: hydra.utils.get_object\npath: {__name__}.OWN\n",
    "dynamics": f"{HERE}.Dynamics\n{PLAYERS}",
    "rule": f"{HERE}.Rule\nlr: 0.1\n",
    "average": f"own:\n  {HERE}.Average\n",
}

WORDS = {
    "own loss": "loss=own",
    "own penalty": "regularizer=[own]",
    "own penalty on G": "generator_regularizer=[own]",
    "own transform": "transform=[own]",
    "own layer of the generator": "normalization@model.generator.normalization=own",
    "own layer of the discriminator": "normalization@model.discriminator.normalization=own",
    "own dynamics": "dynamics=own",
    "own rule of the discriminator": "rule@optimizer.discriminator=own",
    "own average": "average=[own]",
}


@pytest.fixture(autouse=True)
def _float32_as_the_commands_have_it(_float64_by_default: None) -> None:
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """Of a run of points with the folder of one's own choices."""
    for group, text in FILES.items():
        (tmp_path / group).mkdir()
        (tmp_path / group / "own.yaml").write_text(text)
    return [f"hydra.searchpath=[file://{tmp_path}]", "data=ring8", "model=mlp"]


def advice_of(*words: str) -> list[str]:
    return assemble(composed(*words)).advice


@pytest.mark.parametrize("name", WORDS)
def test_a_part_of_ones_own_advises(words: list[str], name: str):
    assert advice_of(*words) == []
    assert advice_of(*words, WORDS[name]) == [f"{name} is new to ring8. Look twice."]


@pytest.mark.parametrize("name", WORDS)
def test_a_part_of_ones_own_refuses(words: list[str], name: str):
    assert advice_of(*words, "pack=2") == []
    with pytest.raises(Refused, match=rf"^{name} takes no packs; got pack=2\. Take pack=1\.$"):
        assemble(composed(*words, WORDS[name], "pack=2"))


def test_parts_of_ones_own_are_heard_one_beside_the_other_and_inside_each_other(words: list[str]):
    around = ["dynamics=lookahead", "dynamics@dynamics.inner=own", f"dynamics._target_={__name__}.Around"]
    beside = [word for word in WORDS.values() if word != WORDS["own dynamics"]]
    found = advice_of(*words, *around, *beside)
    assert sorted(found) == sorted(f"{name} is new to ring8. Look twice." for name in [*WORDS, "own wrapper"])
