"""Seconds by part of a session of training."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Stopwatch:
    """Seconds by part of this session; of the whole, the share of one of ``sharers`` runs in one process."""

    seconds: dict[str, float] = field(default_factory=dict)
    started: float = field(default_factory=time.perf_counter)
    sharers: int = 1

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.add(part, time.perf_counter() - begin)

    def add(self, part: str, seconds: float) -> None:
        """Count seconds that were measured elsewhere."""
        self.seconds[part] = self.seconds.get(part, 0.0) + seconds

    def total(self) -> dict[str, float]:
        """Seconds by part, and ``total`` since the stopwatch was made."""
        return {"total": (time.perf_counter() - self.started) / self.sharers, **self.seconds}
