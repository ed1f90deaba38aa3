"""Phase portraits: the field, its rest points, and paths that are the dynamics' own."""

from functools import partial

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from oracles import dirac_batch, dirac_gan, trajectory
from portraits import computed
from saddle.diagnosis.linearize import game_field
from saddle.diagnosis.plane import field_over, rest_points
from saddle.dynamics import Alternating, Simultaneous
from saddle.dynamics.optimizers import SGD
from saddle.dynamics.second_order import Consensus
from saddle.game.losses import Minimax, NonSaturating
from saddle.game.penalties.discriminator import r1


def test_the_field_over_a_grid_is_the_dirac_gans():
    """v = (σ(θψ)ψ, −σ(θψ)θ) without a penalty, for the minimax loss; D is high on real samples here."""
    field = game_field(dirac_gan(Minimax()), dirac_gan(Minimax()).init(), [dirac_batch()])
    x, y = torch.linspace(-2, 2, 5), torch.linspace(-1, 3, 4)
    found = field_over(field, x, y)
    theta, psi = torch.meshgrid(x, y, indexing="xy")
    sigma = torch.sigmoid(theta * psi)
    assert_close(found, torch.stack([sigma * psi, -sigma * theta], -1))


def test_the_only_rest_point_of_the_dirac_gan_is_found():
    game = dirac_gan(NonSaturating(), {"r1": partial(r1, gamma=0.3)})
    field = game_field(game, game.init(), [dirac_batch()])
    (at,) = rest_points(field, torch.linspace(-2.1, 2, 14), torch.linspace(-2, 2.3, 14))
    assert_close(torch.tensor(at), torch.zeros(2), rtol=0, atol=1e-6)  # as far as it is asked to go
    assert rest_points(field, torch.linspace(1, 2, 5), torch.linspace(1, 2, 5)) == []


METHODS = {
    "dynamics=simultaneous": Simultaneous(SGD(0.2), SGD(0.2)),
    "dynamics=alternating": Alternating(SGD(0.2), SGD(0.2)),
    "dynamics=consensus dynamics.gamma=1": Consensus(SGD(0.2), SGD(0.2), 1.0),
}


@pytest.fixture(scope="module")
def paths():
    """Of all methods, over one field: they play one game."""
    words = [tuple(method.split()) for method in METHODS]
    ((_, _, _, _, paths),) = computed("picture=phase", "num_steps=50", methods=words).panels
    return paths


@pytest.mark.parametrize(("words", "dynamics"), METHODS.items())
def test_paths_are_the_dynamics_own(words, dynamics, paths):
    expected = trajectory(dirac_gan(Minimax()), dynamics, 50)
    # 50 rounds in float32
    assert_close(torch.tensor(paths[words]), expected, rtol=0, atol=1e-5)


def test_methods_share_a_panel_exactly_when_they_share_a_field():
    methods = [("dynamics=simultaneous",), ("dynamics=alternating",), ("regularizer=[r1]",)]
    numbers = computed("picture=phase", "num_steps=3", "loss=wasserstein", methods=methods)
    plain, penalised = numbers.panels
    assert (plain.title, [*plain.paths]) == ("no penalty", ["dynamics=simultaneous", "dynamics=alternating"])
    assert (penalised.title, [*penalised.paths]) == ("with R1", ["regularizer=[r1]"])
    assert numbers.names == ["θ", "ψ"]
    assert_close(torch.tensor(plain.rest), torch.zeros(1, 2), rtol=0, atol=1e-6)
    assert len(plain.u) == len(numbers.y) == 31


def test_a_path_ends_where_training_would_stop():
    words = ["picture=phase", "optimizer.discriminator.lr=1e30", "optimizer.generator.lr=1e30", "num_steps=9"]
    numbers = computed(*words, "model.generator.theta=[3]", "loss=wasserstein")
    (panel,) = numbers.panels
    (path,) = panel.paths.values()
    assert len(path) == 2  # the second round goes to 1e60, which float32 does not hold
    assert np.isfinite(path).all()


def test_a_phase_portrait_of_more_than_two_parameters_is_refused():
    with pytest.raises(ValueError, match=r"needs a game of two parameters; this one has 4\. Take"):
        computed("picture=phase", "experiment=bilinear")


@pytest.mark.parametrize("view", ["[1,-1,-1,1]", "[-1,1,2,2]"])
def test_a_view_without_extent_is_refused(view):
    with pytest.raises(ValueError, match="view must be left < right, bottom < top; got"):
        computed("picture=phase", "num_steps=2", f"picture.compute.view={view}")
