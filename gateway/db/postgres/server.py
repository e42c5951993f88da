"""What a Postgres server, and a pooler before it, must be so that this service can use it."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import psycopg

# The role or the database may have another default, and a pooler forgets what a SET says.
BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED"
LOCAL = "SET LOCAL synchronous_commit = local"
STANDBY_RETRY = 5  # seconds from one attempt to wait for a lost synchronous standby to the next
ENCODING = "UTF8"

_STATE = (
    "SELECT pg_backend_pid(), current_setting('server_encoding'),"
    " current_setting('transaction_read_only') = 'on', pg_is_in_recovery(),"
    " current_setting('default_transaction_isolation')"
)


class State(NamedTuple):
    """What the server says about a connection, in the order of ``_STATE``."""

    process: int
    encoding: str
    is_read_only: bool
    is_standby: bool
    isolation: str


def state(connection: Any) -> State:
    """Ask the server about a connection of the driver; one round trip."""
    return State(*connection.execute(_STATE).fetchone())


def why_unfit(state: State) -> str:
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


def has_pooler(connection: Any, state: State) -> bool:
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
        if not self.is_gone:
            self._next_attempt = 0.0
            return False
        now = time.monotonic()
        if now < self._next_attempt:
            return True
        is_first = self._next_attempt == 0.0
        self._next_attempt = now + STANDBY_RETRY
        return is_first


standby = Standby()
