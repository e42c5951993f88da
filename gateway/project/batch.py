"""Count requests of one project that meet by one statement.

Postgres locks a project's row until the disk has the count, so one statement follows the other.
While one is on its way, the requests of the same project wait; the next statement counts them all.
A lone request waits for nobody.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Any

from gateway.db import db, deadline

_guard = threading.Lock()  # of _waiting
# For each statement on its way, the requests that wait for its end, in their order.
_waiting: dict[Hashable, list[_Request]] = {}


class _Request:
    """A request that others may count; it waits until it can acquire ``woken``."""

    def __init__(self) -> None:
        self.woken = threading.Lock()
        self.woken.acquire()
        self.together: list[_Request] = []  # those that its own statement counts, itself first
        self.row: Any = None  # the project with it, once it is counted
        self.has_failed = False  # the statement for which it waited


def count(same: Hashable, ask: Callable[[int], list[Any]]) -> Any:
    """Count a request; return the project with it, or None when it may not pass.

    :param same: what the requests have in common that one statement can count.
    :param ask: runs the statement for so many requests; all of them are counted or none. Returns
        the project with each of them.
    :raises sqlalchemy.exc.TimeoutError: when it has waited long for a statement that failed.
    """
    if db.engine.dialect.name == "postgresql":
        request = _Request()
        _meet(same, request, ask)
        if request.row or len(request.together) == 1:
            return request.row
        if request.has_failed:
            deadline.refuse_long_wait()
    row, *_ = ask(1) or [None]
    return row


def _meet(same: Hashable, request: _Request, ask: Callable[[int], list[Any]]) -> None:
    """Count a request with those that it meets, unless there is not room for all of them."""
    with _guard:
        if same in _waiting:
            _waiting[same].append(request)
        else:
            _waiting[same], request.together = [], [request]
    if not request.together:
        with deadline.aside():
            deadline.wait_for_others(request.woken.acquire)
    if request.together:
        rows = None
        try:
            rows = ask(len(request.together))
        finally:
            _wake(same, request.together, rows)


def _wake(same: Hashable, counted: list[_Request], rows: list[Any] | None) -> None:
    """Let the first of those who wait count them all, and those go on whom a statement counted.

    After a refusal each asks alone, because there is no room for all. So do the requests of a
    project with a rate.

    :param rows: None when the statement has failed.
    """
    with _guard:
        woken = _waiting.pop(same)
        if woken and rows and not rows[0].per_minute:
            _waiting[same], woken[0].together = [], woken
            woken = woken[:1]
    for request, row in zip(counted, rows or [], strict=False):
        request.row = row
    for request in (*woken, *counted[1:]):
        request.has_failed = rows is None
        request.woken.release()
