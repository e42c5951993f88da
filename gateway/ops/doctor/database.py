"""What doctor checks of a database beyond its answer: what it is, and what lies in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flask import current_app
from sqlalchemy import URL, text

from gateway.db import db, deadline, readiness, shared
from gateway.db.schema import schema_of
from gateway.ops.doctor.finding import FAULT, Finding, judge
from gateway.project import admin
from gateway.settings.instance import sqlite_file, sqlite_files

_SECRET_OPTIONS = re.compile("pass(word|wd|phrase)|secret|_key$", re.IGNORECASE)
MAX_LOG_BYTES = 64 * 2**20  # of SQLite's write-ahead log
MAX_LAG_SECONDS = 60


def shown(url: URL) -> str:
    """Return a URL for people; options such as ``?password=`` and ``sslpassword=`` are hidden."""
    options = {
        name: "***" if _SECRET_OPTIONS.search(name) else value for name, value in url.query.items()
    }
    return url.set(query=options).render_as_string(hide_password=True)


def shared_settings() -> Iterator[Finding]:
    """Compare what all nodes must share with the database's; find nothing when they agree."""
    with db.engine.connect() as connection:
        if not schema_of(connection).can_serve:
            return
        stored = shared.stored(connection)
    for reason in shared.conflicts(stored, current_app.config):
        what, _, fix = reason.partition("; ")
        yield Finding(FAULT, what.partition(" ")[0], what, fix)


def writes() -> Iterator[Finding]:
    """Write a row, as readyz does; find nothing when the database takes it."""
    with current_app.app_context():
        deadline.start()  # a synchronous standby that is gone must not hold doctor
        is_found = readiness.problem(current_app.config)  # by another check
        problem = None if is_found else readiness.Writes().problem()
    if problem:
        fix = "see its disk, and who may write it; readyz is 503 meanwhile"
        yield Finding(FAULT, "database", ": ".join(filter(None, problem)), fix)


def secrets() -> Iterator[Finding]:
    """Open some secrets of projects; find nothing when all open."""
    tried, closed = admin.try_secrets(db.session.connection())
    if closed:
        what = f"SECRET_KEY opens {tried - closed} of {tried} secrets of projects tried"
        fix = "set the key that this database was used with, or add it to SECRET_KEY_FALLBACKS"
        yield Finding(FAULT, "secret key", what, fix)


def describe_server() -> str:
    """Say what a Postgres server is: its encoding, and whether a pooler is between."""
    from gateway.db.postgres import server  # noqa: PLC0415 - each dialect is loaded alone

    driver: Any = db.session.connection().connection.dbapi_connection  # there may be no other
    state = server.state(driver)
    return f"{state.encoding}, {'a' if server.has_pooler(driver, state) else 'no'} pooler"


def standbys() -> Iterator[Finding]:
    """Look at the standbys of a Postgres server; find nothing when it has none and needs none."""
    if db.engine.dialect.name != "postgresql":
        return
    names = db.session.scalar(text("SHOW synchronous_standby_names"))
    rows = db.session.execute(text(_REPLICATION)).all()
    synchronous = [row for row in rows if row.sync_state in ("sync", "quorum")]
    if names and not synchronous:
        what = "the synchronous standby is gone, so nothing but verify is written"
        fix = "start it, or set synchronous_standby_names = '' and reload Postgres"
        yield Finding(FAULT, "standby", what, fix)
    for row in rows:
        what = f"{row.application_name or 'unnamed'} ({row.sync_state}) is {row.lag} s behind"
        fix = "see why it is slow; a failover would lose what it has not received"
        yield judge("standby", what, fix, is_bad=row.lag > MAX_LAG_SECONDS)


# A user without the role pg_monitor sees the rows without a state, which says nothing.
_REPLICATION = (
    "SELECT application_name, sync_state,"
    " round(extract(epoch FROM coalesce(replay_lag, interval '0')))::int AS lag"
    " FROM pg_stat_replication WHERE state IS NOT NULL"
)


def database_files() -> tuple[Path, ...]:
    """Return SQLite's files where they really are, also behind a link; none for Postgres."""
    name = sqlite_file(db.engine.url)
    return () if name is None else sqlite_files(name)
