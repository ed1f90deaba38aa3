"""The README's tables are those that the configurations and docstrings give."""

import math
import re
import runpy
from pathlib import Path

import hydra
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from hydra.utils import instantiate
from torch.testing import assert_close

from saddle.game import losses

ROOT = Path(__file__).parents[2]


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*")
def test_the_readme_shows_the_present_catalogue():
    script = runpy.run_path(str(ROOT / "scripts" / "catalogue.py"))
    readme = (ROOT / "README.md").read_text()
    shown = readme.partition(script["BEGIN"])[2].partition(script["END"])[0]
    assert shown.strip() == script["tables"](), "run scripts/catalogue.py --write"


def test_the_readme_shows_the_present_metrics():
    script = runpy.run_path(str(ROOT / "scripts" / "catalogue.py"))
    readme = (ROOT / "README.md").read_text()
    shown = readme.partition(script["METRICS_BEGIN"])[2].partition(script["METRICS_END"])[0]
    assert shown.strip() == script["metrics"](), "run scripts/catalogue.py --write"
    assert [row for row in shown.splitlines() if row.endswith("|  |")] == []  # every one names its source


def test_the_readme_lists_every_metric_that_a_configuration_names():
    readme = (ROOT / "README.md").read_text()
    named = set()
    for path in (ROOT / "conf" / "metrics").glob("*.yaml"):
        named |= {*re.findall(r"_target_: saddle\.metrics\.(\S+)", path.read_text())}
    assert len(named) > 10
    assert [name for name in named if f"| `{name}` |" not in readme] == []


def test_every_entry_names_its_source():
    script = runpy.run_path(str(ROOT / "scripts" / "catalogue.py"))
    rows = [
        line for line in script["tables"]().splitlines() if line.startswith("| `") and "=`" not in line[:40]
    ]
    assert len(rows) > 40
    assert all(row.rstrip(" |").rpartition("|")[2].strip() for row in rows)


def test_the_readmes_three_files_add_a_loss(tmp_path, monkeypatch):
    section = (ROOT / "README.md").read_text().partition("## Adding a loss")[2].partition("\n## ")[0]
    blocks = dict(re.findall(r"```(?:python|yaml)\n# ([\w/.]+)[^\n]*\n(.*?)```", section, re.DOTALL))
    assert [*blocks] == [
        "src/saddle/game/losses.py",
        "conf/loss/exponential.yaml",
        "tests/game/test_losses.py",
    ]
    names = {**vars(losses)}
    exec(blocks["src/saddle/game/losses.py"], names)
    monkeypatch.setattr(losses, "Exponential", names["Exponential"], raising=False)
    (tmp_path / "loss").mkdir()
    (tmp_path / "loss" / "exponential.yaml").write_text(blocks["conf/loss/exponential.yaml"])
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = hydra.compose(
            "train", ["name=added", f"hydra.searchpath=[file://{tmp_path}]", "loss=exponential"]
        )
    assert isinstance(instantiate(config.loss), losses.Exponential)
    test = {"math": math, "torch": torch, "assert_close": assert_close, "Exponential": losses.Exponential}
    exec(blocks["tests/game/test_losses.py"], test)
    test["test_the_exponential_loss_of_hand_worked_logits"]()
