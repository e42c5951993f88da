"""Delete what has expired, and what erased accounts have left, in batches.

A batch is a short transaction of its own, and other writers have their turn after it. So traffic
goes on, however many rows there are.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from sqlalchemy import ColumnElement, Table, delete, exists, func, select, text, tuple_

from gateway import clock
from gateway.db import db, deadline, not_durable

PERIOD = 60  # seconds between two times that a worker looks for rows to delete
BATCH = 500  # rows of a transaction
REST = 4  # a pause is this many times as long as the batch before it


def purge_expired(report: Callable[[int, int], None] | None = None) -> dict[str, int]:
    """Delete the rows that nobody needs any more, and commit each batch.

    These are the expired rows of every table that has a column ``expires_at``, and the rows of
    erased accounts in tables where ``user_id`` is no foreign key.

    :param report: called before each table with the number of tables done, and of all.
    :returns: the number of deleted rows, by table.
    """
    tables = [table for table in db.metadata.sorted_tables if "expires_at" in table.c]
    deleted = {}
    for number, table in enumerate(tables):
        if report:
            report(number, len(tables))
        deleted[table.name] = _delete_slowly(table, table.c.expires_at <= clock.now())
        if "user_id" in table.c and not table.c.user_id.foreign_keys:
            for user_id in db.session.scalars(_find_erased(table)).all():
                deleted[table.name] += _delete_slowly(table, table.c.user_id == user_id)
    return deleted


def _delete_slowly(table: Table, is_meant: ColumnElement[bool]) -> int:
    """Delete rows in batches, with pauses; return how many there were."""
    deleted = 0
    while True:
        if deadline.serves_a_request():
            deadline.start()  # of each batch
        # Usually there is none. On SQLite a DELETE would then wait for the write lock for nothing.
        is_needed = db.session.scalar(select(exists().where(is_meant)))
        db.session.commit()
        began, number = time.monotonic(), 0
        if is_needed:
            not_durable()
            number = delete_batch(table, is_meant)
            db.session.commit()
        if not number:  # there are none, or other transactions have locked them
            return deleted
        deleted += number
        time.sleep(REST * (time.monotonic() - began))


def delete_batch(table: Table, is_meant: ColumnElement[bool]) -> int:
    """Delete at most ``BATCH`` rows; return how many. The caller commits."""
    key = tuple(table.primary_key)
    # Rows that another transaction has locked stay until the next time, because waiting for them
    # could deadlock.
    batch = select(*key).where(is_meant).limit(BATCH).with_for_update(skip_locked=True)
    statement = delete(table).where(tuple_(*key).in_(batch)).returning(key[0])
    return len(db.session.execute(statement).all())


def _find_erased(table: Table) -> Any:
    """Return the SELECT of the accounts that have rows in a table, but are erased.

    It goes from account to account in the index, because an account has many rows.
    """
    users = db.metadata.tables["users"]
    owners = select(func.min(table.c.user_id).label("id")).cte("owners", recursive=True)
    next_owner = select(func.min(table.c.user_id)).where(table.c.user_id > owners.c.id)
    owners = owners.union_all(select(next_owner.scalar_subquery()).where(owners.c.id.is_not(None)))
    is_erased = owners.c.id.is_not(None) & ~exists().where(users.c.id == owners.c.id)
    return select(owners.c.id).where(is_erased)


def shrink_log() -> None:
    """Give back what SQLite's write-ahead log has grown to; a reader that still runs keeps it."""
    if db.engine.dialect.name == "sqlite":
        db.session.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
        db.session.rollback()
