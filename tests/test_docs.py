"""The README is complete: every route, code, setting and target has its row."""

import re
from pathlib import Path

from click import Group
from helpers import sqlite_only

from gateway import cli
from gateway.config import SETTINGS
from gateway.errors import HTTP_TEXTS, Code

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
SETTINGS_TABLE = README.split("\n## Settings\n")[1].split("\n## ")[0]


def rows(heading):
    """Return the first column of the table under a heading."""
    section = README.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    cells = re.findall(r"^\| ([^|]+) \|", section, re.MULTILINE)
    return [
        cell for cell in cells if cell not in ("endpoint", "code", "setting", "target", "field")
    ]


@sqlite_only
def test_every_route(app):
    routes = {
        f"`{method} {rule.rule}`"
        for rule in app.url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }
    assert set(re.findall(r"`[A-Z]+ [^`]+`", " ".join(rows("Endpoints")))) == routes


def test_every_code():
    numbers = [str(code.number) for code in Code]
    *documented, http = rows("Codes")
    assert sorted(documented) == sorted(numbers)
    assert all(str(status) in http for status in HTTP_TEXTS)


def test_every_code_has_its_http_status():
    for code in Code:
        assert f"\n| {code.number} | {code.status} |" in README


def test_every_setting():
    documented = re.findall(r"`(\w+)`", " ".join(rows("Settings")))
    assert sorted(documented) == sorted(setting.name for setting in SETTINGS)


def test_defaults_of_settings():
    for setting in SETTINGS:
        if isinstance(setting.default, int):
            row = re.search(rf"^\| `{setting.name}` \| (\S+) \| .", SETTINGS_TABLE, re.MULTILINE)
            assert row[1] == str(int(setting.default))


def test_every_target():
    makefile = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^([a-z]+):.*## ", makefile, re.MULTILINE)
    phony = re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)[1].split()
    assert sorted(targets) == sorted(phony)
    assert sorted(re.findall(r"`make ([a-z]+)", " ".join(rows("Two commands")))) == sorted(targets)


def test_every_operator_command():
    commands = {"db upgrade", "db current"}
    for command in cli.COMMANDS:
        if isinstance(command, Group):
            commands |= {f"{command.name} {name}" for name in command.commands}
        else:
            commands.add(command.name)
    section = README.split("\n### Operator commands\n")[1].split("\n## ")[0]
    cells = re.findall(r"^\| (`[^|]+`) \|", section, re.MULTILINE)
    documented = re.findall(r"`([a-z -]+[a-z])", " ".join(cells))
    assert sorted(documented) == sorted(commands)
