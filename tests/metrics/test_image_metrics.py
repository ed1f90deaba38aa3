"""Diversity of image pairs, stretch of a generator and length of its paths."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from saddle.metrics.generators import log_condition_number, path_length, slerp
from saddle.metrics.images import lpips, lpips_diversity, mean_over_pairs, ms_ssim_diversity


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def images(num: int, side: int, seed: int = 0) -> Tensor:
    return (0.5 * normal(num, 1, side, side, seed=seed)).clamp(-1, 1)


# Pairs of images


def test_equal_images_have_a_similarity_of_one_and_noise_of_almost_none():
    same = images(1, 32).expand(6, -1, -1, -1)
    assert_close(ms_ssim_diversity(same, same, num_pairs=10), 1.0, atol=1e-6, rtol=0)  # its float32
    noise = images(20, 32)
    assert ms_ssim_diversity(noise, noise, num_pairs=50) < 0.2


def test_ms_ssim_of_one_pair_equals_torchmetrics_with_all_its_scales():
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure  # 1.9

    levels = (images(2, 180) * 127.5 + 127.5).round()  # both see the quantized images
    expected = multiscale_structural_similarity_index_measure(
        levels[:1].float() / 255, levels[1:].float() / 255, data_range=1.0, normalize="relu"
    )
    pair = levels / 127.5 - 1
    found = ms_ssim_diversity(pair, pair, num_pairs=3)
    assert_close(found, float(expected), atol=0, rtol=1e-3)  # float32, through fourth-power weights


def test_a_mean_over_pairs_is_that_over_all_unequal_ones():
    values = torch.arange(5.0).view(5, 1, 1, 1)
    found = mean_over_pairs(values, lambda a, b: (a - b).abs().flatten(), num_pairs=20_000, seed=0)
    every = [abs(i - j) for i in range(5) for j in range(5) if i != j]
    # the deviation of |i − j| is 1
    assert_close(found, sum(every) / len(every), atol=3 / 20_000**0.5, rtol=0)
    never = mean_over_pairs(values, lambda a, b: (a == b).double().flatten(), num_pairs=1000, seed=1)
    assert never == 0.0


def test_pairs_come_from_their_own_seed():
    noise, state = images(9, 16), torch.random.get_rng_state()
    one = ms_ssim_diversity(noise, noise, num_pairs=5, seed=1)
    assert ms_ssim_diversity(noise, noise, num_pairs=5, seed=1) == one
    assert ms_ssim_diversity(noise, noise, num_pairs=5, seed=2) != one
    assert torch.equal(torch.random.get_rng_state(), state)


def test_images_too_small_or_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="sides of at least 11"):
        ms_ssim_diversity(images(3, 8), images(3, 8))
    with pytest.raises(ValueError, match=r"at least two of shape \(C, H, W\)"):
        ms_ssim_diversity(normal(9, 4), normal(9, 4))


def test_without_weights_lpips_names_the_file_it_needs(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    path = tmp_path / "checkpoints" / "alexnet-owt-7be5be79.pth"
    with pytest.raises(ValueError, match=f"found no {path}"):
        lpips_diversity(images(3, 64), images(3, 64))
    with pytest.raises(ValueError, match="network must be one of alex, vgg, squeeze; got 'resnet'"):
        lpips("resnet", torch.device("cpu"))


@pytest.mark.filterwarnings("ignore:.*torch.load.*")
def test_lpips_reads_weights_that_are_at_hand(tmp_path: Path, monkeypatch):
    from torchmetrics.functional.image.lpips import _LPIPS  # 1.9
    from torchvision.models import squeezenet1_1

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float32)
    backbone = squeezenet1_1(weights=None)
    torch.save(backbone.state_dict(), tmp_path / "hub" / "checkpoints" / "squeezenet1_1-b8a52dc0.pth")
    monkeypatch.setattr("torch.hub.load_state_dict_from_url", _from_checkpoints(tmp_path))
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", _from_checkpoints(tmp_path))
    a, b = images(2, 64).float(), images(2, 64, seed=1).float()
    found = lpips("squeeze", torch.device("cpu"))(a, b)
    twin = _LPIPS(pretrained=True, net="squeeze", pnet_rand=True)
    twin.net.load_state_dict(_features_of(backbone, twin.net))
    expected = twin(a.expand(-1, 3, -1, -1), b.expand(-1, 3, -1, -1)).flatten()
    assert_close(found, expected.detach())
    assert (found > 0).all()


def _from_checkpoints(home: Path):
    def load(url: str, *args, **kwargs):
        return torch.load(home / "hub" / "checkpoints" / url.rpartition("/")[2], weights_only=True)

    return load


def _features_of(backbone: nn.Module, net: nn.Module) -> dict[str, Tensor]:
    """The backbone's weights under the names that LPIPS gives its slices: in the same order."""
    own = [value for name, value in backbone.state_dict().items() if name.startswith("features.")]
    return dict(zip(net.state_dict(), own, strict=True))


# The generator's Jacobian


@pytest.mark.parametrize("outputs", [3, 7])
def test_the_condition_number_of_a_linear_map_is_that_of_its_singular_values(outputs):
    weight = normal(outputs, 3)
    stretch = torch.linalg.svdvals(weight)
    found = log_condition_number(lambda z: z @ weight.mT, normal(9, 3, seed=1), batch_size=4)
    assert_close(found["log_condition"], 2 * math.log(stretch[0] / stretch[-1]), atol=1e-9, rtol=1e-9)
    assert_close(found["log_condition_std"], 0.0, atol=1e-9, rtol=0)


def test_a_rotation_is_perfectly_conditioned_and_lost_directions_are_as_bad_as_can_be():
    turn = torch.linalg.qr(normal(4, 4)).Q
    assert_close(
        log_condition_number(lambda z: 3 * z @ turn, normal(5, 4))["log_condition"], 0.0, atol=1e-9, rtol=0
    )
    worst = -2 * math.log(torch.finfo(torch.float64).eps)
    for lossy in (lambda z: z[:, :2], lambda z: 0 * z, lambda z: z * torch.tensor([1.0, 1, 1, 0])):
        assert_close(log_condition_number(lossy, normal(5, 4))["log_condition"], worst)


def test_the_jacobian_is_of_each_latent_where_it_is():
    latents = normal(6, 2).abs() + 0.5
    found = log_condition_number(lambda z: z.square().view(-1, 2, 1), latents)  # J = diag(2z)
    each = 2 * (latents.amax(1) / latents.amin(1)).log()
    assert_close(found, {"log_condition": float(each.mean()), "log_condition_std": float(each.std())})


# Paths


def test_the_path_length_of_a_linear_map_is_the_squared_image_of_the_step():
    weight, latents = normal(5, 3), normal(40, 3, seed=1)
    start, end = latents.chunk(2)
    expected = ((end - start) @ weight.mT).square().sum(1)
    found = path_length(lambda z: z @ weight.mT, lambda x: x, latents, interpolate=torch.lerp, batch_size=7)
    assert_close(found["path_length"], float(expected.mean()), atol=0, rtol=1e-9)
    assert_close(found["path_length_se"], float(expected.std()) / 20**0.5, atol=0, rtol=1e-9)


def test_on_the_circle_speed_is_the_angle():
    angles = 3 * torch.rand(2, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    latents = torch.stack([angles.cos(), angles.sin()], dim=-1).flatten(0, 1)
    found = path_length(lambda z: z, lambda x: x, latents, epsilon=1e-4)
    expected = (angles[0] - angles[1]).square().mean()
    assert_close(found["path_length"], float(expected), atol=0, rtol=1e-6)  # a chord: ε²/24 short


def test_slerp_goes_from_one_end_to_the_other_by_equal_angles():
    start, end = 2 * torch.tensor([[1.0, 0.0]]), 4 * torch.tensor([[0.0, 1.0]])
    half = torch.tensor([[0.5]])
    assert_close(slerp(start, end, half), 3 * torch.tensor([[0.5**0.5, 0.5**0.5]]))
    assert_close(slerp(start, end, 0 * half), start, atol=1e-12, rtol=0)
    assert_close(slerp(start, end, 2 * half), end, atol=1e-12, rtol=0)
    assert_close(slerp(start, 2 * start, half), 1.5 * start)  # parallel: a line


def test_paths_need_two_ends():
    with pytest.raises(ValueError, match="got 5 latents"):
        path_length(lambda z: z, lambda x: x, normal(5, 2))
