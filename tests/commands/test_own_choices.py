"""Data and metrics in a folder of one's own exist for every command, and for what it proposes."""

from pathlib import Path

import pytest
import torch

from command_line import POINTS, Command, assert_refused
from saddle.commands import evaluate, train

CONF = Path(__file__).parents[2] / "conf"
SIZES = "num_samples=60", "num_real=60"


@pytest.fixture(params=["--config-dir={}", "hydra.searchpath=[file://{}]"])
def named(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The word of a command line for a folder that holds the data ``nearring`` and the metric ``own``."""
    folder = tmp_path_factory.mktemp("folder_of_ones_own")
    for group in ("data", "metrics"):
        (folder / group).mkdir()
    ring = (CONF / "data" / "ring8.yaml").read_text()
    (folder / "data" / "nearring.yaml").write_text(ring.replace("name: ring8", "name: nearring"))
    measure = (CONF / "metrics" / "sliced_wasserstein.yaml").read_text()
    (folder / "metrics" / "ownmetric.yaml").write_text(measure.replace("sliced_wasserstein:", "ownmetric:"))
    return str(request.param).format(folder)


def test_their_data_and_metrics_are_evaluated(command: Command, named: str):
    words = "fake=nearring", "real=nearring:held_out", "features=identity", "metrics=[ownmetric]", *SIZES
    answer = command(evaluate.main, named, *words)
    assert answer.status == 0, answer.err
    assert "nearring against nearring:held_out" in answer.out
    assert "ownmetric" in answer.out


def test_a_run_of_their_data_is_evaluated_without_them(command: Command, named: str):
    torch.set_default_dtype(torch.float32)
    assert command(train.main, named, *POINTS, "data=nearring", "hydra.run.dir=run").status == 0
    answer = command(evaluate.main, "run=run", *SIZES)
    assert answer.status == 0, answer.err


@pytest.mark.parametrize(
    ("main", "words", "pieces"),
    [
        (train.main, ["data=nearing"], ["data/nearing", "Did you mean nearring"]),
        (evaluate.main, ["fake=ring8", "real=ring8", "metrics=[ownmetirc]"], ["Did you mean ownmetric"]),
        (
            evaluate.main,
            ["fake=ring8", "real=nearrings", "features=identity", "metrics=[one_nn]"],
            ["mnist5k, nearring, ring10", "there is no nearrings"],
        ),
        (train.main, ["data=null"], ["mnist5k, nearring, ring10", "got null"]),
    ],
    ids=["data", "metric", "side", "null"],
)
def test_they_are_proposed(command: Command, named: str, tmp_path: Path, main, words, pieces):
    assert_refused(command(main, named, *words), tmp_path, *pieces)
    _, _, known = command(main, *words).err.partition("saddle: ")
    assert "nearring," not in known
    assert "ownmetric" not in known
