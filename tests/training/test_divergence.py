"""A run that diverges says who and where, and keeps the last checkpoint that is whole."""

import json

import pytest
import torch

from lives import RUN, Life, tensors
from saddle.records.record import open_record

pytestmark = pytest.mark.slow
DIVERGING = [
    *RUN,
    "loss=wasserstein",
    "regularizer=[]",
    "optimizer=sgd",
    "optimizer.generator.lr=3",
    "optimizer.discriminator.lr=3",
    "checkpoint_every=2",
]


@pytest.mark.parametrize(("words", "status"), [([], 1), (["on_divergence=record"], 0)])
def test_a_run_that_diverges_names_player_and_step_and_keeps_the_last_good_checkpoint(
    processes, tmp_path, words, status
):
    directory = tmp_path / "run"
    with Life(processes, [*DIVERGING, *words, f"hydra.run.dir={directory}"], tmp_path) as life:
        assert life.end() == status, life.log.read_text()
    output = life.log.read_text()
    assert "Traceback" not in output
    record = open_record(directory)
    summary = record.read_summary()
    assert (summary["status"], summary["exit_status"]) == ("diverged", status)
    assert summary["verdict"]["word"] == "diverged"
    message = summary["message"]
    # printed as it is, brackets too: in the verdict on stdout and as the message on stderr
    assert output.count("such as regularizer=[r1].") == 2
    assert message in output
    assert "the discriminator's" in message or "the generator's" in message
    step = int(message.partition("at generator step ")[2].partition(".")[0])
    last = tensors(record.checkpoint("last"))
    assert last["step"] == summary["step"]
    assert step - 2 <= last["step"] < step  # checkpoint_every=2: the good one right before
    assert all(bool(torch.isfinite(leaf).all()) for leaf in last["leaves"])
    assert all(row.step < step for row in record.rows())
    assert json.loads(record.summary.read_text())  # strict JSON
    assert record.report.exists()
    with Life(processes, [f"resume={directory}"], tmp_path) as life:  # it loads, and diverges again
        assert life.end() == 1, life.log.read_text()
    assert open_record(directory).read_summary()["message"] == message
