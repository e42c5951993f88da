"""Take the data elsewhere: a backup of SQLite, and a copy into another kind of database."""

from __future__ import annotations

import hashlib
import os
import secrets
import sqlite3
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Connection,
    Engine,
    Row,
    Table,
    create_engine,
    func,
    insert,
    select,
    text,
)
from sqlalchemy.exc import DBAPIError

from gateway import config, crypto, health
from gateway.errors import ApiError, Code
from gateway.extensions import db
from gateway.project.models import Project

BATCH = 1000


def backup(file: Path) -> int:
    """Copy the SQLite database into a new file, while it is in use; return the size in bytes.

    :raises ApiError: 1003 when the database is Postgres, the file is there already, or what was
        written is not whole.
    :raises OSError: when it cannot be written.
    """
    if db.engine.dialect.name != "sqlite":
        raise _refusal("This database is Postgres; pg_dump makes its backups (README, Backup)")
    if file.exists():
        raise _refusal(f"{file} is there already; a backup is a new file")
    draft = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        file_in_use = Path(db.engine.url.database or "")
        with closing(_open(file_in_use)) as source, closing(_open(draft)) as target:
            source.backup(target)
            target.execute("PRAGMA journal_mode = DELETE")  # one file, without a -wal
            whole = target.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        if not whole:
            raise _refusal("The copy is not whole; run doctor on the database itself")
        _sync(draft)
        os.link(draft, file)  # never replaces one
    finally:
        draft.unlink()
    _sync(file.parent)
    return file.stat().st_size


def _open(file: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{file.absolute().as_uri()}?mode=rw", uri=True)  # does not make one


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def copy_from(url: str) -> dict[str, int]:
    """Copy every row of another database into the empty one of this service, or nothing.

    The rows are read in one snapshot, keep their ids, and are compared before the commit; ids that
    were used there are not used again here.

    :param url: of the source, ``sqlite:///`` or ``postgresql://``; its schema must be current.
    :returns: how many rows were copied, by table.
    :raises ApiError: 1003 when it cannot be done.
    """
    source_engine = _source(url)
    try:
        with _snapshot(source_engine) as source, db.engine.begin() as target:
            _check(source, target)
            digests = {table: _copy(table, source, target) for table in db.metadata.sorted_tables}
            for table, digest in digests.items():
                if _digest(table, target) != digest:
                    raise _refusal(
                        f"{table.name} is not the same on both sides; nothing was copied"
                    )
            _check_secret(target)
            return {table.name: count for table, (count, _) in digests.items()}
    finally:
        source_engine.dispose()


def _refusal(sentence: str) -> ApiError:
    return ApiError(Code.INVALID_PARAMETER, sentence)


def _source(url: str) -> Engine:
    try:
        engine = create_engine(config.database(url), hide_parameters=True)
    except ValueError as error:
        raise _refusal(f"The source {error}") from None
    if engine.dialect.name == "sqlite" and not Path(engine.url.database or "").is_file():
        raise _refusal("There is no file at the source's URL")
    return engine


def _snapshot(engine: Engine) -> Connection:
    """Return a connection whose reads all see one moment."""
    try:
        connection = engine.connect()
    except DBAPIError:
        raise _refusal("The source does not answer; check its URL") from None
    if engine.dialect.name == "postgresql":
        return connection.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )
    connection.exec_driver_sql("BEGIN")
    return connection


def _check(source: Connection, target: Connection) -> None:
    for side, connection in (("source", source), ("target", target)):
        if not health.schema_is_current(connection):
            raise _refusal(f"The {side}'s schema is not current; run db upgrade there first")
    for table in db.metadata.sorted_tables:
        if target.execute(select(1).select_from(table).limit(1)).first():
            raise _refusal(f"The target is not empty: {table.name} has rows")


def _copy(table: Table, source: Connection, target: Connection) -> tuple[int, int]:
    """Copy a table; return what ``_digest`` must find in the copy."""
    count, total = 0, 0
    rows = source.execution_options(yield_per=BATCH).execute(select(table))
    for batch in rows.partitions():
        target.execute(insert(table), [dict(row._mapping) for row in batch])
        count += len(batch)
        total += sum(map(_hash, batch))
    if "id" in table.c:
        _go_on_after(table, _last_id(table, source), target)
    return count, total


def _digest(table: Table, connection: Connection) -> tuple[int, int]:
    """Return how many rows there are, and the sum of their hashes, which knows no order."""
    count, total = 0, 0
    for batch in connection.execution_options(yield_per=BATCH).execute(select(table)).partitions():
        count += len(batch)
        total += sum(map(_hash, batch))
    return count, total


def _hash(row: Row[Any]) -> int:
    values = [
        value.astimezone(timezone.utc).isoformat() if isinstance(value, datetime) else repr(value)
        for value in row
    ]
    return int.from_bytes(hashlib.sha256("\0".join(values).encode()).digest(), "big")


def _last_id(table: Table, connection: Connection) -> int:
    """Return the last id that was given out, though its row may be gone."""
    if connection.dialect.name == "sqlite":
        query = text("SELECT seq FROM sqlite_sequence WHERE name = :name")
        return connection.scalar(query, {"name": table.name}) or 0
    sequence = connection.scalar(select(func.pg_get_serial_sequence(table.name, "id")))
    query = text(f"SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {sequence}")  # noqa: S608 - the database's own word
    return int(connection.scalar(query) or 0)


def _go_on_after(table: Table, last: int, connection: Connection) -> None:
    if not last:
        return
    values = {"name": table.name, "last": last}
    if connection.dialect.name == "sqlite":
        connection.execute(text("DELETE FROM sqlite_sequence WHERE name = :name"), values)
        connection.execute(text("INSERT INTO sqlite_sequence VALUES (:name, :last)"), values)
    else:
        connection.execute(
            text("SELECT setval(pg_get_serial_sequence(:name, 'id'), :last)"), values
        )


def _check_secret(target: Connection) -> None:
    """Refuse when the newest project's secret cannot be read: it is another SECRET_KEY's."""
    sealed = target.scalar(select(Project.sealed_secret).order_by(Project.id.desc()).limit(1))
    if sealed is not None and crypto.unseal(sealed) is None:
        raise _refusal(
            "This SECRET_KEY does not open the secrets of projects; set the one that the source had"
        )
