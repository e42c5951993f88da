"""Copy all data from another database, of the same or the other kind."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

from flask import current_app
from sqlalchemy import (
    Connection,
    Engine,
    Result,
    Row,
    Table,
    create_engine,
    delete,
    func,
    insert,
    select,
    text,
)
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from gateway.db import db, shared
from gateway.db.schema import Schema, schema_of
from gateway.errors import ApiError, Code
from gateway.project import admin
from gateway.settings import database_url

BATCH = 1000
_refusal = partial(ApiError, Code.INVALID_PARAMETER)


def copy_from(url: str, report: Callable[[int, int], None]) -> dict[str, int]:
    """Copy every row of another database into the empty one of this service, or none.

    The rows are read in one snapshot, keep their ids, and are compared before the commit. An id
    that was used in the source is never given again here.

    :param url: of the source, ``sqlite:///`` or ``postgresql://``; its schema must be current.
    :param report: called with the number of rows copied, and of all.
    :returns: the number of copied rows, by table.
    :raises ApiError: 1003 when the copy is refused or differs.
    """
    source_engine = _source(url)
    try:
        with _snapshot(source_engine) as source, db.engine.begin() as target:
            _check(source, target)
            sizes = [select(func.count()).select_from(each) for each in db.metadata.sorted_tables]
            total = sum(source.scalar(size) or 0 for size in sizes)
            counts = dict.fromkeys(db.metadata.tables, 0)
            for table in db.metadata.sorted_tables:
                digest = 0  # the sum of the hashes, which does not depend on the rows' order
                for rows in _rows(table, source).partitions():
                    target.execute(insert(table), [dict(row._mapping) for row in rows])
                    digest += sum(map(_hash, rows))
                    counts[table.name] += len(rows)
                    report(sum(counts.values()), total)
                if digest != sum(map(_hash, _rows(table, target))):
                    what = f"{table.name} is not the same on both sides; nothing was copied"
                    raise _refusal(what)
                if "id" in table.c:
                    _continue_ids_after(table, _last_id(table, source), target)
            _check_keys(target)
            return counts
    except UnicodeDecodeError:
        raise _refusal("The source holds text that is not UTF-8; correct it there first") from None
    finally:
        source_engine.dispose()


def _source(url: str) -> Engine:
    try:
        checked = database_url.check(url)
        is_sqlite = checked.startswith("sqlite")
        # Also of a database in SQL_ASCII, and through a pooler.
        options = {} if is_sqlite else {"client_encoding": "UTF8", "prepare_threshold": None}
        engine = create_engine(checked, hide_parameters=True, connect_args=options)
    except ValueError as error:
        raise _refusal(f"The source {error}") from None
    except SQLAlchemyError:
        raise _refusal("The source's URL has an option that makes no sense") from None
    if is_sqlite and not Path(engine.url.database or "").is_file():
        raise _refusal("There is no file at the source's URL")
    return engine


def _snapshot(engine: Engine) -> Connection:
    """Return a connection that sees the database as it is at one moment."""
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
        if schema_of(connection) is not Schema.CURRENT:
            raise _refusal(f"The {side}'s schema is not current; run db upgrade there first")
    target.execute(delete(shared.StoredValue))  # the source's are copied
    for table in db.metadata.sorted_tables:
        if target.execute(select(1).select_from(table).limit(1)).first():
            raise _refusal(f"The target is not empty: {table.name} has rows")


def _rows(table: Table, connection: Connection) -> Result[Any]:
    return connection.execute(select(table), execution_options={"yield_per": BATCH})


def _hash(row: Row[Any]) -> int:
    values = [
        value.astimezone(timezone.utc).isoformat() if isinstance(value, datetime) else repr(value)
        for value in row
    ]
    return int.from_bytes(hashlib.sha256("\0".join(values).encode()).digest(), "big")


def _last_id(table: Table, connection: Connection) -> int:
    """Return the last id that was given, even when its row was deleted."""
    if connection.dialect.name == "sqlite":
        query = text("SELECT seq FROM sqlite_sequence WHERE name = :name")
        return connection.scalar(query, {"name": table.name}) or 0
    sequence = connection.scalar(select(func.pg_get_serial_sequence(table.name, "id")))
    query = text(f"SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {sequence}")  # noqa: S608 - the name comes from the database
    return int(connection.scalar(query) or 0)


def _continue_ids_after(table: Table, last: int, connection: Connection) -> None:
    if not last:
        return
    values = {"name": table.name, "last": last}
    if connection.dialect.name == "sqlite":
        connection.execute(text("DELETE FROM sqlite_sequence WHERE name = :name"), values)
        connection.execute(text("INSERT INTO sqlite_sequence VALUES (:name, :last)"), values)
    else:
        query = text("SELECT setval(pg_get_serial_sequence(:name, 'id'), :last)")
        connection.execute(query, values)


def _check_keys(target: Connection) -> None:
    """Refuse when this node's settings are not those that the source was used with."""
    if reason := shared.conflict(shared.stored(target), current_app.config):
        raise _refusal(reason)
    tried, closed = admin.try_secrets(target)
    if tried and tried == closed:
        raise _refusal(
            "This SECRET_KEY does not open the secrets of projects; set the one that the source had"
        )
