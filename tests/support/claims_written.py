"""Claims of no paper, written to a folder."""

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from saddle.claims.measured import Asked, Course, Figure, Measured

GOOD = {
    "title": "t", "paper": "p", "statement": "s", "protocol": "p", "arms": {}, "seeds": [0], "split": False,
    "tags": ["exact"], "cost": 1, "needs": [], "measure": {"_target_": "test_claims.half"},
    "quantities": {"q": {"paper": 0.5, "source": "closed form", "within": 0.1}},
}  # fmt: skip


def half(asked: Asked, value: float = 0.5) -> Measured:
    """What a claim of these tests measures."""
    return Measured(
        {"q": [value for _ in asked.seeds]}, [Figure("f", "x", "y", [Course("c", [0, 1], [1.0, 2.0])])]
    )


def written(folder: Path, name: str = "mine", **changes: Any) -> Path:
    path = folder / "claim" / f"{name}.yaml"
    path.parent.mkdir(exist_ok=True)
    content = {key: value for key, value in {**GOOD, **changes}.items() if value is not None}
    OmegaConf.save(OmegaConf.create(content), path)
    return path
