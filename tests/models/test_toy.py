"""The toy games through the ordinary commands, and their players: the very numbers of the papers' tables."""

import math
from pathlib import Path

import hydra
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf
from torch.testing import assert_close

from command_line import call
from pages import pixels
from saddle.commands import train
from saddle.data.points import gaussian, point_mass
from saddle.metrics.moments import mean_error, std_error, wasserstein
from saddle.models.toy import Affine, Bilinear, Linear, Point, Quadratic
from saddle.records.record import open_record
from saddle.reports.pictures import line_picture, picture_of
from saddle.theory import bilinear, gaussians
from saddle.theory.gaussians import Gaussian
from saddle.training.assembly import Experiment, assemble
from saddle.training.configuration import config_directory
from saddle.training.module import GANModule


@pytest.fixture
def float32(_float64_by_default: None) -> None:
    """As the commands have it."""
    torch.set_default_dtype(torch.float32)


def experiment(*words: str) -> Experiment:
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(config_directory()), version_base="1.3"):
        config = hydra.compose("train", ["name=toy", "logger=none", *words])
    return assemble(OmegaConf.create(OmegaConf.to_container(config, resolve=True)))


def radii(*words: str) -> tuple[Experiment, list[float]]:
    """The experiment played to its end as training plays it, and the radius after every round."""
    found = experiment(*words)
    module = GANModule([found.member], found.pace)
    module.begin()
    path = []
    for chunk in module.chunks():
        module.play(chunk)
        logs = found.member.logs
        assert logs is not None
        path.append(math.hypot(logs["diag/generator_norm"], logs["diag/discriminator_norm"]))
    return found, path


# ---- the Dirac-GAN


@pytest.mark.usefixtures("float32")
@pytest.mark.parametrize(
    ("words", "expected", "atol"),
    [
        ([], 3.0969, 5e-4),  # as printed; float32 loses 1e-5 over 500 growing steps
        (["regularizer=[r1]", "regularizer.r1.gamma=0.3"], 2.64e-6, 1e-8),
        (["dynamics=consensus", "dynamics.gamma=1"], 2.6e-10, 1e-11),
        (["dynamics=alternating"], 1.413, 1e-3),  # D first; the table's 1.421 has G first
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_the_dirac_experiment_ends_at_the_tabled_radius(words, expected, atol):
    _, path = radii("experiment=dirac", *words)
    assert_close(path[-1], expected, rtol=0, atol=atol)


@pytest.mark.slow
@pytest.mark.usefixtures("float32")
def test_the_train_command_leaves_the_dirac_gans_path_in_its_record(tmp_path: Path):
    directory = tmp_path / "run"
    words = [
        "experiment=dirac",
        "logger=none",
        "trainer=cpu",
        "evaluate_every=250",
        f"hydra.run.dir={directory}",
    ]
    assert call(train.main, *words) == 0
    series = open_record(directory).series()
    theta, psi = (series[f"diag/{player}_norm"][500] for player in ("generator", "discriminator"))
    assert_close(math.hypot(theta, psi), 3.0969, rtol=0, atol=5e-4)
    for name in ("mean_error", "wasserstein"):  # the data are at 0
        assert_close(series[f"eval/{name}"][500], theta, rtol=1e-6, atol=0)
    assert list(series["eval/wasserstein"]) == [0, 250, 500]


@pytest.mark.usefixtures("float32")
def test_the_start_and_the_coupling_can_be_set():
    words = ["model.generator.theta=[0.6]", "model.discriminator.psi=[0]", "model.discriminator.scale=2.0"]
    found, path = radii("experiment=dirac", *words, "num_steps=1", "evaluate_every=1", "checkpoint_every=1")
    players = found.member.state.players
    # ψ = 0: θ stays, and ψ moves by −h·2θ·σ(0)
    assert_close((players.generator.item(), players.discriminator.item()), (0.6, -0.2 * 2 * 0.6 * 0.5))
    assert_close(path[-1], math.hypot(0.6, 0.12))


# ---- bilinear games


@pytest.mark.usefixtures("float32")
@pytest.mark.parametrize(
    ("dynamics", "method"),
    [
        ("simultaneous", bilinear.SIMULTANEOUS), ("extragradient", bilinear.EXTRAGRADIENT),
        ("cgd", bilinear.COMPETITIVE), ("runge_kutta4", bilinear.RUNGE_KUTTA4),
    ],
)  # fmt: skip
def test_each_singular_value_turns_at_the_rate_of_theory(dynamics, method):
    words = ["model.discriminator.matrix=[[0.0,2.0],[0.5,0.0]]", f"dynamics={dynamics}", "num_steps=20"]
    words += ["evaluate_every=20", "checkpoint_every=20"]
    found, _ = radii("experiment=bilinear", *words)
    (theta_a, theta_b), (psi_a, psi_b) = (vector.tolist() for vector in found.member.state.players)
    # D(x) = 2ψ₁x₂ + ½ψ₂x₁: two games of two numbers; 20 steps of float32
    for pair, sigma in (((theta_b, psi_a), 2.0), ((theta_a, psi_b), 0.5)):
        expected = math.sqrt(2) * method.radius(0.1 * sigma) ** 20
        assert_close(math.hypot(*pair), expected, rtol=1e-4, atol=0)


@pytest.mark.parametrize("shape", [(1, 1), (3, 2), (2, 3)])
def test_a_bilinear_discriminator_is_the_product(shape):
    draw = torch.Generator().manual_seed(0)
    matrix, psi = torch.randn(shape, generator=draw), torch.randn(shape[0], generator=draw)
    samples = torch.randn(5, shape[1], generator=draw)
    expected = torch.einsum("m,mn,bn->b", psi, matrix, samples)
    assert_close(Bilinear(psi, matrix)(samples), expected)
    assert_close(Bilinear(psi.tolist(), matrix.tolist())(samples), expected)
    assert [name for name, _ in Bilinear(psi, matrix).named_parameters()] == ["psi"]


def test_with_the_identity_it_is_the_linear_discriminator():
    samples = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    assert_close(Bilinear([1.0, 2.0, 3.0], torch.eye(3))(samples), Linear([1.0, 2.0, 3.0])(samples))


@pytest.mark.parametrize("matrix", [[[1.0, 0.0]], [1.0, 0.0], [[1.0], [0.0], [2.0]]])
def test_a_matrix_without_a_row_for_each_number_is_refused(matrix):
    with pytest.raises(
        ValueError, match=r"matrix must have a row for each of psi's \(2,\) numbers; got shape"
    ):
        Bilinear([1.0, 2.0], matrix)


def test_a_bilinear_game_stored_in_float32_is_linearized_in_float64():
    game = Bilinear([1.0, 2.0], torch.eye(2)).float()
    found = torch.func.functional_call(game, {"psi": torch.tensor([1.0, 2.0])}, (torch.ones(1, 2),))
    assert_close(found, torch.tensor([3.0]))


# ---- the linear-quadratic GAN, its data and its metrics


@pytest.mark.slow
@pytest.mark.usefixtures("float32")
def test_the_linear_quadratic_gan_finds_its_gaussian():
    """The game's eigenvalues at μ = ½, σ = 1 have real parts of −0.17 and beyond."""
    found = experiment(
        "data=gaussian1d", "data.mixture.mean=[0.5]", "data.num_train=20000", "model=linear_quadratic",
        "regularizer=[]", "optimizer=sgd", "optimizer.generator.lr=0.05", "optimizer.discriminator.lr=0.05",
        "batch_size=512", "num_steps=1200", "evaluate_every=1200", "checkpoint_every=1200", "ema=0.99",
        "metrics.num_samples=20000", "metrics.num_real=20000",
    )  # fmt: skip
    module, member = GANModule([found.member], found.pace), found.member
    module.begin()
    for chunk in module.chunks():
        module.play(chunk)
    a, b = member.state.evaluated.tolist()
    # stationary noise of a batch of 512 and the sampling error of the data: about 0.02 each
    assert_close((a, b), (1.0, 0.5), rtol=0, atol=0.1)
    assert_close(member.state.players.discriminator, torch.zeros(2), rtol=0, atol=0.1)
    evaluator = found.evaluator.prepare(found.dataset, torch.device("cpu"))
    values = evaluator(found.sampler(member.state.evaluated, 20000))
    expected = gaussians.wasserstein1(Gaussian(b, abs(a)), Gaussian(0.5, 1.0))
    assert_close(values["wasserstein"], expected, rtol=0, atol=0.03)  # 20,000 samples on each side
    assert_close(values["std_error"], abs(abs(a) - 1), rtol=0, atol=0.03)


def test_the_players_of_the_linear_quadratic_gan_are_their_formulas():
    x = torch.tensor([[-1.0], [0.0], [2.0]])
    assert_close(Affine(3, -1)(x), torch.tensor([[-4.0], [-1.0], [5.0]]))
    assert_close(Quadratic([1.0, -0.5])(x), torch.tensor([-1.5, 0.0, 0.0]))


def test_a_point_is_made_of_any_latents():
    assert_close(Point([1.0, 2.0])(torch.randn(3, 7)), torch.tensor([[1.0, 2.0]] * 3))
    assert Point(1.0)(torch.zeros(2, 1)).shape == (2, 1)


def test_a_point_mass_is_one_point_on_both_splits():
    data = point_mass("here", [1.0, -2.0], 5, 3)
    assert_close(data.train.first(9), torch.tensor([[1.0, -2.0]] * 5, dtype=torch.float32))
    assert_close(data.held_out.first(9), torch.tensor([[1.0, -2.0]] * 3, dtype=torch.float32))


def test_one_gaussian_has_its_mean_and_std():
    samples, _ = gaussian([1.0, -3.0], 0.5).sample(40_000, torch.Generator().manual_seed(0))
    # four standard errors, 0.01 of a mean and 0.007 of a std
    assert_close(samples.double().mean(0), torch.tensor([1.0, -3.0]), rtol=0, atol=0.01)
    assert_close(samples.double().std(0), torch.tensor([0.5, 0.5]), rtol=0, atol=0.007)


def test_moment_metrics_of_hand_made_points():
    real, fake = torch.tensor([[0.0, 0.0], [2.0, 0.0]]), torch.tensor([[4.0, 4.0], [4.0, 4.0], [4.0, 4.0]])
    assert mean_error(real, fake) == 5.0
    assert std_error(real, fake) == 1.0
    assert wasserstein(real, fake) == 3.5  # 3 along the first axis, 4 along the second
    assert wasserstein(real, real) == 0.0


# ---- pictures on the line


def test_points_on_the_line_are_drawn_where_they_are():
    blue = torch.tensor([0x00, 0x72, 0xB2])
    picture = torch.from_numpy(pixels(line_picture(torch.zeros(5, 1), torch.full((5, 1), -0.8))).copy())
    seen = ((picture[..., :3].int() - blue).abs() < 8).all(-1)
    below_legend = seen[picture.shape[0] // 2 :]
    columns = below_legend.nonzero()[:, 1].double() / picture.shape[1]
    assert len(columns) > 0
    assert columns.max() < 0.5  # left of the middle, where the data lie


def test_points_of_any_dimension_have_a_picture():
    for size in (1, 2, 5):
        picture, num = picture_of((size,))
        real = torch.randn(9, size, generator=torch.Generator().manual_seed(0))
        assert pixels(picture(real, real + 100)).ndim == 3
        assert num == 2500
    assert picture_of((1, 8, 8))[1] == 64


@pytest.mark.parametrize("shape", [(5, 2), (0, 1), (5,)])
def test_points_off_the_line_are_refused(shape):
    with pytest.raises(ValueError, match=r"generated points must have shape \(N, 1\) with N > 0"):
        line_picture(torch.zeros(5, 1), torch.zeros(shape))
