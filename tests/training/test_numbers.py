"""Every number of every part is refused out of its range; parts and their numbers are found in conf/."""

import inspect
import re
from collections.abc import Iterator, Sequence
from copy import deepcopy
from functools import partial
from typing import Any

import pytest
import torch
from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from omegaconf import OmegaConf
from torch import nn
from torch.testing import assert_close

from saddle.data.sampling import draw_batches, normal_latents
from saddle.data.sources import TensorSource
from saddle.dynamics.averages import ExponentialAverage, UniformAverage
from saddle.dynamics.optimizers import SGD, Adam, AdamW, Bounded, OptimisticAdam, RMSProp
from saddle.dynamics.schedules import Cosine, Linear
from saddle.dynamics.second_order import Consensus, FollowTheRidge, SymplecticGradientAdjustment
from saddle.game.game import Batch, Game
from saddle.game.losses import LeastSquares, NonSaturating
from saddle.game.network import Network
from saddle.game.penalties.consistency import BalancedConsistency, Consistency, LatentConsistency
from saddle.game.penalties.discriminator import (
    Dragan,
    DraganCentred,
    LeCam,
    r1,
    r2,
    wgan_gp,
    wgan_lp,
    zero_centered,
)
from saddle.game.penalties.generator import JacobianClamping, PathLength, latent_diversity, mode_seeking
from saddle.game.penalties.weights import spectral
from saddle.game.transforms import AdaptiveAugment, DiffAugment, InstanceNoise
from saddle.models import classifier, dcgan, minibatch, mlp, toy
from saddle.rounds.cells import cell
from saddle.training.configuration import config_directory

CONF = config_directory()
NAN, INF = float("nan"), float("inf")
GROUPS = (
    *("loss", "regularizer", "generator_regularizer", "transform"),
    *("dynamics", "rule", "schedule", "average", "model"),
)
Leaf = tuple[str | int, ...]


def node_of(group: str, choice: str) -> Any:
    """A choice as a run has it, without what other groups put into it."""
    node = OmegaConf.load(CONF / group / f"{choice}.yaml")
    for entry in node.pop("defaults", []):
        ((key, inner),) = entry.items()
        if key.startswith("/dynamics"):
            node[key.partition("@")[2]] = node_of("dynamics", inner)
    if group.endswith("regularizer"):
        for part in node.values():
            part.pop("every_n_steps")  # the game's own
    rule = {"_target_": "saddle.dynamics.optimizers.SGD", "lr": 0.1}
    run = {"num_steps": 10, "batch_size": 8, "ema": 0.9, "pack": 1, "update": {}, group: node}
    run["update"] = {"generator": rule, "discriminator": rule}
    resolved = OmegaConf.to_container(OmegaConf.create(run), resolve=True)[group]
    return {key: value for key, value in resolved.items() if key != "latents"}


def bounded() -> Any:
    node = OmegaConf.load(CONF / "train.yaml")["update"].generator
    return OmegaConf.to_container(node) | {"rule": {"_target_": "saddle.dynamics.optimizers.SGD", "lr": 0.1}}


NODES = {
    (group, path.stem): node_of(group, path.stem)
    for group in GROUPS
    for path in (CONF / group).glob("*.yaml")
}
NODES["update", "bounded"] = bounded() | {"max_gradient_norm": 1.0, "max_weight": 1.0}


def numbers(node: Any, leaf: Leaf = ()) -> Iterator[Leaf]:
    """Where the numbers of a node are, but those of an optimizer in a dynamics."""
    if isinstance(node, int | float) and not isinstance(node, bool):
        yield leaf
    inside = enumerate(node) if isinstance(node, list) else node.items() if isinstance(node, dict) else ()
    for key, value in inside:
        if not (isinstance(value, dict) and "lr" in value):
            yield from numbers(value, (*leaf, key))


def is_whole(node: Any, leaf: Leaf) -> bool:
    """By the annotation of what takes the number, or the list that it is in."""
    for key in leaf:
        if isinstance(node, dict) and "_target_" in node:
            target, name = node["_target_"], key
        node = node[key]
    return inspect.signature(get_object(target)).parameters[name].annotation in (int, Sequence[int])


def id_of(leaf: Any) -> str | None:
    return ".".join(map(str, leaf)) if isinstance(leaf, tuple) else None


LEAVES = [(*which, leaf) for which, node in sorted(NODES.items()) for leaf in numbers(node)]
WHOLE = [(*which, leaf) for *which, leaf in LEAVES if is_whole(NODES[tuple(which)], leaf)]


def make(node: Any) -> None:
    """The part or parts, functions called in a small game."""
    made = instantiate(node, _convert_="all")
    for part in made.values() if isinstance(made, dict) else ():
        if isinstance(part, partial):
            play(part)


def play(penalty: Any, num: int = 4) -> None:
    """Both gradients of a game on points with a penalty on either player, on ``num`` samples."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        networks = mlp.Generator(3, (2,), [4], 0.2), mlp.Discriminator((2,), [4], 0.2)
    on_generator = next(iter(inspect.signature(penalty.func).parameters)) == "game"
    game = Game(
        *map(Network, networks),
        NonSaturating(),
        **{"generator_penalties" if on_generator else "penalties": {"p": penalty}},
    )
    (batch,) = draw_batches(
        TensorSource(torch.rand(8, 2)), partial(normal_latents, size=3), game, num, 1, 0, 0
    )
    game.gradients(game.init(), batch)


def refusal(node: Any) -> str | None:
    """With what a part is refused, None if it is not."""
    try:
        make(node)
    except (ValueError, InstantiationException) as error:
        cause = error.__cause__ if isinstance(error, InstantiationException) else error
        assert isinstance(cause, ValueError), repr(cause)
        return str(cause)
    return None


def changed(group: str, choice: str, leaf: Leaf, value: Any) -> Any:
    node = deepcopy(NODES[group, choice])
    holder = node
    for key in leaf[:-1]:
        holder = holder[key]
    holder[leaf[-1]] = value
    return node


@pytest.mark.parametrize(("group", "choice"), sorted(NODES))
def test_every_choice_is_let_in_as_it_is(group, choice):
    assert refusal(NODES[group, choice]) is None


MAY_BE_INFINITE = {"num_rounds", "high", "max_gradient_norm", "max_weight"}


@pytest.mark.parametrize(("group", "choice", "leaf"), LEAVES, ids=id_of)
def test_every_number_of_a_part_must_be_one(group, choice, leaf):
    for value in (NAN, -INF, "many"):
        message = refusal(changed(group, choice, leaf, value))
        assert message is not None
        assert " must " in message
        assert str(value) in message.partition("; got ")[2]
        assert message.endswith(".")
    assert (refusal(changed(group, choice, leaf, INF)) is None) == (leaf[-1] in MAY_BE_INFINITE)


@pytest.mark.parametrize(("group", "choice", "leaf"), WHOLE, ids=id_of)
def test_a_number_that_is_whole_by_its_annotation_must_be_whole(group, choice, leaf):
    assert re.search(r"must .*whole number", refusal(changed(group, choice, leaf, 1.5)) or "")


def test_numbers_of_every_group_were_found():
    assert {group for group, *_ in LEAVES} == {*GROUPS, "update"}
    assert {group for group, *_ in WHOLE} == {"average", "dynamics", "model", "schedule"}


RULE = SGD(0.1)
LOW, UNIT, UNIT_CLOSED = r"must lie in \[0, inf\)", r"must lie in \[0, 1\)", r"must lie in \[0, 1\]"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: play(partial(r1, gamma=-1.0)), rf"gamma {LOW}; got -1\.0\. Choose"),
        (lambda: play(partial(r2, gamma=INF)), rf"gamma {LOW}; got inf"),
        (lambda: play(partial(zero_centered, weight=-1)), rf"weight {LOW}; got -1\."),
        (lambda: play(partial(spectral, weight=-1)), rf"weight {LOW}; got -1\."),
        (
            lambda: play(partial(wgan_gp, weight=1.0, one_sided=1.5)),
            rf"one_sided {UNIT_CLOSED}; got 1\.5\. 1",
        ),
        (lambda: play(partial(wgan_gp, weight=1.0, one_sided=-0.5)), rf"one_sided {UNIT_CLOSED}; got -0\.5"),
        (lambda: play(partial(wgan_gp, weight=1.0, target=-1.0)), rf"target {LOW}; got -1\.0\. It is the"),
        (lambda: play(partial(wgan_lp, weight=1.0, target=-1.0)), rf"target {LOW}; got -1\.0\. It is the"),
        (lambda: Dragan(1.0, target=-1.0), rf"target {LOW}; got -1\.0\. It is the length"),
        (lambda: DraganCentred(1.0, target=-1.0), rf"target {LOW}; got -1\.0\. It is the length"),
        (lambda: LeCam(0.3, decay=1.0), rf"decay {UNIT}; got 1\.0\. 0\.99 is usual"),
        (lambda: LeCam(0.3, decay=-0.1), rf"decay {UNIT}; got -0\.1"),
        (lambda: LatentConsistency(5.0, std=0.0), r"std must lie in \(0, inf\); got 0\.0\. It is how far"),
        (
            lambda: play(partial(latent_diversity, weight=0.5, std=0.0)),
            r"std must lie in \(0, inf\); got 0\.0",
        ),
        (lambda: Consistency(10.0, jitter=-0.1), rf"jitter {LOW}; got -0\.1\. It is a standard"),
        (lambda: Consistency(10.0, translation=1.0), rf"translation {UNIT}; got 1\.0\. 0\.125 is usual"),
        (lambda: BalancedConsistency(10.0, 10.0, jitter=-0.1), rf"jitter {LOW}; got -0\.1"),
        (lambda: BalancedConsistency(10.0, 10.0, translation=-0.1), rf"translation {UNIT}; got -0\.1"),
        (lambda: BalancedConsistency(10.0, -1.0), rf"fake_weight {LOW}; got -1\.0"),
        (lambda: PathLength(2.0, decay=1.0), rf"decay {UNIT}; got 1\.0\. 0\.99 is usual"),
        (lambda: JacobianClamping(1.0, eps=0.0), r"eps must lie in \(0, inf\); got 0\.0\. It is how far"),
        (lambda: JacobianClamping(1.0, low=-1.0), rf"low {LOW}; got -1\.0"),
        (lambda: play(partial(mode_seeking, weight=1.0, eps=0.0)), r"eps must lie in \(0, inf\); got 0\.0"),
        (
            lambda: play(partial(mode_seeking, weight=1.0), num=1),
            r"at least two samples.*batch of one\. Choose",
        ),
        (lambda: InstanceNoise(-0.1), rf"std {LOW}; got -0\.1\. 0 adds no noise"),
        (
            lambda: InstanceNoise(0.1, num_rounds=0),
            r"num_rounds must be positive; got 0\. inf does not anneal",
        ),
        *[
            case
            for kind in (DiffAugment, AdaptiveAugment)
            for case in [
                (partial(kind, translation=1.0), rf"translation {UNIT}; got 1\.0\. 0\.125 is usual"),
                (partial(kind, cutout=1.1), rf"cutout {UNIT_CLOSED}; got 1\.1\. 0 cuts nothing out"),
                (partial(kind, color=-0.1), rf"color {LOW}; got -0\.1\. 0 leaves colours"),
            ]
        ],
        (lambda: DiffAugment(flip=0.5), r"flip must be 0 or 1; got 0\.5\. 1 flips half of the images"),
        (
            lambda: AdaptiveAugment(target=1.1),
            r"target must lie in \[-1, 1\]; got 1\.1\. It is a mean of signs",
        ),
        (lambda: AdaptiveAugment(speed=0.0), r"speed must lie in \(0, 1\]; got 0\.0\. batch_size/500000"),
        (lambda: Consensus(RULE, RULE, gamma=-1.0), rf"gamma {LOW}; got -1\.0\. 0 is simultaneous"),
        (lambda: FollowTheRidge(RULE, RULE, damping=-1.0), rf"damping {LOW}; got -1\.0\. 0 does not damp"),
        (
            lambda: SymplecticGradientAdjustment(RULE, RULE, align=0.5),
            r"align must be 0 or 1; got 0\.5\. 1 aligns",
        ),
        (
            lambda: SymplecticGradientAdjustment(RULE, RULE, weight=INF),
            r"weight must be finite; got inf\. 1 is",
        ),
        (lambda: Adam(0.1, eps=-1e-8), rf"eps {LOW}; got -1e-08\. 1e-8 is usual"),
        (lambda: OptimisticAdam(0.1, eps=-1e-8), rf"eps {LOW}; got -1e-08"),
        (lambda: RMSProp(0.1, eps=-1e-8), rf"eps {LOW}; got -1e-08"),
        (
            lambda: AdamW(0.1, weight_decay=10.0),
            r"lr times weight_decay must be below 1.*; got 0\.1 times 10\.0\. M",
        ),
        (
            lambda: LeastSquares(0.5, 0.5),
            r"real_target and fake_target must differ.*; got 0\.5 for both\. 1 and 0",
        ),
        (lambda: LeastSquares(NAN), r"real_target must be finite; got nan"),
        (lambda: LeastSquares(1.0, NAN), r"fake_target must be finite; got nan"),
        (lambda: Linear(10, final=NAN), rf"a schedule's final factor {UNIT_CLOSED}; got nan"),
        (lambda: Cosine(10, 10), r"num_warmup_steps must lie in \[0, num_steps\); got 10 of 10"),
        (
            lambda: UniformAverage(0.5),
            r"num_skipped must be a whole number of at least 0; got 0\.5\. 0 averages",
        ),
        (
            lambda: ExponentialAverage(0.9, INF),
            r"warmup must lie in \[1, inf\); got inf\. 1 does not warm up",
        ),
        (lambda: mlp.Generator(3, (2,), 8, 0.2), r"hidden must be a list of .*; got 8\. Give the width"),
        (lambda: mlp.Generator(3, (0,), [8], 0.2), r"event must be a list of .*; got \[0\]\. Give the shape"),
        (
            lambda: mlp.Generator(0, (2,), [8], 0.2),
            r"num_latents must be a whole .* at least 1; got 0\. Give",
        ),
        (lambda: mlp.Discriminator((2,), [8], 1.0), rf"negative_slope {UNIT}; got 1\.0\. 0 is ReLU"),
        (lambda: mlp.Discriminator((2,), [8], 0.2, dropout=-0.1), rf"dropout p {UNIT}; got -0\.1\. 0 turns"),
        (
            lambda: mlp.Discriminator((2,), [8], 0.2, num_kernels=-1),
            r"num_kernels must be a whole .*; got -1\. 0",
        ),
        (
            lambda: mlp.Discriminator((2,), [8], 0.2, pack=0),
            r"pack must be a whole .* at least 1; got 0\. 1 shows",
        ),
        (
            lambda: mlp.Discriminator((2,), [8], 0.2, input_scale=0.0),
            r"input_scale must lie in \(0, inf\); got 0",
        ),
        (
            lambda: mlp.orthogonal(nn.Linear(2, 2), gain=0.0),
            r"gain must lie in \(0, inf\); got 0\.0\. 1 is usual",
        ),
        (lambda: dcgan.Generator(0, 1, 8), r"num_latents must be a whole number of at least 1; got 0"),
        (
            lambda: dcgan.Generator(3, 1, 0),
            r"width must be a whole number of at least 1; got 0\. 64 is usual",
        ),
        (
            lambda: dcgan.Discriminator(0, 8),
            r"num_channels must be a whole number of at least 1; got 0\. Give 1",
        ),
        (lambda: dcgan.Discriminator(1, 8, pack=0), r"pack must be a whole number of at least 1; got 0"),
        (lambda: minibatch.MinibatchDiscrimination(0), r"num_features must be a whole number .*; got 0"),
        (
            lambda: minibatch.MinibatchDiscrimination(8, 0),
            r"num_kernels must be a whole number .*; got 0\. 50",
        ),
        (
            lambda: minibatch.MinibatchDiscrimination(8, 5, 0),
            r"kernel_dim must be a whole number .*; got 0\. 5",
        ),
        (lambda: classifier.DigitClassifier(0), r"num_classes must be a whole number of at least 1; got 0"),
        (lambda: toy.Point([1.0, NAN]), r"theta must be finite; got \[1\.0, nan\]\. Choose"),
        (lambda: toy.Bilinear([1.0], [[INF]]), r"matrix must be finite; got \[\[inf\]\]\. Choose"),
        (
            lambda: toy.Bilinear([1.0, 2.0], [[1.0], [1.0, 2.0]]),
            r"matrix must be a number or a list of .* equal",
        ),
        (lambda: toy.Linear([1.0], scale=NAN), r"scale must be finite; got nan\. 1 is usual"),
    ],
)
def test_a_number_out_of_range_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


ON_THE_EDGE = [
    lambda: play(partial(wgan_gp, weight=0.0, target=0.0, one_sided=1.0)),
    lambda: play(partial(mode_seeking, weight=1.0), num=2),
    lambda: (LeCam(0.0, decay=0.0), PathLength(0.0, decay=0.0)),
    lambda: JacobianClamping(1.0, low=2.0, high=2.0),
    lambda: JacobianClamping(1.0, high=INF),
    lambda: (InstanceNoise(0.0), DiffAugment(0.0, 1.0, 0.0, 1.0), DiffAugment(flip=1)),
    lambda: (AdaptiveAugment(target=-1.0, speed=1.0), Consistency(1.0, translation=0.0, jitter=0.0)),
    lambda: (Adam(0.0, 0.0, 0.0, eps=0.0), AdamW(0.1, weight_decay=9.9), Bounded(SGD(0.1), INF)),
    lambda: (LeastSquares(-1.0, 1.0), SymplecticGradientAdjustment(RULE, RULE, -1.0, 0, 0.0)),
    lambda: mlp.Discriminator((2,), [1], 0.0, dropout=0.0, num_kernels=0),
]


@pytest.mark.parametrize("make", ON_THE_EDGE)
def test_a_number_on_the_edge_of_its_range_is_let_in(make):
    make()


@pytest.mark.parametrize(
    ("part", "places"),
    [
        (AdamW(0.1), ("lr", "weight_decay")),
        (LeastSquares(), ("real_target", "fake_target")),
        (JacobianClamping(1.0), ("low",)),
        (JacobianClamping(1.0), ("high",)),
        (DiffAugment(), ("flip", "translation")),
        (SymplecticGradientAdjustment(RULE, RULE), ("align", "weight")),
        (InstanceNoise(0.1), ("std", "num_rounds")),
    ],
)
def test_numbers_of_an_ensemble_are_not_looked_at_again(part, places):
    """They are a tensor under vmap, on which no branch can be taken."""

    def numbers(value: torch.Tensor) -> torch.Tensor:
        found = cell(part, {(place,): value for place in places})
        return torch.stack([getattr(found, place) for place in places])

    values = torch.tensor([1.0, 2.0])
    assert torch.equal(torch.func.vmap(numbers)(values), values[:, None].expand(-1, len(places)))


def test_a_bound_penalty_takes_the_numbers_of_an_ensemble():
    def value(number: torch.Tensor) -> torch.Tensor:
        penalty = partial(wgan_gp, weight=number, target=number, one_sided=number)
        game = Game(Network(toy.Point([2.0])), Network(toy.Linear([3.0])), NonSaturating(), {"p": penalty})
        game = game.functional()
        batch = Batch(torch.zeros(2, 1), torch.zeros(2, 1), torch.zeros(2))
        return game.discriminator_gradient(game.init(), batch)[1]["penalty/p"]

    found = torch.func.vmap(value)(torch.tensor([0.5, 1.0]))
    assert_close(found, torch.tensor([0.5 * 2.5**2, 1.0 * 2.0**2]))  # the slope 3 exceeds both targets
