"""The help of the commands, and what Tab completes."""

import re

import pytest
from click.shell_completion import BashComplete
from flask.cli import ScriptInfo
from support.helpers import sqlite_only

from gateway.ops.cli import main


@pytest.mark.parametrize("group", ["", "db", "mail", "pool", "project", "secret-key", "user"])
@sqlite_only
def test_summaries_fit_and_commands_have_an_example(command, group):
    said = command(*group.split(), "--help").output
    assert max(map(len, said.splitlines())) <= 80
    assert not re.search(r"\w\.\.\.$", said, re.MULTILINE)
    for name in re.findall(r"^  ([a-z-]+)  ", said.partition("Commands:")[2], re.MULTILINE):
        helps = command(*group.split(), name, "--help").output
        assert "Example:\n  gateway" in helps.replace("main", "gateway") or "Commands:" in helps


@pytest.mark.parametrize(
    ("words", "begun", "names"),
    [
        (["user", "show"], "l", ["lory"]),
        (["user", "ban"], "x", []),
        (["pool", "remove"], "b", ["blue"]),
        (["project", "assign", "1"], "", ["blue"]),
    ],
)
def test_tab_completes_names(app, person, command, words, begun, names):
    command("pool", "add", "blue")
    completion = BashComplete(main, {"obj": ScriptInfo(create_app=lambda: app)}, "x", "_X")
    found = completion.get_completions(words, begun)
    assert [item.value for item in found] == names
