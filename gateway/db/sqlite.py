"""SQLite connections: durable, patient with locks, and as isolated as READ COMMITTED.

The driver starts a transaction with the first read and upgrades it at the first write. Two
processes that read and then write would fail or lose updates. Here each read is its own
transaction, and a writing transaction takes the write lock before its first statement.
"""

from __future__ import annotations

import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection as EngineConnection
from sqlalchemy import Engine, PoolProxiedConnection, event
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import DisconnectionError, OperationalError

from gateway.db.deadline import time_left
from gateway.settings.instance import cannot_use, closed_files, sqlite_file, sqlite_files

__all__ = ["insert", "not_durable", "prepare", "run", "why_unfit"]

LOCK_TIMEOUT = 5  # seconds to wait for another process; a reply takes at most 10
WRITE_LOCK_TIMEOUT = 4  # seconds that a thread waits for the other threads of its process
LOCKED = "database is locked"  # in SQLite's words
RETRY_PAUSES = (0.0001, 0.005)  # seconds between two tries to get SQLite's lock: first, longest
LOG_BYTES = 4 * 2**20  # what stays of the write-ahead log when no reader needs more
CURE = "put it back, or make an empty one: gateway db upgrade --new"
_READS = ("SELECT", "PRAGMA", "EXPLAIN", "BEGIN")

Result = TypeVar("Result")

write_lock = threading.Lock()


class Connection(sqlite3.Connection):
    """The driver's connection; the end of its transaction lets the next thread write.

    ``is_durable`` tells whether the commit of the present transaction waits for the disk.
    """

    has_write_lock = False
    is_durable = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._pragmas: dict[str, int | str] = {}

    def set_pragma(self, pragma: str, value: int | str) -> None:
        if self._pragmas.get(pragma) != value:
            self.execute(f"PRAGMA {pragma} = {value}")
            self._pragmas[pragma] = value

    def begin(self, execute: Callable[[], Any] | None = None) -> Any:
        """Begin to write, when no other thread or process does; until then try again and again.

        SQLite's own wait sleeps for 1 to 100 ms, and newcomers overtake those who wait. With it,
        two workers passed a fifth fewer requests, and of 16 clients the slowest hundredth took
        600 ms. Threads wait for ``write_lock``, so that only processes meet at SQLite's.

        :param execute: executes one statement, instead of beginning a transaction with more.
        :raises sqlite3.OperationalError: when another one writes for too long.
        """
        self.set_pragma("synchronous", "FULL" if self.is_durable else "NORMAL")
        self.set_pragma("busy_timeout", 0)
        if not self.has_write_lock:  # it has, if SQLite itself rolled back
            self.has_write_lock = write_lock.acquire(timeout=time_left(WRITE_LOCK_TIMEOUT))
            if not self.has_write_lock:
                raise sqlite3.OperationalError(LOCKED)
        deadline = time.monotonic() + time_left(LOCK_TIMEOUT)
        pause, longest = RETRY_PAUSES
        while True:
            try:
                return execute() if execute else self.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if str(error) != LOCKED or time.monotonic() > deadline:
                    raise
            time.sleep(random.uniform(pause / 2, pause))  # noqa: S311 - not a secret
            pause = min(2 * pause, longest)

    def prepare_to_read(self) -> None:
        """Let SQLite wait, in the rare moments in which even a reader finds a lock."""
        self.set_pragma("busy_timeout", LOCK_TIMEOUT * 1000)

    def commit(self) -> None:
        """Commit, if a transaction is open."""
        self._end(super().commit)

    def rollback(self) -> None:
        """Roll back, if a transaction is open; the pool calls this after each use."""
        self._end(super().rollback)

    def close(self) -> None:
        """Close the connection, which rolls back."""
        self._end(super().close)

    def _end(self, end: Callable[[], None]) -> None:
        try:
            end()
        finally:
            self.is_durable = True
            if self.has_write_lock:
                self.has_write_lock = False
                write_lock.release()


def prepare(engine: Engine) -> None:
    """Set up every connection of the engine as this module describes."""
    name = sqlite_file(engine.url)

    @event.listens_for(engine, "do_connect")
    def connect(_dialect: Any, record: Any, args: Any, parameters: dict[str, Any]) -> Any:
        parameters["factory"] = Connection
        if name is None:
            return None  # the URL is one of SQLite's own, "file:..."; SQLAlchemy connects
        record.info["file"] = _identity(name)
        record.info["writable"] = not closed_files(name)
        if record.info["file"] is None:
            raise sqlite3.OperationalError(f"there is no database {name}; {CURE}")
        # Mode rw makes no file. SQLite would make an empty one in place of a database that is gone.
        uri = f"{name.absolute().as_uri()}?mode=rw"
        return sqlite3.connect(uri, *args[1:], **{**parameters, "uri": True})

    @event.listens_for(engine, "connect")
    def configure(connection: Any, record: Any) -> None:
        connection.isolation_level = None
        connection.prepare_to_read()
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA foreign_keys = ON")
        # A reader that stays makes the log grow; without a limit the file keeps its size for ever.
        connection.execute(f"PRAGMA journal_size_limit = {LOG_BYTES}")
        if name is not None:
            record.info["log"] = {file: _identity(file) for file in sqlite_files(name)[1:]}

    @event.listens_for(engine, "checkout")
    def refuse_another_file(connection: Any, record: Any, _proxy: Any) -> None:
        # A moved or replaced file stays open. What is written to it would be lost.
        if name is not None and _identity(name) != record.info["file"]:
            _finish_log(connection, record.info)
            raise DisconnectionError  # the pool opens the file that has the name now

    @event.listens_for(engine, "before_cursor_execute")
    def begin_to_write(
        connection: Any, _cursor: Any, statement: str, _params: Any, _context: Any, _many: bool
    ) -> None:
        driver = connection.connection.dbapi_connection
        if driver.in_transaction:
            return
        if statement.lstrip().upper().startswith(_READS):
            driver.prepare_to_read()
            return
        try:
            driver.begin()
        except sqlite3.OperationalError as error:  # SQLAlchemy 2.0 would not wrap it
            raise OperationalError(statement, None, error) from error

    @event.listens_for(engine, "checkin")
    def finish(connection: Any, record: Any) -> None:
        # A connection opened while the files were read-only stays read-only, so it is not reused.
        if connection is not None and not record.info.get("writable", True):
            record.invalidate()


def not_durable(connection: EngineConnection) -> None:
    """Let the commit of the present transaction not wait for the disk; call before it writes."""
    driver: Any = connection.connection.dbapi_connection
    driver.is_durable = False


def why_unfit(connection: EngineConnection) -> str:
    """Return why the database cannot serve now, or "" when it can."""
    name = sqlite_file(connection.engine.url)
    closed = [] if name is None else closed_files(name)
    return cannot_use(closed[0], "written") if closed else ""


def _identity(name: Path) -> tuple[int, int] | None:
    """Return what tells a file from another one of the same name; None when there is none."""
    try:
        status = os.stat(name)
    except FileNotFoundError:
        return None
    except OSError:  # this user may not look; let SQLite say what it thinks of that
        return 0, 0
    return status.st_dev, status.st_ino


def _finish_log(connection: Connection, info: dict[Any, Any]) -> None:
    """Write the log into the file that was moved, and remove it.

    SQLite would take it for the log of the file that has the name now.

    :raises sqlite3.OperationalError: when another connection still uses the log.
    """
    connection.prepare_to_read()
    (is_busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if is_busy:
        raise sqlite3.OperationalError("the database file was replaced, but its log is in use")
    for file, identity in info["log"].items():
        if identity is not None and _identity(file) == identity:  # not that of the new file
            file.unlink(missing_ok=True)


def run(
    connection: PoolProxiedConnection,
    execute: Callable[[], Result],
    *,
    writes: bool,
    durable: bool,
) -> Result:
    """Execute one statement as its own transaction.

    :param writes: whether the statement writes.
    :param durable: whether its commit waits for the disk. Without, a power cut can undo the last
        statements; a killed process cannot.
    :raises sqlite3.OperationalError: when the database stays locked, or is read-only.
    """
    driver: Any = connection.dbapi_connection
    driver.is_durable = durable
    if not writes:
        driver.prepare_to_read()
    result: Result = driver.begin(execute) if writes else execute()
    driver.commit()
    return result
