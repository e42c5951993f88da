"""Databases of tests: a template is migrated once, and each database is a copy of it."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import Connection, Row, create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, NoResultFound

from gateway import create_app, database_url, log
from gateway.db import db
from gateway.db.sqlite import all_files
from gateway.errors import ConfigError
from gateway.ops.cli import main

SECRET_KEY = "a secret of tests, long enough to be one"  # noqa: S105 - protects nothing


class Databases(Protocol):
    """Makes databases with tables and without rows; a URL names each."""

    def new(self) -> str:
        """Make a database; return its URL."""

    def give_back(self, url: str) -> None:
        """Take one back that ``new`` made and nobody needs any more."""

    def close(self) -> None:
        """Delete all that was made."""


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

    One that was given back is emptied and used again, because that takes 10 ms instead of 100; but
    not if its tables have changed.

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
        self._made: list[str] = []
        self._free: list[str] = []
        try:
            # template1 may have another encoding, or objects of its own.
            self._run(f"CREATE DATABASE {self._template} TEMPLATE template0 ENCODING 'UTF8'")
        except DBAPIError as error:
            reason = log.first_line(error)
            raise ConfigError(f"--gateway-database cannot be used: {reason}") from None
        self._shape = _shape(migrated(self._url_of(self._template)))

    def new(self) -> str:
        """Copy the template, or empty a copy that was given back; return its URL."""
        while self._free:
            url = self._free.pop()
            if _empty(url, self._shape):
                return url
        name = f"{self._template}_{len(self._made)}"
        self._made.append(name)
        self._run(f"CREATE DATABASE {name} TEMPLATE {self._template}")
        return self._url_of(name)

    def give_back(self, url: str) -> None:
        """Keep a copy for the next ``new``."""
        self._free.append(url)

    def close(self) -> None:
        """Delete the template and its copies, and close the connections."""
        for name in (*self._made, self._template):
            with suppress(DBAPIError):  # the server may be gone by now
                self._run(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        self._admin.dispose()

    def _run(self, statement: str) -> None:
        with self._admin.connect() as connection:
            connection.execute(text(statement))

    def _url_of(self, name: str) -> str:
        return self._url.set(database=name).render_as_string(hide_password=False)


_DISCONNECT_OTHERS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""
_SHAPE = """
SELECT string_agg(concat_ws(' ', attrelid::regclass, attname, atttypid, attnotnull), ', '
    ORDER BY attrelid, attnum),
  (SELECT string_agg(concat_ws(' ', oid, tgenabled), ', ' ORDER BY oid) FROM pg_trigger),
  (SELECT count(*) FROM pg_constraint),
  (SELECT count(*) FROM pg_db_role_setting JOIN pg_database ON setdatabase = pg_database.oid
    WHERE datname = current_database()),
  max(version_num)
FROM pg_attribute, alembic_version WHERE attrelid >= 16384
"""


def _shape(url: str) -> Row[Any]:
    """Return what changes with the tables of a database."""
    with _transaction(url) as connection:
        return connection.execute(text(_SHAPE)).one()


def _empty(url: str, shape: Row[Any]) -> bool:
    """Delete all rows of a database, if its tables are as ``shape`` says; tell whether they are."""
    tables = ", ".join(table.name for table in db.metadata.sorted_tables)
    try:
        with _transaction(url) as connection:
            connection.execute(text(_DISCONNECT_OTHERS))
            if connection.execute(text(_SHAPE)).one() != shape:
                return False
            connection.execute(text(f"TRUNCATE {tables} RESTART IDENTITY CASCADE"))
    except (DBAPIError, NoResultFound):  # a test has broken it
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
