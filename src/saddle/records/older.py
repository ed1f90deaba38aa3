"""Records of earlier versions: what their configurations named, by today's names; what their metrics meant.

A record is never rewritten for this; its configuration is read through ``upgraded``, so that an earlier run
is resumed and evaluated, and through ``asked``, so that it is compared as the question that it asks.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from saddle.metrics.values import HIGH, LOW, Role, Value, of_stored

# module of an earlier version -> where what it held lies today
MOVED = {
    **{name: f"game.{name}" for name in ("losses", "transforms")},
    "regularizers": "game.penalties.discriminator",
    "generator_regularizers": "game.penalties.generator",
    "weight_regularizers": "game.penalties.weights",
    "consistency": "game.penalties.consistency",
    **{name: f"dynamics.{name}" for name in ("optimizers", "schedules", "averages")},
    "execution": "rounds.execution",
    "features": "features.extractors",
    "feature_networks": "features.networks",
    "diagnostics": "diagnosis",
    "tracking": "training.trackers",
}
# one function or class of an earlier version -> what it is called today
RENAMED = {
    f"saddle.data.sampling.{law}": f"saddle.data.sampling.{law}_latents" for law in ("normal", "uniform")
}
# key of a run that had no choice yet -> the choice it always made, and what that is
ADDED: dict[str, tuple[str, dict[str, Any]]] = {
    "sampling": (
        "replacement",
        {"_target_": "saddle.data.sampling.with_replacement", "_partial_": True},
    )
}
PACKAGE = "saddle."
NAMES = ("_target_", "path")  # keys whose values name something in a module

# Name -> what it meant before a record said it. Closed: a record of today says it of every metric.
MEANT: Mapping[str, Value] = {
    "fid": Value(role=Role.QUALITY, rank=0),
    "mmd": Value(role=Role.QUALITY, rank=1, near_zero=True),
    "kl": Value(role=Role.QUALITY, rank=2, near_zero=True, floor="kl_floor"),
    "kid": Value(role=Role.QUALITY, rank=3, near_zero=True),
    "wasserstein": Value(role=Role.QUALITY, rank=4, near_zero=True),
    "recall": Value(HIGH, Role.FRACTION, rank=0),
    "coverage": Value(HIGH, Role.FRACTION, rank=1),
    "modes": Value(HIGH, Role.COUNT, rank=0),
    "vendi": Value(HIGH, Role.COUNT, rank=1),
    **dict.fromkeys(("precision", "density", "high_quality", "f8", "f1_8", "authenticity"), Value(HIGH)),
    **dict.fromkeys(("birthday_support", "inception_score", "lpips"), Value(HIGH)),
    **dict.fromkeys(("class_vendi", "class_vendi_worst"), Value(HIGH)),
}


def upgraded(config: Mapping[str, Any]) -> dict[str, Any]:
    """Give a configuration, of whatever version, as today's would say it; it is not changed itself.

    A run's, which is one with ``data``, also gets the keys of choices that were not there in its time.
    """
    added = {key: content for key, (_, content) in ADDED.items()} if "data" in config else {}
    return {**_renamed_in(config), **{key: value for key, value in added.items() if key not in config}}


def upgraded_choices(choices: Mapping[str, str]) -> dict[str, str]:
    """Give the choices that a record names, with those that were not there in its time."""
    return {**{key: choice for key, (choice, _) in ADDED.items()}, **choices}


def _renamed_in(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _upgraded(key, value) for key, value in config.items()}


def asked(config: Mapping[str, Any]) -> dict[str, Any]:
    """Give a configuration as today's would ask its question, for a comparison of runs of several versions.

    Upgraded, and without what earlier versions said there of metrics that say it themselves today.
    """
    found = upgraded(config)
    metrics = found.get("metrics")
    if isinstance(metrics, Mapping):
        higher, floors = metrics.get("higher_is_better") or (), metrics.get("floors") or {}
        kept = {
            "higher_is_better": [name for name in higher if MEANT.get(name, Value()).ideal != HIGH],
            "floors": {
                name: floor for name, floor in floors.items() if MEANT.get(name, Value()).floor != floor
            },
        }
        rest = {key: value for key, value in metrics.items() if key not in kept}
        found["metrics"] = rest | {key: value for key, value in kept.items() if value}
    return found


def meanings(metrics: Mapping[str, Mapping[str, Any]]) -> dict[str, Value]:
    """Tell what the metrics of a summary mean, of whatever version.

    Args:
        metrics: name -> what the summary holds of it: all that it means, or in earlier ones the direction
            alone.
    """
    return {
        name: of_stored(found) if "role" in found else _meant(name, bool(found.get("higher_is_better")))
        for name, found in metrics.items()
    }


def configured(metrics: Mapping[str, Any]) -> dict[str, Value]:
    """Tell what metrics meant by an earlier configuration, which named those better high, and floors.

    Args:
        metrics: the configuration's ``metrics``.
    """
    if "higher_is_better" not in metrics:
        return dict(MEANT)
    higher, floors = metrics["higher_is_better"] or (), metrics.get("floors") or {}
    names = dict.fromkeys([*MEANT, *higher, *floors])
    found = {name: _meant(name, name in higher) for name in names}
    return {name: replace(value, floor=floors.get(name)) for name, value in found.items()}


def _meant(name: str, higher: bool) -> Value:
    """What a name meant, where its direction is the one that it had; else that direction alone."""
    known = MEANT.get(name, Value())
    return known if known.higher_is_better == higher else Value(HIGH if higher else LOW)


def _upgraded(key: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return _renamed_in(value)
    if isinstance(value, list):
        return [_upgraded(key, item) for item in value]
    return _renamed(value) if key in NAMES and isinstance(value, str) else value


def _renamed(name: str) -> str:
    if name in RENAMED:
        return RENAMED[name]
    module, _, rest = name.removeprefix(PACKAGE).partition(".")
    if not name.startswith(PACKAGE) or module not in MOVED:
        return name
    if any(f"{module}.{rest}".startswith(f"{today}.") for today in MOVED.values()):  # of today
        return name
    return f"{PACKAGE}{MOVED[module]}.{rest}"
