"""Path length: linear generators in closed form, the Jacobian written out, and its running mean."""

from math import sqrt

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from dynamics_laws import every_calculus
from oracles import Linear
from saddle.data.sampling import draw_batches
from saddle.data.sources import TensorSource
from saddle.dynamics import Alternating, Simultaneous
from saddle.dynamics.optimizers import SGD
from saddle.game.calculus import AUTOGRAD
from saddle.game.game import Batch, Game
from saddle.game.losses import Wasserstein
from saddle.game.network import Network
from saddle.game.penalties.generator import MeanLength, PathLength
from saddle.game.transforms import gaussian
from saddle.models import dcgan
from saddle.rounds.execution import eager, start

PART = "generator_regularizer.path"


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def game_of(generator: nn.Module, event: tuple[int, ...], penalty: PathLength, calculus=AUTOGRAD) -> Game:
    parts = {"path": penalty}
    critic = Network(Linear(torch.zeros(event)))  # says nothing: all of G's gradient is the penalty's
    return Game(
        Network(generator), critic, Wasserstein(), calculus=calculus, generator_penalties=parts
    ).remember({PART: MeanLength(torch.tensor(0.7))})


def batch_of(num: int, event: tuple[int, ...], num_latents: int = 3) -> Batch:
    size = torch.Size(event).numel()
    uniform = torch.rand(num, size, generator=torch.Generator().manual_seed(4))
    latent = normal(num, num_latents, seed=1)
    return Batch(torch.zeros(num, *event), latent, torch.zeros(num), draws={PART: uniform})


@every_calculus
@pytest.mark.parametrize("event", [(2,), (2, 3, 4)])
@pytest.mark.parametrize("num", [1, 5])
def test_a_linear_generator_has_its_transpose_as_pull_back(num, event, calculus):
    """G(z) = Wz: λE[(‖Wᵀy‖ − a)²], of gradient 2λE[(‖Wᵀy‖ − a) y(Wᵀy)ᵀ/‖Wᵀy‖]."""
    size = torch.Size(event).numel()
    generator = nn.Sequential(nn.Linear(3, size, bias=False), nn.Unflatten(1, event))
    game, batch = game_of(generator, event, PathLength(2.0), calculus), batch_of(num, event)
    weight = generator[0].weight.detach()
    noise = gaussian(batch.draws[PART]) / (sqrt(12) if len(event) == 3 else 1.0)  # 3·4 pixels
    lengths = [(weight.T @ y).norm() for y in noise]
    gradient, logs = game.generator_gradient(game.init(), batch)
    assert_close(logs["penalty/generator_path"], 2 * sum((one - 0.7) ** 2 for one in lengths) / num)
    assert_close(logs["diag/generator_path_length"], sum(lengths) / num)
    expected = sum(
        4 * (one - 0.7) * torch.outer(y, weight.T @ y) / one / num
        for one, y in zip(lengths, noise, strict=True)
    )
    assert_close(gradient, expected.flatten())


@every_calculus
def test_a_stretched_rotation_has_the_length_of_the_noise(calculus):
    generator = nn.Linear(3, 3, bias=False)
    generator.weight.data = 4.0 * torch.linalg.qr(normal(3, 3))[0]
    game, batch = game_of(generator, (3,), PathLength(1.0), calculus), batch_of(6, (3,))
    _, logs = game.generator_gradient(game.init(), batch)
    assert_close(logs["diag/generator_path_length"], 4 * gaussian(batch.draws[PART]).norm(dim=1).mean())


@every_calculus
def test_a_constant_generator_is_charged_for_the_mean_and_has_a_finite_gradient(calculus):
    game, batch = game_of(nn.Linear(3, 2), (2,), PathLength(2.0), calculus), batch_of(4, (2,))
    players = game.init()._replace(generator=torch.zeros(8))
    gradient, logs = game.generator_gradient(players, batch)
    assert_close(logs["penalty/generator_path"].item(), 2 * 0.7**2)
    assert not gradient.any()


@every_calculus
def test_it_is_the_jacobian_written_out_on_a_network(calculus):
    torch.manual_seed(0)
    generator = dcgan.Generator(3, 1, 2)
    event = (1, 28, 28)
    game, batch = game_of(generator, event, PathLength(2.0), calculus), batch_of(2, event)
    noise = gaussian(batch.draws[PART]).view(2, *event) / 28
    lengths = [
        torch.einsum(
            "chwd,chw->d", torch.autograd.functional.jacobian(lambda z: generator(z[None])[0], latent), y
        ).norm()
        for latent, y in zip(batch.latent, noise, strict=True)
    ]
    players, direction, h = game.init(), normal(len(game.init().generator), seed=7), 1e-6
    gradient, logs = game.generator_gradient(players, batch)
    assert_close(logs["penalty/generator_path"], 2 * sum((one - 0.7) ** 2 for one in lengths) / 2)
    ahead, behind = (
        game.generator_loss(players._replace(generator=players.generator + step * direction), batch)[0]
        for step in (h, -h)
    )
    # h² of curvature, 1e-16/h of round-off, and a kink of ReLU is not met
    assert_close(gradient @ direction, ((ahead - behind) / (2 * h)).detach(), rtol=1e-6, atol=1e-9)


def test_the_mean_follows_the_lengths_from_zero():
    penalty = PathLength(1.0, decay=0.9)
    memory = penalty.init(torch.zeros(3))
    assert memory.length == 0
    for length in (2.0, 3.0):
        memory = penalty.advance(memory, {"diag/generator_path_length": torch.tensor(length)})
    assert_close(memory.length.item(), 0.9 * (0.1 * 2.0) + 0.1 * 3.0)


@pytest.mark.parametrize("make", [Simultaneous, Alternating])
def test_the_mean_advances_once_a_round_from_what_the_round_logged(make):
    torch.manual_seed(0)
    penalty = PathLength(0.1, decay=0.5)
    game = game_of(nn.Linear(3, 2), (2,), penalty)
    dynamics = make(SGD(0.01), SGD(0.01))
    state, expected = start(game, dynamics, {}, torch.device("cpu")), 0.0
    turn = eager(game, dynamics, {})
    for index in range(3):
        batches = draw_batches(
            TensorSource(normal(20, 2)),
            lambda num, random: torch.randn(num, 3, generator=random),
            game,
            4,
            dynamics.num_batches,
            0,
            index,
        )
        assert_close(state.game[PART].length.item(), expected)
        state, logs = turn(state, batches, index)
        expected = 0.5 * expected + 0.5 * logs["diag/generator_path_length"].item()
    assert expected > 0
