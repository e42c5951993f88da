"""Backups by a timer: how many stay, any file system, and what a terminal shows meanwhile."""

import errno
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.helpers import code_of, postgres_only, sqlite_only

from gateway.db import db

GATEWAY = Path(sys.prefix) / "bin" / "gateway"


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "backups"
    folder.mkdir()
    return folder


@sqlite_only
def test_the_newest_stay(command, person, clock, folder):
    foreign = [folder / name for name in ("gateway.db", "gateway-2024.db", "notes")]
    for file in foreign:
        file.touch()
    names = []
    for day in range(1, 6):
        clock.freeze(2024, 3, day, 3, 30)
        result = command("backup", "--keep", "3", folder)
        assert result.exit_code == 0, result.output
        names.append(f"gateway-2024030{day}T033000Z.db")
        kept = {file.name for file in folder.iterdir()} - {file.name for file in foreign}
        assert kept == set(names[-3:])
    assert "1 old ones deleted" in result.output
    clock.freeze(2024, 1, 1)  # a clock that is behind does not delete its own new backup
    assert command("backup", "--keep", "1", folder).exit_code == 0
    assert (folder / "gateway-20240101T000000Z.db").exists()


@sqlite_only
def test_a_failed_backup_deletes_nothing(command, person, clock, folder, monkeypatch):
    clock.freeze(2024, 3, 1)
    assert command("backup", "--keep", "1", folder).exit_code == 0
    result = command("backup", "--keep", "1", folder)  # in the same second
    assert (result.exit_code, "is there already" in result.output) == (1, True)
    clock.freeze(2024, 3, 2)

    def full(*_arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert command("backup", "--keep", "1", folder).exit_code == 1
    assert [file.name for file in folder.iterdir()] == ["gateway-20240301T000000Z.db"]


@sqlite_only
def test_restore_of_a_kept_backup(app, command, person, folder, tmp_path, make_app):
    project = person.create_project()
    assert command("backup", "--keep", "2", folder).exit_code == 0
    person.post("/project/delete", {"id": 1})
    with app.app_context():
        db.engine.dispose()
    (backup,) = folder.iterdir()
    for leftover in tmp_path.glob("gateway.db-*"):
        leftover.unlink()
    shutil.copy(backup, tmp_path / "gateway.db")
    person.client = make_app().test_client()
    assert person.verify(project).status_code == 204
    assert code_of(person.post("/project/list")) == 0


@sqlite_only
def test_a_folder_needs_keep(command, person, folder):
    result = command("backup", folder)
    assert (result.exit_code, "--keep" in result.output) == (2, True)


@postgres_only
def test_postgres_is_told(command, person, folder):
    result = command("backup", "--keep", "2", folder)
    assert (result.exit_code, "pg_dump" in result.output) == (1, True)


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("arguments", [["backup", "{}/x.db"], ["purge"], ["copy-from", "{}"]])
@sqlite_only
def test_progress_is_for_terminals(person, database_uri, tmp_path, folder, terminal, arguments):
    target = tmp_path / "target.db"
    environment = {**os.environ, "GATEWAY_SECRET_KEY": "s" * 32,
                   "GATEWAY_SQLALCHEMY_DATABASE_URI": database_uri}  # fmt: skip
    if arguments[0] == "copy-from":
        environment["GATEWAY_SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{target}"
        subprocess.run([GATEWAY, "db", "upgrade"], env=environment, check=True)
        arguments = ["copy-from", database_uri]
    ours, theirs = pty.openpty()
    command = [GATEWAY, *(argument.format(folder) for argument in arguments)]
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE,
        stderr=theirs if terminal else subprocess.PIPE, check=True,
    )  # fmt: skip
    os.close(theirs)
    said = done.stderr or b""
    if terminal:
        said = os.read(ours, 100_000)
    os.close(ours)
    assert (b" of " in said) == terminal
    assert b"\x1b" not in done.stdout
