"""A run with conditional networks, from the command line: trained, sampled and evaluated, or refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from command_line import POINTS, Command, assert_refused
from saddle.commands import evaluate, sample, train
from saddle.records.record import open_record

CONDITIONAL = [
    word
    for word in (
        *POINTS,
        "model.generator._target_=conditional.centres",
        "model.discriminator._target_=conditional.slopes",
        "model.latents.size=2",
        "regularizer=[r1]",
        "generator_regularizer=[jacobian_clamping]",
    )
    if "hidden" not in word
]
PROBES = "diagnostics=[slopes,discriminator_gap,generator_gradients,spectrum,duality_gap]"


@pytest.fixture(autouse=True)
def _float32_as_the_commands_have_it(_float64_by_default: None) -> None:
    torch.set_default_dtype(torch.float32)


def test_a_conditional_run_trains_and_is_looked_at_sampled_and_evaluated(command: Command):
    assert command(train.main, *CONDITIONAL, PROBES, "hydra.run.dir=run").status == 0
    record = open_record(Path("run"))
    assert record.read_summary()["status"] == "finished"
    assert record.series()["diag/real_slope"]
    assert command(sample.main, "run=run", "num=800", "folder=points").status == 0
    assert np.load("points/points.npy").shape == (800, 2)
    assert command(evaluate.main, "run=run", "output=numbers.json").status == 0
    found = json.loads(Path("numbers.json").read_text())["metrics"]
    assert found["mmd"] == record.read_summary()["metrics"]["mmd"]["last"]


def test_a_conditional_model_is_refused_where_it_cannot_be_told_classes(command: Command, tmp_path: Path):
    mixture = ("data.num_train", "data.num_held_out", "data=")
    words = [word for word in CONDITIONAL if not word.startswith(mixture)]
    answer = command(train.main, "data=bilinear", *words)
    assert_refused(answer, tmp_path, "must be told the class", "data without labels", "Choose labelled data")
    answer = command(train.main, *CONDITIONAL, "pack=2")
    assert_refused(answer, tmp_path, "one by one, each with its class", "got pack=2", "Take pack=1")
