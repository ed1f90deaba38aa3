"""Games of every pair of choices, on points and on small images."""

from dataclasses import replace
from functools import cache, partial
from itertools import combinations, product
from typing import Any

import torch
from hydra.utils import instantiate
from torch import Tensor, nn

from compositions import choices, composed
from saddle.data.sampling import draw_batches, normal_latents
from saddle.data.sources import TensorSource
from saddle.dynamics.lookahead import Lookahead
from saddle.game.calculus import AUTOGRAD, Calculus
from saddle.game.game import Game
from saddle.game.network import Network
from saddle.models import mlp
from saddle.models.normalization import Normalization
from saddle.rounds.execution import TrainingState

NOTHING = "-"


FACTORS = {
    "space": ["points", "images"],
    "loss": choices("loss"),
    "regularizer": [NOTHING, *choices("regularizer")],
    "generator_regularizer": [NOTHING, *choices("generator_regularizer")],
    "transform": [NOTHING, *choices("transform")],
    "normalization": choices("normalization"),
    "dynamics": choices("dynamics"),
    "optimizer": choices("optimizer"),
}


Row = dict[str, str]


@cache
def made(group: str, choice: str) -> Any:
    """What a choice of a group is, as an object; of a list, by its name."""
    if group == "normalization":
        word = f"normalization@model.discriminator.normalization={choice}"
        config = composed("data=ring8", "model=mlp", word).model.discriminator.normalization
    elif group == "optimizer":
        config = composed("data=ring8", "model=mlp", f"optimizer={choice}").optimizer.generator
    elif group in ("loss", "dynamics"):
        config = composed("data=ring8", "model=mlp", f"{group}={choice}")[group]
    else:
        config = composed("data=ring8", "model=mlp", f"{group}=[{choice}]")[group]
        for node in config.values():
            node.pop("every_n_steps", None)
    return instantiate(config, _convert_="all")


@cache
def takes_slopes(penalty: str) -> bool:
    """Whether a penalty asks for D's slope at each sample, which BatchNorm in D does not have."""
    asked = []

    def watched(function: Any, samples: Tensor) -> tuple[Tensor, Tensor]:
        asked.append(samples)
        return AUTOGRAD.slope(function, samples)

    row = {group: values[0] for group, values in FACTORS.items()} | {"regularizer": penalty}
    row |= {"normalization": "none", "space": "images"}
    game = game_of(row, AUTOGRAD._replace(slope=watched))
    players = game.init()
    (batch,) = draw_batches(TensorSource(samples_of(row)), LATENTS, game, 4, 1, 0, 0)
    game.remember(game.init_memory(players)).discriminator_gradient(players, batch)
    return bool(asked)


def fits(first: tuple[str, str], second: tuple[str, str]) -> bool:
    """Whether two choices may meet; the others are refused when a run is put together."""
    pair = dict([first, second])
    of_points = pair.get("space") == "points"
    if of_points and pair.get("transform") in ("ada", "diffaugment"):
        return False
    if of_points and pair.get("normalization") == "instance":  # a point has no map to take a mean over
        return False
    return not (
        pair.get("normalization") == "batch"
        and pair.get("regularizer", NOTHING) != NOTHING
        and takes_slopes(pair["regularizer"])
    )


@cache
def covering() -> list[Row]:
    """Rows until every fitting pair of choices of two groups has met."""
    open_pairs = {
        frozenset(pair)
        for one, other in combinations(FACTORS, 2)
        for pair in product([(one, choice) for choice in FACTORS[one]], [(other, c) for c in FACTORS[other]])
        if fits(*pair)
    }
    rows: list[Row] = []
    while open_pairs:
        row = dict(min(open_pairs, key=sorted))  # a pair that must be met, and all it can meet beside
        for group in sorted(FACTORS, key=lambda name: -len(FACTORS[name])):
            if group in row:
                continue
            fitting = [c for c in FACTORS[group] if all(fits((group, c), item) for item in row.items())]
            row[group] = max(
                fitting,
                key=lambda c: sum(frozenset([(group, c), item]) in open_pairs for item in row.items()),
            )
        open_pairs -= {frozenset(pair) for pair in combinations(row.items(), 2)}
        rows.append(row)
    return rows


LATENTS = partial(normal_latents, size=3)


EVENTS = {"points": (2,), "images": (1, 8, 8)}


def samples_of(row: Row) -> Tensor:
    random = torch.Generator().manual_seed(1)
    return torch.rand(16, *EVENTS[row["space"]], generator=random, dtype=torch.float64) * 2 - 1


def networks_of(row: Row) -> tuple[nn.Module, nn.Module]:
    norm: Normalization = made("normalization", row["normalization"])
    if row["space"] == "points":
        return mlp.Generator(3, (2,), [6], 0.2, norm), mlp.Discriminator((2,), [6], 0.2, normalization=norm)
    generator = nn.Sequential(
        nn.Unflatten(1, (3, 1, 1)),
        norm.around(nn.ConvTranspose2d(3, 4, 4)),
        norm.after(4),
        nn.Softplus(),
        norm.around(nn.ConvTranspose2d(4, 1, 2, stride=2)),
        nn.Tanh(),
    )
    discriminator = nn.Sequential(
        norm.around(nn.Conv2d(1, 4, 4, stride=2)),
        norm.after(4),
        nn.Softplus(),
        nn.Flatten(),
        norm.around(nn.Linear(36, 1)),
        nn.Flatten(0),
    )
    return generator, discriminator


def game_of(row: Row, calculus: Calculus) -> Game:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        generator, discriminator = (network.double() for network in networks_of(row))
    parts = {
        group: made(group, row[group]) if row[group] != NOTHING else {}
        for group in ("regularizer", "generator_regularizer", "transform")
    }
    return Game(
        Network(generator),
        Network(discriminator),
        made("loss", row["loss"]),
        parts["regularizer"],
        calculus,
        parts["generator_regularizer"],
        parts["transform"],
    )


def dynamics_of(row: Row) -> Any:
    """The choice with few iterations, and numbers that do not magnify round-off.

    A bias before a normalization has a gradient of nothing but round-off, which Adam would divide by its
    own size, and an undamped Hessian of few samples has no inverse.
    """
    dynamics, rule = made("dynamics", row["dynamics"]), made("optimizer", row["optimizer"])
    changes = {"num_iterations": 2, "damping": 1.0}
    dynamics = replace(dynamics, **{key: value for key, value in changes.items() if hasattr(dynamics, key)})
    rule = replace(rule, eps=1e-3) if hasattr(rule, "eps") else rule
    if isinstance(dynamics, Lookahead):
        return replace(dynamics, inner=replace(dynamics.inner, generator=rule, discriminator=rule))
    return replace(dynamics, generator=rule, discriminator=rule)


def flat(state: TrainingState) -> Tensor:
    return torch.cat([leaf.flatten() for leaf in torch.utils._pytree.tree_leaves(state)])
