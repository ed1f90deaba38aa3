"""Diversity of images by the similarity of random pairs of them: MS-SSIM and LPIPS.

Functions of images (N, C, H, W) in [−1, 1] as ``metric(real, fake)``; only the fakes are looked at, and
``metric(real, real)`` is the data's own value, without which none of these means much.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from saddle.data.pixels import from_uint8, to_uint8
from saddle.game.randomness import generator
from saddle.game.refusals import Refused
from saddle.metrics.values import HIGH, Value, metric

PairDistance = Callable[[Tensor, Tensor], Tensor]
MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang et al. 2003, sec. 3.2


@metric(Value())
def ms_ssim_diversity(real: Tensor, fake: Tensor, *, num_pairs: int = 500, seed: int = 0) -> float:
    """Mean multi-scale structural similarity of pairs of fakes: high where all look alike.

    Of the five scales as many are used as the images are large enough for (side/(scales − 1)² > 10: five
    from 176 pixels on, two from 11), their weights rescaled to sum to 1: numbers of unlike sizes are not
    comparable.

    Args:
        real: unused.
        fake: (M, C, H, W) in [−1, 1], M ≥ 2, sides of at least 11.
        num_pairs: drawn with replacement, never an image with itself.
        seed: of the pairs.

    Returns:
        0 … 1; smaller is more diverse. Also noise is diverse.

    Raises:
        ValueError: not such images, or fewer than two.

    Source: Odena et al. 2017, arXiv:1610.09585, sec. 4.2, there of 100 pairs within each class.
    """
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure as ms_ssim

    fake = _images(fake)
    side = min(fake.shape[-2:])
    scales = next((n for n in range(5, 0, -1) if side // max(1, n - 1) ** 2 > 10), 0)
    if not scales:
        raise Refused(
            f"images must have sides of at least 11 for a window of 11; got {tuple(fake.shape[-2:])}. "
            "Resize them."
        )
    weights = tuple(weight / sum(MS_SSIM_WEIGHTS[:scales]) for weight in MS_SSIM_WEIGHTS[:scales])

    def similarity(a: Tensor, b: Tensor) -> Tensor:
        a, b = ((x + 1) / 2 for x in (a, b))
        # relu: a power of a negative contrast is not a number
        found = ms_ssim(a, b, data_range=1.0, betas=weights, normalize="relu", reduction="none")
        assert isinstance(found, Tensor)
        return found

    return mean_over_pairs(fake, similarity, num_pairs=num_pairs, seed=seed)


@metric(Value(HIGH))
def lpips_diversity(
    real: Tensor, fake: Tensor, *, network: str = "alex", num_pairs: int = 500, seed: int = 0
) -> float:
    """Mean LPIPS distance of pairs of fakes: low where all look alike.

    Args:
        real: unused.
        fake: (M, C, H, W) in [−1, 1], M ≥ 2; C = 1 is shown as gray RGB.
        network: "alex", "vgg" or "squeeze", with torchvision's ImageNet weights.
        num_pairs: drawn with replacement, never an image with itself.
        seed: of the pairs.

    Returns:
        ≥ 0; larger is more diverse. Also noise is diverse.

    Raises:
        ValueError: not such images, fewer than two, or no weights on this machine.

    Source: Zhang et al. 2018, arXiv:1801.03924; as diversity Zhu et al. 2017, arXiv:1711.11586.
    """
    distance = lpips(network, fake.device)
    return mean_over_pairs(_images(fake), distance, num_pairs=num_pairs, seed=seed)


def lpips(network: str, device: torch.device) -> PairDistance:
    """LPIPS as a function of two batches of images, from weights on this machine; nothing is downloaded.

    Raises:
        ValueError: no such network, or its weights are not at hand.
    """
    files = {
        "alex": "alexnet-owt-7be5be79.pth",
        "vgg": "vgg16-397923af.pth",
        "squeeze": "squeezenet1_1-b8a52dc0.pth",
    }
    if network not in files:
        raise Refused(f"network must be one of {', '.join(files)}; got {network!r}. Choose one of them.")
    path = Path(torch.hub.get_dir()) / "checkpoints" / files[network]
    if not path.is_file():
        raise Refused(
            f"LPIPS must have the weights of its network; found no {path}. Download "
            f"https://download.pytorch.org/models/{path.name} to there, or leave LPIPS out."
        )
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    module = LearnedPerceptualImagePatchSimilarity(net_type=network).net.to(device).eval()  # type: ignore[arg-type]
    dtype = next(module.parameters()).dtype

    def distance(a: Tensor, b: Tensor) -> Tensor:
        a, b = (x.to(dtype).expand(-1, 3, -1, -1) for x in (a, b))
        return module(a, b).flatten()

    return distance


@torch.no_grad()
def mean_over_pairs(
    images: Tensor, distance: PairDistance, *, num_pairs: int, seed: int, batch_size: int = 50
) -> float:
    """Mean of distance(xᵢ, xⱼ) over pairs i ≠ j drawn from a seed of their own.

    Args:
        images: (N, C, H, W), N ≥ 2.
        distance: two batches (B, C, H, W) -> (B,).
        num_pairs: drawn with replacement.
        seed: of the pairs.
        batch_size: pairs at once.
    """
    random = generator(seed, "image pairs")
    first = torch.randint(len(images), (num_pairs,), generator=random)
    step = torch.randint(1, len(images), (num_pairs,), generator=random)
    second = (first + step) % len(images)  # never the same one
    total = 0.0
    for i, j in zip(first.split(batch_size), second.split(batch_size), strict=True):
        a, b = images[i.to(images.device)], images[j.to(images.device)]
        with torch.autocast(images.device.type, enabled=False):
            total += float(distance(a, b).to(torch.float64).sum())
    return total / num_pairs


def _images(fake: Tensor) -> Tensor:
    if fake.ndim != 4 or fake.shape[1] not in (1, 3) or len(fake) < 2:
        raise Refused(
            "images must be at least two of shape (C, H, W), C 1 or 3; got shape "
            f"{tuple(fake.shape)}. Give (N, C, H, W)."
        )
    return from_uint8(to_uint8(fake.detach()))
