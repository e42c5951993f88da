"""Databases of tests: a template is migrated once, and each database is a copy of it."""

from __future__ import annotations

import shutil
import uuid
from contextlib import suppress
from pathlib import Path

from sqlalchemy import create_engine, delete, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from gateway import create_app, log
from gateway.db import db
from gateway.db.shared import StoredValue
from gateway.errors import ConfigError
from gateway.ops.cli import main
from gateway.settings import database_url
from gateway.settings.instance import sqlite_files

SECRET_KEY = "a secret of tests, long enough to be one"  # noqa: S105 - protects nothing


def migrated(url: str) -> str:
    """Create the tables of an empty database with the operator's command; return the URL.

    :raises RuntimeError: when that fails.
    """
    app = create_app({"SQLALCHEMY_DATABASE_URI": url, "SECRET_KEY": SECRET_KEY})
    result = app.test_cli_runner().invoke(main, args=["db", "upgrade"])
    if result.exit_code:
        raise RuntimeError(f"the database of the tests cannot be migrated: {result.output}")
    with app.app_context():
        with db.engine.begin() as connection:  # a test may choose its own key and time zone
            connection.execute(delete(StoredValue))
        db.engine.dispose()
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
        for file in sqlite_files(Path(url.removeprefix("sqlite:///"))):
            file.unlink(missing_ok=True)

    def close(self) -> None:
        self.give_back(f"sqlite:///{self.template}")


class PostgresDatabases:
    """Databases of one Postgres server, version 13 or newer.

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
        self._copies: list[str] = []
        try:
            # template1 may have another encoding, or objects of its own.
            self._run(f"CREATE DATABASE {self._template} TEMPLATE template0 ENCODING 'UTF8'")
        except DBAPIError as error:
            reason = log.first_line(error)
            raise ConfigError(f"--gateway-database cannot be used: {reason}") from None
        migrated(self._url_of(self._template))

    def new(self) -> str:
        """Copy the template; return the URL of the copy."""
        name = f"{self._template}_{len(self._copies)}"
        self._copies.append(name)
        self._run(f"CREATE DATABASE {name} TEMPLATE {self._template}")
        return self._url_of(name)

    def give_back(self, url: str) -> None:
        """Drop a copy, although somebody may still be connected to it."""
        self._drop(str(make_url(url).database))

    def close(self) -> None:
        """Drop the template and the copies that nobody gave back, and close the connections."""
        for name in (*self._copies, self._template):
            self._drop(name)
        self._admin.dispose()

    def _drop(self, name: str) -> None:
        with suppress(DBAPIError):  # the server may be gone by now
            self._run(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def _run(self, statement: str) -> None:
        with self._admin.connect() as connection:
            connection.execute(text(statement))

    def _url_of(self, name: str) -> str:
        return self._url.set(database=name).render_as_string(hide_password=False)


Databases = SqliteDatabases | PostgresDatabases
