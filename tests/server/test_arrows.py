"""Packages import only what is below them."""

import ast
from pathlib import Path

import gateway

ROOT = Path(gateway.__file__).parent
# From the top: a room may import the rooms of later lines.
ROOMS = [
    *("testing", "server", "ops", "project", "auth", "mail", "web", "throttle", "db", "settings"),
    *("crypto log", "clock errors version"),
]
LEVEL = {room: level for level, line in enumerate(ROOMS) for room in line.split()}
ROOT_MODULE = "__init__"  # gateway itself: whoever imports it wants the whole application


def arrows(files):
    """Return every import of ours: (file, room, imported room)."""
    found = set()
    for path in files:
        name = str(path.relative_to(ROOT))
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert not node.level, f"{name} imports by a relative name"
                modules = [f"{node.module}.{alias.name}" for alias in node.names]
            else:
                continue
            for module in modules:
                if module == "gateway" or module.startswith("gateway."):
                    imported = [*module.split("."), ROOT_MODULE][1]
                    found.add((name, room_of(name), imported))
    return found


def room_of(name):
    return name.partition("/")[0].removesuffix(".py")


def runs_back(room, imported):
    if room in (imported, ROOT_MODULE):  # create_app puts all rooms together
        return False
    if imported not in LEVEL:  # create_app, or a name of it
        return LEVEL[room] > LEVEL["ops"]
    return LEVEL[imported] <= LEVEL[room]


def test_no_arrow_runs_back():
    found = arrows(ROOT.rglob("*.py"))
    assert {room for _, room, _ in found} <= {*LEVEL, ROOT_MODULE}
    assert sorted(each for each in found if runs_back(*each[1:])) == []


def test_the_map_names_every_room():
    rooms = {room_of(str(path.relative_to(ROOT))) for path in ROOT.rglob("*.py")}
    assert rooms == {*LEVEL, ROOT_MODULE}
