"""What is done to a SQLite connection: durable, patient, and as isolated as READ COMMITTED.

The driver's own transactions begin with the first read and cannot be upgraded safely: two
processes that read and then write fail or lose updates. Here reads stand alone, and a writing
transaction takes the write lock before its first statement.
"""

from __future__ import annotations

import os
import random
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.exc import OperationalError

PATIENCE = 5  # seconds that SQLite may be locked; a reply takes at most 10
TURN = 4  # seconds that one thread waits for the others of its process
_BEGINS_NO_WRITE = ("SELECT", "PRAGMA", "EXPLAIN", "BEGIN")
_turn = threading.Lock()


def prepare(engine: Engine) -> None:
    """Have every connection of the engine behave so."""
    file = Path(engine.url.database or "")
    files = (file.parent, file, Path(f"{file}-wal"), Path(f"{file}-shm"))

    @event.listens_for(engine, "connect")
    def configure(connection: Any, record: Any) -> None:
        record.info["writable"] = all(os.access(f, os.W_OK) for f in files if f.exists())
        record.info["synchronous"] = None
        connection.isolation_level = None
        connection.execute(f"PRAGMA busy_timeout = {PATIENCE * 1000}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "before_cursor_execute")
    def begin_to_write(
        connection: Any, _cursor: Any, statement: str, _params: Any, _context: Any, _many: bool
    ) -> None:
        driver = connection.connection.dbapi_connection
        if not driver.in_transaction and not statement.lstrip().upper().startswith(
            _BEGINS_NO_WRITE
        ):
            try:
                begin(driver, connection.info)
            except sqlite3.OperationalError as error:  # SQLAlchemy 2.0 would pass it on as it is
                raise OperationalError(statement, None, error) from error

    @event.listens_for(engine, "checkin")
    def close_read_only(connection: Any, record: Any) -> None:
        # It stays read-only when the files no longer are, so it is not kept beyond its request.
        if connection is not None and not record.info["writable"]:
            record.invalidate()


@contextmanager
def turn() -> Iterator[None]:
    """Wait for the other threads of this process before writing.

    So only processes meet at SQLite's own lock, where one that comes too late sleeps.

    :raises sqlite3.OperationalError: when they take too long.
    """
    if not _turn.acquire(timeout=TURN):
        raise sqlite3.OperationalError("database is locked")
    try:
        yield
    finally:
        _turn.release()


def synchronize(driver: sqlite3.Connection, info: dict[Any, Any], *, durable: bool) -> None:
    """Set whether commits wait for the disk; they outlive a killed process anyway.

    :param info: what the pool keeps beside this connection.
    """
    synchronous = "FULL" if durable else "NORMAL"
    if info["synchronous"] != synchronous:
        driver.execute(f"PRAGMA synchronous = {synchronous}")
        info["synchronous"] = synchronous


def begin(driver: sqlite3.Connection, info: dict[Any, Any]) -> None:
    """Begin a writing transaction whose commit waits for the disk.

    :raises sqlite3.OperationalError: when the database stays locked, or may not be written.
    """
    synchronize(driver, info, durable=True)
    _take_write_lock(driver)


def _take_write_lock(driver: sqlite3.Connection) -> None:
    """Ask for the write lock every few milliseconds.

    SQLite's own waiting sleeps for up to 100 ms, and newcomers go first: of verify by 16 clients
    at once, the slowest hundredth takes 600 ms with it and 46 ms like this.

    :raises sqlite3.OperationalError: when it stays locked.
    """
    until = time.monotonic() + PATIENCE
    driver.execute("PRAGMA busy_timeout = 0")
    try:
        while True:
            try:
                driver.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if str(error) != "database is locked" or time.monotonic() > until:
                    raise
                time.sleep(random.uniform(0.001, 0.005))  # noqa: S311 - nobody's secret
            else:
                return
    finally:
        driver.execute(f"PRAGMA busy_timeout = {PATIENCE * 1000}")
