"""Records of earlier versions: what their configurations named, by the names of today.

A record is never rewritten for this; its configuration is read through ``upgraded``, so that an earlier run
is resumed, evaluated and compared as the question that it asks.
"""

from collections.abc import Mapping
from typing import Any

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
