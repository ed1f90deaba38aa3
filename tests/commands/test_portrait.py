"""The portrait command: its files, its refusals, and every picture it knows."""

import json
from functools import partial
from xml.etree import ElementTree

import hydra
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf
from PIL import Image
from torch.testing import assert_close

from command_line import call
from oracles import dirac_gan, trajectory
from portraits import composed, record
from saddle.commands import portrait
from saddle.dynamics import Simultaneous
from saddle.dynamics.optimizers import SGD
from saddle.game.losses import Wasserstein
from saddle.game.penalties.discriminator import r1
from saddle.theory import dirac
from saddle.training.assembly import assemble
from saddle.training.configuration import config_directory


def run(capsys, *words: str) -> tuple[int, str]:
    status = call(portrait.main, *words)
    return status, capsys.readouterr().err


@pytest.fixture
def float32(_float64_by_default: None) -> None:
    """As the commands have it."""
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("float32")
def test_the_command_writes_picture_drawing_and_numbers_and_draws_them_again(tmp_path, capsys):
    out = tmp_path / "made" / "phase"
    methods = 'methods={plain: "dynamics=simultaneous", R1: "regularizer=[r1] regularizer.r1.gamma=0.4"}'
    words = [methods, "num_steps=20", "loss=wasserstein"]
    assert run(capsys, *words, f"out={out}") == (0, "")
    assert {path.name for path in out.parent.iterdir()} == {"phase.png", "phase.svg", "phase.json"}
    content = json.loads(out.with_suffix(".json").read_text())
    assert content["picture"] == "phase"
    assert [*content["methods"]] == ["plain", "R1"]
    assert content["methods"]["R1"][-2:] == ["regularizer=[r1]", "regularizer.r1.gamma=0.4"]
    assert content["provenance"]["command_line"][1:4] == words
    paths = {name: path for panel in content["numbers"]["panels"] for name, path in panel[-1].items()}
    game = dirac_gan(Wasserstein(), {"r1": partial(r1, gamma=0.4)})
    expected = trajectory(game, Simultaneous(SGD(0.2), SGD(0.2)), 20)
    assert_close(torch.tensor(paths["R1"]), expected, rtol=0, atol=1e-6, check_dtype=False)  # float32
    again = tmp_path / "again"
    assert run(capsys, f"redraw={out}.json", f"out={again}", "width=6.9") == (0, "")
    assert json.loads(again.with_suffix(".json").read_text()) == content
    with Image.open(f"{again}.png") as picture:
        assert picture.width == 2070
    status, errors = run(capsys, "picture=spectrum", f"redraw={out}.json", f"out={tmp_path / 'x'}")
    assert status == 2
    assert "redraw must be of picture=spectrum" in errors
    assert "Say picture=phase" in errors
    same = tmp_path / "same"
    assert run(capsys, f"redraw={out}.json", f"out={same}") == (0, "")
    for kind in ("png", "svg"):
        assert same.with_suffix(f".{kind}").read_bytes() == out.with_suffix(f".{kind}").read_bytes()


@pytest.mark.usefixtures("float32")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["experiment=bilinear"], "a phase portrait needs a game of two parameters; this one has 4"),
        (["picture=diagram"], "an axis must name a setting; picture.y.key is empty"),
        (["picture=trajectories"], "trajectories must be of runs; got none"),
        (
            ["picture=trajectories", "runs=[nowhere]"],
            "runs must be named by files, folders or globs that exist",
        ),
        (["width=1"], "width must lie between 2.5 and 20 inches; got 1"),
        (
            ["redraw=nowhere.json"],
            "redraw must be the .json that an earlier picture wrote; nowhere.json is not",
        ),
        (["methods=[alternating]"], "a method must be training words such as dynamics=alternating"),
        (['methods=["out=x"]'], "a method must be training words such as dynamics=alternating"),
        (["picture=nothing"], "Could not find 'picture/nothing'"),
    ],
)
def test_what_cannot_be_drawn_is_refused_with_one_message(words, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, errors = run(capsys, *words)
    assert (status, errors.startswith("saddle: ")) == (2, True)
    assert message in errors
    assert [*tmp_path.iterdir()] == []


@pytest.mark.usefixtures("float32")
def test_a_solve_that_does_not_converge_is_refused_with_its_residuals(tmp_path, capsys):
    # of a round, whose eigenvalues crowd at 1
    words = ["picture=spectrum_round", "data=ring8", "model=mlp", "picture.compute.at=null", "batch_size=16"]
    words += ["model.generator.hidden=[32]", "model.discriminator.hidden=[32]", "optimizer.generator.lr=0.01"]
    words += [
        "picture.compute.max_dense=10",
        "picture.compute.num_leading=6",
        "optimizer.discriminator.lr=0.01",
    ]
    words += ["picture.compute.max_restarts=1", f"out={tmp_path / 'out'}"]
    status, errors = run(capsys, *words)
    assert status == 2
    assert "residual" in errors
    assert [*tmp_path.iterdir()] == []


CHOICES = sorted(path.stem for path in (config_directory() / "picture").glob("*.yaml"))


@pytest.mark.usefixtures("float32")
@pytest.mark.slow
@pytest.mark.parametrize("choice", CHOICES)
def test_every_picture_can_be_drawn(choice, tmp_path, capsys):
    small = ["num_steps=10", "regularizer=[r1]", f"out={tmp_path / 'out'}"]
    cells_of = ["picture.x.num=3", "picture.y.num=3", "picture.y.key=regularizer.r1.gamma"]
    runs = [f"runs=[{record(tmp_path / 'run', num=20)}]"]
    words = cells_of * choice.startswith("diagram") + runs * (choice == "trajectories")
    assert run(capsys, f"picture={choice}", *small, *words)[0] == 0
    ElementTree.parse(tmp_path / "out.svg")


@pytest.mark.slow
@pytest.mark.usefixtures("float32")
def test_a_runs_checkpoints_are_its_clouds(tmp_path, capsys):
    from saddle.commands import train

    directory = tmp_path / "run"
    words = [
        "experiment=dirac",
        "regularizer=[r1]",
        "regularizer.r1.gamma=0.8",
        "optimizer.generator.lr=1",
        "optimizer.discriminator.lr=1",
        "num_steps=60",
        "logger=none",
    ]
    assert call(train.main, *words, "trainer=cpu", "checkpoint_every=30", f"hydra.run.dir={directory}") == 0
    out = tmp_path / "out"
    words = ["picture=spectrum", f"runs=[{directory}]", "picture.compute.checkpoints=[start,last]"]
    assert run(capsys, *words, f"out={out}")[0] == 0
    clouds = json.loads(out.with_suffix(".json").read_text())["numbers"]["clouds"]
    assert [*clouds] == ["step 0", "step 60"]
    expected = sorted((value.real, value.imag) for value in dirac.gradient_penalty_eigenvalues(0.8))
    # after 60 steps, each of which multiplies by 0.67, the players are some 1e-10 from the equilibrium
    assert_close(sorted(map(tuple, clouds["step 60"])), expected, rtol=0, atol=1e-4)
    status, errors = run(capsys, *words[:2], "picture.compute.checkpoints=[nope]", f"out={tmp_path / 'x'}")
    assert status == 2
    assert "a checkpoint must exist to be loaded" in errors


def test_a_method_is_what_training_would_compose():
    config = composed("experiment=dirac", "regularizer=[r1]")
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(config_directory()), version_base="1.3"):
        trained = hydra.compose("train", ["name=toy", "logger=none", "experiment=dirac", "regularizer=[r1]"])
    resolved = OmegaConf.to_container(trained, resolve=True)
    assert {key: OmegaConf.to_container(config, resolve=True)[key] for key in resolved} == resolved
    assert assemble(trained).game.penalties["r1"].keywords == {"gamma": 0.2}
