"""The unbound extensions, what is done to a database connection, and column types."""

from __future__ import annotations

import os
import random
import sqlite3
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from flask import Flask
from flask_jwt_extended import JWTManager
from flask_mail import Mail
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import DateTime, Dialect, Engine, Executable, MetaData, Row, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.types import TypeDecorator

from gateway import crypto
from gateway.config import ConfigError


class Base(DeclarativeBase):
    """What every model derives from; constraints have names that migrations can use."""

    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ix": "ix_%(table_name)s_%(column_0_name)s",
        }
    )


class UtcDateTime(TypeDecorator[datetime]):
    """An aware moment in UTC; SQLite drops the zone, so it is put back on the way out."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Turn an aware moment into UTC; raise ValueError for a naive one."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a naive datetime cannot be stored")
        return value.astimezone(timezone.utc)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the stored moment, aware."""
        if value is None or value.tzinfo is not None:
            return value
        return value.replace(tzinfo=timezone.utc)


db = SQLAlchemy(model_class=Base)
jwt = JWTManager()
mail = Mail()
migrate = Migrate(directory=str(Path(__file__).parent / "migrations"))

PATIENCE = 5  # seconds that SQLite may be locked; a reply takes at most 10
_BEGINS_NO_WRITE = ("SELECT", "PRAGMA", "EXPLAIN", "BEGIN")


def init_app(app: Flask) -> None:
    """Bind every extension to the application.

    :raises gateway.config.ConfigError: when the engine cannot be made from its settings.
    """
    app.config["JWT_SECRET_KEY"] = crypto.derive_key(app.config["SECRET_KEY"], "jwt")
    try:
        db.init_app(app)
    except (TypeError, ValueError, AttributeError, SQLAlchemyError):
        raise ConfigError(
            "SQLALCHEMY_DATABASE_URI and SQLALCHEMY_ENGINE_OPTIONS make no database engine"
        ) from None
    migrate.init_app(app, db)
    jwt.init_app(app)
    mail.init_app(app)
    app.teardown_request(_end_session)
    with app.app_context():
        if db.engine.dialect.name == "sqlite":
            _prepare_sqlite(db.engine)
        else:
            _prepare_postgres(db.engine)


def _end_session(_error: BaseException | None) -> None:
    # Flask-SQLAlchemy does it once the request is gone, and with it the bound on its waits.
    with suppress(SQLAlchemyError):
        db.session.remove()


def upsert(model: type[Base]) -> Any:
    """Return the dialect's INSERT for the model, the one that knows ON CONFLICT."""
    dialect: Any = {"sqlite": sqlite, "postgresql": postgresql}[db.engine.dialect.name]
    return dialect.insert(model)


def run_alone(statement: Executable, values: Mapping[str, Any]) -> Row[Any] | None:
    """Run one statement in a transaction of its own; return its first row, once it is committed.

    Postgres hears of it in one message, so a row is locked for as short as can be. On SQLite the
    commit does not wait for the disk: it outlives any process, but may go with a power cut.
    """
    alone = {
        "sqlite": {"synchronous": "NORMAL"},
        "postgresql": {"isolation_level": "AUTOCOMMIT"},
    }[db.engine.dialect.name]
    with db.engine.connect().execution_options(**alone) as connection:
        row = connection.execute(statement, values).first()
        connection.commit()
    return row


def _prepare_sqlite(engine: Engine) -> None:
    """Make SQLite durable, patient, and as isolated as Postgres's READ COMMITTED.

    The driver's own transactions begin with the first read and cannot be upgraded safely: two
    processes that read and then write fail or lose updates. Here reads stand alone, and the
    first writing statement takes the write lock before it runs.
    """

    file = Path(engine.url.database or "")
    files = (file.parent, file, Path(f"{file}-wal"), Path(f"{file}-shm"))

    @event.listens_for(engine, "connect")
    def configure(connection: Any, record: Any) -> None:
        record.info["writable"] = all(os.access(f, os.W_OK) for f in files if f.exists())
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {PATIENCE * 1000}")
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA foreign_keys = ON")
        record.info["synchronous"] = None
        cursor.close()

    @event.listens_for(engine, "before_cursor_execute")
    def begin(
        connection: Any, cursor: Any, statement: str, _params: Any, _context: Any, _many: bool
    ) -> None:
        in_transaction = connection.connection.dbapi_connection.in_transaction
        if not in_transaction and not statement.lstrip().upper().startswith(_BEGINS_NO_WRITE):
            synchronous = connection.get_execution_options().get("synchronous", "FULL")
            try:
                if connection.info["synchronous"] != synchronous:
                    cursor.execute(f"PRAGMA synchronous = {synchronous}")
                    connection.info["synchronous"] = synchronous
                _take_write_lock(cursor)
            except sqlite3.OperationalError as error:  # SQLAlchemy 2.0 would pass it on as it is
                raise OperationalError(statement, None, error) from error

    @event.listens_for(engine, "checkin")
    def close_read_only(connection: Any, record: Any) -> None:
        # It stays read-only when the files no longer are, so it is not kept beyond its request.
        if connection is not None and not record.info["writable"]:
            record.invalidate()


def _take_write_lock(cursor: sqlite3.Cursor) -> None:
    """Begin a writing transaction, asking for the lock every few milliseconds.

    SQLite's own waiting sleeps for up to 100 ms, and newcomers go first: of verify by 16 clients
    at once, the slowest hundredth takes 600 ms with it and 46 ms like this.

    :raises sqlite3.OperationalError: when it stays locked.
    """
    until = time.monotonic() + PATIENCE
    cursor.execute("PRAGMA busy_timeout = 0")
    try:
        while True:
            try:
                cursor.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if str(error) != "database is locked" or time.monotonic() > until:
                    raise
                time.sleep(random.uniform(0.001, 0.005))  # noqa: S311 - nobody's secret
            else:
                return
    finally:
        cursor.execute(f"PRAGMA busy_timeout = {PATIENCE * 1000}")


def _prepare_postgres(engine: Engine) -> None:
    from gateway import postgres  # noqa: PLC0415 - its driver is an extra

    @event.listens_for(engine, "do_connect")
    def connect(_dialect: Any, _record: Any, _args: Any, parameters: dict[str, Any]) -> Any:
        return postgres.connect(parameters)
