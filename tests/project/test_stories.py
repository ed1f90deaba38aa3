"""The stories of conf/experiment: their commands are ones that train, and their table is arithmetic."""

import re
import runpy
import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from torch.testing import assert_close

from compositions import CONF, choices, composed
from saddle.training.assembly import assemble

SCRIPT = runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "stories.py"))
COMMANDS = [
    (name, line)
    for name in choices("experiment")
    for line in re.findall(
        r"^#   scripts/train\.py -m (.*)$", (CONF / "experiment" / f"{name}.yaml").read_text(), re.MULTILINE
    )
]


@pytest.mark.parametrize(("name", "line"), COMMANDS)
def test_a_storys_command_makes_runs_that_fit_together(name, line):
    torch.set_default_dtype(torch.float32)
    parsed = OverridesParser.create().parse_overrides(shlex.split(line))
    words = [
        f"{word.get_key_element()}={next(iter(word.sweep_string_iterator()))}"
        if word.is_sweep_override()
        else word.input_line
        for word in parsed
    ]
    assert any(word.startswith("sweep_name=") for word in words)
    assert assemble(composed(*words)).probes
    compared = re.findall(
        r"scripts/compare\.py runs/sweep/(\w+)", (CONF / "experiment" / f"{name}.yaml").read_text()
    )
    assert compared


def test_every_story_of_the_table_has_commands():
    named = {re.search(r"sweep_name=(\w+)", line)[1] for _, line in COMMANDS}
    assert named == {*SCRIPT["SHOWN"]}
    assert {*SCRIPT["PANELS"]} <= {*SCRIPT["SHOWN"]}


def test_a_groups_summary_is_the_mean_and_spread_of_its_last_values():
    runs = [
        SimpleNamespace(
            series={"eval/modes": {0: 0.0, 10: last}}, seed=seed, status="finished",
            summary={"step": 10, "time": {"total": 1.5}},
        )
        for seed, last in ((1, 8.0), (0, 5.0))
    ]  # fmt: skip
    found = SCRIPT["summary"](["eval/modes", "eval/fid"], "pack=2", runs)
    assert found["seeds"] == [0, 1]
    assert {*found["values"]} == {"eval/modes"}
    assert_close(found["values"]["eval/modes"]["mean"], 6.5)
    assert_close(found["values"]["eval/modes"]["std"], 4.5**0.5)
    assert found["seconds"] == 3.0


def test_a_legend_names_what_was_typed_without_weights():
    words = "loss=relativistic regularizer=[r1] regularizer.r1.gamma=0.3 model.discriminator.dropout=0.5"
    assert SCRIPT["short"](words) == "loss=relativistic regularizer=[r1] dropout=0.5"
    assert SCRIPT["short"]("") == "as it is"
