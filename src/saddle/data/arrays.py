"""Arrays of samples in .npy and .npz files: which layouts are taken, and which are too ambiguous to guess.

- uint8 (N, H, W, C) as in the published sample batches, or (N, C, H, W), with C 1 or 3; (N, H, W) is grey;
- floats (N, C, H, W) or (N, H, W, C) in [−1, 1] with some value below 0;
- floats (N, d): points, or any vectors.

Floats from 0 up could be [0, 1], [0, 255] or a dark [−1, 1]: they are refused. An .npz gives ``arr_0``,
or its only array.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from saddle.data.pixels import from_uint8
from saddle.game.refusals import Refused

SUFFIXES = {".npy", ".npz"}
BLOCK = 1000  # rows looked at together


@dataclass(frozen=True, eq=False)
class Samples:
    """Samples of an array, images as (N, C, H, W)."""

    values: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one sample."""
        return tuple(self.values.shape[1:])

    def batches(self, size: int) -> Iterator[Tensor]:
        """Float images in [−1, 1], or points, ``size`` at a time."""
        for start in range(0, len(self.values), size):
            block = torch.from_numpy(
                np.array(self.values[start : start + size])
            )  # a copy: files are read-only
            yield from_uint8(block) if block.dtype == torch.uint8 else block


def read_array(path: Path, num: int | None = None) -> Samples:
    """Open an array file and find out its layout.

    Args:
        path: .npy or .npz.
        num: take the first so many; None takes all.

    Raises:
        ValueError: no readable array, fewer than ``num``, or a layout or range that could mean two things.
    """
    array = _load(path)
    if array.ndim < 2 or 0 in array.shape:
        raise Refused(
            f"an array must hold samples along its first axis, (N, ...); {path} holds {array.shape}. "
            "Reshape it."
        )
    if num is not None and num > len(array):
        raise Refused(
            f"an array must hold at least {num} samples; {path} holds {len(array)}. Lower the number."
        )
    array = array[:num]
    if array.dtype == np.uint8 and array.ndim in (3, 4):
        return Samples(_channels_first(array, path) if array.ndim == 4 else array[:, None])
    if array.dtype.kind != "f":
        raise Refused(
            f"an array must be uint8 images, or floats; {path} is {array.dtype} {array.shape}. Convert it."
        )
    if array.dtype == np.float16:
        array = array.astype(np.float32)
    if array.ndim == 2:
        return Samples(array)
    low, high = _range(array)
    if not (-1 <= low < 0 and high <= 1):  # false for NaN, too
        raise Refused(
            f"float images must lie in [-1, 1] with some value below 0; {path} has the range "
            f"[{low:g}, {high:g}], "
            "which could be another scale. Store uint8, or rescale to [-1, 1] and clip."
        )
    return Samples(_channels_first(array, path) if array.ndim == 4 else array[:, None])


def _load(path: Path) -> np.ndarray:
    try:
        with open(path, "rb") as file:
            if file.read(6) == b"\x93NUMPY":
                return np.load(path, mmap_mode="r", allow_pickle=False)
            file.seek(0)
            found = np.load(file, allow_pickle=False)
            names = found.files
            if "arr_0" in names or len(names) == 1:
                return found["arr_0" if "arr_0" in names else names[0]]
    except (OSError, ValueError, EOFError, KeyError, BadZipFile) as error:
        why = (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
        raise Refused(
            f"an array file must be readable without unpickling; {path} is not ({why}). Save it with "
            "numpy.save."
        ) from error
    raise Refused(
        f"an .npz must hold arr_0 or a single array; {path} holds {', '.join(names) or 'none'}. Save "
        "the samples alone."
    )


def _channels_first(array: np.ndarray, path: Path) -> np.ndarray:
    last, first = array.shape[3] in (1, 3), array.shape[1] in (1, 3)
    if last == first:
        why = "either axis could be the channels" if last else "neither axis 1 nor axis 3 has 1 or 3 channels"
        raise Refused(
            f"images must be (N, H, W, C) or (N, C, H, W) with C 1 or 3; {path} holds {array.shape}: {why}. "
            "Save it so that only one reading is possible."
        )
    return array if first else array.transpose(0, 3, 1, 2)


def _range(array: np.ndarray) -> tuple[float, float]:
    blocks = [array[start : start + BLOCK] for start in range(0, len(array), BLOCK)]
    return (
        float(np.min([block.min() for block in blocks])),
        float(np.max([block.max() for block in blocks])),
    )
