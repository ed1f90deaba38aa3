"""A folder of image files as samples: what is an image, what each kind of file becomes, what is refused.

Files are found in subfolders too and taken in the order of their paths. Every file is decoded once before
anything is computed, so that a bad one is named at once. Then

- grey, 1-bit, palette, CMYK and YCbCr images become 8-bit grey or RGB; all are RGB as soon as one is;
- 16-bit grey goes to 8 bits by rounding v/257, 16-bit colour by its high byte, as Pillow reads it;
- an alpha channel that hides nothing is dropped; one that does is refused, for the colour behind is unknown;
- images of several sizes are refused, unless ``resize`` brings all to one square (bicubic, antialiased);
- zero-byte, truncated and otherwise unreadable files, and 32-bit ones, are refused by name and with a count;
- other files, known by their suffix, are ignored and counted. Orientation tags of cameras are ignored.
"""

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from saddle.data.pixels import from_uint8
from saddle.game.refusals import Refused

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pnm"}
HELD = 2**31  # bytes of decoded images kept in memory; larger folders are decoded a second time
SHOWN = 5  # names in a message

Track = Callable[[Iterable[Path], str, int], Iterable[Path]]  # files, what is done, how many


class BadImage(ValueError):
    """One file that cannot be taken, and why."""


@dataclass(frozen=True, eq=False)
class Images:
    """The images of a folder, checked.

    Args:
        files: in order.
        shape: (C, H, W) of each.
        digest: as ``saddle.features.extractors.digest`` gives it.
        num_ignored: files that are no images.
        resize: side of the square all were brought to; None if none was.
        levels: (N, C, H, W) uint8, or None where they are too many to hold.
    """

    files: tuple[Path, ...]
    shape: tuple[int, int, int]
    digest: str
    num_ignored: int
    resize: int | None
    levels: Tensor | None

    def batches(self, size: int) -> Iterator[Tensor]:
        """Float images in [−1, 1], ``size`` at a time."""
        for start in range(0, len(self.files), size):
            if self.levels is not None:
                yield from_uint8(self.levels[start : start + size])
                continue
            arrays = [
                _with_channels(decode(path, self.resize), self.shape[0])
                for path in self.files[start : start + size]
            ]
            yield from_uint8(torch.from_numpy(np.stack(arrays)))


def read_folder(
    folder: Path,
    num: int | None = None,
    resize: int | None = None,
    track: Track = lambda files, _what, _total: files,
) -> Images:
    """Find, decode and check the images of a folder.

    Args:
        folder: with images in it or in its subfolders.
        num: take the first so many; None takes all.
        resize: side of the square that all are brought to.
        track: wraps the loop over files, to show progress.

    Raises:
        ValueError: no images, fewer than ``num``, files that cannot be taken, or several sizes.
    """
    everything = sorted(path for path in folder.rglob("*") if path.is_file())
    files = [path for path in everything if path.suffix.lower() in SUFFIXES]
    num_ignored = len(everything) - len(files)
    if not files or (num is not None and num > len(files)):
        raise Refused(
            f"a folder must hold {'images' if num is None else f'at least {num} images'}; {folder} holds "
            f"{len(files)}, and {num_ignored} other files. Images end in {', '.join(sorted(SUFFIXES))}."
        )
    files = files[:num]
    arrays: list[np.ndarray] | None = []
    shapes: Counter[tuple[int, ...]] = Counter()
    first: dict[tuple[int, ...], Path] = {}
    bad: list[str] = []
    digests: dict[int, Any] = {}  # of the levels, should all turn out grey (1), or RGB (3)
    for path in track(files, f"reading {folder}", len(files)):
        try:
            array = decode(path, resize)
        except BadImage as error:
            bad.append(f"{path.relative_to(folder)} ({error})")
            continue
        shapes[array.shape] += 1
        first.setdefault(array.shape, path)
        for channels in (1, 3):
            digest = digests.setdefault(channels, sha256(_header(channels, *array.shape[1:])))
            if len(array) <= channels:
                digest.update(_with_channels(array, channels).tobytes())
        if arrays is not None:
            arrays.append(array)
            if len(arrays) * array.size > HELD:
                arrays = None
    if bad:
        more = f" and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
        raise Refused(
            f"every image must be readable; got {len(bad)} of {len(files)} that are not, in {folder}: "
            f"{', '.join(bad[:SHOWN])}{more}. Replace or remove them."
        )
    sizes: Counter[tuple[int, ...]] = Counter()
    for shape, count in shapes.items():
        sizes[shape[1:]] += count
    if len(sizes) > 1:
        ordered = sizes.most_common()
        rare = next(path for shape, path in first.items() if shape[1:] == ordered[-1][0])
        found = ", ".join(f"{count} of {w}x{h}" for (h, w), count in ordered[:SHOWN])
        raise Refused(
            f"images must be of one size; {folder} holds {found} (width x height), such as "
            f"{rare.relative_to(folder)}. Say resize=SIDE to bring all to one square, or sort them out."
        )
    channels = max(shape[0] for shape in shapes)
    height, width = next(iter(sizes))
    levels = None
    if arrays is not None:
        levels = torch.from_numpy(np.stack([_with_channels(array, channels) for array in arrays]))
    shape, digest = (channels, height, width), digests[channels].hexdigest()
    return Images(tuple(files), shape, digest, num_ignored, resize, levels)


def decode(path: Path, resize: int | None = None) -> np.ndarray:
    """One file as uint8 (1 or 3, H, W).

    Raises:
        BadImage: zero bytes, not readable as an image, transparent, or of a kind without defined range.
    """
    if path.stat().st_size == 0:
        raise BadImage("zero bytes")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd metadata, which is not looked at
            with Image.open(path) as image:
                image.load()
                plain = _plain(image)
                if resize is not None and plain.size != (resize, resize):
                    plain = plain.resize((resize, resize), Image.Resampling.BICUBIC)
    except BadImage:
        raise
    except Exception as error:  # Pillow's decoders raise almost anything on a damaged file
        why = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise BadImage(why.replace(str(path), "it")[:80]) from error
    levels = np.asarray(plain)
    return np.ascontiguousarray(levels[None] if levels.ndim == 2 else levels.transpose(2, 0, 1))


def _plain(image: Image.Image) -> Image.Image:
    """In mode L or RGB, by the rules above."""
    if image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.float64)
        return Image.fromarray(np.rint(values / 257).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise BadImage("32-bit values, of no defined range; save it with 8 or 16 bits")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema() != (255, 255):
            raise BadImage("transparent; flatten it onto a background")
        return image.convert("RGB")
    if image.mode in ("1", "L"):
        return image.convert("L")
    return image.convert("RGB")


def _header(*shape: int) -> bytes:
    return f"{shape} {torch.uint8};".encode()


def _with_channels(array: np.ndarray, channels: int) -> np.ndarray:
    return array if len(array) == channels else np.repeat(array, channels, axis=0)
