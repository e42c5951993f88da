"""A Postgres connection that does not wait for ever.

The server's own time limits are of no use when it is the server that hangs, and the socket's
are not when its kernel still answers. So a request bounds each wait itself; commands outside a
request, migrations above all, take the time they need.
"""

from __future__ import annotations

from typing import Any, TypeVar

import psycopg
from flask import has_request_context
from psycopg.abc import PQGen

# Seconds; a first answer that does not come and the new connection tried after it take less
# than the ten that a reply may take.
ANSWER = 5
CONNECT = 3

Result = TypeVar("Result")


class Connection(psycopg.Connection[Any]):
    """psycopg's connection; within a request it closes when an answer takes ``ANSWER`` seconds."""

    def wait(
        self, gen: PQGen[Result], interval: float = 0.1, timeout: float | None = None
    ) -> Result:
        """Wait for the server.

        :raises psycopg.OperationalError: when it did not answer in time.
        """
        if timeout is not None or not has_request_context():
            return super().wait(gen, interval, timeout)
        try:
            return super().wait(gen, interval, ANSWER)
        except psycopg.errors._WaitTimeout:
            self.close()  # what it would answer now belongs to nobody
            raise psycopg.OperationalError(f"no answer within {ANSWER} s") from None


def connect(arguments: dict[str, Any]) -> Connection:
    """Connect; a ``connect_timeout`` in the URL goes before ours."""
    return Connection.connect(**{"connect_timeout": CONNECT, **arguments})
