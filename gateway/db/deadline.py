"""How long a request may still wait for the database, and a pool that keeps to it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

from flask import g, has_request_context
from sqlalchemy import PoolProxiedConnection, QueuePool
from sqlalchemy.exc import TimeoutError

Result = TypeVar("Result")

# Seconds. A reply takes less than 10 because all waits of a request share REQUEST_TIMEOUT.
REQUEST_TIMEOUT = 8
MIN_TIMEOUT = 1  # minimum wait, also after the deadline
POOL_TIMEOUT = 2  # for a connection that another thread uses
MIN_LEFT = 3  # do not start to wait for other requests with less time left
MAX_WAITED = 1  # longest total wait for other requests


# SQLAlchemy names a pool's logger after its class. That one would be below the service's own.
logging.getLogger(__name__).setLevel(logging.WARNING)

# A thread waits in this context; a server whose threads take turns replaces it.
aside: Callable[[], AbstractContextManager[None]] = nullcontext


class RequestPool(QueuePool):
    """SQLAlchemy's pool, but a request that has waited long for it does not do so again."""

    def connect(self) -> PoolProxiedConnection:
        """Take a connection out of the pool.

        :raises sqlalchemy.exc.TimeoutError: when none is free in time, or when the request would
            have no time left to use it.
        """
        if not serves_a_request():
            return super().connect()
        # A relay may also have used up the time. That is no reason to fail here.
        if _left() < MIN_LEFT:
            refuse_long_wait()
        return wait_for_others(super().connect)


def wait_for_others(wait: Callable[[], Result]) -> Result:
    """Wait in a request for other requests of this process; return what ``wait`` returns."""
    _left()  # the first wait starts the deadline
    began = time.monotonic()
    try:
        return wait()
    finally:
        g.waited_for_others = g.get("waited_for_others", 0.0) + time.monotonic() - began


def refuse_long_wait() -> None:
    """Fail if the present request has waited long for others, because they wait for the database.

    :raises sqlalchemy.exc.TimeoutError: when that is so.
    """
    if g.get("waited_for_others", 0.0) > MAX_WAITED:
        raise TimeoutError("the database has used up the time of this request")


def start() -> None:
    """Limit the waits of the present application context, as those of a request are."""
    g.database_deadline = time.monotonic() + REQUEST_TIMEOUT


def serves_a_request() -> bool:
    """Tell whether this thread answers a request, or does other work that has a deadline."""
    return has_request_context() or (bool(g) and "database_deadline" in g)


def time_left(longest: float) -> float:
    """Return how many seconds a request may wait for one answer; outside a request ``longest``."""
    return min(longest, max(MIN_TIMEOUT, _left())) if serves_a_request() else longest


def _left() -> float:
    """Return the seconds until the deadline, which starts with the first wait of the request."""
    now = time.monotonic()
    deadline: float = g.setdefault("database_deadline", now + REQUEST_TIMEOUT)
    return deadline - now
