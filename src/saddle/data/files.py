"""Files that are written whole or not at all, what they may hold, and where data is kept between runs."""

import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO


def atomic_write(path: Path, content: bytes | str | Callable[[BinaryIO], object]) -> None:
    """Replace ``path`` by ``content`` whole or not at all, also when the process is killed meanwhile.

    Args:
        path: in an existing folder; the temporary ``.<name>.tmp`` lies beside it, as a rename is atomic only
            within a file system.
        content: bytes, text (UTF-8), or a function that writes to an open binary file, such as
            ``lambda file: torch.save(state, file)``, so that a large checkpoint is not held twice.
    """
    temporary = path.with_name(
        f".{path.name}.tmp"
    )  # one fixed name: a leftover of a kill is overwritten, not gathered
    try:
        with open(temporary, "wb") as file:
            if callable(content):
                content(file)
            else:
                file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())  # else the rename can reach the disk before the bytes do
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def cache_folder() -> Path:
    """``$SADDLE_CACHE``, or ``~/.cache/saddle``."""
    return Path(os.environ.get("SADDLE_CACHE") or Path.home() / ".cache" / "saddle")


def strict(value: Any) -> Any:
    """Give a value as strict JSON holds it: a float that is not finite becomes None, tuples become lists."""
    if isinstance(value, Mapping):
        return {str(key): strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [strict(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value
