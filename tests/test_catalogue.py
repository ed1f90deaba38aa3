"""The README's tables are those that the configurations and docstrings give."""

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


def test_every_entry_names_its_source():
    script = runpy.run_path(str(ROOT / "scripts" / "catalogue.py"))
    rows = [
        line for line in script["tables"]().splitlines() if line.startswith("| `") and "=`" not in line[:40]
    ]
    assert len(rows) > 40
    assert all(row.rstrip(" |").rpartition("|")[2].strip() for row in rows)
