"""Is the process up, and can it serve? For load balancers and unit files."""

from __future__ import annotations

from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from flask import Blueprint, Response
from sqlalchemy import Connection

from gateway.envelope import gives, reply
from gateway.errors import ApiError, Code
from gateway.extensions import db, migrate
from gateway.fields import Nothing

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
    present = set(MigrationContext.configure(connection).get_current_heads())
    return present == set(ScriptDirectory(migrate.directory).get_heads())
