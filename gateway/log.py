"""One log line for each API request: who asked, from where, and the outcome.

Of refused verifies that differ only in their request, one in a second gets a line; ``repeated``
in the next one counts those without a line.

``note(...)`` adds fields to the line of the present request. Lines hold ids. They never hold a
user name, an e-mail address, a code, a password, a token or a secret. Only MAIL_SUPPRESS_SEND
writes whole mails to the log.
"""

from __future__ import annotations

import logging
import sys
import time
from http import HTTPStatus
from typing import Any

from flask import Flask, Response, current_app, g, request

from gateway.web.client import client_ip, network, request_id
from gateway.web.flood import Flood

logger = logging.getLogger("gateway")
# These are asked all day, so they write a line only when they refuse. nginx logs what it lets pass.
QUIET = {"health.healthz", "health.readyz", "project.verify"}
_FLOOD = "gateway.flood"  # key in app.extensions


class _Formatter(logging.Formatter):
    """Write times in UTC, and the id of the request that a line belongs to."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def format(self, record: logging.LogRecord) -> str:
        record.request_id = getattr(record, "request_id", None) or request_id()
        return super().format(record)


def init_app(app: Flask) -> None:
    """Give each request an id, and write its line when it is answered."""
    logger.setLevel(logging.INFO)
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(
            _Formatter("%(asctime)s %(levelname)s request=%(request_id)s %(message)s")
        )
        logger.addHandler(handler)
    app.extensions[_FLOOD] = Flood()
    app.after_request(_write_line)


def name_operator(name: str) -> None:
    """Name the person who runs an operator's command, in place of a request's id."""
    for handler in logger.handlers:
        handler.setFormatter(_Formatter(f"%(asctime)s %(levelname)s by={name} %(message)s"))


def note(**fields: Any) -> None:
    """Add fields to the line of the present request; a later value replaces an earlier one."""
    g.setdefault("notes", {}).update(fields)


def first_line(error: Exception) -> str:
    """Return the first line of an error's text, because drivers add pages to it."""
    return str(error).partition("\n")[0]


def _write_line(response: Response) -> Response:
    response.headers["X-Request-ID"] = request_id()
    flood: Flood = current_app.extensions[_FLOOD]
    for line, count in flood.overdue():
        logger.info("%s repeated=%d", line, count, extra={"request_id": "-"})
    if request.endpoint in QUIET and response.status_code < HTTPStatus.BAD_REQUEST:
        return response
    notes = {"user": "-", "ip": client_ip() or "-", "code": "-", **g.get("notes", {})}
    fields = " ".join(f"{name}={value}" for name, value in notes.items())
    line = f"{request.endpoint or '-'} {fields} status={response.status_code}"
    repeated: int | None = 0
    if request.endpoint == "project.verify":
        repeated = flood.count((network(notes["ip"]), notes["code"], notes.get("project")), line)
    if repeated is not None:
        logger.info("%s%s", line, f" repeated={repeated}" if repeated else "")
    return response
