"""The unbound extensions, and column types."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timezone
from importlib import import_module
from typing import Any

from flask import Flask
from flask_jwt_extended import JWTManager
from flask_mail import Mail
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import DateTime, Dialect, MetaData
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.types import TypeDecorator

from gateway import crypto, sqlite
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
    jwt.init_app(app)
    mail.init_app(app)
    app.teardown_request(_end_session)
    with app.app_context():
        if db.engine.dialect.name == "sqlite":
            sqlite.prepare(db.engine)
        else:
            from gateway import postgres  # noqa: PLC0415 - its driver is an extra

            postgres.prepare(db.engine)


def _end_session(_error: BaseException | None) -> None:
    # Flask-SQLAlchemy does it once the request is gone, and with it the bound on its waits.
    with suppress(SQLAlchemyError):
        db.session.remove()


def upsert(model: type[Base]) -> Any:
    """Return the dialect's INSERT for the model, the one that knows ON CONFLICT."""
    # The other dialect would take 2 MiB of each worker for nothing.
    return import_module(f"sqlalchemy.dialects.{db.engine.dialect.name}").insert(model)
