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

from flask import Flask, Response, current_app, g, has_request_context, request

logger = logging.getLogger("gateway")
# What is asked all day writes no line when all is well; nginx logs the requests that it lets pass.
QUIET = {"health.healthz", "health.readyz", "project.verify"}
_REQUEST_ID = re.compile(r"[\w.-]{1,64}", re.ASCII)


class _Formatter(logging.Formatter):
    """Times in UTC, and the id of the request that a line belongs to."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def format(self, record: logging.LogRecord) -> str:
        record.request_id = request_id()
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
    app.after_request(_finish)


def note(**fields: Any) -> None:
    """Add fields to the line of the present request; a later value replaces an earlier one."""
    g.setdefault("notes", {}).update(fields)


def first_line(error: Exception) -> str:
    """Return what an error says first; drivers add pages to it."""
    return str(error).partition("\n")[0]


def request_id() -> str:
    """Return the id of the present request: the client's own if it will do, or a new one."""
    if not g:
        return "-"
    if "request_id" not in g:
        given = request.headers.get("X-Request-ID", "") if has_request_context() else "-"
        g.request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
    return str(g.request_id)


def client_ip() -> str:
    """Return the client's address in canonical form, or "" when there is none.

    TRUSTED_PROXIES says how many addresses at the end of X-Forwarded-For proxies of ours wrote;
    any text may come in their place, and is then replaced by the address of the peer.
    """
    hops = current_app.config["TRUSTED_PROXIES"]
    forwarded = request.headers.get("X-Forwarded-For", "").split(",")
    client = forwarded[-hops].strip() if 0 < hops <= len(forwarded) else ""
    for text in (client, request.remote_addr):
        try:
            address = ipaddress.ip_address(text or "")
        except ValueError:
            continue
        mapped = getattr(address, "ipv4_mapped", None)
        return str(mapped or address)
    return ""


def _finish(response: Response) -> Response:
    response.headers["X-Request-ID"] = request_id()
    if request.endpoint not in QUIET or response.status_code >= HTTPStatus.BAD_REQUEST:
        notes = {"user": "-", "ip": client_ip() or "-", "code": "-", **g.get("notes", {})}
        fields = " ".join(f"{name}={value}" for name, value in notes.items())
        logger.info("%s %s status=%d", request.endpoint or "-", fields, response.status_code)
    return response
