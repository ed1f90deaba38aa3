"""Images as floats in [−1, 1] and as the 256 levels of a file, and the digest of samples."""

from collections.abc import Iterable
from hashlib import sha256

import torch
from torch import Tensor

from saddle.game.refusals import Refused

QUANTIZATION = "uint8, clamp and round to nearest"


def to_uint8(images: Tensor) -> Tensor:
    """Images in [−1, 1] to the 256 levels 0 … 255 that a file would hold: clamp, scale, round.

    The only place where images are clamped, rounded and quantized. Rounding is to the nearest level
    (ties to the even one); truncation would darken every image by half a level on average.

    Raises:
        ValueError: a value is NaN or infinite.
    """
    num_bad = int((~torch.isfinite(images)).sum())
    if num_bad:
        raise Refused(
            f"images must be finite to be quantized; got {num_bad} NaN or infinite of {images.numel()} "
            "values. The generator has diverged: stop the run, or skip this evaluation."
        )
    return ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def from_uint8(levels: Tensor) -> Tensor:
    """The levels 0 … 255 as float32 in [−1, 1]; ``to_uint8(from_uint8(x))`` is ``x``."""
    return levels.to(torch.float32) / 127.5 - 1


def digest(batches: Iterable[Tensor]) -> str:
    """sha256 of samples as features see them: images by their levels, points by their bytes.

    Equal for equal samples in equal order, whether they come from a folder, an array or a dataset.

    Args:
        batches: (n, *event) each, of one event shape; how samples are dealt into batches does not enter.
    """
    total = sha256()
    for index, batch in enumerate(batches):
        content = to_uint8(batch) if batch.ndim == 4 else batch.detach()
        if index == 0:
            total.update(f"{tuple(batch.shape[1:])} {content.dtype};".encode())
        total.update(content.cpu().contiguous().numpy().tobytes())
    return total.hexdigest()
