"""One log line for each API request: who asked, from where, and the outcome.

Refusals of one client that differ only in their request get one line in a second; ``repeated`` in
the next one counts those without a line. So a flood does not fill the log, and hides nobody.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable
from dataclasses import dataclass
from http import HTTPStatus
from time import monotonic

from flask import Flask, Response, current_app, g, request

from gateway import log
from gateway.web.client import client_ip, network, request_id

# These are asked all day, so they write a line only when they refuse. nginx logs what it lets pass.
QUESTIONS = {"project.verify", "project.check"}  # of proxies, for each request of a project
QUIET = {"health.healthz", "health.readyz", "metrics", *QUESTIONS}
SECONDS = 1.0  # between two lines of the same kind
MAX_KINDS = 1000  # that are told apart at a time, so that many clients do not fill the log either
_FLOOD = "gateway.flood"  # key in app.extensions


@dataclass
class _Kind:
    """State of one kind of line: when the last was written, how many were left out since."""

    written: float
    line: str
    left_out: int = 0


class Flood:
    """Decides which lines are written; each worker process has one."""

    def __init__(self) -> None:
        self._kinds: dict[Hashable, _Kind] = {}
        self._next_look = 0.0
        self._lock = threading.Lock()

    def count(self, key: Hashable, line: str) -> int | None:
        """Count a line; return how many like it were left out before, None to leave it out, too.

        :param key: the same for lines that may stand for each other.
        :param line: what ``overdue`` returns if no such line comes any more.
        """
        now = monotonic()
        with self._lock:
            kind = self._kinds.get(key)
            if kind is None and len(self._kinds) >= MAX_KINDS:
                key, line = "others", "refusals of other clients"
                kind = self._kinds.get(key)
            if kind is None:
                self._kinds[key] = _Kind(now, line)
                return 0
            if now - kind.written < SECONDS:
                kind.left_out += 1
                return None
            left_out, kind.left_out, kind.written = kind.left_out, 0, now
            return left_out

    def overdue(self) -> list[tuple[str, int]]:
        """Return the lines whose flood has ended, with the number of those that were left out."""
        now = monotonic()
        if not self._kinds or now < self._next_look:
            return []
        with self._lock:
            self._next_look = now + SECONDS
            ended = {k: v for k, v in self._kinds.items() if now - v.written >= 2 * SECONDS}
            for key in ended:
                del self._kinds[key]
        return [(kind.line, kind.left_out) for kind in ended.values() if kind.left_out]


def init_app(app: Flask) -> None:
    """Give each request an id, and write its line when it is answered."""
    app.extensions[_FLOOD] = Flood()
    app.before_request(_name_request)
    app.after_request(_write_line)


def _name_request() -> None:
    request_id()  # before anything writes to the log


def _write_line(response: Response) -> Response:
    response.headers["X-Request-ID"] = request_id()
    flood: Flood = current_app.extensions[_FLOOD]
    for line, count in flood.overdue():
        log.logger.info("%s repeated=%d", line, count, extra={"request_id": "-"})
    if request.endpoint in QUIET and response.status_code < HTTPStatus.BAD_REQUEST:
        return response
    notes = {"user": "-", "ip": client_ip() or "-", "code": "-", **g.get("notes", {})}
    fields = " ".join(f"{name}={value}" for name, value in notes.items())
    line = f"{request.endpoint or '-'} {fields} status={response.status_code}"
    repeated: int | None = 0
    is_common = request.endpoint in QUESTIONS
    if is_common or response.status_code == HTTPStatus.TOO_MANY_REQUESTS:
        same = request.endpoint, network(notes["ip"]), notes["code"], notes.get("project")
        repeated = flood.count(same, line)
    if repeated is not None:
        log.logger.info("%s%s", line, f" repeated={repeated}" if repeated else "")
    return response
