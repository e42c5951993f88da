"""Back up the SQLite database into one file."""

from __future__ import annotations

import os
import secrets
import sqlite3
from contextlib import closing
from pathlib import Path

from gateway.db import db
from gateway.errors import ApiError, Code


def backup(file: Path) -> int:
    """Copy the SQLite database into a new file while it is in use; return the size in bytes.

    :raises ApiError: 1003 when the database is Postgres, the file exists, or the copy is damaged.
    :raises OSError: when the file cannot be written.
    """
    if db.engine.dialect.name != "sqlite":
        raise _refusal("This database is Postgres; pg_dump makes its backups")
    if file.exists():
        raise _refusal(f"{file} is there already; a backup is a new file")
    draft = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        file_in_use = Path(db.engine.url.database or "")
        with closing(_open(file_in_use)) as source, closing(_open(draft)) as target:
            source.backup(target)
            target.execute("PRAGMA journal_mode = DELETE")  # one file, without a -wal beside it
            whole = target.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        if not whole:
            raise _refusal("The copy is not whole; run doctor on the database itself")
        _sync(draft)
        os.link(draft, file)  # never replaces an existing file
    finally:
        draft.unlink()
    _sync(file.parent)
    return file.stat().st_size


def _open(file: Path) -> sqlite3.Connection:
    # Mode rw fails when there is no file, instead of making one.
    return sqlite3.connect(f"{file.absolute().as_uri()}?mode=rw", uri=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refusal(sentence: str) -> ApiError:
    return ApiError(Code.INVALID_PARAMETER, sentence)
