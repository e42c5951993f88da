"""Delete the rows that have expired. Sign-ins and mails do this on their way, so no timer does."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import delete, select, text, tuple_

from gateway import clock
from gateway.db import db


def purge_expired(report: Callable[[int, int], None] | None = None) -> dict[str, int]:
    """Delete the expired rows of every table that has a column ``expires_at``; commit.

    Rows that another transaction has locked stay until the next time, because waiting for them
    could deadlock.

    :param report: called before each table with the number of tables done, and of all.
    :returns: the number of deleted rows, by table.
    """
    now = clock.now()
    deleted = {}
    tables = [table for table in db.metadata.sorted_tables if "expires_at" in table.c]
    for number, table in enumerate(tables):
        if report:
            report(number, len(tables))
        key = tuple(table.primary_key)
        expired = select(*key).where(table.c.expires_at <= now)
        # Usually there is none. On SQLite a DELETE would then wait for the write lock for nothing.
        if db.session.execute(expired.limit(1)).first() is None:
            deleted[table.name] = 0
            continue
        unlocked = expired.with_for_update(skip_locked=True)
        rows = db.session.execute(delete(table).where(tuple_(*key).in_(unlocked)).returning(*key))
        deleted[table.name] = len(rows.all())
    db.session.commit()
    return deleted


def shrink_log() -> None:
    """Give back what SQLite's write-ahead log has grown to; a reader that still runs keeps it."""
    if db.engine.dialect.name == "sqlite":
        db.session.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
        db.session.rollback()
