"""The envelope: how a request's body is read, and how every reply is written.

This is the only file that spells "header". ``takes`` reads, ``reply`` and ``failure`` write, and
the error handlers turn whatever was raised into a failure (README, Requests and Codes).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache, wraps
from typing import Any, NoReturn, TypeVar

from flask import Flask, Request, Response, jsonify, request
from flask.sessions import NullSession, SessionInterface, SessionMixin
from marshmallow import EXCLUDE, Schema, ValidationError
from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    IntegrityError,
    NotSupportedError,
    ProgrammingError,
    TimeoutError,
)
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from gateway import log
from gateway.config import MAX_BODY_BYTES
from gateway.errors import HTTP_TEXTS, ApiError, Code

# Postgres's words for what SQLite calls an OperationalError: no such table, no such column, no
# right to it. The operator has yet to migrate, or to grant.
SCHEMA_ABSENT = {"42P01", "42703", "42501"}
View = TypeVar("View", bound=Callable[..., Response])

MAX_NESTING = 20
MAX_DIGITS = 19  # of an integer worth reading as one


def init_app(app: Flask) -> None:
    """Answer every failure of the application with the envelope."""
    json_provider: Any = app.json
    json_provider.sort_keys = False
    json_provider.ensure_ascii = False
    # A redirect would answer outside the envelope; "/api//v1" is simply not an endpoint.
    app.url_map.merge_slashes = False
    app.session_interface = _NoSessions()
    app.register_error_handler(ApiError, failure)
    app.register_error_handler(HTTPException, _http_failure)
    app.register_error_handler(DBAPIError, _database_failure)
    app.register_error_handler(TimeoutError, _database_failure)
    app.register_error_handler(Exception, _internal_failure)


class _NoSessions(SessionInterface):
    """There are no cookies; Flask's own sessions would be set up for every request all the same."""

    def open_session(self, app: Flask, request: Request) -> NullSession:
        """Return the session that holds nothing, and refuses what is put in."""
        return NullSession()

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        """There is nothing to save."""


def reply(data: Mapping[str, Any] | None = None, *, total: int = 1, count: int = 1) -> Response:
    """Write a success; for a list, ``total`` counts all matches and ``count`` this page's."""
    ok = Code.OK
    return _write(ok.number, ok.status, ok.text, total=total, count=count, data=data)


def failure(error: ApiError) -> Response:
    """Write a failure with the headers its code calls for."""
    response = _write(error.code.number, error.code.status, error.text)
    if error.code is Code.UNAUTHENTICATED:
        response.headers["WWW-Authenticate"] = "Bearer"
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(error.retry_after)
    return response


def _write(
    code: int,
    status: int,
    message: str,
    *,
    total: int = 0,
    count: int = 0,
    data: Mapping[str, Any] | None = None,
) -> Response:
    log.note(code=code)
    header = {"code": code, "message": message, "total": total, "count": count}
    response = jsonify(header=header, data=data or {})
    response.status_code = status
    response.headers["Cache-Control"] = "no-store"  # replies hold tokens and secrets
    return response


def _http_failure(error: HTTPException) -> Response:
    status = error.code or 500
    response = _write(status, status, HTTP_TEXTS.get(status, error.name))
    for name, value in error.get_headers():
        if name in ("Allow", "Retry-After"):
            response.headers[name] = value
    return response


def _database_failure(error: DBAPIError | TimeoutError) -> Response:
    absent = getattr(getattr(error, "orig", None), "sqlstate", None) in SCHEMA_ABSENT
    ours = isinstance(error, DataError | IntegrityError | NotSupportedError | ProgrammingError)
    connected = getattr(error, "statement", None) is not None
    if ours and connected and not absent:
        return _internal_failure(error)  # our mistake, not the database's absence
    log.logger.error("database unavailable: %s", log.first_line(error))
    return failure(ApiError(Code.DATABASE_UNAVAILABLE))


def _internal_failure(error: Exception) -> Response:
    log.logger.error("unhandled exception", exc_info=error)
    return _write(500, 500, HTTP_TEXTS[500])


def takes(schema: type[Schema]) -> Callable[[Callable[..., Response]], Callable[..., Response]]:
    """Hand a view the fields of the request's body, as the schema reads them.

    The body is JSON, whatever its Content-Type; an empty one counts as ``{}``; fields the schema
    does not know are ignored. The schema stays readable as the view's ``schema``.

    :raises ApiError: 1004 when the body is not a JSON object or a required parameter is missing,
        1003 when a parameter is invalid; the message names every bad field.
    :raises RequestEntityTooLarge: when the body is over 16 KiB.
    """

    def decorate(view: Callable[..., Response]) -> Callable[..., Response]:
        @wraps(view)
        def loaded() -> Response:
            return view(**read(schema, _parse(_read_body())))

        loaded.schema = schema  # type: ignore[attr-defined]
        return loaded

    return decorate


def gives(data: type[Schema], *codes: Code) -> Callable[[View], View]:
    """Say what a view answers, for the API page and for the tests that compare.

    :param data: the shape of ``data`` when all is well.
    :param codes: what this view refuses on its own account; what any view may answer, like 1003
        for a bad field, goes without saying.
    """

    def decorate(view: View) -> View:
        view.data, view.codes = data, codes  # type: ignore[attr-defined]
        return view

    return decorate


def read(schema: type[Schema], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters as a schema reads them; it drops those it does not know.

    :raises ApiError: 1004 when one is missing, 1003 when one is invalid.
    """
    reader = _reader(schema)
    try:
        return dict(reader.load(parameters, unknown=EXCLUDE))
    except ValidationError as error:
        _refuse(reader, parameters, error)


@cache
def _reader(schema: type[Schema]) -> Schema:
    """Return the one instance of a schema; making it copies all its fields."""
    return schema()


def _read_body() -> bytes:
    """Return the whole body, or refuse it; never what came of a body that was cut."""
    try:
        body = request.get_data(cache=False)
    except HTTPException:
        raise
    except Exception:  # noqa: BLE001 - bad framing is told by exceptions of the server's own
        body = None
    if body is None or len(body) < (request.content_length or 0):
        raise ApiError(Code.MALFORMED_REQUEST, "The body did not arrive whole; send it again")
    if len(body) > MAX_BODY_BYTES:
        raise RequestEntityTooLarge
    return body


def _refuse(schema: Schema, parameters: Mapping[str, Any], error: ValidationError) -> NoReturn:
    problems = {name: " ".join(texts) for name, texts in error.messages_dict.items()}
    missing = [n for n, f in schema.fields.items() if f.required and n not in parameters]
    code = Code.MALFORMED_REQUEST if missing else Code.INVALID_PARAMETER
    raise ApiError(code, "; ".join(f"{name} {problem}" for name, problem in problems.items()))


def _parse(body: bytes) -> dict[str, Any]:
    try:
        parameters = json.loads(
            body.decode("utf-8-sig") or "{}",
            object_pairs_hook=_unique,
            parse_constant=_not_json,
            parse_int=_bounded_integer,
        )
    except (ValueError, RecursionError):
        raise ApiError(Code.MALFORMED_REQUEST, "The body is not valid JSON in UTF-8") from None
    if not isinstance(parameters, dict):
        raise ApiError(Code.MALFORMED_REQUEST, "The body must be a JSON object, in braces")
    if _nests_deeper(parameters, MAX_NESTING):
        raise ApiError(Code.MALFORMED_REQUEST, f"The body nests deeper than {MAX_NESTING} levels")
    return parameters


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ApiError(Code.MALFORMED_REQUEST, "The body holds the same key twice; send each once")
    return fields


def _not_json(_constant: str) -> NoReturn:
    raise ValueError("NaN and Infinity are not JSON")


def _bounded_integer(digits: str) -> int | float:
    # Thousands of digits take quadratic time; as a float they are refused where they matter.
    return int(digits) if len(digits) <= MAX_DIGITS else float(digits)


def _nests_deeper(value: Any, levels: int) -> bool:
    layer = [value]
    for _ in range(levels):
        layer = [
            child
            for parent in layer
            for child in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(child, dict | list)
        ]
    return bool(layer)
