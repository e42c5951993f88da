"""Back up the SQLite database into one file, and keep as many files as asked."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from gateway import clock
from gateway.db import db, shared
from gateway.errors import ApiError, Code
from gateway.settings.instance import create_file, sqlite_file

LAST_BACKUP = "backup"  # name in the table of stored values
PAGES = 1000  # copied in one step, after which other writers may go on and progress is told
_OURS = re.compile(r"gateway-\d{8}T\d{6}Z\.db")  # the names of files in a folder of backups
_refusal = partial(ApiError, Code.INVALID_PARAMETER)

Report = Callable[[int, int], None]  # called with what is done and what there is to do


def backup(file: Path, report: Report) -> int:
    """Copy the SQLite database into a new file while it is in use; return the size in bytes.

    :raises ApiError: 1003 when the database is Postgres, the file exists, or the copy is damaged.
    :raises OSError: when the file cannot be written.
    :raises sqlite3.Error: when the database cannot be read, or the copy not be written.
    """
    if db.engine.dialect.name != "sqlite":
        raise _refusal("This database is Postgres; pg_dump makes its backups")
    if not create_file(file, lambda draft: _copy_into(draft, report)):
        raise _refusal(f"{file} is there already; a backup is a new file")
    _remember(file)
    return file.stat().st_size


def _remember(file: Path) -> None:
    """Store when and where the last backup was made, for doctor."""
    with suppress(DBAPIError), db.engine.begin() as connection:  # of a database that is read-only
        moment = clock.now().isoformat(timespec="seconds")
        shared.store(connection, LAST_BACKUP, f"{moment} {file.absolute().parent}")


def _copy_into(draft: Path, report: Report) -> None:
    def tell(_status: int, remaining: int, total: int) -> None:
        report(total - remaining, total)

    file_in_use = sqlite_file(db.engine.url) or Path(db.engine.url.database or "")
    with closing(_open(file_in_use)) as source, closing(_open(draft)) as target:
        # A writer between two steps would make SQLite start again, so the copy reads one snapshot.
        source.execute("BEGIN")
        source.execute("SELECT count(*) FROM sqlite_master").fetchone()
        source.backup(target, pages=PAGES, progress=tell, sleep=0)
        target.execute("PRAGMA journal_mode = DELETE")  # one file, without a -wal beside it
        if target.execute("PRAGMA integrity_check").fetchall() != [("ok",)]:
            raise _refusal("The copy is not whole; run doctor on the database itself")


def backup_into(folder: Path, keep: int, report: Report) -> tuple[Path, int, int]:
    """Make a backup in a folder, then delete the oldest ones there.

    Only files that a backup into a folder has named are ever deleted, and only after the new one
    was checked.

    :param keep: how many backups stay, with the new one.
    :returns: the new file, its size in bytes, and how many files were deleted.
    """
    file = folder / f"gateway-{clock.now():%Y%m%dT%H%M%SZ}.db"
    size = backup(file, report)
    ours = sorted(path for path in folder.iterdir() if _OURS.fullmatch(path.name))
    # A file of the future, made by a clock that was wrong, is not older than the new one.
    old = [path for path in ours if path != file][: max(0, len(ours) - keep)]
    for path in old:
        path.unlink()
    return file, size, len(old)


def _open(file: Path) -> sqlite3.Connection:
    # Mode rw fails when there is no file, instead of making one.
    return sqlite3.connect(f"{file.absolute().as_uri()}?mode=rw", uri=True)
