"""The help of the commands, and what Tab completes."""

import re

import pytest
from click.shell_completion import BashComplete
from flask.cli import ScriptInfo

from gateway.ops.cli import main


@pytest.fixture
def database_uri(sqlite_uri):
    """One database is enough, because nothing here depends on it."""
    return sqlite_uri


def test_summaries_fit_and_commands_have_an_example(command):
    for group in ("", "db", "mail", "pool", "project", "secret-key", "user"):
        said = command(*group.split(), "--help").output
        assert max(map(len, said.splitlines())) <= 80
        assert not re.search(r"\w\.\.\.$", said, re.MULTILINE)
        for name in re.findall(r"^  ([a-z-]+)  ", said.partition("Commands:")[2], re.MULTILINE):
            helps = command(*group.split(), name, "--help").output
            assert "Example:\n  " in helps or "Commands:" in helps


def test_tab_completes_names(app, person, command):
    command("pool", "add", "blue")
    completion = BashComplete(main, {"obj": ScriptInfo(create_app=lambda: app)}, "x", "_X")
    for words, begun, names in (
        (["user", "show"], "l", ["lory"]),
        (["user", "ban"], "x", []),
        (["pool", "remove"], "b", ["blue"]),
        (["project", "assign", "1"], "", ["blue"]),
    ):
        found = completion.get_completions(words, begun)
        assert [item.value for item in found] == names
