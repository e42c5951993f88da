"""A Postgres connection that does not wait for ever.

The server's own time limits are of no use when it is the server that hangs, and the socket's
are not when its kernel still answers. So a request bounds its waits itself; commands outside a
request, migrations above all, take the time they need.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any, TypeVar

import psycopg
from flask import g, has_request_context
from psycopg.abc import PQGen

from gateway import background

# Seconds. A reply takes less than ten, whatever comes together: an answer that does not come,
# the new connection tried after it, and what is then asked there.
ANSWER = 4
CONNECT = 3
REQUEST = 8  # all waits of one request
LEAST = 1  # what a wait gets even then, as a request may have spent its time on a relay
CANCEL = 1

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


def _is_awaited() -> bool:
    """Tell whether a request waits, or what goes on behind one."""
    return has_request_context() or (bool(g) and background.is_running())


def _patience() -> float:
    """Return how many seconds the present request may still wait for one answer."""
    now = time.monotonic()
    until: float = g.setdefault("database_until", now + REQUEST)
    return min(ANSWER, max(LEAST, until - now))


def connect(arguments: dict[str, Any]) -> Connection:
    """Connect; a ``connect_timeout`` in the URL goes before ours."""
    return Connection.connect(**{"connect_timeout": CONNECT, **arguments})
