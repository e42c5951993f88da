"""Delete the rows that have expired. Sign-ins and mails do this on their way, so no timer does."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from sqlalchemy import Table, bindparam, delete, exists, select, text, tuple_

from gateway import clock
from gateway.db import UtcDateTime, db

_now = bindparam("now", type_=UtcDateTime)


def purge_expired(report: Callable[[int, int], None] | None = None) -> dict[str, int]:
    """Delete the expired rows of every table that has a column ``expires_at``; commit.

    :param report: called before each table with the number of tables done, and of all.
    :returns: the number of deleted rows, by table.
    """
    deletes, any_expired = _statements()
    deleted = dict.fromkeys(deletes, 0)
    # Usually nothing has expired. On SQLite a DELETE would then wait for the lock for nothing.
    found = db.session.execute(any_expired, {"now": clock.now()}).one()
    for number, (name, has_rows) in enumerate(zip(deletes, found, strict=True)):
        if report:
            report(number, len(deletes))
        if has_rows:
            rows = db.session.execute(deletes[name], {"now": clock.now()})
            deleted[name] = len(rows.all())
    db.session.commit()
    return deleted


@cache
def _statements() -> tuple[dict[str, Any], Any]:
    """Return a DELETE for each table, and the SELECT that tells which tables need it.

    They are built once, because building them takes longer than running them.
    """
    tables = [table for table in db.metadata.sorted_tables if "expires_at" in table.c]
    any_expired = select(*(exists().where(table.c.expires_at <= _now) for table in tables))
    return {table.name: _delete(table) for table in tables}, any_expired


def _delete(table: Table) -> Any:
    key = tuple(table.primary_key)
    # Rows that another transaction has locked stay until the next time, because waiting for them
    # could deadlock.
    expired = select(*key).where(table.c.expires_at <= _now).with_for_update(skip_locked=True)
    return delete(table).where(tuple_(*key).in_(expired)).returning(*key)


def shrink_log() -> None:
    """Give back what SQLite's write-ahead log has grown to; a reader that still runs keeps it."""
    if db.engine.dialect.name == "sqlite":
        db.session.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
        db.session.rollback()
