"""Jobs that end as their words say, without the seconds that importing torch takes."""

import sys
from pathlib import Path

from saddle.sweeps.jobs import Job

# A run that ends as its first word says, without the seconds that importing torch takes.
STAND_IN = """
import os, signal, sys, time
from pathlib import Path
from saddle.records.record import create, open_record
words = dict(word.split("=", 1) for word in sys.argv[1:])
folder = Path(words["hydra.run.dir"].strip("'"))
with open(folder.parent / f"attempts-{folder.name}", "a") as file:
    print("resumed" if "resume" in words else "begun", os.environ["OMP_NUM_THREADS"],
          os.environ.get("CUDA_VISIBLE_DEVICES"), file=file)
end = open_record(folder).config.read_text() if "resume" in words else words["end"]
if end == "refuse":
    print("saddle: must be so", file=sys.stderr)
    sys.exit(2)
record = open_record(folder) if "resume" in words else create(folder, end, {})
def close(status, code, message=None):
    record.write_summary(status=status, exit_status=code, message=message, step=1, num_steps=1, images_seen=1,
                         time={"total": 1.0})
    record.report.write_text("report")
    sys.exit(code)
def stopped(*_):
    close("interrupted", 143, "stopped by SIGTERM")
if end == "stop":
    signal.signal(signal.SIGTERM, stopped)
    if "resume" in words:
        close("finished", 0)
    os.kill(int(os.environ["SWEEP"]), signal.SIGTERM)
    time.sleep(60)
if end == "meet":
    (folder / "here").touch()
    while len([*folder.parent.glob("*/here")]) < 2:
        time.sleep(0.01)
if end == "die":
    os.kill(os.getpid(), signal.SIGKILL)
if end == "raise":
    raise ArithmeticError("out of numbers")
close(*{"diverge": ("diverged", 1, "losses must stay finite"), "recorded": ("diverged", 0, "so be it"),
        "fail": ("failed", 1, "RuntimeError: broken")}.get(end, ("finished", 0)))
"""


def stand_ins(folder: Path, *ends: str) -> list[Job]:
    program = (sys.executable, "-c", STAND_IN)
    return [
        Job(number, (f"end={end}",), folder / f"{number}-{end}", program) for number, end in enumerate(ends)
    ]


def attempts(job: Job) -> list[str]:
    path = job.directory.parent / f"attempts-{job.directory.name}"
    return [line.split()[0] for line in path.read_text().splitlines()] if path.exists() else []
