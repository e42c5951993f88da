"""Whatever goes wrong, a command prints one line and ends with the right exit code."""

import errno
import io
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest
from flask.cli import ScriptInfo
from support.helpers import SECRET_KEY, sqlite_only
from support.servers import ROOT

from gateway import log
from gateway.db import db
from gateway.ops.cli import main

BIN = Path(sys.prefix) / "bin"
# What the examples in the help leave out, and what they name that is not there.
OPTIONS = {
    "user create": ["--password-stdin"],
    "user demote": ["--yes"],
    "user set-password": ["--password-stdin"],
}
HERE = {
    "12": "1",
    "/var/backups/gateway": "{folder}",
    "sqlite:////var/lib/gateway/gateway.db": "sqlite:///{folder}/other.db",
}
# These would make or change the database that the others are tried on.
NEED_NO_DATABASE = {"db downgrade", "db history", "db upgrade", "secret-key rotate"}


def examples(group=main, words=()):
    """Yield every command, and the arguments of the example in its help."""
    context = click.Context(group, info_name=" ".join(("gateway", *words)))
    for name in group.list_commands(context):
        command, call = group.get_command(context, name), " ".join((*words, name))
        if isinstance(command, click.Group):
            yield from examples(command, (*words, name))
        elif not command.hidden:
            context = click.Context(command, info_name=f"gateway {call}")
            example = command.get_help(context).partition("Example:")[2].split()
            given = example[len(call.split()) + 1 :]
            yield call, [HERE.get(each, each) for each in given] + OPTIONS.get(call, [])


COMMANDS = dict(sorted(examples(), key=lambda each: each[0] == "db downgrade"))  # the last


class Broken(io.StringIO):
    """An output that fails."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def write(self, _text):
        raise self.error


@pytest.fixture
def run(make_app, database_uri, tmp_path, monkeypatch, capsys, caplog):
    """Return a function that runs a command; it returns the exit code and what stderr got."""
    monkeypatch.setattr(log.logger, "handlers", [logging.NullHandler()])

    def run(command, uri=database_uri):
        app = make_app(SQLALCHEMY_DATABASE_URI=uri, MAIL_SERVER=None)
        arguments = [each.format(folder=tmp_path) for each in COMMANDS[command]]
        with pytest.raises(SystemExit) as end:
            main.main(
                [*command.split(), *arguments],
                prog_name="gateway",
                obj=ScriptInfo(create_app=lambda: app),
            )
        with app.app_context():
            db.engine.dispose()
        said = capsys.readouterr().err.splitlines()
        said += [each.getMessage() for each in caplog.records if each.name == "flask_migrate"]
        caplog.clear()
        return end.value.code or 0, [line for line in said if " INFO " not in line]

    return run


@pytest.fixture
def data(person, command):
    """Something that the commands find."""
    person.create_project()
    command("pool", "add", "blue")


ERRORS = [
    OSError(errno.ENOSPC, "No space left on device"),
    BrokenPipeError(errno.EPIPE, "Broken pipe"),
    KeyboardInterrupt(),
]


@pytest.mark.parametrize("error", ERRORS, ids=repr)
@sqlite_only
def test_an_output_that_fails(run, data, monkeypatch, error):
    monkeypatch.setattr(sys, "stdout", Broken(error))
    assert len(COMMANDS) > 30
    for command in COMMANDS:
        monkeypatch.setattr(sys, "stdin", None)
        exit_code, said = run(command)
        assert exit_code in (0, 1, 3), command
        assert "Traceback" not in str(said), command
        lines = [line for line in said if line]  # click begins a new line after ^C
        assert len(lines) == (1 if exit_code else 0), command


@pytest.mark.parametrize("state", ["gone", "garbage", "older"])
@sqlite_only
def test_a_database_that_fails(run, data, command, tmp_path, monkeypatch, state):
    uri = f"sqlite:///{tmp_path}/none.db"
    if state == "garbage":
        (tmp_path / "none.db").write_bytes(b"no database" * 1000)
    elif state == "older":
        command("db", "downgrade", "0004")
        uri = f"sqlite:///{tmp_path}/gateway.db"
    for call in COMMANDS.keys() - NEED_NO_DATABASE:
        monkeypatch.setattr(sys, "stdin", io.StringIO("y\ny\n"))
        exit_code, said = run(call, uri)
        if call == "doctor":
            assert (exit_code, said) == (1, [])  # the faults are what it prints
        else:
            assert "Traceback" not in str(said), call
            assert len(said) == (1 if exit_code else 0), call
        if state == "older" and call in ("usage", "user list", "user show"):
            assert "gateway db upgrade" in str(said), call


@pytest.mark.parametrize(
    ("arguments", "shell", "code"),
    [
        ("user list", "> /dev/full", 1),
        ("--help", "> /dev/full", 1),
        ("user list", "| true", 0),
        ("set-timezone", "<&-", 1),
        ("backup /dev/full/x", "", 1),
    ],
)
@sqlite_only
def test_as_a_process(database_uri, app, arguments, shell, code):
    environment = {
        **os.environ,
        "GATEWAY_SQLALCHEMY_DATABASE_URI": database_uri,
        "GATEWAY_SECRET_KEY": SECRET_KEY,
    }
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{BIN}/gateway {arguments} {shell}"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    said = [line for line in done.stderr.splitlines() if " INFO " not in line]
    assert (done.returncode, len(said)) == (code, 1 if code else 0), done.stderr


def test_ctrl_c_while_modules_load():
    process = subprocess.Popen(
        [BIN / "python", "-X", "importtime", BIN / "gateway", "user", "list"],
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stderr:
        if " flask" in line:
            process.send_signal(signal.SIGINT)
            break
    rest = process.stderr.read()
    assert process.wait(timeout=30) == 1
    assert "Traceback" not in rest
    assert rest.splitlines()[-1] == "Aborted!"
    process.stderr.close()
