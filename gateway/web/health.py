"""Tell load balancers and unit files whether the process is up and can serve."""

from __future__ import annotations

from flask import Blueprint, Response, current_app

from gateway.db import db, dialect, facts
from gateway.db.schema import Schema, schema_of
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
    """Say that the database answers, can be written, and has a schema that this version serves."""
    if reason := _why_not():
        raise ApiError(Code.DATABASE_UNAVAILABLE, reason)
    return reply()


def _why_not() -> str:
    """Return why this node cannot serve, or ""."""
    with db.engine.connect() as connection:
        if reason := dialect().why_unfit(connection):
            return f"The database cannot serve: {reason}"
        schema = schema_of(connection)
        if schema is Schema.OLD:
            return "The database schema is not current; run: gateway db upgrade"
        if not schema.can_serve:
            return "The database schema is newer than this node; upgrade the node"
        stored = facts.stored_zone(connection)
        return facts.conflict(stored, current_app.config["TIMEZONE"])
