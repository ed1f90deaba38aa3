"""Penalties on weights: by hand, against singular values, and which weights of a network they see."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from dynamics_laws import every_calculus
from saddle.game.calculus import AUTOGRAD, BoundDiscriminator
from saddle.game.game import Batch, Game
from saddle.game.losses import Wasserstein
from saddle.game.network import Network
from saddle.game.penalties import generator as generator_regularizers
from saddle.game.penalties import weights as weight_regularizers
from saddle.game.penalties.weights import (
    correlation,
    distance_from_orthonormal,
    orthogonal,
    orthonormal,
    spectral,
    squared_spectral_norms,
)
from saddle.models import dcgan, mlp
from saddle.models.normalization import SPECTRAL, WEIGHT, SpectralNorm

MEASURES = [correlation, distance_from_orthonormal, squared_spectral_norms]
SHAPES = [(4, 4), (3, 7), (7, 3), (1, 5), (5, 1)]


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def gradient(function, at: Tensor) -> Tensor:
    at = at.clone().requires_grad_()
    return torch.autograd.grad(function([at]), at)[0]


# ---- a matrix


def test_a_matrix_of_four_numbers_by_hand():
    """Rows (1, 2) and (3, 4): inner product 11, squared lengths 5 and 25."""
    matrix = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert correlation([matrix]) == 2 * 11**2
    assert distance_from_orthonormal([matrix]) == 2 * 11**2 + 4**2 + 24**2
    # σ² = (30 + √(30² − 4·det²))/2, det = −2
    assert_close(squared_spectral_norms([matrix]).item(), (30 + 884**0.5) / 2)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_filters_of_a_layer_are_compared_pair_by_pair(shape):
    matrix = normal(*shape)
    pairs = [(i, j, (matrix[i] * matrix[j]).sum()) for i in range(shape[0]) for j in range(shape[0])]
    apart = sum((product**2 for i, j, product in pairs if i != j), torch.tensor(0.0))
    assert_close(correlation([matrix]), apart)
    expected = sum((product - float(i == j)) ** 2 for i, j, product in pairs)
    assert_close(distance_from_orthonormal([matrix]), expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_have_their_closed_forms(shape):
    matrix = normal(*shape)
    gram = matrix @ matrix.T
    off = gram - gram.diagonal().diag()
    assert_close(gradient(correlation, matrix), 4 * off @ matrix)
    assert_close(gradient(distance_from_orthonormal, matrix), 4 * (gram - torch.eye(shape[0])) @ matrix)
    u, s, v = torch.linalg.svd(matrix)
    # vectors of an eigenvalue problem whose gaps are of order 1
    expected = 2 * s[0] * torch.outer(u[:, 0], v[0])
    assert_close(gradient(squared_spectral_norms, matrix), expected, atol=1e-11, rtol=1e-11)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_largest_singular_value_is_that_of_torch(shape):
    matrix = normal(*shape)
    assert_close(squared_spectral_norms([matrix]), torch.linalg.matrix_norm(matrix, 2).square())


def test_the_largest_singular_value_is_what_power_iteration_finds():
    torch.manual_seed(0)
    layer = SpectralNorm(nn.Linear(6, 4))
    buffers = dict(layer.named_buffers(recurse=False))
    for _ in range(500):
        buffers = layer.iterate(layer.layer.weight.detach(), buffers)
    sigma = buffers["u"] @ layer.layer.weight.detach() @ buffers["v"]
    # 500 iterations
    assert_close(squared_spectral_norms([layer.layer.weight.detach()]), sigma**2, atol=1e-10, rtol=1e-10)


def test_orthonormal_filters_cost_nothing_and_longer_ones_only_their_length():
    rotation = torch.linalg.qr(normal(5, 5))[0]
    filters = rotation[:3]
    assert_close(distance_from_orthonormal([filters]).item(), 0.0, atol=1e-28, rtol=0)  # round-off squared
    longer = torch.tensor([1.0, 2.0, 3.0])[:, None] * filters
    assert_close(correlation([longer]).item(), 0.0, atol=1e-26, rtol=0)  # likewise
    assert_close(distance_from_orthonormal([longer]).item(), 3.0**2 + 8.0**2)
    assert_close(squared_spectral_norms([longer]).item(), 9.0)


@pytest.mark.parametrize("measure", MEASURES)
def test_at_weights_of_zero_the_gradient_is_zero(measure):
    found = gradient(measure, torch.zeros(3, 4))
    assert not found.any()


def test_layers_add_up_and_none_is_refused():
    first, second = normal(3, 4), normal(2, 3)
    for measure in MEASURES:
        assert_close(measure([first, second]), measure([first]) + measure([second]))
        with pytest.raises(ValueError, match=r"must have a layer with a weight matrix; the network has none"):
            measure([])


# ---- a network's weights


def test_a_network_offers_every_weight_by_its_outputs_and_no_bias():
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Linear(3, 4), nn.GroupNorm(2, 4), nn.Conv2d(4, 5, 3), nn.ConvTranspose2d(5, 2, 3), nn.Linear(2, 1)
    )
    network = Network(module)
    found = network.matrices(network.flatten())
    assert {name: tuple(matrix.shape) for name, matrix in found.items()} == {
        "0": (4, 3), "2": (5, 36), "3": (2, 45), "4": (1, 2),
    }  # fmt: skip
    assert torch.equal(found["2"], module[2].weight.detach().flatten(1))
    assert torch.equal(found["3"][1, :9], module[3].weight.detach()[0, 1].flatten())


def test_weights_are_those_of_the_vector_and_the_module_is_left_alone():
    torch.manual_seed(0)
    network = Network(nn.Linear(3, 2))
    before = network.flatten()
    assert torch.equal(network.matrices(torch.arange(8.0))[""], torch.arange(6.0).view(2, 3))
    assert torch.equal(network.flatten(), before)


def test_a_weight_that_layers_share_counts_once():
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)
    second.weight = first.weight
    network = Network(nn.Sequential(first, second))
    assert list(network.matrices(network.flatten())) == ["0"]


def test_weight_normalization_is_applied_and_spectral_normalization_is_not():
    torch.manual_seed(0)
    normalized = Network(mlp.Discriminator((2,), [4], 0.2, normalization=WEIGHT))
    vector = normalized.flatten() + 0.3 * normal(len(normalized.flatten()))
    values = normalized.unflatten(vector)
    lengths, directions = (values[f"layers.0.parametrizations.weight.original{index}"] for index in range(2))
    expected = lengths * directions / directions.norm(dim=1, keepdim=True)
    assert_close(normalized.matrices(vector)["layers.0"], expected)
    bounded = Network(mlp.Discriminator((2,), [4], 0.2, normalization=SPECTRAL))
    raw = bounded.matrices(bounded.flatten())
    assert torch.equal(raw["layers.0.layer"], bounded.unflatten(bounded.flatten())["layers.0.layer.weight"])


# ---- in the game


@every_calculus
@pytest.mark.parametrize("name", ["orthogonal", "orthonormal", "spectral"])
@pytest.mark.parametrize("num", [1, 6])
def test_each_player_is_charged_for_its_own_weights_whatever_the_batch(name, num, calculus):
    torch.manual_seed(0)
    networks = Network(dcgan.Generator(3, 1, 2)), Network(dcgan.Discriminator(1, 2))
    batch = Batch(normal(num, 1, 28, 28), normal(num, 3, seed=1), torch.zeros(num))
    measure, factor = {
        "orthogonal": (correlation, 3.0),
        "orthonormal": (distance_from_orthonormal, 3.0),
        "spectral": (squared_spectral_norms, 1.5),
    }[name]
    bare = Game(*networks, Wasserstein(), calculus=calculus)
    game = Game(
        *networks,
        Wasserstein(),
        {name: partial(getattr(weight_regularizers, name), weight=3.0)},
        calculus,
        {name: partial(getattr(generator_regularizers, name), weight=3.0)},
    )
    players = game.init()
    for player, network in zip(players._fields, networks, strict=True):
        vector = getattr(players, player).clone().requires_grad_()
        expected = factor * measure(network.matrices(vector).values())
        (slope,) = torch.autograd.grad(expected, vector)
        found, logs = getattr(game, f"{player}_gradient")(players, batch)
        plain, _ = getattr(bare, f"{player}_gradient")(players, batch)
        of = "generator_" if player == "generator" else ""
        assert_close(logs[f"penalty/{of}{name}"], expected.detach())
        assert_close(found - plain, slope, atol=1e-12, rtol=1e-9)  # a difference of numbers of order 1


def test_a_bare_function_has_no_weights_to_charge():
    bound = BoundDiscriminator(lambda samples: samples[:, 0], AUTOGRAD)
    batch = Batch(torch.zeros(2, 1), torch.zeros(2, 1), torch.zeros(2))
    for penalty in (orthogonal, orthonormal, spectral):
        with pytest.raises(ValueError, match="must have a layer with a weight matrix"):
            penalty(bound, batch, batch.real, weight=1.0)
