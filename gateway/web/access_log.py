"""One log line for each API request: who asked, from where, and the outcome.

Refusals of one client that differ only in their request get one line in a second; ``repeated`` in
the next one counts those without a line. So a flood does not fill the log, and hides nobody.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from math import inf
from time import monotonic

from flask import Flask, Response, g, request

from gateway import log
from gateway.web.client import client_ip, network, request_id

# These are asked all day, so they write a line only when they refuse. nginx logs what it lets pass.
QUESTIONS = {"project.verify", "project.check"}  # of proxies, for each request of a project
QUIET = {"health.healthz", "health.readyz", "metrics", *QUESTIONS}
SECONDS = 1.0  # between two lines of the same group
MAX_GROUPS = 1000  # that are told apart at a time, so that many clients do not fill the log either


@dataclass
class _Group:
    """Lines that stand for each other: when the last was written, how many were left out since."""

    line: str
    written: float = -inf
    left_out: int = 0


class Flood:
    """Decides which lines are written; each worker process has one."""

    def __init__(self) -> None:
        self._groups: dict[Hashable, _Group] = {}
        self._next_look = 0.0
        self._lock = threading.Lock()

    def count(self, key: Hashable, line: str) -> int | None:
        """Count a line; return how many like it were left out before, None to leave it out, too.

        :param key: the same for lines that may stand for each other.
        :param line: what ``overdue`` returns if no such line comes any more.
        """
        now = monotonic()
        with self._lock:
            if key not in self._groups and len(self._groups) >= MAX_GROUPS:
                key, line = "others", "refusals of other clients"
            group = self._groups.setdefault(key, _Group(line))
            if now - group.written < SECONDS:
                group.left_out += 1
                return None
            left_out, group.left_out, group.written = group.left_out, 0, now
            return left_out

    def overdue(self) -> list[tuple[str, int]]:
        """Return the lines whose flood has ended, with the number of those that were left out."""
        now = monotonic()
        if not self._groups or now < self._next_look:
            return []
        with self._lock:
            self._next_look = now + SECONDS
            ended = {k: v for k, v in self._groups.items() if now - v.written >= 2 * SECONDS}
            for key in ended:
                del self._groups[key]
        return [(group.line, group.left_out) for group in ended.values() if group.left_out]


def init_app(app: Flask) -> None:
    """Give each request an id, and write its line when it is answered."""
    app.before_request(_name_request)
    app.after_request(partial(_write_line, Flood()))


def _name_request() -> None:
    request_id()  # before anything writes to the log


def _write_line(flood: Flood, response: Response) -> Response:
    response.headers["X-Request-ID"] = request_id()
    for line, count in flood.overdue():
        log.logger.info("%s repeated=%d", line, count, extra={"request_id": "-"})
    if request.endpoint in QUIET and response.status_code < HTTPStatus.BAD_REQUEST:
        return response
    notes = {"user": "-", "ip": client_ip() or "-", "code": "-", **g.get("notes", {})}
    fields = " ".join(f"{name}={value}" for name, value in notes.items())
    line = f"{request.endpoint or '-'} {fields} status={response.status_code}"
    repeated: int | None = 0
    if request.endpoint in QUESTIONS or response.status_code == HTTPStatus.TOO_MANY_REQUESTS:
        same = request.endpoint, network(notes["ip"]), notes["code"], notes.get("project")
        repeated = flood.count(same, line)
    if repeated is not None:
        log.logger.info("%s%s", line, f" repeated={repeated}" if repeated else "")
    return response
