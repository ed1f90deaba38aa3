"""Networks as extractors: layers and roles, where weights come from, and what stands in for none."""

import pickle
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from saddle.data.pixels import from_uint8, to_uint8
from saddle.features import networks as feature_networks
from saddle.features.extractors import identity
from saddle.features.networks import Levels, Normalized, clip, dinov2, inception, module, torchscript, vgg16
from samples import pictures


def images(num: int = 5, channels: int = 3) -> Tensor:
    return from_uint8(torch.from_numpy(pictures(num, 0, 0.5)).permute(0, 3, 1, 2)[:, :channels])


class TwoHeads(nn.Module):
    """A mapping of two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 4, 3, stride=2)
        self.head = nn.Linear(4, 7)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        body = self.body(x)
        return {"map": body, "classes": self.head(body.mean((2, 3)))}


def two_heads() -> TwoHeads:
    torch.manual_seed(0)
    return TwoHeads()


# Any module


def test_a_module_sees_the_quantized_images_and_its_answer_is_flattened():
    found = module(nn.Identity())(images() + 0.3 / 127.5)  # less than half a level
    assert found.keys() == {"features"}
    assert found["features"].dtype == torch.float32
    assert_close(found["features"], images().float().flatten(1), atol=1e-6, rtol=0)  # float32 rounding


def test_layers_give_a_networks_answers_their_roles():
    network = two_heads().float()
    found = module(network, {"features": "map", "logits": "classes"}, batch_size=2)(images())
    expected = network(images().float())
    assert_close(found["features"], expected["map"].flatten(1), atol=1e-5, rtol=1e-5)
    assert_close(found["logits"], expected["classes"], atol=1e-5, rtol=1e-5)
    assert found["logits"].shape == (5, 7)


def test_a_layer_that_is_not_there_is_refused_with_those_that_are():
    for layers in ({"features": "neck"}, {"features": None}):
        with pytest.raises(ValueError, match=r"with a layer \w+ of 5 rows; got \['classes', 'map'\]"):
            module(two_heads(), layers)(images())
    with pytest.raises(ValueError, match=r"with a layer 0 of 5 rows; got Tensor"):
        module(nn.Identity(), {"features": 0})(images())
    with pytest.raises(ValueError, match=r"with a layer None of 5 rows; got Tensor of shape \(3840,\)"):
        module(nn.Flatten(0))(images())


def test_grey_images_are_seen_as_rgb():
    extractor = module(nn.Identity())
    grey = images(channels=1)
    assert_close(extractor(grey), extractor(grey.expand(-1, 3, -1, -1)), atol=0, rtol=0)


def test_points_and_images_of_two_channels_are_refused():
    for samples in (torch.zeros(4, 2), images(channels=2)):
        with pytest.raises(ValueError, match=r"must see images \(N, 1 or 3, H, W\); got shape"):
            module(nn.Identity())(samples)


def test_normalization_is_torchvisions():
    from torchvision.transforms.v2 import functional as tv

    levels = to_uint8(images())
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    for antialias in (True, False):
        found = Normalized(7, antialias, mean, std)(levels)
        small = tv.resize_image(levels.float() / 255, [7, 7], antialias=antialias)
        assert_close(found, tv.normalize(small, mean, std), atol=1e-5, rtol=0)  # float32
    assert Normalized(7, False, mean, std).resize.startswith("bilinear to 7x7; mean [0.485")


def test_the_description_holds_the_weights_and_moves_with_them(tmp_path):
    network = two_heads()
    before = module(network, {"features": "map"}).describe()
    assert before.name == "module/test_feature_networks.TwoHeads"
    assert before.layers == "features: map"
    assert not before.resize.startswith("bilinear")
    other = two_heads()
    with torch.no_grad():
        other.head.bias[0] += 1e-3
    assert module(other, {"features": "map"}).describe().weights_sha256 != before.weights_sha256
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    loaded = module(TwoHeads(), {"features": "map"}, weights=str(tmp_path / "weights.pt"))
    assert loaded.describe() == before


def test_an_extractor_moves_without_the_first_moving_and_keeps_float32_in_mixed_precision():
    extractor = module(two_heads(), {"features": "map"})
    moved = extractor.to("meta")
    assert {p.device.type for p in extractor.network.parameters()} == {"cpu"}
    assert {p.device.type for p in moved.network.parameters()} == {"meta"}
    plain = extractor(images())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert_close(extractor(images()), plain, atol=0, rtol=0)


# TorchScript


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_torchscript_file_answers_as_its_module(tmp_path):
    network = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten()).float().eval()
    torch.jit.save(torch.jit.script(network), tmp_path / "network.pt")
    extractor = torchscript(str(tmp_path / "network.pt"))
    assert_close(extractor(images()), module(network)(images()), atol=1e-5, rtol=1e-5)
    assert_close(extractor.to("cpu")(images()), extractor(images()), atol=0, rtol=0)
    assert len(extractor.describe().weights_sha256) == 64


def test_a_file_that_is_no_torchscript_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"must be given a file; got none. Say features.weights=FILE"):
        torchscript(None)
    with pytest.raises(ValueError, match=r"must be a file; there is no .*nowhere.pt"):
        torchscript(str(tmp_path / "nowhere.pt"))
    (tmp_path / "text.pt").write_text("no network")
    with pytest.raises(ValueError, match=r"must be a TorchScript file; .*text.pt cannot be read"):
        torchscript(str(tmp_path / "text.pt"))


# torch-fidelity's networks


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: inception({"features": "2048"}), "weights-inception-2015-12-05-6726825d.pth"),
        (lambda: vgg16({"features": "fc2_relu"}), "vgg16-397923af.pth"),
        (
            lambda: clip("clip-vit-b-32"),
            "clip-vit-b-32-40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58",
        ),
        (lambda: dinov2("dinov2-vit-s-14"), "dinov2_vits14_pretrain.pth"),
    ],
)
def test_without_weights_and_network_one_message_says_what_to_get_and_where_to_put_it(
    tmp_path, monkeypatch, make, name
):
    def offline(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for function in ("download_url_to_file", "load", "load_state_dict_from_url"):
        monkeypatch.setattr(torch.hub, function, offline)
    with pytest.raises(ValueError, match=name) as refused:
        make()
    message = str(refused.value)
    assert "no network" in message
    assert "https://" in message
    assert f"{tmp_path}/hub/checkpoints/" in message
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_unknown_variants_and_a_file_for_dinov2_are_refused():
    with pytest.raises(ValueError, match=r"variant must be one of clip-rn50, .*; got vit"):
        clip("vit")
    with pytest.raises(ValueError, match=r"variant must be one of dinov2-vit-s-14, .*; got vit"):
        dinov2("vit")
    with pytest.raises(ValueError, match=r"must find its weights by torch.hub; got weights=x.pth"):
        dinov2("dinov2-vit-s-14", weights="x.pth")


class Payload:
    """Unpickling it would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


def test_weights_with_code_in_them_are_refused_and_the_code_does_not_run(tmp_path):
    for name, content in (("torch.pth", torch.save), ("plain.pth", None)):
        path = tmp_path / name
        if content:
            content({"fc.weight": Payload(tmp_path / "ran")}, path)
        else:
            path.write_bytes(pickle.dumps(Payload(tmp_path / "ran"), protocol=2))
        for make in (inception, vgg16):
            with pytest.raises(ValueError, match=r"must be a file of tensors alone"):
                make({"features": "2048"}, str(path))
    assert not (tmp_path / "ran").exists()


@pytest.mark.slow
def test_inceptions_layers_are_named_and_other_weights_refused(tmp_path, inception_weights):
    with pytest.raises(ValueError, match=r"must be one of 64, 192, .*; got 1024"):
        inception({"features": "1024"}, str(inception_weights))
    torch.save(two_heads().state_dict(), tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"must be the weights of inception-v3-compat; .* does not fit"):
        inception({"features": "2048"}, str(tmp_path / "other.pth"))
    extractor = inception({"features": 64}, str(inception_weights))  # a number, as YAML reads it
    assert extractor(images(1))["features"].shape == (1, 64)
    described = extractor.describe()
    assert (described.layers, described.antialias) == ("features: 64", False)
    assert "299x299" in described.resize


@pytest.mark.slow
def test_weights_where_torch_keeps_its_downloads_are_found(tmp_path, monkeypatch, inception_weights):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    place = tmp_path / "hub" / "checkpoints" / "weights-inception-2015-12-05-6726825d.pth"
    place.symlink_to(inception_weights)
    found = inception({"features": "64"})
    assert found.describe() == inception({"features": "64"}, str(inception_weights)).describe()


# Samples as they are


def test_flat_features_are_the_quantized_pixels_or_the_points_themselves():
    points = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    assert_close(identity()(points), {"features": points}, atol=0, rtol=0)
    nudged = images() + 0.3 / 127.5
    assert_close(identity()(nudged), {"features": images().flatten(1)}, atol=0, rtol=0)
    with pytest.raises(ValueError, match=r"must have a shape \(N, \*event\)"):
        identity()(torch.zeros(3))


def test_levels_are_given_to_networks_that_resize_themselves():
    seen = []

    class Watch(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x)
            return x.float().flatten(1)

    feature_networks.module(Watch(), prepare=Levels())(images())
    assert seen[0].dtype == torch.uint8
