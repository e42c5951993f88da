"""Postgres connections that do not wait for ever.

The server's own time limits do not help when the server hangs, and the socket's do not help when
the server's kernel still answers. So this module limits the waits of a request itself. Commands
outside a request, such as migrations, take the time they need.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import psycopg
from flask import g, has_request_context
from psycopg.abc import PQGen
from psycopg.pq import TransactionStatus
from sqlalchemy import Connection as EngineConnection
from sqlalchemy import Engine, PoolProxiedConnection, event
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DisconnectionError

from gateway.web import after_response

# Seconds. A reply takes less than 10, even when these come together: an answer that does not come,
# a new connection after it, and the statement on the new connection.
ANSWER_TIMEOUT = 4
CONNECT_TIMEOUT = 3
REQUEST_TIMEOUT = 8  # all waits of one request
MIN_TIMEOUT = 1  # of a wait late in a request, because a relay may have used up the time
CANCEL_TIMEOUT = 1
IDLE_LIMIT = 30  # a connection unused for longer may have been lost unnoticed

__all__ = ["insert", "prepare", "run"]

Result = TypeVar("Result")


class Connection(psycopg.Connection[Any]):
    """psycopg's connection; within a request it is closed when an answer takes too long."""

    def wait(
        self, gen: PQGen[Result], interval: float = 0.1, timeout: float | None = None
    ) -> Result:
        """Wait for the server.

        :raises psycopg.OperationalError: when it did not answer in time.
        """
        if timeout is not None or not _serves_a_request():
            return super().wait(gen, interval, timeout)
        try:
            return super().wait(gen, interval, _time_left())
        except psycopg.errors._WaitTimeout:
            # Without this, the server goes on with the statement and keeps a process for it.
            with suppress(psycopg.Error):
                self.cancel_safe(timeout=CANCEL_TIMEOUT)
            self.close()  # a late answer would be taken for the next statement's
            raise psycopg.OperationalError("the server does not answer") from None

    def commit(self) -> None:
        """Commit, if a transaction is open."""
        if not self._is_idle():
            super().commit()

    def rollback(self) -> None:
        """Roll back, if a transaction is open; the pool calls this after each use."""
        if not self._is_idle():
            super().rollback()

    def _is_idle(self) -> bool:
        return not self.closed and self.pgconn.transaction_status == TransactionStatus.IDLE


def _serves_a_request() -> bool:
    """Tell whether this thread answers a request, or does the work that follows a response."""
    return has_request_context() or (bool(g) and after_response.is_running())


def _time_left() -> float:
    """Return how many seconds the present request may wait for one answer."""
    now = time.monotonic()
    deadline: float = g.setdefault("database_deadline", now + REQUEST_TIMEOUT)
    return min(ANSWER_TIMEOUT, max(MIN_TIMEOUT, deadline - now))


def prepare(engine: Engine) -> None:
    """Set up every connection of the engine, and never lend one that the server has closed.

    Connect in autocommit mode, because one statement is then one round trip; start transactions
    with an explicit BEGIN.
    """

    @event.listens_for(engine, "do_connect")
    def connect(_dialect: Any, _record: Any, _args: Any, parameters: dict[str, Any]) -> Any:
        # A connect_timeout in the URL overrides ours.
        ours = {"connect_timeout": CONNECT_TIMEOUT, "autocommit": True}
        return Connection.connect(**{**ours, **parameters})

    @event.listens_for(engine, "begin")
    def begin(connection: EngineConnection) -> None:
        connection.exec_driver_sql("BEGIN")

    @event.listens_for(engine, "checkin")
    def note_last_use(_connection: Any, record: Any) -> None:
        record.info["used"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def refuse_lost(connection: Any, record: Any, _proxy: Any) -> None:
        used = record.info.get("used")
        if used is None:  # a new connection
            return
        if _was_closed(connection):
            raise DisconnectionError  # the pool makes a new one in its place
        if time.monotonic() - used > IDLE_LIMIT:
            try:
                engine.dialect.do_ping(connection)
            except psycopg.Error as error:
                raise DisconnectionError from error


def _was_closed(connection: Connection) -> bool:
    """Tell whether the server has closed an idle connection: then there is something to read."""
    if connection.closed:
        return True
    poll = select.poll()
    poll.register(connection.pgconn.socket, select.POLLIN)
    return bool(poll.poll(0))


def run(
    connection: PoolProxiedConnection,
    execute: Callable[[], Result],
    *,
    writes: bool,
    durable: bool,
) -> Result:
    """Execute one statement as its own transaction; every commit waits for the disk."""
    result = execute()
    connection.commit()  # needed only where the engine's options turn autocommit off
    return result
