"""Every penalty in every calculus, and how often a choice runs the networks.

Penalties and dynamics are found in conf/, not listed.
"""

from collections.abc import Callable
from contextlib import contextmanager
from typing import Any, ClassVar

import hydra
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.func import vmap
from torch.testing import assert_close

from saddle.data.sampling import draw_batches
from saddle.data.sources import TensorSource
from saddle.dynamics import Simultaneous
from saddle.dynamics.optimizers import SGD
from saddle.game.calculus import AUTOGRAD, FUNCTIONAL, Calculus
from saddle.game.game import Batch, Game, Players
from saddle.game.losses import NonSaturating, Relativistic
from saddle.game.network import Network
from saddle.models import mlp
from saddle.rounds.execution import Dynamics, eager, start
from saddle.training.configuration import config_directory

CONF = config_directory()
EVENTS = {"points": (2,), "images": (1, 8, 8)}
ROUND_OFF = {"atol": 1e-10, "rtol": 1e-10}  # a few steps on numbers of order 1, slopes of slopes included


def choices(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


PENALTIES = [
    (group, choice) for group in ("regularizer", "generator_regularizer") for choice in choices(group)
]
every_penalty = pytest.mark.parametrize(("group", "choice"), PENALTIES)
every_event = pytest.mark.parametrize("kind", EVENTS)


def parts_of(group: str, choice: str) -> dict[str, Any]:
    nodes = OmegaConf.load(CONF / group / f"{choice}.yaml")
    for node in nodes.values():
        node.pop("every_n_steps", None)  # the game's own, as when a run is put together
    return instantiate(nodes, _convert_="all")


def networks(kind: str) -> tuple[nn.Module, nn.Module]:
    """D is steep enough for a one-sided penalty to act."""
    generator, discriminator = fresh(kind)
    with torch.no_grad():
        for parameter in discriminator.parameters():
            parameter *= 3.0
    return generator, discriminator


def fresh(kind: str) -> tuple[nn.Module, nn.Module]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if kind == "points":
            return mlp.Generator(3, (2,), [8, 8], 0.2), mlp.Discriminator((2,), [8, 8], 0.2)
        generator = nn.Sequential(
            nn.Linear(3, 32),
            nn.Unflatten(1, (2, 4, 4)),
            nn.Tanh(),
            nn.ConvTranspose2d(2, 1, 4, 2, 1),
            nn.Tanh(),
        )
        discriminator = nn.Sequential(
            nn.Conv2d(1, 3, 4, 2, 1), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(48, 1), nn.Flatten(0)
        )
        return generator, discriminator


def game_of(kind: str, group: str | None = None, choice: str = "", calculus: Calculus = AUTOGRAD) -> Game:
    field = {"regularizer": "penalties", "generator_regularizer": "generator_penalties"}.get(group or "")
    parts = {field: parts_of(group, choice)} if group and field else {}
    game = Game(*map(Network, networks(kind)), NonSaturating(), calculus=calculus, **parts)
    return game.remember(game.init_memory(game.init()))


def batches_of(game: Game, event: tuple[int, ...], num: int = 1, index: int = 0) -> tuple[Batch, ...]:
    data = 2 * torch.rand(32, *event, generator=torch.Generator().manual_seed(5)) - 1

    def latents(num: int, random: torch.Generator) -> Tensor:
        return torch.randn(num, 3, generator=random)

    return draw_batches(TensorSource(data), latents, game, 6, num, 0, index)


# ---- one thing in every calculus


@every_penalty
@every_event
def test_a_penalty_trains_alike_by_autograd_and_by_torch_func(group, choice, kind):
    ends = []
    for calculus in (AUTOGRAD, FUNCTIONAL):
        game = game_of(kind, group, choice, calculus)
        dynamics = Simultaneous(SGD(0.02), SGD(0.02))
        state = start(game, dynamics, {}, torch.device("cpu"))
        for index in range(3):
            batches = batches_of(game, EVENTS[kind], index=index)
            state, logs = eager(game, dynamics, {})(state, batches, index)
        penalty = [value for name, value in logs.items() if name.startswith("penalty/")]
        ends.append((tuple(state.players), *penalty))
        assert len(penalty) == 1
    assert_close(*ends, **ROUND_OFF)


@every_penalty
@every_event
def test_an_ensemble_of_games_with_a_penalty_is_that_many_games(group, choice, kind):
    game = game_of(kind, group, choice, FUNCTIONAL)
    (batch,) = batches_of(game, EVENTS[kind])
    scales = torch.tensor([[1.0], [0.5], [-0.8]])
    players = Players(*(vector * scales for vector in game.init()))
    lifted, logs = vmap(lambda one: game.gradients(one, batch))(players)
    for member in range(3):
        alone = Players(*(vector[member] for vector in players))
        gradients, expected = game.gradients(alone, batch)
        assert_close(tuple(vector[member] for vector in lifted), tuple(gradients), **ROUND_OFF)
        assert_close({name: value[member] for name, value in logs.items()}, expected, **ROUND_OFF)


@every_penalty
def test_a_penalty_changes_the_gradient_of_its_own_player_alone(group, choice):
    game, bare = game_of("points", group, choice), game_of("points")
    (batch,) = batches_of(game, EVENTS["points"])
    (found, _), (expected, _) = (one.gradients(game.init(), batch) for one in (game, bare))
    changed = [not torch.equal(a, b) for a, b in zip(found, expected, strict=True)]
    assert changed == [group == "generator_regularizer", group == "regularizer"]


# ---- evaluations


@contextmanager
def counted(game: Game):
    """[runs of G, runs of D] while it lasts."""
    counts = [0, 0]
    handles = []
    for index, network in enumerate((game.generator, game.discriminator)):

        def count(*_: Any, index: int = index) -> None:
            counts[index] += 1

        handles.append(network.module.register_forward_pre_hook(count))
    yield counts
    for handle in handles:
        handle.remove()


def runs(game: Game, work: Callable[[], Any]) -> tuple[int, int]:
    with counted(game) as counts:
        work()
    return counts[0], counts[1]


# without a penalty D's loss runs G once and D twice, G's loss each of them once
@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("r1", (1, 2)), ("r2", (1, 2)), ("lecam", (1, 2)),  # at points that are evaluated anyway
        ("wgan_gp", (1, 3)), ("wgan_lp", (1, 3)), ("zero_centered", (1, 3)),
        ("dragan", (1, 3)), ("dragan_centred", (1, 3)), ("cr", (1, 3)),
        ("bcr", (1, 4)),
        ("zcr", (2, 3)),
        ("orthogonal", (1, 2)), ("orthonormal", (1, 2)), ("spectral", (1, 2)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("calculus", [AUTOGRAD, FUNCTIONAL], ids=["autograd", "functional"])
@every_event
def test_a_penalty_on_d_runs_the_networks_no_more_than_it_must(choice, expected, calculus, kind):
    game = game_of(kind, "regularizer", choice, calculus)
    (batch,) = batches_of(game, EVENTS[kind])
    assert runs(game, lambda: game.discriminator_gradient(game.init(), batch)) == expected
    assert runs(game, lambda: game.generator_gradient(game.init(), batch)) == (1, 1)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("mode_seeking", (1, 1)),
        ("jacobian_clamping", (2, 1)), ("path_length", (2, 1)), ("zcr", (2, 1)),
        ("nagarajan_kolter", (2, 3)),  # the whole of D's loss
        ("orthogonal", (1, 1)), ("orthonormal", (1, 1)), ("spectral", (1, 1)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("calculus", [AUTOGRAD, FUNCTIONAL], ids=["autograd", "functional"])
@every_event
def test_a_term_of_g_runs_the_networks_no_more_than_it_must(choice, expected, calculus, kind):
    game = game_of(kind, "generator_regularizer", choice, calculus)
    (batch,) = batches_of(game, EVENTS[kind])
    assert runs(game, lambda: game.generator_gradient(game.init(), batch)) == expected
    assert runs(game, lambda: game.discriminator_gradient(game.init(), batch)) == (1, 2)


def dynamics_of(choice: str) -> Dynamics:
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config = hydra.compose("train", [f"dynamics={choice}", "optimizer=sgd", "name=costs"])
    return instantiate(config.dynamics)


class Watched(Game):
    """A game that tells when its generator's loss is under evaluation."""

    inside: ClassVar[list[bool]] = []

    def generator_loss(self, players: Players, batch: Batch):
        self.inside.append(True)
        try:
            return super().generator_loss(players, batch)
        finally:
            self.inside.pop()


@pytest.mark.parametrize("choice", choices("dynamics"))
@pytest.mark.parametrize(
    ("loss", "sees_real"), [(NonSaturating(), False), (Relativistic(), True)], ids=["unpaired", "paired"]
)
def test_only_a_paired_loss_shows_real_samples_in_the_generators_step(choice, loss, sees_real):
    """Real samples are all 7; G's outputs never are."""
    dynamics, plain = dynamics_of(choice), game_of("points")
    game = Watched(plain.generator, plain.discriminator, loss)
    seen: dict[str, list[bool]] = {"generator": [], "discriminator": []}

    def look(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen["generator" if game.inside else "discriminator"].append(bool((inputs[0] == 7.0).all()))

    handle = plain.discriminator.module.register_forward_pre_hook(look)
    batches = tuple(
        batch._replace(real=torch.full_like(batch.real, 7.0))
        for batch in batches_of(game, (2,), dynamics.num_batches)
    )
    dynamics.step(game, game.init(), dynamics.init(game.init()), batches)
    handle.remove()
    assert any(seen["generator"]) == sees_real
    assert not all(seen["generator"])  # and generated ones always
    assert any(seen["discriminator"])
    assert not all(seen["discriminator"])


@every_penalty
def test_terms_of_g_other_than_those_of_ds_gradient_leave_real_samples_alone(group, choice):
    game = game_of("points", group, choice)
    seen: list[bool] = []
    handle = game.discriminator.module.register_forward_pre_hook(
        lambda _, inputs: seen.append(bool((inputs[0] == 7.0).all()))
    )
    (batch,) = batches_of(game, (2,))
    game.generator_gradient(game.init(), batch._replace(real=torch.full_like(batch.real, 7.0)))
    handle.remove()
    assert any(seen) == (choice == "nagarajan_kolter")
