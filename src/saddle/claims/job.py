"""One measurement in a process of its own: ``python -m saddle.claims.job CLAIM.yaml SEEDS RESULT.json``.

The result holds what was measured, how long it took, and of what code: a digest of every module of this
package that was imported. Digests are of the syntax tree without docstrings, so comments, docstrings and
layout do not count.
"""

import ast
import json
import platform
import sys
import time
from collections.abc import Mapping
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path
from typing import Any

from saddle.claims.claim import read_claim
from saddle.claims.measured import Asked, to_json
from saddle.data.files import atomic_write

PACKAGE = Path(__file__).parents[1]


def main() -> None:
    from hydra.utils import instantiate

    path, seeds, target = Path(sys.argv[1]), tuple(map(int, sys.argv[2].split(","))), Path(sys.argv[3])
    claim = read_claim(path)
    share = progress_file(target)
    asked = Asked(seeds, claim.arms, lambda done: atomic_write(share, f"{done:.4f}"))
    began = time.perf_counter()
    measured = instantiate(claim.measure, asked, _convert_="all")
    content = {
        "seconds": time.perf_counter() - began,
        "finished": time.time(),
        "versions": versions(),
        "code": {name: code_digest(name) for name in sorted(_imported())},
        "conf": conf_digest(path.parents[1]) if claim.arms else None,
        **to_json(measured),
    }
    atomic_write(target, json.dumps(content, indent=1))
    share.unlink(missing_ok=True)


def progress_file(result: Path) -> Path:
    return result.with_suffix(".progress")


def versions() -> dict[str, str]:
    """Of what else decides the numbers."""
    return {
        "python": platform.python_version(),
        **{package: version(package) for package in ("torch", "numpy", "scipy")},
    }


def is_current(content: Mapping[str, Any], conf: Path) -> bool:
    """Whether a result is what the present code would measure."""
    return bool(
        content["versions"] == versions()
        and all(code_digest(name) == digest for name, digest in content["code"].items())
        and content["conf"] in (None, conf_digest(conf))
    )


def _imported() -> set[str]:
    """Modules of this package whose code may have taken part; what only runs or shows it does not count."""
    aside = (
        "saddle.reports", "saddle.sweeps", "saddle.records", "saddle.commands.entry", "saddle.claims.job",
        "saddle.claims.claim",
    )  # fmt: skip
    return {
        name
        for name, module in [*sys.modules.items()]
        if (name == "saddle" or name.startswith("saddle."))
        and not name.startswith(aside)
        and module is not None
    }


_known: dict[tuple[str, int], str] = {}


def code_digest(module: str) -> str:
    """Of a module of this package; "none" if there is no such file any more."""
    parts = module.split(".")[1:]
    path = PACKAGE.joinpath(*parts, "__init__.py") if PACKAGE.joinpath(*parts).is_dir() else PACKAGE.joinpath(
        *parts
    ).with_suffix(".py")  # fmt: skip
    if not path.is_file():
        return "none"
    key = (module, path.stat().st_mtime_ns)
    if key not in _known:
        _known[key] = _digest(path.read_text("utf-8"))
    return _known[key]


def _digest(source: str) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [one for one in body if not _is_text(one)]  # type: ignore[attr-defined]
    return blake2b(ast.dump(tree).encode(), digest_size=8).hexdigest()


def _is_text(node: ast.stmt) -> bool:
    """Text that stands alone: a docstring, also below a constant."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def conf_digest(conf: Path) -> str:
    """Of every choice of ``conf`` but the claims themselves."""
    found = blake2b(digest_size=8)
    for path in sorted(conf.rglob("*.yaml")):
        if path.parent.name != "claim":
            found.update(str(path.relative_to(conf)).encode() + path.read_bytes())
    return found.hexdigest()


if __name__ == "__main__":
    main()
