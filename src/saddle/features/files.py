"""Feature matrices on disk: what ``save_features=`` writes, and the cache of the real side.

A file is safetensors, which holds no code: one matrix a role, and in its metadata what the features were
made from and the sha256 of them all, since safetensors itself does not notice a flipped bit.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from saddle.data.files import atomic_write, cache_folder
from saddle.game.refusals import Refused
from saddle.metrics.protocol import Extraction, Real, real_fingerprint

FORMAT = "1"


@dataclass(frozen=True, eq=False)
class FeatureFile:
    """Features with their origin: how they were made, and the side they were made from, as a mapping."""

    features: Mapping[str, Tensor]
    extraction: Extraction
    side: Mapping[str, Any]


def write(
    path: Path, features: Mapping[str, Tensor], extraction: Extraction, side: Mapping[str, Any]
) -> None:
    """Write a feature file, whole or not at all; its folder must exist."""
    held = {role: matrix.detach().cpu().contiguous() for role, matrix in features.items()}
    metadata = {
        "saddle_features": FORMAT,
        "extraction": json.dumps(asdict(extraction)),
        "side": json.dumps(dict(side)),
        "sha256": _digest(held),
    }
    atomic_write(path, save(held, metadata))


def read(path: Path) -> FeatureFile:
    """Read a feature file.

    Raises:
        ValueError: missing, truncated, changed since it was written, or not a feature file of Saddle.
    """
    try:
        with safe_open(path, framework="pt") as stored:
            metadata = stored.metadata() or {}
            features = {role: stored.get_tensor(role) for role in stored.keys()}  # noqa: SIM118
        if metadata.get("saddle_features") != FORMAT:
            raise Refused(f"its metadata is {sorted(metadata)}")
        if metadata["sha256"] != _digest(features):
            raise Refused("its bytes are not those that were written")
        extraction = Extraction(**json.loads(metadata["extraction"]))
        return FeatureFile(features, extraction, json.loads(metadata["side"]))
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        why = (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
        raise Refused(
            f"a feature file must be a whole one of Saddle's format {FORMAT}; {path} is not ({why}). "
            "Make it again with save_features=FOLDER."
        ) from error


def cached(
    extraction: Extraction,
    real: Real,
    device: torch.device | str,
    compute: Callable[[], Mapping[str, Tensor]],
    note: Callable[[str], object],
) -> dict[str, Tensor]:
    """The features of the real side from ``$SADDLE_CACHE/real``, or computed and kept there.

    Args:
        extraction, real: what they depend on, which is the file's name; no name of data or run enters.
        device: kind of device, which moves their last digits.
        compute: makes them.
        note: is told of a corrupt file, which is made again, and of a folder that cannot be written.
    """
    environment = {"device": torch.device(device).type, "torch": torch.__version__}
    path = cache_folder() / "real" / f"{real_fingerprint(extraction, real, environment)}.safetensors"
    if path.is_file():
        try:
            return dict(read(path).features)
        except ValueError as error:
            note(f"{error} The features of the real samples are computed anew.")
    features = {role: matrix.cpu() for role, matrix in compute().items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, features, extraction, asdict(real))
    except OSError as error:  # a read-only home must not stop an evaluation
        note(
            f"real features could not be kept in {path.parent} ({error}). Set SADDLE_CACHE to a "
            "writable folder."
        )
    return features


def _digest(features: Mapping[str, Tensor]) -> str:
    total = sha256()
    for role in sorted(features):
        matrix = features[role]
        total.update(f"{role} {tuple(matrix.shape)} {matrix.dtype};".encode())
        total.update(matrix.contiguous().numpy().tobytes())
    return total.hexdigest()
