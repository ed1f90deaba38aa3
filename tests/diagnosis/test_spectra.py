"""Spectra: dense and matrix-free agree, matrices with known spectra, refusals with residuals."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from dynamics_laws import both
from oracles import dirac_batch, dirac_gan, trajectory
from saddle.data.points import ring
from saddle.diagnosis.linearize import Map, game_gradient, jacobian, training_rounds
from saddle.diagnosis.spectra import (
    NotConverged,
    antisymmetric_share,
    eigenvalues,
    largest_stable_step,
    leading_eigenvalues,
    leading_singular_values,
    parts,
)
from saddle.dynamics import Simultaneous
from saddle.dynamics.optimizers import SGD, Adam
from saddle.game.game import Batch, Game, Players
from saddle.game.losses import Minimax, NonSaturating, Wasserstein
from saddle.game.network import Network
from saddle.game.penalties.discriminator import r1
from saddle.models.mlp import Discriminator, Generator


def ring_game(width: int = 8, num: int = 64) -> tuple[Game, Batch]:
    """The fully connected pair on the ring of eight modes, small enough for a dense Jacobian."""
    draw = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        networks = Generator(4, [2], [width, width], 0.2), Discriminator([2], [width, width], 0.2)
    real, _ = ring(8, 1.0, 0.01).sample(num, draw)
    latent, mix = torch.randn(num, 4, generator=draw), torch.rand(num, generator=draw)
    game = Game(*(Network(network) for network in networks), NonSaturating(), {"r1": partial(r1, gamma=1.0)})
    return game, Batch(real.to(torch.float64), latent, mix)


def linear(matrix: Tensor) -> Map:
    return Map(lambda x: matrix @ x, torch.zeros(len(matrix)))


def with_eigenvalues(blocks: list[Tensor], seed: int = 0) -> Tensor:
    """A matrix similar to the blocks' diagonal matrix, not orthogonally: eigenvectors are far from normal."""
    size = sum(len(block) for block in blocks)
    draw = torch.Generator().manual_seed(seed)
    basis = torch.eye(size) + 0.3 * torch.randn(size, size, generator=draw) / size**0.5
    return basis @ torch.block_diag(*blocks) @ torch.linalg.inv(basis)


def turn(modulus: float, angle: float) -> Tensor:
    c, s = modulus * math.cos(angle), modulus * math.sin(angle)
    return torch.tensor([[c, -s], [s, c]])


# ---- dense and matrix-free


def test_dense_and_matrix_free_eigenvalues_of_a_network_game_agree():
    game, batch = ring_game()
    at = game_gradient(game, game.init(), [batch])
    found, expected = leading_eigenvalues(at, 10), eigenvalues(at)
    assert len(found.values) in (10, 11)
    assert_close(found.values, expected[: len(found.values)], rtol=1e-8, atol=0)
    assert (found.residuals <= 1e-8).all()


def test_dense_and_matrix_free_eigenvalues_of_a_step_of_adam_agree():
    game, batch = ring_game(4)
    dynamics = both(Simultaneous, Adam(0.05, 0.5, 0.8))  # so long a step that eigenvalues leave 1 far behind
    players, state = game.init(), dynamics.init(game.init())
    for _ in range(3):
        players, state, _ = dynamics.step(game, players, state, (batch,))
    at = training_rounds(game, dynamics, players, state, [(batch,)])
    num = 3 * (len(players.generator) + len(players.discriminator))
    assert len(at.point) == num
    found = leading_eigenvalues(at, 4, max_restarts=1000)
    assert_close(found.values, eigenvalues(at)[: len(found.values)], rtol=1e-6, atol=0)


def test_dense_and_matrix_free_singular_values_agree():
    game, batch = ring_game()
    at = game_gradient(game, game.init(), [batch])
    found = leading_singular_values(at, 6)
    expected = torch.linalg.svdvals(jacobian(at))[:6]
    assert_close(found.values, expected, rtol=1e-8, atol=0)  # of a symmetric problem: residuals squared
    assert (found.residuals <= 1e-8).all()
    assert found.num_products > 12


def test_float32_reaches_its_own_tolerance():
    game, batch = ring_game()
    wide = game_gradient(game, game.init(), [batch])
    narrow = game_gradient(game, game.init(), [batch], torch.float32)
    found = leading_eigenvalues(narrow, 3)
    assert (found.residuals <= 1e-3).all()
    assert_close(found.values, eigenvalues(wide)[: len(found.values)], rtol=1e-3, atol=0)


# ---- known spectra


def test_a_conjugate_pair_is_never_cut():
    at = linear(with_eigenvalues([turn(3.0, 1.0), turn(2.0, 2.0), torch.diag(torch.linspace(0.1, 1, 20))]))
    found = leading_eigenvalues(at, 3)
    expected = torch.polar(torch.tensor([3.0, 3.0, 2.0, 2.0]), torch.tensor([1.0, -1.0, 2.0, -2.0]))
    assert_close(found.values, expected, rtol=1e-10, atol=0)
    assert len(found.residuals) == 4


def test_the_order_is_by_modulus_whatever_the_sign():
    values = torch.tensor([0.5, -4.0, 3.0, 1.0, -2.0, 0.1])
    found = eigenvalues(linear(with_eigenvalues([torch.diag(values)])))
    assert_close(found.real, torch.tensor([-4.0, 3.0, -2.0, 1.0, 0.5, 0.1]), rtol=1e-10, atol=0)
    leading = leading_eigenvalues(linear(with_eigenvalues([torch.diag(values)])), 3)
    assert_close(leading.values.real, torch.tensor([-4.0, 3.0, -2.0]), rtol=1e-10, atol=0)


def test_residuals_are_those_of_unit_eigenvectors():
    """With a loose tolerance the residual is far from round-off, and bounds a symmetric matrix's error."""
    matrix = torch.diag(torch.linspace(1.0, 2.0, 200))
    found = leading_eigenvalues(linear(matrix), 2, tolerance=1e-2, num_vectors=10)
    assert (found.residuals > 1e-12).all()
    error = (found.values.real[:, None] - matrix.diagonal()).abs().min(1).values
    assert (error <= found.residuals * found.values.abs() + 1e-14).all()


def test_singular_values_are_not_eigenvalues():
    shear = with_eigenvalues([torch.tensor([[1.0, 50.0], [0.0, 1.0]]), torch.diag(torch.linspace(0, 1, 10))])
    found = leading_singular_values(linear(shear), 2)
    expected = np.linalg.svd(shear.numpy(), compute_uv=False)[:2]
    assert_close(found.values, torch.from_numpy(expected), rtol=1e-8, atol=0)


# ---- an iteration that fails


def test_an_iteration_that_does_not_converge_reports_residuals_instead_of_numbers():
    crowd = linear(torch.diag(1 + 1e-3 * torch.linspace(0, 1, 300)))  # like a round of training: all near 1
    with pytest.raises(NotConverged, match=r"residual of 1\.0e-08; after \d+ products, 2 restarts") as caught:
        leading_eigenvalues(crowd, 3, max_restarts=2)
    listed = str(caught.value).partition("residuals are: ")[2].partition(". Raise")[0].split(", ")
    assert len(listed) == 3
    assert all(0 < float(value) < 1e-3 for value in listed)  # as wide as the crowd at most
    with pytest.raises(NotConverged, match="the residuals are"):
        leading_singular_values(crowd, 3, max_restarts=1)


def test_a_product_that_is_not_finite_is_refused():
    at = Map(lambda x: x.sqrt(), torch.zeros(5))
    with pytest.raises(ValueError, match=r"derivatives must be finite; got 5 of 5.*Adam and RMSProp"):
        leading_eigenvalues(at, 2)


@pytest.mark.parametrize("num", [0, 4])
def test_too_many_values_for_arnoldi_are_refused(num):
    at = linear(torch.eye(5))
    for find in (leading_eigenvalues, leading_singular_values):
        with pytest.raises(ValueError, match=f"between 1 and n − 2 .*; got {num} of n = 5. Take the dense"):
            find(at, num)


# ---- the largest stable step


def stable_step_of_dirac(gamma: float) -> float:
    game = dirac_gan(Minimax(), {"r1": partial(r1, gamma=gamma)}, (0.0, 0.0))
    return largest_stable_step(eigenvalues(game_gradient(game, game.init(), [dirac_batch()])))


@pytest.mark.parametrize("gamma", [0.1, 0.3, 0.9])
def test_r1_on_the_dirac_gan_is_stable_below_4_gamma(gamma):
    assert_close(stable_step_of_dirac(gamma), 4 * gamma, rtol=1e-12, atol=0)  # γ ≤ 1: |λ|² = ¼, Re λ = γ/2


@pytest.mark.parametrize(("factor", "contracts"), [(0.99, True), (1.01, False)])
def test_training_contracts_below_the_predicted_step_and_not_above(factor, contracts):
    game = dirac_gan(Minimax(), {"r1": partial(r1, gamma=0.3)}, start=(1e-4, -1e-4))
    h = factor * stable_step_of_dirac(0.3)
    radius = trajectory(game, both(Simultaneous, SGD(h)), 400).norm(dim=1)
    assert (radius[-1] < radius[0]) == contracts


def test_no_step_is_stable_where_the_game_only_turns_or_repels():
    game = dirac_gan(Wasserstein())
    assert largest_stable_step(eigenvalues(game_gradient(game, game.init(), [dirac_batch()]))) == 0.0
    assert largest_stable_step(torch.tensor([1.0 + 0j, -1e-3 + 1j])) == 0.0


def test_directions_in_which_nothing_moves_do_not_limit_the_step():
    assert largest_stable_step(torch.tensor([4.0 + 0j, 0j, 1e-17 - 1e-17j])) == 0.5
    assert largest_stable_step(torch.zeros(3, dtype=torch.complex128)) == math.inf


# ---- rotation


def test_parts_add_up_and_are_orthogonal():
    matrix = torch.randn(7, 7, generator=torch.Generator().manual_seed(0))
    found = parts(matrix)
    assert_close(found.symmetric + found.antisymmetric, matrix)
    assert torch.equal(found.symmetric, found.symmetric.T)
    assert torch.equal(found.antisymmetric, -found.antisymmetric.T)
    share = found.antisymmetric.norm() ** 2 / matrix.norm() ** 2
    assert_close(found.antisymmetric_share, share.item())


@pytest.mark.parametrize(("a", "share"), [(0.0, 1.0), (1.0, 0.5), (3.0, 0.1)])
def test_the_share_of_rotation_in_aI_plus_a_quarter_turn(a, share):
    matrix = a * torch.eye(2) + torch.tensor([[0.0, -1.0], [1.0, 0.0]])
    assert_close(parts(matrix).antisymmetric_share, share)
    found = antisymmetric_share(linear(torch.block_diag(*[matrix] * 5)), 2)
    assert_close(found.value, share)  # on blocks alike every probe sees the same share
    assert_close(found.standard_error, 0.0, atol=1e-12, rtol=0)


def test_the_share_of_rotation_of_a_network_game_without_its_jacobian():
    game, batch = ring_game()
    at = game_gradient(game, game.init(), [batch])
    found = antisymmetric_share(at, 150)
    expected = parts(jacobian(at)).antisymmetric_share
    assert found.standard_error < 0.05
    assert_close(found.value, expected, rtol=0, atol=4 * found.standard_error)


def test_a_zero_sum_game_without_curvature_only_turns():
    game = dirac_gan(Wasserstein())
    matrix = jacobian(game_gradient(game, Players(torch.ones(1), torch.ones(1)), [dirac_batch()]))
    assert parts(matrix).antisymmetric_share == 1.0


def test_one_probe_has_no_standard_error():
    with pytest.raises(ValueError, match="at least 2 probes; got 1"):
        antisymmetric_share(linear(torch.eye(3)), 1)
