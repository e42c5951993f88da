"""Postgres connections that do not wait for ever, and leave a server that cannot serve.

The server's own time limits do not help when the server hangs, and the socket's do not help when
the server's kernel still answers. So this module limits the waits of a request itself. Commands
outside a request, such as migrations, take the time they need.

A pooler such as PgBouncer may give each transaction another session of the server. So nothing here
depends on the session: no prepared statements, no SET that must last.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.pq import TransactionStatus
from sqlalchemy import Connection as EngineConnection
from sqlalchemy import Engine, PoolProxiedConnection, event
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DisconnectionError

from gateway.db import deadline
from gateway.db.deadline import serves_a_request, time_left
from gateway.db.postgres import server
from gateway.db.postgres.server import standby

# Seconds.
ANSWER_TIMEOUT = 4
CONNECT_TIMEOUT = 3
CONNECT_TIMEOUT_EACH = 2  # of several hosts, because they are tried one after the other
CANCEL_TIMEOUT = 1
IDLE_LIMIT = 30  # a connection unused for longer may have been lost unnoticed

# SQLSTATEs and classes of them after which a connection is given up, because another one may lead
# to a server that can serve: lost connections (08), a read-only server (25006), a transaction that
# a pooler left open (25P02), prepared statements of a pooler (26000, 42P05), another isolation
# level (40001), a server that stops or starts (57P).
GIVE_UP = ("08", "25006", "25P02", "26000", "42P05", "40001", "57P")

__all__ = ["insert", "not_durable", "prepare", "run", "why_unfit"]

Result = TypeVar("Result")


class Connection(psycopg.Connection[Any]):
    """psycopg's connection; it closes itself when an answer takes too long or GIVE_UP says so.

    ``begin`` tells whether a single statement needs a BEGIN before it, to be READ COMMITTED.
    ``writes`` tells whether the present statement does. Only then another thread has the turn
    meanwhile, because a read takes less time than the change of threads.
    ``was_late`` tells whether the server finished a statement although it was cancelled.
    """

    begin = False
    writes = False
    was_late = False

    def wait(
        self, gen: PQGen[Result], interval: float = 0.1, timeout: float | None = None
    ) -> Result:
        """Wait for the server.

        :raises psycopg.OperationalError: when it did not answer in time.
        """
        try:
            if timeout is not None or not serves_a_request():
                return super().wait(gen, interval, timeout)
            try:
                with deadline.aside() if self.writes else nullcontext():
                    return super().wait(gen, interval, time_left(ANSWER_TIMEOUT))
            except psycopg.errors._WaitTimeout:
                return self._cancel(gen)
        except psycopg.Error as error:
            if (error.sqlstate or "").startswith(GIVE_UP):
                self.close()
            raise

    def _cancel(self, gen: PQGen[Result]) -> Result:
        """Cancel a statement; return its result if the server finished it all the same.

        Without this, the server goes on with the statement and keeps a process for it. A commit
        that waits for a synchronous standby cannot be cancelled: it is done on this server, and
        only the wait ends.

        :raises psycopg.OperationalError: when the statement was not finished.
        """
        try:
            self.cancel_safe(timeout=CANCEL_TIMEOUT)
            result = super().wait(gen, timeout=CANCEL_TIMEOUT)
        except (psycopg.Error, psycopg.errors._WaitTimeout):
            self.close()  # a late answer would be taken for the next statement's
            raise psycopg.OperationalError("the server does not answer") from None
        self.was_late = True
        return result

    def commit(self) -> None:
        """Commit.

        :raises psycopg.OperationalError: when the synchronous standby does not confirm it.
        """
        self.writes, self.was_late = True, False  # it waits for the disk
        super().commit()
        self.refuse_late()

    def rollback(self) -> None:
        """Roll back, if a transaction is open; the pool calls this after each use."""
        if self.pgconn.transaction_status != TransactionStatus.IDLE:
            super().rollback()

    def refuse_late(self) -> None:
        if self.was_late:
            standby.is_gone = True
            raise psycopg.OperationalError(
                "the synchronous standby does not confirm the commit; start one, or set"
                " synchronous_standby_names = ''"
            )


def prepare(engine: Engine) -> None:
    """Set up every connection of the engine, and never lend one that cannot serve any more.

    Connect in autocommit mode, because one statement is then one round trip; start transactions
    with an explicit BEGIN.
    """
    given_up_at = 0.0  # connections older than this lead to a server that cannot serve

    @event.listens_for(engine, "do_connect")
    def connect(_dialect: Any, record: Any, _args: Any, parameters: dict[str, Any]) -> Any:
        record.info["opened"] = time.monotonic()
        connection = Connection.connect(**_connection_parameters(parameters))
        try:
            connection.begin = server.set_up(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    @event.listens_for(engine, "begin")
    def begin(connection: EngineConnection) -> None:
        connection.exec_driver_sql(server.BEGIN)

    @event.listens_for(engine, "before_cursor_execute")
    def note_kind(
        connection: Any, _cursor: Any, statement: str, _params: Any, _context: Any, _many: bool
    ) -> None:
        driver = connection.connection.dbapi_connection
        driver.writes = not statement.startswith(("SELECT", "BEGIN", "SET"))

    @event.listens_for(engine, "invalidate")
    def give_up_the_others(_connection: Any, _record: Any, error: Any) -> None:
        nonlocal given_up_at
        if (getattr(error, "sqlstate", None) or "").startswith(GIVE_UP):
            given_up_at = time.monotonic()

    @event.listens_for(engine, "checkin")
    def note_last_use(_connection: Any, record: Any) -> None:
        record.info["used"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def refuse_lost(connection: Any, record: Any, _proxy: Any) -> None:
        used = record.info.get("used")
        if used is None:  # a new connection
            return
        if record.info["opened"] < given_up_at or _is_lost(connection):
            raise DisconnectionError  # the pool makes a new one in its place
        if time.monotonic() - used > IDLE_LIMIT:
            try:
                engine.dialect.do_ping(connection)
            except psycopg.Error as error:
                raise DisconnectionError from error


def not_durable(connection: EngineConnection) -> None:
    """Let the commit of the present transaction wait for no disk, and for no standby."""
    connection.exec_driver_sql("SET LOCAL synchronous_commit = off")


def _connection_parameters(url: dict[str, Any]) -> dict[str, Any]:
    """Return what to connect with; what the URL says goes before ours, but for the last three."""
    ours: dict[str, Any] = {"connect_timeout": CONNECT_TIMEOUT}
    if "," in url.get("host", ""):
        ours = {"connect_timeout": CONNECT_TIMEOUT_EACH, "target_session_attrs": "read-write"}
    # A cluster in SQL_ASCII would otherwise make psycopg return bytes.
    fixed = {"autocommit": True, "prepare_threshold": None, "client_encoding": "UTF8"}
    return {**ours, **url, **fixed}


def _is_lost(connection: Connection) -> bool:
    """Tell whether a server has closed an idle connection, or says that it is read-only now."""
    if connection.closed:
        return True
    poll = select.poll()
    poll.register(connection.pgconn.socket, select.POLLIN)
    if poll.poll(0):  # there is something to read only when the server ends the connection
        return True
    # Servers report these by themselves, from version 14 on and without a pooler between.
    status = connection.pgconn.parameter_status
    return b"on" in (status(b"default_transaction_read_only"), status(b"in_hot_standby"))


def why_unfit(connection: EngineConnection) -> str:
    """Return why the server of a connection cannot serve now, or "" when it can."""
    driver = connection.connection.dbapi_connection
    return server.why_unfit(server.state(driver))


def run(
    connection: PoolProxiedConnection,
    execute: Callable[[], Result],
    *,
    writes: bool,
    durable: bool,
) -> Result:
    """Execute one statement as its own transaction.

    Every commit waits for the disk. It also waits for a synchronous standby; only a statement that
    need not be durable goes on without one that is gone.
    """
    driver: Any = connection.dbapi_connection
    driver.writes, driver.was_late = writes, False
    alone = writes and not durable and standby.is_skipped()
    begins = driver.begin or alone
    if begins:
        driver.execute(f"{server.BEGIN}; {server.LOCAL if alone else ''}")
    result = execute()
    if begins:
        psycopg.Connection.commit(driver)
    if durable:
        driver.refuse_late()
    elif writes and not alone:
        standby.is_gone = driver.was_late
    return result
