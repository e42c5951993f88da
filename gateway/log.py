"""The log, and what a request adds to its line (``web.access_log`` writes it).

``note(...)`` adds fields to the line of the present request. Lines hold ids. They never hold a
user name, an e-mail address, a code, a password, a token or a secret. Only MAIL_SUPPRESS_SEND
writes whole mails to the log.
"""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

from flask import g

logger = logging.getLogger("gateway")


class _Formatter(logging.Formatter):
    """Write times in UTC, and the id of the request that a line belongs to."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def format(self, record: logging.LogRecord) -> str:
        present = g.get("request_id") if g else None
        record.request_id = getattr(record, "request_id", None) or present or "-"
        return super().format(record)


def start() -> None:
    """Write the log to stderr."""
    logger.setLevel(logging.INFO)
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(
            _Formatter("%(asctime)s %(levelname)s request=%(request_id)s %(message)s")
        )
        logger.addHandler(handler)


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
