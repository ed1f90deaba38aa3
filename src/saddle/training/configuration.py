"""Where configurations lie, and how one is composed."""

from pathlib import Path


def config_directory() -> Path:
    """``conf/``: inside the installed package, or at the top of a checkout."""
    package = Path(__file__).parents[1]
    return next(path for path in (package / "conf", package.parents[1] / "conf") if path.is_dir())
