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
PACKAGE = "saddle."
NAMES = ("_target_", "path")  # keys whose values name something in a module


def upgraded(config: Mapping[str, Any]) -> dict[str, Any]:
    """Give a configuration, of whatever version, as today's would say it; it is not changed itself."""
    return {key: _upgraded(key, value) for key, value in config.items()}


def _upgraded(key: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return upgraded(value)
    if isinstance(value, list):
        return [_upgraded(key, item) for item in value]
    return _renamed(value) if key in NAMES and isinstance(value, str) else value


def _renamed(name: str) -> str:
    module, _, rest = name.removeprefix(PACKAGE).partition(".")
    if not name.startswith(PACKAGE) or module not in MOVED:
        return name
    if any(f"{module}.{rest}".startswith(f"{today}.") for today in MOVED.values()):  # of today
        return name
    return f"{PACKAGE}{MOVED[module]}.{rest}"
