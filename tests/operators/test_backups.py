"""Backups by a timer: how many stay, any file system, and what a terminal shows meanwhile."""

import errno
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.helpers import SECRET_KEY, sqlite_only

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
    assert "--keep" in command("backup", folder).output
    result = command("backup", "--keep", "1", folder)  # in the same second
    assert (result.exit_code, "is there already" in result.output) == (1, True)
    clock.freeze(2024, 3, 2)

    def full(*_arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert command("backup", "--keep", "1", folder).exit_code == 1
    assert [file.name for file in folder.iterdir()] == ["gateway-20240301T000000Z.db"]


@pytest.mark.parametrize(
    ("call", "terminal"),
    [
        ("backup {folder}/x.db", False),
        ("backup {folder}/x.db", True),
        ("purge", True),
        ("copy-from {source}", True),
    ],
)
@sqlite_only
def test_progress_is_for_terminals(person, sqlite_databases, database_uri, folder, call, terminal):
    empty = shutil.copy(sqlite_databases.template, folder / "empty.db")
    ours, theirs = pty.openpty()
    environment = {
        **os.environ,
        "GATEWAY_SECRET_KEY": SECRET_KEY,
        "GATEWAY_SQLALCHEMY_DATABASE_URI": f"sqlite:///{empty}",
    }
    call = call.format(folder=folder, source=database_uri)
    stderr = theirs if terminal else subprocess.PIPE
    done = subprocess.run(
        [GATEWAY, *call.split()], env=environment, stdout=subprocess.PIPE, stderr=stderr, check=True
    )
    os.close(theirs)
    said = os.read(ours, 100_000) if terminal else done.stderr
    os.close(ours)
    assert (b" of " in said) == terminal
    assert b"\x1b" not in done.stdout
