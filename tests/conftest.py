"""What every test gets: float64, and an experiment tracker that is offline, silent and out of the way."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext


os.environ.setdefault("OMP_NUM_THREADS", "1")  # one core a test process: they run side by side

import torch

from command_line import command as command  # a fixture
from trackers import tracked as tracked  # likewise


@pytest.fixture(autouse=True)
def _float64_by_default() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.fixture(autouse=True)
def _tracker_offline(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder: Path = tmp_path_factory.getbasetemp() / "wandb"
    folder.mkdir(exist_ok=True)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    for name in ("WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(folder))


@pytest.fixture(scope="session")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of sixteen records, two losses by two learning rates by four seeds: for reading only."""
    from synthetic import grid

    folder = tmp_path_factory.mktemp("sweep")
    grid(folder)
    return folder


@pytest.fixture(scope="session")
def processes() -> "ForkServerContext":
    """Makes the processes of training runs that ``lives`` are."""
    from lives import fork_server

    return fork_server()


@pytest.fixture(scope="session")
def inception_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of torch-fidelity's Inception, in a file as its download would be.

    Its batch normalization is calibrated on pictures like the tests', so that features are of size one.
    """
    from unittest import mock

    from torch_fidelity import feature_extractor_inceptionv3 as source

    from samples import pictures

    state = torch.random.get_rng_state()
    torch.manual_seed(0)
    with (
        mock.patch.object(source, "load_state_dict_from_url", return_value={}),
        mock.patch.object(torch.nn.Module, "load_state_dict", return_value=None),
    ):
        network = source.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"])
    torch.random.set_rng_state(state)
    for layer in network.train().modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = 1.0
    with torch.no_grad():
        network(torch.from_numpy(pictures(6, 99, 0.2)).permute(0, 3, 1, 2))
    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    torch.save(network.state_dict(), path)
    return path
