"""The database: the extension, the base of all models, column types, the choice of dialect.

sqlite.py    connections to SQLite
postgres/    connections to Postgres
deadline.py  how long to wait
shared.py    settings that all nodes must share
readiness.py can this node serve?
hot_sql.py   runs the busiest endpoints' SQL
schema.py    is the schema current?
purge.py     deletes what has expired
migrations/  changes of tables, indexes and triggers
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timezone
from importlib import import_module
from typing import Any

from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import DateTime, Dialect, MetaData
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.types import TypeDecorator

from gateway.db.deadline import POOL_TIMEOUT, RequestPool
from gateway.errors import ConfigError
from gateway.settings import THREADS


class Base(DeclarativeBase):
    """The base of every model; constraints get names that migrations can use."""

    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ix": "ix_%(table_name)s_%(column_0_name)s",
        }
    )


class UtcDateTime(TypeDecorator[datetime]):
    """A moment in UTC. SQLite drops the time zone, so this type restores it when it reads."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert a moment to UTC; raise ValueError when it has no time zone."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a datetime without a time zone cannot be stored")
        return value.astimezone(timezone.utc)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the stored moment with its time zone."""
        if value is None or value.tzinfo is not None:
            return value
        return value.replace(tzinfo=timezone.utc)


# An object keeps the values that the rules decided by, also after the commit: a token must be
# issued for the account as it was when its password was checked.
db = SQLAlchemy(
    model_class=Base,
    engine_options={"poolclass": RequestPool, "pool_timeout": POOL_TIMEOUT},
    session_options={"expire_on_commit": False},
)


def init_app(app: Flask) -> None:
    """Make the application's engine, and prepare its connections.

    :raises ConfigError: when the engine cannot be made from its settings.
    """
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {
        # Connections beyond pool_size are closed after each use.
        "pool_size": THREADS,
        "max_overflow": 3,
        "pool_use_lifo": True,  # the connection used last still has its pages and plans in memory
        **app.config["SQLALCHEMY_ENGINE_OPTIONS"],
        "hide_parameters": True,  # they hold hashes and addresses, and tracebacks are logged
    }
    try:
        db.init_app(app)
    except (TypeError, ValueError, AttributeError, SQLAlchemyError):
        raise ConfigError(
            "SQLALCHEMY_DATABASE_URI and SQLALCHEMY_ENGINE_OPTIONS make no database engine"
        ) from None
    app.teardown_request(_end_session)
    with app.app_context():
        dialect().prepare(db.engine)


def _end_session(_error: BaseException | None) -> None:
    # Flask-SQLAlchemy ends the session when the request context is gone. By then the limit on the
    # request's waits is gone, too, and a hanging server would hold the thread.
    with suppress(SQLAlchemyError):
        db.session.remove()


def dialect() -> Any:
    """Return the module for the engine's kind of database: ``db.sqlite`` or ``db.postgres``.

    Each has ``prepare(engine)``, ``insert(model)``, ``not_durable(connection)`` and
    ``run(connection, statement, ...)``. The other one is not loaded, because it would take 2 MiB of
    each worker.
    """
    names = {"sqlite": "sqlite", "postgresql": "postgres"}
    return import_module(f"gateway.db.{names[db.engine.dialect.name]}")


def not_durable() -> None:
    """Let the commit of the session's transaction not wait for the disk.

    Call it before the first write, where a lost commit only costs a count or a second mail. A power
    cut can undo such a commit, and on Postgres the end of the server can; ours cannot.
    """
    dialect().not_durable(db.session.connection())
