"""Is the process up, and can it serve? For load balancers and unit files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flask import Blueprint, Response
from sqlalchemy import Connection, Select, column, inspect, select, table

from gateway.envelope import gives, reply
from gateway.errors import ApiError, Code
from gateway.extensions import db
from gateway.fields import Nothing

_MIGRATIONS = Path(__file__).parent / "migrations" / "versions"
# What Alembic keeps; loading Alembic itself to ask would cost each worker 9 MiB.
_VERSION: Select[Any] = select(column("version_num")).select_from(table("alembic_version"))

bp = Blueprint("health", __name__)


@bp.get("/healthz")
@gives(Nothing)
def healthz() -> Response:
    """Say that the process answers."""
    return reply()


@bp.get("/readyz")
@gives(Nothing)
def readyz() -> Response:
    """Say that the database answers and that its schema is this version's."""
    with db.engine.connect() as connection:
        if not schema_is_current(connection):
            raise ApiError(
                Code.DATABASE_UNAVAILABLE, "The database schema is not current; run db upgrade"
            )
    return reply()


def schema_is_current(connection: Connection) -> bool:
    """Tell whether a database's schema is this version's."""
    if not inspect(connection).has_table("alembic_version"):
        return False
    return connection.scalars(_VERSION).all() == [latest_version()]


def latest_version() -> str:
    """Return the number of the last migration; their files begin with it."""
    return max(file.name.partition("_")[0] for file in _MIGRATIONS.glob("[0-9]*.py"))
