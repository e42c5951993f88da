"""The trail: who did what, where the service logs, and output that shows what it holds."""

from __future__ import annotations

import json
import logging
import os
import pty
import pwd
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from support.helpers import code_of
from support.servers import ROOT

from gateway import log
from gateway.ops.cli import trail
from gateway.ops.cli.output import visible

GATEWAY = Path(sys.prefix) / "bin" / "gateway"
ODD = "x\u202ecod.exe\u200b\u2066\U000e0041\u2800"


@pytest.fixture
def database_uri(sqlite_uri):
    """One database is enough, because nothing here depends on it."""
    return sqlite_uri


def lines(caplog):
    return [record.getMessage() for record in caplog.records]


# What commands write to the log


def test_every_command_writes_a_line(command, person, caplog):
    person.create_project()
    for call, line in {
        "user show lory": "command=user.show outcome=done",
        "user show nobody": "command=user.show outcome=refused",
        "user list": "command=user.list outcome=done",
        "project delete 1": "command=project.delete outcome=refused",
        "purge": "command=purge outcome=done",
        "db current": "command=db.current outcome=done",
    }.items():
        caplog.clear()
        command(*call.split(), input="n\n")
        assert lines(caplog)[-1] == line
        assert lines(caplog).count(line) == 1


def test_lines_of_commands_hold_no_names(command, person, caplog):
    caplog.clear()
    for call in ("ban", "unban", "unlock", "logout", "show"):
        command("user", call, person.email)
    assert "lory" not in caplog.text


def test_the_operator(monkeypatch):
    """It is who called sudo; else who logged in; else whom the process runs as."""
    for user, name in (("alice", "alice"), ("al ice\nx=1", "al?ice?x?1")):
        monkeypatch.setenv("SUDO_USER", user)
        assert trail.operator() == name
    monkeypatch.delenv("SUDO_USER")

    def no_login():
        raise OSError

    monkeypatch.setattr(os, "getlogin", no_login)
    assert trail.operator() == pwd.getpwuid(os.getuid()).pw_name


def run(tmp_path, *arguments, **kwargs):
    environment = {
        **os.environ,
        "GATEWAY_SQLALCHEMY_DATABASE_URI": f"sqlite:///{tmp_path}/gateway.db",
        "GATEWAY_INSTANCE_PATH": str(tmp_path),
        "SUDO_USER": "alice",
    }
    return subprocess.run([GATEWAY, *arguments], cwd=ROOT, env=environment, check=False, **kwargs)


def test_without_a_terminal_the_line_goes_to_stderr(tmp_path):
    done = run(tmp_path, "db", "upgrade", capture_output=True, text=True)
    assert done.stdout + done.stderr == ""  # nothing of mails, which only the server needs
    done = run(tmp_path, "user", "list", capture_output=True, text=True)
    assert done.stdout == "none\n"
    assert done.stderr.endswith(" INFO by=alice command=user.list outcome=done\n")


def test_at_a_terminal_the_line_goes_to_syslog(tmp_path, monkeypatch):
    """A datagram socket stands for the journal's; a pseudo terminal for the operator's."""
    path = tmp_path / "log"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(str(path))
        journal.settimeout(10)
        ours, terminal = pty.openpty()
        old = list(log.logger.handlers)
        formatters = [handler.formatter for handler in old]
        try:
            with os.fdopen(terminal, "w") as screen:
                monkeypatch.setattr(trail, "SYSLOG", str(path))
                monkeypatch.setattr(sys, "stderr", screen)
                monkeypatch.setenv("SUDO_USER", "alice")
                trail.start()
                log.logger.info("operator user=1 is banned")
            received = journal.recv(10_000).decode()
        finally:
            for handler in log.logger.handlers:
                if handler not in old:
                    handler.close()
            log.logger.handlers = old
            for handler, formatter in zip(old, formatters, strict=True):
                handler.setFormatter(formatter)
            os.close(ours)
    priority = logging.handlers.SysLogHandler.LOG_AUTHPRIV << 3 | 6
    assert received.startswith(f"<{priority}>gateway: ")
    assert received.rstrip("\0").endswith(" by=alice operator user=1 is banned")


# What admins look at


def test_line_says_whose_projects_an_admin_looks_at(command, sign_up, caplog):
    lory, boss = sign_up("lory"), sign_up("boss")
    command("user", "promote", "boss")
    lory.create_project()
    lory.create_project()
    caplog.clear()
    assert code_of(boss.post("/project/list", {"user_id": lory.user_id})) == 0
    boss.post("/project/rotate", {"id": 1})
    boss.post("/project/delete", {"id": 1})
    lory.post("/project/list", {"user_id": boss.user_id})
    lory.post("/project/list", {"user_id": lory.user_id})
    lory.post("/project/delete", {"id": 2})
    assert lines(caplog) == [
        "project.list user=2 ip=127.0.0.1 code=0 owner=1 status=200",
        "project.rotate user=2 ip=127.0.0.1 code=0 project=1 owner=1 status=200",
        "project.delete user=2 ip=127.0.0.1 code=0 project=1 owner=1 status=200",
        "project.list user=1 ip=127.0.0.1 code=1000 owner=2 status=200",
        "project.list user=1 ip=127.0.0.1 code=0 status=200",
        "project.delete user=1 ip=127.0.0.1 code=0 project=2 status=200",
    ]


# What commands show


def test_tables_and_questions_show_what_is_invisible(command, person):
    person.create_project(ODD)
    escaped = r"x\u202ecod.exe\u200b\u2066\udb40\udc41\u2800"
    for arguments in (["project", "list"], ["project", "show", 1], ["project", "delete", 1]):
        output = command(*arguments, input="n\n").output
        assert escaped in output
        assert not set(ODD) - set("x.code") & set(output)


def test_json_shows_it_too_and_means_the_same(command, person):
    person.create_project(ODD + '"\\u0041')
    output = command("project", "show", 1, "--json").output
    assert not set("\u202e\u200b\u2066\U000e0041\u2800") & set(output)
    assert json.loads(output)["project_name"] == ODD + '"\\u0041'


def test_what_is_seen_stays_and_what_is_not_is_escaped():
    for text in ("王小明", "e\u0301", "a b", "a\u3000b", "שלום", "😀", 'x"y'):
        assert visible(text) == text
    for text in "\u202a\u2067\u061c\u200e\u00ad\ufeff\u2028\x1b\u3164":
        assert visible(text) == f"\\u{ord(text):04x}"
