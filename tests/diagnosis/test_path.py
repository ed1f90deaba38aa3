"""Path angles as published, projections against another library, autocorrelation of spirals."""

import math

import pytest
import torch
from sklearn.decomposition import PCA
from torch.testing import assert_close

from by_hand import small_batch, small_game
from payoffs import game_of
from saddle.diagnosis.path import autocorrelation, path_angle, project
from saddle.game.game import Batch, Game, Players

# ---- path angle


def linear_game(of_identity: float, of_rotation: float) -> tuple[Game, Batch]:
    """ξ(ω) = aω + b·Rω, R the quarter turn (x, y) -> (y, −x)."""
    return game_of(
        lambda x, y: (0.5 * of_identity * x * x + of_rotation * x * y).sum(),
        lambda x, y: (0.5 * of_identity * y * y - of_rotation * x * y).sum(),
        torch.zeros(1),
        torch.zeros(1),
    )


def point(x: float, y: float) -> Players:
    return Players(torch.tensor([x]), torch.tensor([y]))


@pytest.mark.parametrize(
    ("a", "b", "printed"),
    [
        (1.0, 0.0, [-0.995, -0.704, 0.010, 0.711, 0.995]),  # attracted: a switch of sign
        (0.0, 1.0, [-0.100, -0.711, -1.0, -0.704, -0.099]),  # rotated: a bump
        (1.0, 1.0, [-0.774, -1.0, -0.700, 0.005, 0.633]),  # both
    ],
    ids=["attraction", "rotation", "spiral"],
)
def test_the_path_angle_of_linear_games_is_as_worked_by_hand(a, b, printed):
    alphas = torch.tensor([0.9, 0.99, 1.0, 1.01, 1.1])
    game, batch = linear_game(a, b)
    found = path_angle(game, point(1.0, 0.0), point(0.0, 0.01), [batch], alphas)
    assert_close(found.angles, torch.tensor(printed), atol=5e-4 + 1e-9, rtol=0)  # half a unit as printed
    points = torch.stack([1 - alphas, 0.01 * alphas], 1)
    assert_close(found.norms, math.hypot(a, b) * points.norm(dim=1))  # A is a scaled rotation


def test_the_path_has_the_authors_hundred_points_and_averages_over_batches():
    game, batches = small_game(), [small_batch(0), small_batch(1)]
    first = game.init()
    last = Players(first.generator - 0.3, first.discriminator * 1.5)
    found = path_angle(game, first, last, batches)
    assert_close(found.alphas, torch.linspace(-0.1, 1.1, 100))
    alpha = found.alphas[37]
    at = Players(*(torch.lerp(a, b, alpha) for a, b in zip(first, last, strict=True)))
    gradient = sum(torch.cat(game.gradients(at, batch)[0]) for batch in batches) / 2
    direction = torch.cat(last) - torch.cat(first)
    assert_close(found.angles[37], torch.cosine_similarity(direction, gradient, dim=0))
    assert_close(found.norms[37], gradient.norm())


def test_the_angle_at_an_exact_equilibrium_is_not_a_number():
    game, batch = linear_game(1.0, 0.0)
    found = path_angle(game, point(1.0, 0.0), point(0.0, 0.0), [batch], torch.tensor([0.5, 1.0, 1.5]))
    assert_close(found.angles, torch.tensor([-1.0, math.nan, 1.0]), equal_nan=True)


def test_a_path_that_goes_nowhere_is_refused():
    game, batch = linear_game(1.0, 0.0)
    with pytest.raises(ValueError, match="the same point twice"):
        path_angle(game, point(1.0, 0.0), point(1.0, 0.0), [batch])
    with pytest.raises(ValueError, match="at least one batch"):
        path_angle(game, point(1.0, 0.0), point(0.0, 0.01), [])


# ---- projections


def wander(num_points: int = 30, num: int = 12, seed: int = 0) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    return 3.0 + torch.randn(num_points, num, generator=draw).cumsum(0)


@pytest.mark.parametrize("shape", [(30, 12), (6, 50)])
def test_projections_are_principal_components_as_scikit_learn_has_them(shape):
    trajectory = wander(*shape)
    found = project(trajectory)
    pca = PCA(2, svd_solver="full").fit(trajectory.numpy())
    assert_close(found.explained, torch.from_numpy(pca.explained_variance_ratio_))
    signs = (found.axes * torch.from_numpy(pca.components_)).sum(1).sign()
    assert_close(found.axes, torch.from_numpy(pca.components_) * signs[:, None])
    assert_close(found.coordinates, torch.from_numpy(pca.transform(trajectory.numpy())) * signs)
    assert_close(found.coordinates, (trajectory - found.mean) @ found.axes.T)


def test_a_planar_trajectory_is_explained_by_two_axes():
    angles = torch.linspace(0, 6, 40)
    plane, _ = torch.linalg.qr(torch.randn(9, 2, generator=torch.Generator().manual_seed(0)))
    circle = torch.stack([angles.cos(), angles.sin()], 1) @ plane.T + 5.0
    found = project(circle)
    assert_close(found.explained.sum(), torch.tensor(1.0))
    assert_close(found.coordinates.diff(dim=0).norm(dim=1), circle.diff(dim=0).norm(dim=1))  # distances kept


def test_the_sign_of_an_axis_is_that_of_its_largest_entry():
    trajectory = wander()
    found, mirrored = project(trajectory), project(-trajectory)
    assert (found.axes.gather(1, found.axes.abs().argmax(1, keepdim=True)) > 0).all()
    assert_close(mirrored.axes, found.axes)
    assert_close(mirrored.coordinates, -found.coordinates)


def test_trajectories_without_a_plane_are_refused():
    with pytest.raises(ValueError, match="at least 3 points of 2 numbers; got 2 of 12"):
        project(wander(2))
    with pytest.raises(ValueError, match="must move to be projected"):
        project(torch.ones(5, 3))


# ---- autocorrelation


@pytest.mark.parametrize("growth", [0.9, 1.0, 1.1])
@pytest.mark.parametrize("angle", [0.1, 0.7, 2.0])
def test_a_spiral_has_the_cosine_of_its_turning_as_autocorrelation(growth, angle):
    times = torch.arange(50.0)
    spiral = growth ** times[:, None] * torch.stack([(angle * times).cos(), (angle * times).sin()], 1)
    expected = (angle * times[:11]).cos()
    assert_close(autocorrelation(spiral, 10), expected)
    assert_close(autocorrelation(spiral.diff(dim=0), 10), expected)  # its updates turn alike


def test_a_drift_has_autocorrelation_one_and_alternation_minus_one():
    assert_close(autocorrelation(torch.ones(10, 3), 4), torch.ones(5))
    assert_close(autocorrelation((-1.0) ** torch.arange(10), 2), torch.tensor([1.0, -1.0, 1.0]))


def test_noise_has_none():
    noise = torch.randn(400, 50, generator=torch.Generator().manual_seed(0))
    found = autocorrelation(noise, 5)
    # standard error (400 · 50)^(−½) = 0.007
    assert_close(found, torch.tensor([1.0, 0, 0, 0, 0, 0]), atol=4 * 0.0071, rtol=0)


def test_series_without_an_autocorrelation_are_refused():
    with pytest.raises(ValueError, match="between 0 and T − 1 = 4; got 5"):
        autocorrelation(torch.ones(5, 2), 5)
    with pytest.raises(ValueError, match="must not be 0 throughout"):
        autocorrelation(torch.tensor([1.0, 0.0, 0.0]), 2)
