"""The metrics as ``torchmetrics.Metric``: for any Lightning loop, and over DDP ranks.

As in torchmetrics: ``update(samples, real=True)`` and ``real=False``, ``compute()``, ``reset()``. What is
seen is float64 where it is summed and as given where it is kept; results are float64 under any precision
of training. The feature network is kept out of ``state_dict``, ``parameters`` and checkpoints,
and out of ``to``: put it on the device of the samples.

``compute`` on several ranks is of the samples of all of them, in rank order: metrics that do not depend on
the order of rows (all but those that draw subsets of rows) give the single-process value.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from saddle.game.refusals import Refused
from saddle.metrics.frechet import frechet_distance, warn_of_bias

Extractor = Callable[[Tensor], Tensor]


def rows(samples: Tensor) -> Tensor:
    """The extractor for samples that are features already: (N, *event) to (N, d)."""
    return samples.flatten(1)


class StreamingMetric(Metric):
    """Any metric of two feature matrices; keeps all features.

    Args:
        metric: (real (N, d), fake (M, d)) -> number or mapping of them, its options bound.
        features: samples -> (B, d); called without gradients and without autocast. ``rows`` by default.
        reset_real: whether ``reset`` also forgets the real side.

    ``compute`` gives a float64 scalar, or a mapping of them.
    """

    full_state_update = False
    is_differentiable = False
    real: list[Tensor]
    fake: list[Tensor]

    def __init__(
        self,
        metric: Callable[[Tensor, Tensor], float | Mapping[str, float]],
        features: Extractor = rows,
        reset_real: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.metric = metric
        self._features = (features,)  # a tuple hides a module from parameters() and state_dict()
        self.reset_real = reset_real
        self.add_state("real", default=[], dist_reduce_fx="cat")
        self.add_state("fake", default=[], dist_reduce_fx="cat")

    def update(self, samples: Tensor, real: bool) -> None:
        """Take in a batch (B, *event) of one side."""
        (self.real if real else self.fake).append(_extract(self._features[0], samples))

    def compute(self) -> Tensor | dict[str, Tensor]:
        """The metric of everything seen."""
        from torchmetrics.utilities.data import dim_zero_cat

        for side in ("real", "fake"):
            _must_have_seen(len(getattr(self, side)), side)
        found = self.metric(dim_zero_cat(self.real), dim_zero_cat(self.fake))
        if isinstance(found, Mapping):
            return {name: self._scalar(value) for name, value in found.items()}
        return self._scalar(found)

    def reset(self) -> None:
        """Forget; the real side only if ``reset_real``."""
        kept = [*self.real]  # reset empties the list itself
        super().reset()
        if not self.reset_real:
            self.real = kept

    def _scalar(self, value: float) -> Tensor:
        return torch.tensor(value, dtype=torch.float64, device=self.device)


class StreamingFrechet(Metric):
    """``fid`` from running sums: memory for d² numbers a side, however many samples.

    Sums are taken about ``offset``, the same on every rank, for accuracy: float64 loses
    (‖mean − offset‖/std)² of its 16 digits.

    Args:
        num_features: d.
        features: samples -> (B, d); called without gradients and without autocast. ``rows`` by default.
        reset_real: whether ``reset`` also forgets the real side.
        offset: (d,), roughly the features' mean; 0 by default.
    """

    full_state_update = False
    is_differentiable = False
    higher_is_better = False

    def __init__(
        self,
        num_features: int,
        features: Extractor = rows,
        reset_real: bool = True,
        offset: Tensor | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._features = (features,)
        self.reset_real = reset_real
        self._offset = torch.zeros(num_features) if offset is None else offset
        for side in ("real", "fake"):
            zero = torch.zeros((), dtype=torch.int64)
            total = torch.zeros(num_features, dtype=torch.float64)
            self.add_state(f"{side}_num", default=zero, dist_reduce_fx="sum")
            self.add_state(f"{side}_sum", default=total, dist_reduce_fx="sum")
            self.add_state(f"{side}_squares", default=torch.outer(total, total), dist_reduce_fx="sum")

    def update(self, samples: Tensor, real: bool) -> None:
        """Take in a batch (B, *event) of one side."""
        found = _extract(self._features[0], samples).to(torch.float64)
        if not bool(torch.isfinite(found).all()):
            raise Refused(
                "features must be finite; got NaN or infinity. "
                "The generator or the feature network has diverged."
            )
        side = "real" if real else "fake"
        found = found - self._offset.to(found)
        for name, more in (("num", len(found)), ("sum", found.sum(0)), ("squares", found.mT @ found)):
            setattr(self, f"{side}_{name}", getattr(self, f"{side}_{name}") + more)

    def compute(self) -> Tensor:
        """FID of everything seen, float64."""
        sides = []
        for side in ("real", "fake"):
            num, total, squares = (getattr(self, f"{side}_{name}") for name in ("num", "sum", "squares"))
            _must_have_seen(int(num) - 1, side)
            mean = total / num
            sides.append((mean, (squares - num * torch.outer(mean, mean)) / (num - 1)))
        warn_of_bias(int(self.real_num), int(self.fake_num), len(self._offset))  # type: ignore[arg-type]
        return torch.tensor(frechet_distance(*sides[0], *sides[1]), dtype=torch.float64, device=self.device)

    def reset(self) -> None:
        """Forget; the real side only if ``reset_real``."""
        kept = {name: getattr(self, f"real_{name}") for name in ("num", "sum", "squares")}
        super().reset()
        if not self.reset_real:
            for name, value in kept.items():
                setattr(self, f"real_{name}", value)


@torch.no_grad()
def _extract(features: Extractor, samples: Tensor) -> Tensor:
    with torch.autocast(samples.device.type, enabled=False):
        return features(samples.float() if samples.dtype in (torch.bfloat16, torch.float16) else samples)


def _must_have_seen(num: int, side: str) -> None:
    if num < 1:
        raise Refused(
            f"the {side} side must have been seen before a metric is computed; got too few samples. "
            f"Call update(samples, real={side == 'real'}) first."
        )
