"""The replies in the description: their schemas, headers and examples.

Every reply is an object ``{header, data}``. All refusals share one schema. The numbers that
``header.code`` can have in an answer stand beside its schema, in ``x-codes``, because a generator
of clients would make a class of each schema that names them.
"""

from __future__ import annotations

from typing import Any

from apispec import APISpec
from marshmallow import Schema, fields

from gateway.errors import HTTP_TEXTS, Code
from gateway.web.fields import Empty

JSON = "application/json"


def add_shared(spec: APISpec, header: dict[str, Any]) -> None:
    """Add the schemas that all replies share."""
    spec.components.schema("Empty", schema=Empty)
    spec.components.schema("Header", header)
    spec.components.schema("Refusal", _envelope(Empty))


def add_reply(spec: APISpec, data: type[Schema]) -> None:
    """Add the schema of HTTP 200 with some data, once: what a success and a refusal look like."""
    if _reply_name(data) in spec.components.schemas:
        return
    if data is not Empty:
        spec.components.schema(name_of(data), schema=data)
        # A refusal has none of the fields. Generators for Go and Java cannot read a union.
        spec.components.schemas[name_of(data)].pop("required")
    spec.components.schema(_reply_name(data), _envelope(data))


def _reply_name(data: type[Schema]) -> str:
    return "Done" if data is Empty else f"{name_of(data)}Reply"


def response(data: type[Schema], codes: list[Code]) -> dict[str, Any]:
    """Describe the replies of one HTTP status; those with 200 differ by their code."""
    headers = {}
    if Code.UNAUTHENTICATED in codes:
        headers["WWW-Authenticate"] = _header(
            "The scheme to use: Bearer, at verify Basic", "string"
        )
    if any(code.retry_after for code in codes):
        headers["Retry-After"] = _header("Seconds to wait", "integer")
    schema = _ref(_reply_name(data) if Code.OK in codes else "Refusal")
    ok = example_of(data)
    examples = {
        f"{code.number} {code.name.lower()}": {
            "value": _example_reply(code.number, code.text, ok if code is Code.OK else None)
        }
        for code in codes
    }
    return {
        "description": "\n\n".join(f"**{code.number}** {code.text}" for code in codes),
        "x-codes": [code.number for code in codes],
        "headers": headers,
        "content": {JSON: {"schema": schema, "examples": examples}},
    }


def http_failure(status: int) -> dict[str, Any]:
    """Describe one of HTTP's own failures, where the code is the HTTP status."""
    text = HTTP_TEXTS[status]
    content = {"schema": _ref("Refusal"), "example": _example_reply(status, text)}
    return {"description": text, "x-codes": [status], "content": {JSON: content}}


def _header(description: str, kind: str) -> dict[str, Any]:
    return {"description": description, "required": True, "schema": {"type": kind}}


def _example_reply(number: int, message: str, data: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return a reply; without ``data`` a refusal."""
    total = 0 if data is None else 1
    header = {"code": number, "message": message, "total": total, "count": total}
    return {"header": header, "data": data or {}}


def example_of(schema: type[Schema]) -> dict[str, Any]:
    """Return an object of a schema."""
    return {name: _example_value(field) for name, field in schema().fields.items()}


def _example_value(field: fields.Field[Any]) -> Any:
    if isinstance(field, fields.List) and isinstance(field.inner, fields.Nested):
        return [example_of(type(field.inner.schema))]
    return field.metadata["example"]


def _envelope(data: type[Schema]) -> dict[str, Any]:
    properties = {"header": _ref("Header"), "data": _ref(name_of(data))}
    return {"type": "object", "properties": properties, "required": list(properties)}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def name_of(schema: type[Schema] | Schema) -> str:
    """Return the name of a schema in the description."""
    return (schema if isinstance(schema, type) else type(schema)).__name__
