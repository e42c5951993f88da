"""Tell load balancers and unit files whether the process is up and can serve."""

from __future__ import annotations

from flask import Blueprint, Response, current_app

from gateway.db import readiness
from gateway.errors import ApiError, Code
from gateway.web.client import is_forwarded
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
    """Say that the database answers, takes writes, and has a schema that this version serves."""
    writes = current_app.extensions.setdefault("gateway.writes", readiness.Writes())
    problem = readiness.problem(current_app.config) or writes.problem()
    if problem is None:
        return reply()
    # Through a proxy anybody may ask. The detail may name a host, a path or a user.
    words = problem.reason if is_forwarded() else ": ".join(filter(None, problem))
    raise ApiError(Code.DATABASE_UNAVAILABLE, words)
