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

_HOST = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^\s\[\]@:/?#,]*)(?::(\d*))?")
# The password ends at the first @ that a host and a database can follow: they hold no @.
_POSTGRES = re.compile(
    r"postgres(?:ql)?(?:\+psycopg)?://(?:(?P<user>[^:/?#]*?)(?::(?P<password>.*?))?@)?"
    rf"(?P<hosts>(?:{_HOST.pattern},)*{_HOST.pattern})"
    r"(?:/(?P<database>[^?@/]*))?(?:\?(?P<options>.*))?"
)
_URL_HELP = (
    "must be an sqlite:/// or postgresql:// URL, like sqlite:////path or"
    " postgresql://user:password@host:5432/name; write % in a password as %25"
)


def check(value: Any) -> str:
    """Return the URL of an SQLite file or a Postgres database, with the name of its driver.

    This is the validator of SQLALCHEMY_DATABASE_URI; ``gateway.settings.checks`` has the others.

    A password may hold ``/``, ``#``, ``?``, ``:`` and ``@`` as they are. Postgres may have several
    hosts, written as in libpq's own URLs.
    """
    postgres = _POSTGRES.fullmatch(text(value))
    try:
        url = _url_of(postgres) if postgres else make_url(value)
    except (ArgumentError, ValueError):
        raise ValueError(_URL_HELP) from None
    if postgres:
        if find_spec("psycopg") is None:
            raise ValueError("names Postgres, whose driver is missing; install gateway[postgres]")
        return url.render_as_string(hide_password=False)
    if url.drivername != "sqlite":
        raise ValueError(_URL_HELP)
    if url.host or ":memory:" in (url.database or ":memory:"):
        raise ValueError("must name a file, because workers cannot share a database in memory")
    return str(value)


def _url_of(postgres: re.Match[str]) -> URL:
    options: dict[str, Any] = parse_qs(postgres["options"] or "", keep_blank_values=True)
    pairs = [_HOST.findall(each)[0] for each in postgres["hosts"].split(",")]
    names = [unquote(name.strip("[]")) for name, _ in pairs]
    ports = [port for _, port in pairs]
    is_plain = len(pairs) == 1 and not names[0].startswith("/")
    if not is_plain:  # several hosts, or the folder of a Unix socket
        options["host"] = ",".join(names)
        options["port"] = ",".join(port or "5432" for port in ports)
    return URL.create(
        "postgresql+psycopg",
        username=postgres["user"] and unquote(postgres["user"]),
        password=postgres["password"] and unquote(postgres["password"]),
        host=names[0] or None if is_plain else None,
        port=int(ports[0]) if is_plain and ports[0] else None,
        database=postgres["database"] and unquote(postgres["database"]),
        query=options,
    )
