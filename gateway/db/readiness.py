"""Why a node cannot serve its database. readyz, doctor and the start of a service ask this."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, TimeoutError

from gateway import clock, log
from gateway.db import db, dialect, shared
from gateway.db.schema import schema_of

# Seconds.
WRITE_INTERVAL = 5  # from one write of a process to the next
CLOCK_PERIOD = 3600  # from one comparison of the clocks to the next
BUSY_LIMIT = 30  # for so long a lock may keep the row from being written
LOCK_TIMEOUT = 2
ROW = "readyz"  # of ``StoredValue``


class Problem(NamedTuple):
    """Why a node cannot serve. Only ``detail`` may name a host, a path or a user."""

    reason: str
    detail: str = ""


def problem(config: Mapping[str, Any]) -> Problem | None:
    """Return why a node with these settings cannot serve; None when it can. Write nothing."""
    try:
        with db.engine.connect() as connection:
            if reason := dialect().why_unfit(connection):
                return Problem("The database cannot serve", reason)
            schema = schema_of(connection)
            if not schema.can_serve:
                grant = missing_grant(connection)
                return Problem(f"The database's schema is {schema.words}; {schema.cure}", grant)
            conflict = shared.conflict(shared.stored(connection), config, runs=True)
            if reason := conflict or clocks_differ(connection):
                return Problem(reason)
    except (DBAPIError, TimeoutError) as error:
        return _failure("The database does not answer", error)
    return None


def clocks_differ(connection: Connection) -> str:
    """Return that this node's clock differs from the database server's by too much, or ""."""
    if connection.dialect.name == "sqlite":  # it has no clock of its own
        return ""
    theirs: datetime = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
    seconds = (clock.now() - theirs).total_seconds()
    if abs(seconds) <= clock.LEEWAY.total_seconds():
        return ""
    return (
        f"The clock of this node is {abs(seconds):.0f} s {'ahead of' if seconds > 0 else 'behind'}"
        " the database server's; set both by NTP, because quotas and codes depend on them"
    )


def tell_clock() -> None:
    """Write to the log that this node's clock differs, if it does."""
    with suppress(DBAPIError, TimeoutError), db.engine.connect() as connection:
        if reason := clocks_differ(connection):
            log.logger.error("%s", reason)


def missing_grant(connection: Connection) -> str:
    """Return the statement that lets this role create tables, or "" when it may."""
    if connection.dialect.name == "sqlite":
        return ""
    return str(connection.execute(text(_MISSING_GRANT)).scalar_one_or_none() or "")


# From version 15 on, Postgres lets nobody but the owner of a database create tables in it.
_MISSING_GRANT = (
    "SELECT format('as a superuser run: GRANT CREATE ON SCHEMA public TO %I', current_user)"
    " WHERE NOT has_schema_privilege('public', 'CREATE')"
)


class Writes:
    """Whether the database takes writes. Each process writes at most once in WRITE_INTERVAL."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next = 0.0  # moments of time.monotonic()
        self._busy_since = 0.0  # 0 while no lock is in the way
        self._answer: Problem | None = None

    def problem(self) -> Problem | None:
        """Return why the last write failed; None when it did not. Write if it was long ago."""
        if time.monotonic() >= self._next and self._lock.acquire(blocking=self._next == 0.0):
            try:
                if time.monotonic() >= self._next:
                    self._answer = self._write()
                    self._next = time.monotonic() + WRITE_INTERVAL
            finally:
                self._lock.release()
        return self._answer

    def _write(self) -> Problem | None:
        try:
            with db.engine.connect() as connection:
                if connection.dialect.name == "postgresql":
                    connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}s'"))
                shared.store(connection, ROW, clock.now().isoformat())
                connection.commit()
        except (DBAPIError, TimeoutError) as error:
            now = time.monotonic()
            self._busy_since = (self._busy_since or now) if _is_locked(error) else 0.0
            if self._busy_since and now - self._busy_since < BUSY_LIMIT:
                return None
            return _failure("The database takes no write", error)
        self._busy_since = 0.0
        return None


def _is_locked(error: DBAPIError | TimeoutError) -> bool:
    cause = getattr(error, "orig", None)
    return getattr(cause, "sqlstate", "") == "55P03" or str(cause) == "database is locked"


def _failure(reason: str, error: DBAPIError | TimeoutError) -> Problem:
    cause = getattr(error, "orig", None) or error
    words = log.first_line(cause)
    return Problem(words) if hasattr(cause, "names_nobody") else Problem(reason, words)
