"""The models that fit the data are named from the choices themselves, one's own among them."""

from pathlib import Path

import hydra
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from torch import Tensor, nn

from command_line import Command, assert_refused
from command_line import command as command
from compositions import CONF, choices
from saddle.commands import train
from saddle.training.model_choices import fitting_choices, sample_shapes


class Bent(nn.Module):
    """A backbone of one's own: points on a parabola."""

    def forward(self, latents: Tensor) -> Tensor:
        return torch.stack([latents[:, 0], latents[:, 0].square()], 1)


BENT = f"""
latents:
  _target_: saddle.data.sampling.normal_latents
  _partial_: true
  size: 1
generator:
  _target_: {__name__}.Bent
discriminator:
  _target_: {__name__}.NotWrittenYet
"""


def test_every_choice_is_named_with_the_shape_of_its_samples():
    shapes = sample_shapes()
    assert sorted(shapes) == choices("model")
    assert (shapes["dirac"], shapes["mlp"], shapes["dcgan28"]) == ((1,), (2,), (1, 28, 28))  # their YAML's
    for shape in (shapes["mlp"], shapes["mlp8"]):
        first, _, others = fitting_choices(shape).partition("; ")
        named = first.removeprefix("model=").partition(" make")[0].replace(" and ", ", ").split(", ")
        assert named == sorted(choice for choice in shapes if shapes[choice] == shape)
        assert first.endswith(f" {shape}")
        assert [f" {other}" in others for other in {*shapes.values()}] == [
            other != shape for other in {*shapes.values()}
        ]


def test_where_no_choice_fits_it_is_said():
    found = fitting_choices((3, 5, 7))
    assert found.startswith("none makes images (3, 5, 7) as it stands; model=dirac, gaussian1d and linear_q")


def test_a_backbone_in_a_folder_of_ones_own_is_named_where_the_data_is_its_kind(
    command: Command, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
):
    folder = tmp_path_factory.mktemp("one's own, in a folder")
    (folder / "model").mkdir()
    (folder / "model" / "bent.yaml").write_text(BENT)
    (folder / "model" / "unfinished.yaml").write_text("generator: 3\n")
    answer = command(train.main, f"--config-dir={folder}", "data=ring8", "model=mlp8")
    fits = "Choose a model for this data: model=bent, bilinear and mlp make points (2,); dirac, gaussian1d"
    assert_refused(answer, tmp_path, "(2,) for ring8; its generator makes (1, 8, 8).", fits)
    assert "unfinished" not in answer.err
    assert "bent" not in fitting_choices((2,))  # after the command


def test_looking_at_the_choices_leaves_hydra_and_the_random_numbers_as_they_were():
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        before, state = GlobalHydra.instance().hydra, torch.random.get_rng_state()
        sample_shapes()
        assert GlobalHydra.instance().hydra is before
        assert torch.equal(torch.random.get_rng_state(), state)
        assert hydra.compose("train", ["name=mine"]).name == "mine"
