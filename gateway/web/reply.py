"""Write every reply in the API's envelope: successes, refusals, and the answers to errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from flask import Flask, Request, Response, jsonify
from flask.sessions import SessionInterface
from marshmallow import Schema
from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    IntegrityError,
    NotSupportedError,
    ProgrammingError,
    TimeoutError,
)
from werkzeug.exceptions import HTTPException

from gateway import log
from gateway.errors import HTTP_TEXTS, ApiError, Code

Data = Mapping[str, Any] | None
View = TypeVar("View", bound=Callable[..., Response])

# SQLSTATE of Postgres for a missing table, a missing column, a missing right. SQLite calls the
# same an OperationalError. The operator has yet to migrate the database, or to grant the right.
SCHEMA_MISSING = {"42P01", "42703", "42501"}
# A pooler has lost a prepared statement, or has one of this name.
POOLER_FORGETS = {"26000", "42P05"}


def init_app(app: Flask) -> None:
    """Answer every failure of the application in the envelope."""
    json_provider: Any = app.json
    json_provider.sort_keys = False
    json_provider.ensure_ascii = False
    # "/api//v1" is not an endpoint. A redirect would answer it outside the envelope.
    app.url_map.merge_slashes = False
    app.session_interface = _NoSessions()
    app.register_error_handler(ApiError, failure)
    app.register_error_handler(HTTPException, http_failure)
    app.register_error_handler(DBAPIError, _database_failure)
    app.register_error_handler(TimeoutError, _database_failure)
    app.register_error_handler(Exception, _internal_failure)


class _NoSessions(SessionInterface):
    """Turn Flask's sessions off: the API sets no cookie, and Flask would prepare one each time."""

    def open_session(self, app: Flask, request: Request) -> None:
        """Return no session; Flask takes one that is empty and refuses to store."""


def responses(data: type[Schema], *codes: Code) -> Callable[[View], View]:
    """Declare what a view answers, for the API's description and the tests that compare with it.

    :param data: the schema of ``data`` in a success.
    :param codes: the refusals of this view. Leave out those that every view has, such as 1003.
    """

    def decorate(view: View) -> View:
        view.data, view.codes = data, codes  # type: ignore[attr-defined]
        return view

    return decorate


def reply(data: Data = None, *, total: int = 1, count: int = 1) -> Response:
    """Write a success.

    :param total: of a list, the number of all matches.
    :param count: of a list, the number of matches on this page.
    """
    ok = Code.OK
    return _write(ok.number, ok.status, ok.text, total=total, count=count, data=data)


def failure(error: ApiError) -> Response:
    """Write a refusal, with the headers that its code needs."""
    response = _write(error.code.number, error.status, error.text)
    if error.code is Code.UNAUTHENTICATED:
        response.headers["WWW-Authenticate"] = "Bearer"
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(error.retry_after)
    response.headers.update(error.headers)
    return response


def _write(
    code: int, status: int, message: str, *, total: int = 0, count: int = 0, data: Data = None
) -> Response:
    log.note(code=code)
    header = {"code": code, "message": message, "total": total, "count": count}
    response = jsonify(header=header, data=data or {})
    response.status_code = status
    response.headers["Cache-Control"] = "no-store"  # replies hold tokens and secrets
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def http_failure(error: HTTPException) -> Response:
    """Write the answer to one of HTTP's own failures."""
    status = error.code or 500
    response = _write(status, status, HTTP_TEXTS.get(status, error.name))
    for name, value in error.get_headers():
        if name in ("Allow", "Retry-After"):
            response.headers[name] = value
    return response


def _database_failure(error: DBAPIError | TimeoutError) -> Response:
    if _is_our_mistake(error):
        return _internal_failure(error)
    log.logger.error("database unavailable: %s", log.first_line(error))
    return failure(ApiError(Code.DATABASE_UNAVAILABLE))


def _is_our_mistake(error: DBAPIError | TimeoutError) -> bool:
    """Tell whether the database refused a statement because the statement is wrong."""
    wrong = DataError | IntegrityError | NotSupportedError | ProgrammingError
    if not isinstance(error, wrong) or error.statement is None:  # the connection was not made
        return False
    return getattr(error.orig, "sqlstate", None) not in SCHEMA_MISSING | POOLER_FORGETS


def _internal_failure(error: Exception) -> Response:
    log.logger.error("unhandled exception", exc_info=error)
    return _write(500, 500, HTTP_TEXTS[500])
