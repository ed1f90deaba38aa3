"""Where a run's numbers come from: code, versions, hardware, data, command. What is unknown is None."""

import os
import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from saddle.metrics.protocol import package_version

PACKAGES = (
    "saddle-gan",
    "torch",
    "pytorch-lightning",
    "hydra-core",
    "wandb",
    "torchmetrics",
    "torch-fidelity",
    "numpy",
)


def provenance(command_line: Sequence[str], data_digest: str | None) -> dict[str, Any]:
    """See the module; the order of keys is the order of reading.

    Args:
        command_line: ``sys.argv``, to run it again.
        data_digest: ``Dataset.digest()``, or None where the data is not at hand.
    """
    return {
        "command_line": list(command_line),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "git": _git(Path(__file__).resolve().parent),
        "versions": {
            "python": platform.python_version(),
            **{package: package_version(package) for package in PACKAGES},
        },
        "hardware": _hardware(),
        "data_digest": data_digest,
    }


def _git(source: Path) -> dict[str, Any]:
    """Commit of the checkout this package's source belongs to; dirty if anything there is uncommitted."""

    def ask(*arguments: str) -> str:
        command = ["git", "-C", str(source), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()

    try:
        # Tracked there? Else this is an environment that happens to lie inside somebody's own checkout.
        ask("ls-files", "--error-unmatch", Path(__file__).name)
        return {"commit": ask("rev-parse", "HEAD"), "dirty": bool(ask("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return {"commit": None, "dirty": None}


def _hardware() -> dict[str, Any]:
    """Without the host's name: it says nothing about the numbers."""
    try:
        text = Path("/proc/cpuinfo").read_text()
        memory = round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (OSError, ValueError):  # not Linux
        text, memory = "", None
    model = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    torch = sys.modules.get("torch")  # a process that trains has it; one that does not need not wait for it
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if torch else []
    return {
        "cpu": model[1] if model else platform.processor() or platform.machine() or None,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads() if torch else None,
        "memory_gib": memory,
        "gpus": gpus,
    }
