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


def add_shared(spec: APISpec) -> None:
    """Add the schemas that all replies share."""
    spec.components.schema("Empty", schema=Empty)
    spec.components.schema("Header", _header_schema())
    spec.components.schema("Refusal", _envelope(_ref("Empty")))


def _header_schema() -> dict[str, Any]:
    return _object(
        code=_int32("0: done. Any other number says why not; `x-codes` lists those of an answer."),
        message={"type": "string", "description": "What to do, in a sentence; OK for code 0."},
        total=_int32("Of a list, the number of all matches; else 1 for code 0, and 0 otherwise."),
        count=_int32("Of a list, the number on this page; else 1 for code 0, and 0 otherwise."),
    )


def add_reply(spec: APISpec, data: type[Schema]) -> None:
    """Add the schema of HTTP 200 with some data, once: what a success and a refusal look like."""
    if _reply_name(data) in spec.components.schemas:
        return
    if data is not Empty:
        spec.components.schema(name_of(data), schema=data)
        # A refusal has none of the fields. Generators for Go and Java cannot read a union.
        spec.components.schemas[name_of(data)].pop("required")
    spec.components.schema(_reply_name(data), _envelope(_ref(name_of(data))))


def _reply_name(data: type[Schema]) -> str:
    return "Done" if data is Empty else f"{name_of(data)}Reply"


def response(data: type[Schema], codes: list[Code]) -> dict[str, Any]:
    """Describe the replies of one HTTP status; those with 200 differ by their code."""
    headers = {}
    if Code.UNAUTHENTICATED in codes:
        headers["WWW-Authenticate"] = reply_header("The scheme to use: Bearer, at verify Basic")
    if any(code.retry_after for code in codes):
        headers["Retry-After"] = reply_header("Seconds to wait", "integer")
    schema = _ref(_reply_name(data) if Code.OK in codes else "Refusal")
    examples = {
        f"{code.number} {code.name.lower()}": {"value": _example_reply(code, data)}
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
    content = {"schema": _ref("Refusal"), "example": _example_refusal(status, text)}
    return {"description": text, "x-codes": [status], "content": {JSON: content}}


def reply_header(
    description: str, kind: str = "string", *, required: bool = True
) -> dict[str, Any]:
    """Describe a header of a reply.

    :param required: whether the header is always there.
    """
    return {"description": description, "required": required, "schema": {"type": kind}}


def _example_reply(code: Code, data: type[Schema]) -> dict[str, Any]:
    if code is not Code.OK:
        return _example_refusal(code.number, code.text)
    header = {"code": code.number, "message": code.text, "total": 1, "count": 1}
    return {"header": header, "data": example_of(data)}


def _example_refusal(number: int, text: str) -> dict[str, Any]:
    header = {"code": number, "message": text, "total": 0, "count": 0}
    return {"header": header, "data": {}}


def example_of(schema: type[Schema]) -> dict[str, Any]:
    """Return an object of a schema."""
    return {name: _example_value(field) for name, field in schema().fields.items()}


def _example_value(field: fields.Field[Any]) -> Any:
    if isinstance(field, fields.List) and isinstance(field.inner, fields.Nested):
        return [example_of(type(field.inner.schema))]
    return field.metadata["example"]


def _envelope(data: dict[str, Any]) -> dict[str, Any]:
    return _object(header=_ref("Header"), data=data)


def _object(**properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _int32(description: str) -> dict[str, Any]:
    return {"type": "integer", "format": "int32", "minimum": 0, "description": description}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def name_of(schema: type[Schema] | Schema) -> str:
    """Return the name of a schema in the description."""
    return (schema if isinstance(schema, type) else type(schema)).__name__
