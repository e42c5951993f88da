"""What a Postgres server, and a pooler before it, must be so that this service can use it."""

from __future__ import annotations

import time
from typing import Any

import psycopg
from psycopg.rows import namedtuple_row

# The role or the database may have another default, and a pooler forgets what a SET says.
BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED"
LOCAL = "SET LOCAL synchronous_commit = local"
STANDBY_RETRY = 5  # seconds from one attempt to wait for a lost synchronous standby to the next
ENCODING = "UTF8"

_STATE = (
    "SELECT pg_backend_pid() AS process, current_setting('server_encoding') AS encoding,"
    " current_setting('transaction_read_only') = 'on' AS is_read_only,"
    " pg_is_in_recovery() AS is_standby,"
    " current_setting('default_transaction_isolation') AS isolation"
)


def state(connection: Any) -> Any:
    """Ask the server about a connection of the driver; one round trip.

    The result has ``process``, ``encoding``, ``is_read_only``, ``is_standby`` and ``isolation``.
    """
    return connection.cursor(row_factory=namedtuple_row).execute(_STATE).fetchone()


def why_unfit(state: Any) -> str:
    """Return why a server cannot serve, or "" when it can."""
    if state.encoding != ENCODING:
        return (
            f"the database has the encoding {state.encoding}; make one with"
            f" createdb --encoding {ENCODING} --template template0 and copy with copy-from"
        )
    if state.is_standby:
        return "the server is a standby, which only reads; connect to the primary"
    if state.is_read_only:
        return "the server only reads (default_transaction_read_only); connect to one that writes"
    return ""


def has_pooler(connection: Any, state: Any) -> bool:
    """Tell whether a pooler is between: it gives numbers of its own to its clients' sessions."""
    return bool(connection.info.backend_pid != state.process)


def set_up(connection: Any) -> bool:
    """Prepare a new connection; return whether its single statements need a BEGIN before them.

    A read-only server is not even read: it may be behind, and would let revoked tokens pass.

    :raises psycopg.OperationalError: when the server cannot serve; the message says why.
    """
    found = state(connection)
    if reason := why_unfit(found):
        raise psycopg.OperationalError(reason)
    if found.isolation == "read committed":
        return False
    if has_pooler(connection, found):
        return True
    connection.execute("SET default_transaction_isolation = 'read committed'")
    return False


class Standby:
    """Whether the synchronous standby confirms commits; each process finds out for itself.

    While it does not, verify goes on without it, because waiting would stop all traffic. One
    request in STANDBY_RETRY seconds waits, to see whether it is back.
    """

    def __init__(self) -> None:
        self.is_gone = False
        self._next_attempt = 0.0

    def is_skipped(self) -> bool:
        """Tell whether the present statement shall not wait for the standby."""
        now = time.monotonic()
        if self.is_gone and now < self._next_attempt:
            return True
        self._next_attempt = now + STANDBY_RETRY
        return False


standby = Standby()
