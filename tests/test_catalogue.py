"""The README's tables are those that the configurations and docstrings give."""

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


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
