"""What ``pip install`` gives: the wheel alone, in an environment of its own, trains from an empty folder."""

import importlib.util
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from saddle.records.record import open_record

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]


def run(*line: str | Path, folder: Path, seconds: float = 120) -> str:
    """Output of a command that must succeed; it sees no PYTHONPATH."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    found = subprocess.run(
        [str(word) for word in line],
        cwd=folder,
        env=environment | {"OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"},
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    # without hatchling here, pip fetches it into an environment of its own
    isolation = [] if importlib.util.find_spec("hatchling") is None else ["--no-build-isolation"]
    run(
        sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", *isolation, "-w", folder, REPOSITORY,
        folder=folder,
    )  # fmt: skip
    (path,) = folder.glob("*.whl")
    return path


def test_the_wheel_carries_all_of_conf_and_the_weights(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {*archive.namelist()}
    for top, inside in (
        ("conf", "saddle/conf"),
        ("src/saddle", "saddle"),
        ("src/hydra_plugins", "hydra_plugins"),
    ):
        for path in (REPOSITORY / top).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert f"{inside}/{path.relative_to(REPOSITORY / top)}" in names
    strangers = {name.split("/")[0] for name in names} - {"saddle", "hydra_plugins"}
    assert all(name.endswith(".dist-info") for name in strangers), strangers


def test_the_installed_wheel_trains_and_samples_from_an_empty_folder(wheel, tmp_path):
    environment, folder = tmp_path / "environment", tmp_path / "empty"
    folder.mkdir()
    run(sys.executable, "-m", "venv", "--without-pip", environment, folder=tmp_path)
    programs = environment / "bin"
    python = programs / "python"
    run(
        sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index",
        wheel, folder=tmp_path,
    )  # fmt: skip
    (packages,) = environment.glob("lib/python*/site-packages")
    # torch and the rest; their own .pth files, such as that of an editable Saddle, are not followed
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    place = run(python, "-c", "import saddle; print(saddle.__file__)", folder=folder).strip()
    assert Path(place).is_relative_to(packages)
    assert run(programs / "saddle-train", "--help", folder=folder)

    run(
        programs / "saddle-train",
        *[
            "data=ring8",
            "model=mlp",
            "num_steps=20",
            "evaluate_every=10",
            "checkpoint_every=10",
            "batch_size=16",
        ],
        *["metrics.num_samples=100", "metrics.num_real=100", "logger=none"],
        folder=folder,
    )
    assert [path.name for path in folder.iterdir()] == ["runs"]
    (directory,) = folder.glob("runs/ring8-mlp-non_saturating/*")
    record = open_record(directory)
    assert record.read_summary()["status"] == "finished"
    assert record.report.stat().st_size > 10_000
    assert record.checkpoint("last").exists()
    provenance = record.read_provenance()
    assert "saddle-gan" in str(provenance)
    run(programs / "saddle-sample", f"run={directory}", "num=9", "grid=grid.png", folder=folder)
    assert (folder / "grid.png").exists()
    assert run(programs / "saddle-evaluate", "--help", folder=folder)
