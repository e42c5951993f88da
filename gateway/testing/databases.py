"""Databases of tests: a template is migrated once, and each database is a copy of it."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Protocol

from sqlalchemy import Connection, create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from gateway import create_app, log
from gateway.db import db
from gateway.db.sqlite import all_files
from gateway.errors import ConfigError
from gateway.ops.cli import main
from gateway.settings import database_url

SECRET_KEY = "a secret of tests, long enough to be one"  # noqa: S105 - protects nothing


class Databases(Protocol):
    """Makes databases with tables and without rows; a URL names each."""

    def new(self) -> str:
        """Make a database; return its URL."""

    def give_back(self, url: str) -> None:
        """Take one back that ``new`` made and nobody needs any more."""

    def close(self) -> None:
        """Delete what has not been deleted."""


def migrated(url: str) -> str:
    """Create the tables of an empty database with the operator's command; return the URL.

    :raises RuntimeError: when that fails.
    """
    app = create_app({"SQLALCHEMY_DATABASE_URI": url, "SECRET_KEY": SECRET_KEY})
    result = app.test_cli_runner().invoke(main, args=["db", "upgrade"])
    with app.app_context():
        db.engine.dispose()
    if result.exit_code:
        raise RuntimeError(f"the database of the tests cannot be migrated: {result.output}")
    return url


class SqliteDatabases:
    """Databases as files of a folder; ``template`` is the migrated one."""

    def __init__(self, folder: Path) -> None:
        self.template = folder / "template.db"
        migrated(f"sqlite:///{self.template}")

    def new(self) -> str:
        """Copy the template; return the URL of the copy."""
        path = self.template.with_name(f"{uuid.uuid4().hex}.db")
        return f"sqlite:///{shutil.copy(self.template, path)}"

    def give_back(self, url: str) -> None:
        """Delete a copy, and SQLite's files beside it."""
        for file in all_files(Path(url.removeprefix("sqlite:///"))):
            file.unlink(missing_ok=True)

    def close(self) -> None:
        """Delete the template."""
        self.give_back(f"sqlite:///{self.template}")


class PostgresDatabases:
    """Databases of one Postgres server, version 13 or newer.

    One that was given back is emptied and used again, because that takes 10 ms instead of 100. When
    more than its rows has changed, it is deleted.

    :param url: of any database of the server, for a user who may create databases.
    :raises ConfigError: when it is no such URL, or the server cannot be used.
    """

    def __init__(self, url: str) -> None:
        try:
            self._url = make_url(database_url.check(url))
        except ValueError as error:
            raise ConfigError(f"--gateway-database {error}") from None
        if self._url.get_backend_name() != "postgresql":
            raise ConfigError("--gateway-database must name a Postgres server; SQLite needs none")
        self._admin = create_engine(self._url, isolation_level="AUTOCOMMIT", pool_pre_ping=True)
        self._template = f"gateway_test_{uuid.uuid4().hex[:12]}"  # unlike that of any other run
        self._numbers = count()
        self._made: set[str] = set()
        self._free: list[str] = []
        try:
            # template1 may have another encoding, or objects of its own.
            self._run(f"CREATE DATABASE {self._template} TEMPLATE template0 ENCODING 'UTF8'")
        except DBAPIError as error:
            reason = log.first_line(error)
            raise ConfigError(f"--gateway-database cannot be used: {reason}") from None
        with _transaction(migrated(self._url_of(self._template))) as connection:
            self._shape = _shape(connection)

    def new(self) -> str:
        """Copy the template, or empty a copy that was given back; return its URL."""
        while self._free:
            name = self._free.pop()
            if _empty(self._url_of(name), self._shape):
                return self._url_of(name)
            self._drop(name)
        name = f"{self._template}_{next(self._numbers)}"
        self._made.add(name)
        self._run(f"CREATE DATABASE {name} TEMPLATE {self._template}")
        return self._url_of(name)

    def give_back(self, url: str) -> None:
        """Keep a copy for the next ``new``."""
        name = make_url(url).database
        if name in self._made:
            self._free.append(name)

    def close(self) -> None:
        """Delete the template and its copies, and close the connections."""
        for name in (*self._made, self._template):
            self._drop(name)
        self._admin.dispose()

    def _drop(self, name: str) -> None:
        self._made.discard(name)
        with suppress(DBAPIError):  # the server may be gone by now
            self._run(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def _run(self, statement: str) -> None:
        with self._admin.connect() as connection:
            connection.execute(text(statement))

    def _url_of(self, name: str) -> str:
        return self._url.set(database=name).render_as_string(hide_password=False)


_DISCONNECT_OTHERS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""
_RESTART_NUMBERS = "SELECT setval(seqrelid::regclass, seqstart, false) FROM pg_sequence"
# Rows of Postgres's catalogs; those with numbers below 16384 are its own.
_SHAPE = """
SELECT md5(string_agg(line, ' ' ORDER BY line)) FROM (
  SELECT c::text AS line FROM pg_attrdef AS c WHERE oid >= 16384
  UNION ALL SELECT c::text FROM pg_attribute AS c WHERE attrelid >= 16384
  UNION ALL SELECT c::text FROM pg_constraint AS c WHERE oid >= 16384
  UNION ALL SELECT c::text FROM pg_enum AS c WHERE oid >= 16384
  UNION ALL SELECT c::text FROM pg_index AS c WHERE indexrelid >= 16384
  UNION ALL SELECT c::text FROM pg_namespace AS c WHERE oid >= 16384 OR nspname = 'public'
  UNION ALL SELECT c::text FROM pg_policy AS c WHERE oid >= 16384
  UNION ALL SELECT c::text FROM pg_proc AS c WHERE oid >= 16384
  UNION ALL SELECT c::text FROM pg_rewrite AS c WHERE oid >= 16384
  UNION ALL SELECT c::text FROM pg_sequence AS c WHERE seqrelid >= 16384
  UNION ALL SELECT c::text FROM pg_trigger AS c WHERE oid >= 16384
  UNION ALL SELECT c::text FROM pg_type AS c WHERE oid >= 16384
  -- Other columns of pg_class also tell how many rows a table has.
  UNION ALL SELECT concat_ws(' ', oid, relname, relkind, relacl, relrowsecurity) FROM pg_class
    WHERE oid >= 16384
  UNION ALL SELECT c::text FROM pg_db_role_setting AS c
    JOIN pg_database AS d ON setdatabase = d.oid WHERE datname = current_database()
  UNION ALL SELECT version_num FROM alembic_version
) AS lines
"""


def _shape(connection: Connection) -> str:
    """Return what changes with anything in a database but the rows of its tables."""
    return str(connection.scalar(text(_SHAPE)))


def _empty(url: str, shape: str) -> bool:
    """Delete all rows of a database, if it has a shape; tell whether it has."""
    # TRUNCATE would take ten times as long, because it makes new files.
    deletes = "; ".join(str(table.delete()) for table in reversed(db.metadata.sorted_tables))
    try:
        with _transaction(url) as connection:
            connection.execute(text(_DISCONNECT_OTHERS))
            if _shape(connection) != shape:
                return False
            connection.execute(text(deletes))
            connection.execute(text(_RESTART_NUMBERS))
    except DBAPIError:  # a test has broken it
        return False
    return True


@contextmanager
def _transaction(url: str) -> Iterator[Connection]:
    """Return a connection in a transaction; at the end commit, and close all connections."""
    engine = create_engine(url)
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()
