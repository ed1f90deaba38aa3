"""What a number was computed from, as a value with a short fingerprint; numbers compare only within one.

What changes the *quantity* that is estimated enters the fingerprint: the extractor (its weights, layers,
resizing, antialiasing, quantization, dtype), the very real samples and their number, the number of generated
ones (FID is biased in both numbers), whether the weights are averaged, and from which statistics BatchNorm
samples. What only changes the *draw* or its rounding is recorded beside it: names (two names may mean one
set, one name two), the seed of the generated samples, how many batches BatchNorm's statistics come from,
and library versions (else no two machines could compare). Settings of metrics (k, bandwidths) are recorded
beside it too, or a run that measures one metric more could not be compared in the others; results in which
one metric has unlike settings are kept apart all the same.

Reading and comparing need no torch.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from saddle.game.refusals import Refused

LENGTH = 10  # hexadecimal digits of a fingerprint: 2⁴⁰ values, no collision among any runs one can make
UNKNOWN = "unknown"  # of samples that come as files
VERSIONS = ("saddle-gan", "torch", "torchvision", "torch-fidelity", "numpy", "pillow")  # that touch features


@dataclass(frozen=True)
class Extraction:
    """How samples become features.

    Args:
        name: of the extractor.
        weights_sha256: of the file of its weights; empty where it has none.
        layers: role -> layer of the network, as text.
        resize: what brings images to the network's size.
        antialias: whether that resizing, where it shrinks, averages over the pixels it drops.
        quantization: what happens to images before.
        dtype: of the network's arithmetic.
    """

    name: str
    layers: str
    weights_sha256: str = ""
    resize: str = "none"
    antialias: bool = False
    quantization: str = "none"
    dtype: str = "float32"


@dataclass(frozen=True)
class Real:
    """The real samples: where they come from, how many, and sha256 of what they are."""

    name: str
    num: int
    sha256: str
    resize: str = "none"  # of the files, before any extractor


@dataclass(frozen=True)
class Fake:
    """The generated samples; what files do not tell is "unknown", a seed that files do not tell None."""

    name: str
    num: int
    seed: int | None = None
    averaging: str = UNKNOWN
    batch_norm: str = UNKNOWN
    batch_norm_batches: str = UNKNOWN
    resize: str = "none"


BESIDE = {"name", "seed", "batch_norm_batches"}  # of a side: told, but no part of the fingerprint


@dataclass(frozen=True)
class Protocol:
    """What a number was computed from; ``metrics`` is name -> the function with its settings, as text."""

    extraction: Extraction
    real: Real
    fake: Fake
    metrics: Mapping[str, str] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """Short name of everything that two numbers must share to be compared; see the module."""
        return _short(
            {"extraction": _what(self.extraction), "real": _what(self.real), "fake": _what(self.fake)}
        )

    def to_dict(self) -> dict[str, Any]:
        """As it is stored beside the numbers, with the fingerprint first and versions last."""
        return {
            "fingerprint": self.fingerprint,
            **asdict(self),
            "versions": {package: package_version(package) for package in VERSIONS},
        }


def package_version(package: str) -> str | None:
    """Find the version of an installed package; None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def real_fingerprint(extraction: Extraction, real: Real, environment: Mapping[str, str]) -> str:
    """The key under which features of real samples are kept: by content, never by a name.

    Args:
        environment: what moves the last digits of a feature, such as device and torch version. Numbers
            compare across it, but a run repeated where it ran first gives its numbers back exactly.
    """
    return _short(
        {"extraction": _what(extraction), "real": _what(real), "environment": dict(environment)}, length=32
    )


def identities(protocols: Sequence[Mapping[str, Any]]) -> list[str]:
    """What tells each of them from the others: equal for those whose numbers may be ranked.

    The fingerprint; and where a metric has one setting in some of them and another in others, a digest of
    such settings after it. "" for a result without a protocol.
    """
    found = [_settings(protocol) for protocol in protocols]
    names = dict.fromkeys(name for settings in found for name in settings)
    disputed = [name for name in names if len({one[name] for one in found if name in one}) > 1]
    keys = []
    for protocol, settings in zip(protocols, found, strict=True):
        # one of before there were fingerprints is told by all that it says
        key = protocol.get("fingerprint") or (_short(protocol) if protocol else "")
        if own := {name: settings[name] for name in disputed if name in settings}:
            key = f"{key}-{_short(own, length=4)}"
        keys.append(str(key))
    return keys


def group(protocols: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """Identity -> labels of the results that share it, both in order of appearance.

    Args:
        protocols: label of a result -> its protocol as stored, such as ``summary["protocol"]``. One without
            a fingerprint is alone under its label.
    """
    groups: dict[str, list[str]] = {}
    for (label, protocol), key in zip(protocols.items(), identities([*protocols.values()]), strict=True):
        groups.setdefault(key if protocol.get("fingerprint") else f"none ({label})", []).append(label)
    return groups


def must_be_comparable(
    protocols: Mapping[str, Mapping[str, Any]], across_protocols: bool = False
) -> str | None:
    """Refuse to rank across fingerprints or settings of a metric, unless told to.

    Args:
        protocols: label -> protocol as stored.
        across_protocols: rank all the same.

    Returns:
        None if all compare; else, with ``across_protocols``, the sentence that must stand under the table.

    Raises:
        ValueError: more than one protocol, with what differs first.
    """
    groups = group(protocols)
    if len(groups) <= 1:
        return None
    labels = [members[0] for members in groups.values()]
    differing = differences(protocols[labels[0]], protocols[labels[1]])
    what = "; ".join(f"{path}: {a!r} in {labels[0]}, {b!r} in {labels[1]}" for path, a, b in differing[:3])
    found = ", ".join(f"{fingerprint} ({len(members)})" for fingerprint, members in groups.items())
    if across_protocols:
        return f"These numbers are of {len(groups)} protocols and do not compare: {found}. {what}."
    raise Refused(
        f"numbers to be ranked must share one protocol; got {len(groups)}: {found}. They differ in {what}. "
        "Evaluate them alike, or say across_protocols=true to rank them all the same."
    )


def differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """(dotted path, value in first, value in second) of what must not differ and does."""
    found = []
    for part in ("extraction", "real", "fake"):
        a, b = first.get(part, {}), second.get(part, {})
        for key in {**a, **b}:
            if a.get(key) != b.get(key) and _enters(part, key):
                found.append((f"{part}.{key}", a.get(key), b.get(key)))
    a, b = _settings(first), _settings(second)
    found += [(f"metrics.{name}", a[name], b[name]) for name in a if name in b and a[name] != b[name]]
    if not found and first.get("fingerprint") != second.get("fingerprint"):  # stored by another version
        return [("fingerprint", first.get("fingerprint"), second.get("fingerprint"))]
    return found


def _settings(protocol: Mapping[str, Any]) -> Mapping[str, str]:
    """Of the metrics; a result of before there were fingerprints has none."""
    found: Mapping[str, str] = protocol.get("metrics") or {} if "fingerprint" in protocol else {}
    return found


def _enters(part: str, key: str) -> bool:
    return part == "extraction" or key not in BESIDE


def _what(part: Extraction | Real | Fake) -> dict[str, Any]:
    name = type(part).__name__.lower()
    return {field.name: getattr(part, field.name) for field in fields(part) if _enters(name, field.name)}


def _short(content: Mapping[str, Any], length: int = LENGTH) -> str:
    text = json.dumps(content, sort_keys=True, ensure_ascii=True)
    return sha256(text.encode()).hexdigest()[:length]
