"""The house: sixteen rooms, each importing only from the floors below it, and saying what lives there."""

import ast
from pathlib import Path

import saddle

PACKAGE = Path(saddle.__file__).parent
# from the ground up: a room may use what stands before it
FLOORS = (
    *("game", "dynamics", "theory", "models", "data", "rounds", "metrics", "features", "evaluation"),
    *("diagnosis", "records", "reports", "training", "sweeps", "claims", "commands"),
)


def imported(path: Path) -> set[str]:
    """Rooms that a file imports from, also inside functions."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return {name.split(".")[1] for name in names if name.startswith("saddle.")} & {*FLOORS}


def test_the_rooms_are_those_of_the_plan_and_each_says_what_lives_there():
    rooms = {path.name for path in PACKAGE.iterdir() if any(path.glob("*.py"))}
    assert rooms == {*FLOORS}
    assert {path.name for path in PACKAGE.glob("*.py")} == {"__init__.py"}
    for room in FLOORS:
        assert (
            len(ast.get_docstring(ast.parse((PACKAGE / room / "__init__.py").read_text("utf-8"))) or "") > 60
        )


def test_every_arrow_points_downward():
    upward = [
        f"{path.relative_to(PACKAGE)} uses {other}"
        for room in FLOORS
        for path in (PACKAGE / room).rglob("*.py")
        for other in imported(path)
        if FLOORS.index(other) > FLOORS.index(room)
    ]
    assert upward == []
