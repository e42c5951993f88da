"""Tell load balancers and unit files whether the process is up and can serve."""

from __future__ import annotations

from flask import Blueprint, Response

from gateway.db import db
from gateway.db.schema import schema_is_current
from gateway.errors import ApiError, Code
from gateway.web.fields import Empty
from gateway.web.reply import reply, responses

bp = Blueprint("health", __name__)


@bp.get("/healthz")
@responses(Empty)
def healthz() -> Response:
    """Say that the process answers."""
    return reply()


@bp.get("/readyz")
@responses(Empty)
def readyz() -> Response:
    """Say that the database answers and that its schema is this version's."""
    with db.engine.connect() as connection:
        if not schema_is_current(connection):
            raise ApiError(
                Code.DATABASE_UNAVAILABLE,
                "The database schema is not current; run: gateway db upgrade",
            )
    return reply()
