"""The torchmetrics wrappers give the functions' values, in one process and over two."""

import os
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.testing import assert_close

from saddle.metrics.frechet import fid
from saddle.metrics.kernels import kid
from saddle.metrics.neighbours import prdc
from saddle.metrics.streaming import StreamingFrechet, StreamingMetric


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


REAL, FAKE = normal(60, 5), 0.3 + normal(46, 5, seed=1)


def feed(metric: StreamingMetric | StreamingFrechet, real: Tensor = REAL, fake: Tensor = FAKE) -> None:
    for samples, is_real in ((real, True), (fake, False)):
        for batch in samples.split(16):
            metric.update(batch, real=is_real)


@pytest.mark.parametrize("function", [fid, kid, prdc])
def test_a_streaming_metric_is_the_function_of_all_it_has_seen(function):
    metric = StreamingMetric(function)
    feed(metric)
    assert_close(metric.compute(), _tensors(function(REAL, FAKE)), rtol=0, atol=0)


def _tensors(found):
    if isinstance(found, float):
        return torch.tensor(found, dtype=torch.float64)
    return {name: torch.tensor(value, dtype=torch.float64) for name, value in found.items()}


def test_running_sums_give_fid_also_far_from_zero():
    metric = StreamingFrechet(5, offset=torch.full((5,), 1e4, dtype=torch.float64))
    feed(metric, 1e4 + REAL, 1e4 + FAKE)
    assert_close(float(metric.compute()), fid(REAL, FAKE), atol=1e-9, rtol=1e-9)


def test_running_sums_equal_torchmetrics():
    from torchmetrics.image.fid import FrechetInceptionDistance  # 1.9

    class Five(nn.Module):
        num_features = 5

        def forward(self, x: Tensor) -> Tensor:
            return x

    theirs, ours = FrechetInceptionDistance(feature=Five()), StreamingFrechet(5)
    theirs.set_dtype(torch.float64)
    for metric in (theirs, ours):
        feed(metric)
    assert_close(float(ours.compute()), float(theirs.compute()), atol=0, rtol=1e-6)  # its result is float32


@pytest.mark.parametrize("kind", ["all", "sums"])
def test_reset_forgets_and_keeps_the_real_side_if_told_to(kind):
    metric = (
        StreamingMetric(fid, reset_real=False) if kind == "all" else StreamingFrechet(5, reset_real=False)
    )
    feed(metric)
    metric.reset()
    metric.update(REAL[:30] + 1, real=False)
    assert_close(float(metric.compute()), fid(REAL, REAL[:30] + 1), atol=1e-9, rtol=1e-9)
    forgetful = StreamingMetric(fid) if kind == "all" else StreamingFrechet(5)
    feed(forgetful)
    forgetful.reset()
    forgetful.update(FAKE, real=False)
    with pytest.raises(ValueError, match="the real side must have been seen"):
        forgetful.compute()


def test_features_are_float32_and_the_result_float64_under_bfloat16():
    network = nn.Linear(5, 3)
    full, mixed = StreamingFrechet(3, features=network), StreamingFrechet(3, features=network)
    feed(full)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        feed(mixed)
        found = mixed.compute()
    assert found.dtype == torch.float64
    assert_close(found, full.compute(), rtol=0, atol=0)


def test_the_feature_network_is_in_no_checkpoint():
    metric = StreamingMetric(fid, features=nn.Linear(5, 3))
    holder = nn.ModuleList([metric])
    assert not [*holder.parameters()]
    assert not holder.state_dict()


def test_a_value_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="features must be finite"):
        StreamingFrechet(2).update(torch.full((3, 2), torch.nan), real=True)


def _rank(rank: int, folder: str) -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    values = {}
    metrics = {"kid": StreamingMetric(kid), "prdc": StreamingMetric(prdc), "fid": StreamingFrechet(5)}
    for name, metric in metrics.items():
        # unequal shares, unequal numbers of batches
        feed(metric, REAL[:17] if rank == 0 else REAL[17:], FAKE[:30] if rank == 0 else FAKE[30:])
        values[name] = metric.compute()
    torch.save(values, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_give_the_value_of_one(tmp_path):
    mp.spawn(_rank, (str(tmp_path),), nprocs=2)
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert_close(float(found["kid"]), kid(REAL, FAKE), atol=1e-12, rtol=1e-9)
        assert_close(found["prdc"], _tensors(prdc(REAL, FAKE)))
        assert_close(float(found["fid"]), fid(REAL, FAKE), atol=1e-9, rtol=1e-9)
