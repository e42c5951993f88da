"""The address of a database, as people write it."""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import Any
from urllib.parse import parse_qs, unquote

from sqlalchemy import URL
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from gateway.settings.checks import text

_POSTGRES = re.compile(r"postgres(?:ql)?(?:\+psycopg)?://(.*)")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^\s\[\]@:/?#,]*)(?::(\d*))?")
_PLACE = re.compile(
    rf"(?P<hosts>(?:{_HOST.pattern},)*{_HOST.pattern})"
    r"(?:/(?P<database>[^?@/]*))?(?:\?(?P<options>.*))?"
)
_URL_HELP = (
    "must be an sqlite:/// or postgresql:// URL, like sqlite:////path or"
    " postgresql://user:password@host:5432/name; write % in a password as %25 and @ as %40"
)


def check(value: Any) -> str:
    """Return the URL of an SQLite file or a Postgres database, with the name of its driver.

    This is the validator of SQLALCHEMY_DATABASE_URI; ``gateway.settings.checks`` has the others.

    A password may hold ``/``, ``#``, ``?``, ``:`` and ``@`` as they are. Postgres may have several
    hosts, written as in libpq's own URLs.
    """
    postgres = _POSTGRES.fullmatch(text(value))
    try:
        url = _parse_postgres(postgres[1]) if postgres else make_url(value)
    except (ArgumentError, ValueError):
        raise ValueError(_URL_HELP) from None
    if url.drivername not in ("sqlite", "postgresql+psycopg"):
        raise ValueError("must be an sqlite:/// or postgresql:// URL")
    if url.drivername == "sqlite" and (url.host or ":memory:" in (url.database or ":memory:")):
        raise ValueError("must name a file, because workers cannot share a database in memory")
    if url.drivername != "sqlite" and find_spec("psycopg") is None:
        raise ValueError("names Postgres, whose driver is missing; install gateway[postgres]")
    return url.render_as_string(hide_password=False) if postgres else str(value)


def _parse_postgres(rest: str) -> URL:
    """Parse what follows ``postgresql://``.

    The password ends at the first @ that a place follows, because no place holds an @.
    """
    starts = [*(match.end() for match in re.finditer("@", rest)), 0]
    for start in starts:
        user, colon, password = rest[: max(0, start - 1)].partition(":")
        place = _PLACE.fullmatch(rest, start)
        if place and not re.search(r"[/?#]", user):
            break
    else:
        raise ValueError
    options: dict[str, Any] = parse_qs(place["options"] or "", keep_blank_values=True)
    pairs = [_HOST.findall(each)[0] for each in place["hosts"].split(",")]
    names = [unquote(name.strip("[]")) for name, _ in pairs]
    ports = [port for _, port in pairs]
    is_plain = len(pairs) == 1 and not names[0].startswith("/")
    if not is_plain:  # several hosts, or the folder of a Unix socket
        options["host"] = ",".join(names)
        options["port"] = ",".join(port or "5432" for port in ports)
    return URL.create(
        "postgresql+psycopg",
        username=unquote(user) if start else None,
        password=unquote(password) if colon else None,
        host=names[0] or None if is_plain else None,
        port=int(ports[0]) if is_plain and ports[0] else None,
        database=unquote(place["database"]) if place["database"] is not None else None,
        query=options,
    )
