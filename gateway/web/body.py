"""Read the body of a request and check it against a schema."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache, wraps
from typing import Any, NoReturn

from flask import Response, request
from marshmallow import Schema, ValidationError
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from gateway.errors import ApiError, Code
from gateway.settings import MAX_BODY_BYTES

MAX_NESTING = 20
MAX_DIGITS = 19  # an integer with more digits is out of range anyway


def body(schema: type[Schema]) -> Callable[[Callable[..., Response]], Callable[..., Response]]:
    """Pass the fields of the request's body to a view as keyword arguments.

    The body is parsed as JSON, whatever its Content-Type says. An empty body counts as ``{}``. The
    schema stays readable as ``view.schema``, for the API's description.

    :raises ApiError: 1004 when the body is not a JSON object or a required parameter is missing,
        1003 when a parameter is invalid; the message names every bad field.
    :raises RequestEntityTooLarge: when the body is over 16 KiB.
    """

    def decorate(view: Callable[..., Response]) -> Callable[..., Response]:
        @wraps(view)
        def with_body() -> Response:
            return view(**read(schema, _parse(_read_bytes())))

        with_body.schema = schema  # type: ignore[attr-defined]
        return with_body

    return decorate


def _read_bytes() -> bytes:
    """Return the whole body, or refuse it; never return a part of a body."""
    try:
        content = request.get_data(cache=False)
    except HTTPException:
        raise
    except Exception:  # noqa: BLE001 - each server has its own exceptions for bad framing
        content = None
    if content is None or len(content) < (request.content_length or 0):
        raise ApiError(Code.MALFORMED_REQUEST, "The body did not arrive whole; send it again")
    if len(content) > MAX_BODY_BYTES:
        raise RequestEntityTooLarge
    return content


def _parse(content: bytes) -> dict[str, Any]:
    try:
        parameters = json.loads(
            content.decode("utf-8-sig") or "{}",
            object_pairs_hook=_refuse_repeated_keys,
            parse_constant=_refuse_constant,
            parse_int=_parse_integer,
        )
    except (ValueError, RecursionError):
        raise ApiError(Code.MALFORMED_REQUEST, "The body is not valid JSON in UTF-8") from None
    if not isinstance(parameters, dict):
        raise ApiError(Code.MALFORMED_REQUEST, "The body must be a JSON object, in braces")
    if _nests_deeper(parameters, MAX_NESTING):
        raise ApiError(Code.MALFORMED_REQUEST, f"The body nests deeper than {MAX_NESTING} levels")
    return parameters


def _refuse_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ApiError(Code.MALFORMED_REQUEST, "The body holds the same key twice; send each once")
    return fields


def _refuse_constant(_constant: str) -> NoReturn:
    raise ValueError("NaN and Infinity are not JSON")


def _parse_integer(digits: str) -> int | float:
    # Parsing thousands of digits takes quadratic time. As a float, the number is refused by the
    # field that it is for.
    return int(digits) if len(digits) <= MAX_DIGITS else float(digits)


def _nests_deeper(value: Any, levels: int) -> bool:
    children = value.values() if isinstance(value, dict) else value
    inner = [child for child in children if isinstance(child, dict | list)]
    return bool(inner) and (levels == 1 or any(_nests_deeper(c, levels - 1) for c in inner))


def read(schema: type[Schema], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters as the schema loads them, without those it does not know.

    :raises ApiError: 1004 when one is missing, 1003 when one is invalid.
    """
    loader = _loader(schema)
    try:
        return dict(loader.load(parameters))
    except ValidationError as error:
        is_missing = any(f.required and n not in parameters for n, f in loader.fields.items())
        code = Code.MALFORMED_REQUEST if is_missing else Code.INVALID_PARAMETER
        problems = (f"{name} {' '.join(texts)}" for name, texts in error.messages_dict.items())
        raise ApiError(code, "; ".join(problems)) from None


@cache
def _loader(schema: type[Schema]) -> Schema:
    """Return the one instance of a schema, because making it copies all its fields."""
    return schema()
