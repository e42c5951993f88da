"""One line for each API request: who asked, from where, and what came of it.

``note(...)`` adds to the line of the present request. Lines hold ids, never a name, an address
of mail, a code, a password, a token or a secret.
"""

from __future__ import annotations

import ipaddress
import logging
import re
import sys
import time
import uuid
from http import HTTPStatus
from typing import Any

from flask import Flask, Response, g, request

logger = logging.getLogger("gateway")
# What is asked all day writes no line when all is well; nginx logs the requests that it lets pass.
QUIET = {"health.healthz", "health.readyz", "project.verify"}


class _Formatter(logging.Formatter):
    """Times in UTC, and the id of the request that a line belongs to."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def format(self, record: logging.LogRecord) -> str:
        record.request_id = g.get("request_id", "-") if g else "-"
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
    app.before_request(_begin)
    app.after_request(_finish)


def note(**fields: Any) -> None:
    """Add fields to the line of the present request; a later value replaces an earlier one."""
    g.setdefault("notes", {}).update(fields)


def first_line(error: Exception) -> str:
    """Return what an error says first; drivers add pages to it."""
    return str(error).partition("\n")[0]


def client_ip() -> str:
    """Return the client's address in canonical form, or "" when there is none.

    ProxyFix has already taken TRUSTED_PROXIES hops into account, but it passes on any text; text
    that is no address is replaced by the address of the peer.
    """
    peer = request.environ.get("werkzeug.proxy_fix.orig", {}).get("REMOTE_ADDR")
    for text in (request.remote_addr, peer):
        try:
            address = ipaddress.ip_address(text or "")
        except ValueError:
            continue
        mapped = getattr(address, "ipv4_mapped", None)
        return str(mapped or address)
    return ""


def _begin() -> None:
    given = request.headers.get("X-Request-ID", "")
    g.request_id = given if re.fullmatch(r"[\w.-]{1,64}", given, re.ASCII) else uuid.uuid4().hex


def _finish(response: Response) -> Response:
    response.headers["X-Request-ID"] = g.get("request_id", "-")
    if request.endpoint not in QUIET or response.status_code >= HTTPStatus.BAD_REQUEST:
        notes = {"user": "-", "ip": client_ip() or "-", "code": "-", **g.get("notes", {})}
        fields = " ".join(f"{name}={value}" for name, value in notes.items())
        logger.info("%s %s status=%d", request.endpoint or "-", fields, response.status_code)
    return response
