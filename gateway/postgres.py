"""A Postgres connection that does not wait for ever.

The server's own time limits are of no use when it is the server that hangs, and the socket's
are not when its kernel still answers. So a request bounds its waits itself; commands outside a
request, migrations above all, take the time they need.
"""

from __future__ import annotations

import select
import time
from contextlib import suppress
from typing import Any, TypeVar

import psycopg
from flask import g, has_request_context
from psycopg.abc import PQGen
from psycopg.pq import TransactionStatus
from sqlalchemy import Connection as EngineConnection
from sqlalchemy import Engine, event
from sqlalchemy.exc import DisconnectionError

from gateway import background

# Seconds. A reply takes less than ten, whatever comes together: an answer that does not come,
# the new connection tried after it, and what is then asked there.
ANSWER = 4
CONNECT = 3
REQUEST = 8  # all waits of one request
LEAST = 1  # what a wait gets even then, as a request may have spent its time on a relay
CANCEL = 1
IDLE = 30  # a connection unused for longer may be gone without a word

Result = TypeVar("Result")


class Connection(psycopg.Connection[Any]):
    """psycopg's connection; within a request it is given up when an answer takes too long."""

    def wait(
        self, gen: PQGen[Result], interval: float = 0.1, timeout: float | None = None
    ) -> Result:
        """Wait for the server.

        :raises psycopg.OperationalError: when it did not answer in time.
        """
        if timeout is not None or not _is_awaited():
            return super().wait(gen, interval, timeout)
        try:
            return super().wait(gen, interval, _patience())
        except psycopg.errors._WaitTimeout:
            with suppress(psycopg.Error):  # or the server goes on with it, a backend each
                self.cancel_safe(timeout=CANCEL)
            self.close()  # what it would answer now belongs to nobody
            raise psycopg.OperationalError("the server does not answer") from None

    def commit(self) -> None:
        """Commit, if there is anything to."""
        if not self._is_idle():
            super().commit()

    def rollback(self) -> None:
        """Roll back, if there is anything to; the pool calls this after each use."""
        if not self._is_idle():
            super().rollback()

    def _is_idle(self) -> bool:
        return not self.closed and self.pgconn.transaction_status == TransactionStatus.IDLE


def _is_awaited() -> bool:
    """Tell whether a request waits, or what goes on behind one."""
    return has_request_context() or (bool(g) and background.is_running())


def _patience() -> float:
    """Return how many seconds the present request may still wait for one answer."""
    now = time.monotonic()
    until: float = g.setdefault("database_until", now + REQUEST)
    return min(ANSWER, max(LEAST, until - now))


def prepare(engine: Engine) -> None:
    """Have the engine connect so, and never lend a connection that the server has given up.

    A statement alone costs one message in autocommit; transactions are begun in so many words.
    """

    @event.listens_for(engine, "do_connect")
    def connect(_dialect: Any, _record: Any, _args: Any, parameters: dict[str, Any]) -> Any:
        # A connect_timeout in the URL goes before ours.
        return Connection.connect(**{"connect_timeout": CONNECT, "autocommit": True, **parameters})

    @event.listens_for(engine, "begin")
    def begin(connection: EngineConnection) -> None:
        connection.exec_driver_sql("BEGIN")

    @event.listens_for(engine, "checkin")
    def remember(_connection: Any, record: Any) -> None:
        record.info["used"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def refuse_lost(connection: Any, record: Any, _proxy: Any) -> None:
        used = record.info.get("used")  # a new one has not been
        if used is None:
            return
        if _has_news(connection):
            raise DisconnectionError
        if time.monotonic() - used > IDLE:
            try:
                engine.dialect.do_ping(connection)
            except psycopg.Error as error:
                raise DisconnectionError from error


def _has_news(connection: Connection) -> bool:
    """Tell whether there is something to read, which an idle connection has when it was ended."""
    if connection.closed:
        return True
    poll = select.poll()
    poll.register(connection.pgconn.socket, select.POLLIN)
    return bool(poll.poll(0))
