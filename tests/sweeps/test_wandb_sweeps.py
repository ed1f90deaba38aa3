"""conf/sweep: the command line that an agent of W&B makes of each file is one that trains."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import hydra
import pytest
import yaml
from hydra.core.global_hydra import GlobalHydra
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

from command_line import POINTS, environment
from saddle.records.record import open_record
from saddle.training.configuration import config_directory
from saddle.training.scoring import chosen_metrics

CONF = config_directory()
FILES = sorted((CONF / "sweep").glob("*.yaml"))


def values(parameter: dict[str, Any]) -> list[Any]:
    """What the server may choose: all of a list, or the ends of a range."""
    if "value" in parameter:
        return [parameter["value"]]
    return parameter["values"] if "values" in parameter else [parameter["min"], parameter["max"]]


def command_line(sweep: dict[str, Any], chosen: dict[str, Any]) -> list[str]:
    """As wandb_agent.py's _command_run makes it, with its own functions."""
    args = create_sweep_command_args({"args": {name: {"value": value} for name, value in chosen.items()}})
    filled = {
        "env": ["/usr/bin/env"],
        "interpreter": [sys.executable],
        "program": [sweep["program"]],
        "args_no_hyphens": args["args_no_hyphens"],
    }
    line: list[str] = []
    for piece in create_sweep_command([*sweep["command"]]):
        line += filled[piece[2:-1]] if piece.startswith("${") else [piece]
    return line


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_value_of_every_parameter_composes(path):
    sweep = yaml.safe_load(path.read_text())  # as wandb reads it
    assert {"program", "method", "metric", "parameters", "command"} <= sweep.keys()
    assert (CONF.parent / sweep["program"]).is_file()
    first = {name: values(parameter)[0] for name, parameter in sweep["parameters"].items()}
    lines = [
        command_line(sweep, first | {name: value})
        for name, parameter in sweep["parameters"].items()
        for value in values(parameter)
    ]
    for line in lines:
        assert line[:3] == ["/usr/bin/env", sys.executable, "scripts/train.py"]
        GlobalHydra.instance().clear()
        with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            config = hydra.compose("train", line[3:])
        assert config.logger.mode == "online"
        metric = sweep["metric"]["name"].removeprefix("eval/")
        higher = chosen_metrics(config.metrics).meanings[metric].higher_is_better
        assert sweep["metric"]["goal"] == ("maximize" if higher else "minimize")
        assert higher or metric in config.metrics.best


@pytest.mark.slow
def test_the_agents_command_line_trains_under_the_id_that_it_chose(tmp_path):
    sweep = yaml.safe_load((CONF / "sweep" / "ring8.yaml").read_text())
    chosen = {name: values(parameter)[-1] for name, parameter in sweep["parameters"].items()}
    line = command_line(sweep, chosen)
    line[2] = str(CONF.parent / line[2])  # the agent starts in the checkout
    small = [word for word in POINTS if not word.startswith(("data=", "model=", "logger="))]
    # there is no server here: the same run, offline
    line += [*small, "logger.mode=offline", f"hydra.run.dir={tmp_path}/run"]
    agent = {"WANDB_RUN_ID": "abcd1234", "WANDB_SWEEP_ID": "wxyz9876"}
    found = subprocess.run(
        line, cwd=tmp_path, env={**environment(), **agent}, timeout=120, check=False, capture_output=True
    )
    assert found.returncode == 0, found.stderr.decode()
    record = open_record(tmp_path / "run")
    assert record.read_summary()["status"] == "finished"
    assert record.read_provenance()["run_id"] == "abcd1234"
    assert [*Path(record.directory).glob("wandb/offline-run-*-abcd1234")]
    config = yaml.safe_load(record.config.read_text())
    assert (config["seed"], [*config["regularizer"]]) == (7, ["r1", "r2"])
    assert os.environ.get("WANDB_RUN_ID") is None
