"""The description of the API in OpenAPI 3.1, made from the routes, the schemas and the codes.

Paths and methods come from the URL map. Bodies and replies come from the schemas in a view's
``@body`` and ``@responses``. Sentences come from the catalogue of codes and from docstrings. Only
the headers of verify are described here by hand.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from itertools import groupby
from typing import Any

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from flask import Flask
from marshmallow import Schema, fields
from werkzeug.routing import Rule

from gateway.errors import HTTP_TEXTS, Code
from gateway.version import __version__
from gateway.web.fields import Empty, Text

JSON = "application/json"
TAGS = {
    "auth": ("accounts", "Registration with a mailed code, login, passwords"),
    "project": ("projects", "API keys with end points and a daily allowance"),
    "health": ("health", "For load balancers and unit files"),
}
SECURITY = {
    "token": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "`auth_token` of login; the header may also hold it without `Bearer`.",
    },
    "project": {
        "type": "http",
        "scheme": "basic",
        "description": "`project_key` as user, `project_secret` as password.",
    },
}
INTRODUCTION = """
Every reply is `{{"header": {{"code", "message", "total", "count"}}, "data": {{}}}}`. HTTP is 200
when the endpoint answered, and `code` says what; another status when the request never got that
far.

A body is a JSON object in UTF-8 of at most 16 KiB, whatever its Content-Type; an empty body counts
as `{{}}`. Unknown fields are ignored. Types are strict: `"2"`, `2.0` and `true` are not integers.
The service refuses control characters, broken Unicode, `NaN`, the same key twice, and nesting
deeper than 20 levels.

User names and e-mail addresses are unique without regard to upper and lower case. Times are unix
seconds, except `created_time`, which is `YYYY-MM-DD HH:MM:SS` in the service's time zone.

To try it: *auth-code* mails a code, *register* makes an account with it, *login* gives an
`auth_token`; put that into **Authorize**.

| code | HTTP | message |
|---|---|---|
{codes}
"""


def describe(app: Flask) -> dict[str, Any]:
    """Return the description of an application's endpoints, without the pages."""
    plugin = MarshmallowPlugin(schema_name_resolver=_name_of)
    codes = "\n".join(f"| {code.number} | {code.status} | {code.text} |" for code in Code)
    spec = APISpec(
        title=app.config["SERVICE_NAME"],
        version=__version__,
        openapi_version="3.1.0",
        plugins=[plugin],
        info={"description": INTRODUCTION.format(codes=codes)},
        tags=[{"name": name, "description": text} for name, text in TAGS.values()],
    )
    plugin.converter.add_attribute_function(_rule_of)  # type: ignore[union-attr]
    for name, scheme in SECURITY.items():
        spec.components.security_scheme(name, scheme)
    for rule in app.url_map.iter_rules():
        feature = rule.endpoint.partition(".")[0]
        if feature in TAGS:
            operation = _operation(rule, app.view_functions[rule.endpoint], TAGS[feature][0])
            spec.path(path=rule.rule, operations={_method(rule): operation})
    return spec.to_dict()


def _name_of(schema: type[Schema] | Schema) -> str:
    return (schema if isinstance(schema, type) else type(schema)).__name__


def _rule_of(_converter: Any, field: fields.Field[Any], **_kwargs: Any) -> dict[str, Any]:
    """Describe a field of ours: its rule in words, and the part that JSON Schema can express."""
    if not isinstance(field, Text):
        return {}
    words = _markdown((inspect.getdoc(field) or "").partition("\n\n")[0])
    return {
        "description": f"{words} {field.min_length} to {field.max_length} characters.",
        **field.rule,
    }


def _method(rule: Rule) -> str:
    (method,) = (rule.methods or set()) - {"HEAD", "OPTIONS"}
    return method.lower()


def _operation(rule: Rule, view: Callable[..., Any], tag: str) -> dict[str, Any]:
    declared: Any = view
    summary, _, description = (inspect.getdoc(view) or "").partition("\n")
    operation: dict[str, Any] = {
        "operationId": rule.endpoint.replace(".", "_"),
        "summary": _markdown(summary).rstrip("."),
        "description": _markdown(description),
        "tags": [tag],
    }
    if rule.endpoint == "project.verify":
        return {**operation, **_verify()}
    codes = [Code.OK, *declared.codes]
    http_failures = [500]
    if hasattr(view, "wants_token"):
        operation["security"] = [{"token": []}]
        codes.append(Code.UNAUTHENTICATED)
    if hasattr(view, "schema"):
        operation["requestBody"] = {
            "content": {JSON: {"schema": declared.schema, "example": _example_of(declared.schema)}},
            "required": any(field.required for field in declared.schema().fields.values()),
        }
        codes += (Code.INVALID_PARAMETER, Code.MALFORMED_REQUEST)
        http_failures.append(413)
    if rule.endpoint != "health.healthz":
        codes.append(Code.DATABASE_UNAVAILABLE)
    codes.sort(key=lambda code: (code.status, code.number))
    operation["responses"] = {
        **{str(status): _http_failure(status) for status in http_failures},
        **{
            str(status): _response(declared.data, list(group))
            for status, group in groupby(codes, lambda code: code.status)
        },
    }
    return operation


def _response(data: type[Schema], codes: list[Code]) -> dict[str, Any]:
    """Describe the replies of one HTTP status; those with 200 differ by their code."""
    refusals = [code.number for code in codes if code is not Code.OK]
    shapes = []
    if Code.OK in codes:
        shapes.append(_envelope([0], data))
    if refusals:
        shapes.append(_envelope(refusals, Empty))
    headers = {}
    if Code.UNAUTHENTICATED in codes:
        headers["WWW-Authenticate"] = _header("The scheme to use: Bearer, at verify Basic")
    if any(code.retry_after for code in codes):
        headers["Retry-After"] = _header("Seconds to wait", "integer")
    return {
        "description": "\n\n".join(f"**{code.number}** {code.text}" for code in codes),
        "headers": headers,
        "content": {
            JSON: {
                "schema": shapes[0] if len(shapes) == 1 else {"oneOf": shapes},
                "examples": {
                    f"{code.number} {code.name.lower()}": {"value": _example(code, data)}
                    for code in codes
                },
            }
        },
    }


def _http_failure(status: int) -> dict[str, Any]:
    text = HTTP_TEXTS[status]
    return {"description": text, "content": {JSON: {"schema": _envelope([status], Empty)}}}


def _verify() -> dict[str, Any]:
    """Describe verify, which answers in headers."""
    allowance = "of the daily allowance; absent where there is no limit"
    used_up = _response(Empty, [Code.ACCESS_DENIED, Code.TOO_MANY_REQUESTS])
    used_up["headers"]["Retry-After"]["required"] = False
    used_up["headers"]["X-Gateway-Code"] = _header(
        "1000: the project is paused; 429: the allowance is used up", "integer"
    )
    return {
        "security": [{"project": []}],
        "parameters": [
            {
                "name": "pool",
                "in": "query",
                "description": "The pool whose end point was called",
                "schema": {"type": "string"},
                "allowEmptyValue": True,
            }
        ],
        "responses": {
            "204": {
                "description": "The request may pass, and is counted",
                "headers": {
                    "X-Gateway-Project": _header("The project's id", "integer"),
                    "X-Gateway-Key": _header("Its project_key"),
                    "X-Gateway-Pool": _header("Its pool_name"),
                    "RateLimit-Limit": _header(f"All {allowance}", "integer", required=False),
                    "RateLimit-Remaining": _header(f"Rest {allowance}", "integer", required=False),
                    "RateLimit-Reset": _header(
                        f"Seconds to the next day {allowance}", "integer", required=False
                    ),
                },
            },
            "401": _response(Empty, [Code.UNAUTHENTICATED]),
            "403": used_up,
            "500": _http_failure(500),
            "503": _response(Empty, [Code.DATABASE_UNAVAILABLE]),
        },
    }


def _header(description: str, kind: str = "string", *, required: bool = True) -> dict[str, Any]:
    return {"description": description, "required": required, "schema": {"type": kind}}


def _envelope(codes: list[int], data: type[Schema]) -> dict[str, Any]:
    failed = codes != [0]
    count = {"type": "integer", "const": 0} if failed else {"type": "integer", "minimum": 0}
    header = {
        "code": {"type": "integer", "enum": codes},
        "message": {"type": "string"} if failed else {"type": "string", "const": Code.OK.text},
        "total": count,
        "count": count,
    }
    return _object({"header": _object(header), "data": data})


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _example(code: Code, data: type[Schema]) -> dict[str, Any]:
    count = int(code is Code.OK)
    return {
        "header": {"code": code.number, "message": code.text, "total": count, "count": count},
        "data": _example_of(data) if code is Code.OK else {},
    }


def _example_of(schema: type[Schema]) -> dict[str, Any]:
    return {name: _example_value(field) for name, field in schema().fields.items()}


def _example_value(field: fields.Field[Any]) -> Any:
    if isinstance(field, fields.List) and isinstance(field.inner, fields.Nested):
        return [_example_of(type(field.inner.schema))]
    return field.metadata["example"]


def _markdown(text: str) -> str:
    return text.replace("``", "`").replace("\n", " ").strip()
