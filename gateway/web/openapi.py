"""The description of the API in OpenAPI 3.1, made from the routes, the schemas and the codes.

Paths and methods come from the URL map. Bodies and replies come from the schemas in a view's
``@body`` and ``@responses``. Sentences come from the catalogue of codes and from docstrings. Only
verify, which answers in headers, is described by hand.

Generators of clients read the description, so it keeps to what all of them understand: every
reply is an object ``{header, data}``, all refusals share one schema, a rule that no regular
expression can hold stands in words, and a client must accept fields that it does not know. The
codes of an answer stand in ``x-codes``.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from flask import Flask
from jinja2 import Template
from marshmallow import fields
from werkzeug.routing import Rule

from gateway.errors import Code
from gateway.version import __version__
from gateway.web.fields import Empty, Text
from gateway.web.openapi_replies import (
    JSON,
    add_reply,
    add_shared,
    example_of,
    http_failure,
    name_of,
    response,
)

# The tag of what servers ask, and clients do not.
INTERNAL = "nginx"
# By endpoint or blueprint; the pages have none.
TAGS = {"auth": "accounts", "project": "projects", "project.verify": INTERNAL, "health": INTERNAL}
HERE = Path(__file__).parent / "docs"
# What belongs to no view: tags, credentials, the header of a reply, what verify answers.
FRAME = json.loads((HERE / "frame.json").read_text())
PROJECT_SECURITY: list[dict[str, list[str]]] = [
    {name: []} for name in FRAME["securitySchemes"] if name != "token"
]


def describe(app: Flask) -> dict[str, Any]:
    """Return the description of an application's endpoints, without the pages."""
    plugin = MarshmallowPlugin(schema_name_resolver=name_of)
    introduction = Template((HERE / "introduction.md").read_text())
    spec = APISpec(
        title=app.config["SERVICE_NAME"],
        version=__version__,
        openapi_version="3.1.0",
        plugins=[plugin],
        info={
            "summary": FRAME["summary"],
            "description": introduction.render(codes=Code, digests=app.config["PASSWORD_MD5"]),
        },
        # "." is relative to the address of the description, so it is right below any prefix.
        servers=[{"url": app.config["PUBLIC_URL"] or ".", "description": "This service"}],
        tags=FRAME["tags"],
    )
    plugin.converter.add_attribute_function(_rule_of)  # type: ignore[union-attr]
    for name, scheme in FRAME["securitySchemes"].items():
        spec.components.security_scheme(name, scheme)
    add_shared(spec, FRAME["header"])
    for rule in app.url_map.iter_rules():
        tag = TAGS.get(rule.endpoint) or TAGS.get(rule.endpoint.partition(".")[0])
        if tag and rule.methods:  # check answers every method, on paths that OpenAPI cannot say
            view: Any = app.view_functions[rule.endpoint]
            add_reply(spec, getattr(view, "data", Empty))
            (method,) = rule.methods - {"HEAD", "OPTIONS"}
            spec.path(path=rule.rule, operations={method.lower(): _operation(rule, view, tag)})
    for schema in spec.components.schemas.values():
        for field in schema.get("properties", {}).values():
            if "default" in field:  # for openapi-typescript it would make the field required
                field["description"] += f" (default: {field.pop('default')})"
    return spec.to_dict()


def _rule_of(_converter: Any, field: fields.Field[Any], **_kwargs: Any) -> dict[str, Any]:
    """Describe a field of ours: its rule in words, its lengths and its format."""
    if isinstance(field, fields.Integer):
        return {"format": field.metadata.get("format", "int32")}
    if not isinstance(field, Text):
        return {}
    words = _markdown((inspect.getdoc(field) or "").partition("\n\n")[0])
    meaning = field.metadata.get("description", "")
    lengths = f"{field.min_length} to {field.max_length} characters."
    return {"description": f"{meaning} {words} {lengths}".strip(), **field.rule}


def _operation(rule: Rule, view: Any, tag: str) -> dict[str, Any]:
    summary, _, description = (inspect.getdoc(view) or "").partition("\n")
    operation: dict[str, Any] = {
        "operationId": _operation_id(rule, view),
        "summary": summary.replace("`", "").rstrip("."),
        "description": _markdown(description),
        "tags": [tag],
        "security": [],
    }
    if tag == INTERNAL:
        operation["x-internal"] = True
        operation["description"] += " Servers ask this; clients do not."
    if rule.endpoint == "project.verify":
        return {**operation, **_verify()}
    codes = [Code.OK, *view.codes]
    http_failures = [500]
    if hasattr(view, "wants_token"):
        operation["security"] = [{"token": []}]
        codes.append(Code.UNAUTHENTICATED)
    if rule.endpoint == "project.quota":
        operation["security"] = PROJECT_SECURITY
    if Code.MAIL_NOT_SENT in codes:
        operation["parameters"] = [FRAME["language"]]
    if hasattr(view, "schema"):
        operation["requestBody"] = {
            "content": {JSON: {"schema": view.schema, "example": example_of(view.schema)}},
            "required": any(field.required for field in view.schema().fields.values()),
        }
        codes += (Code.INVALID_PARAMETER, Code.MALFORMED_REQUEST)
        http_failures.append(413)
    if rule.endpoint != "health.healthz":
        codes.append(Code.DATABASE_UNAVAILABLE)
    codes.sort(key=lambda code: (code.status, code.number))
    by_status = groupby(codes, lambda code: code.status)
    operation["responses"] = {
        **{str(status): http_failure(status) for status in http_failures},
        **{str(status): response(view.data, list(group)) for status, group in by_status},
    }
    return operation


def _operation_id(rule: Rule, view: Callable[..., Any]) -> str:
    """Return the name that generated clients give the endpoint: login, create_project."""
    feature = rule.endpoint.partition(".")[0]
    name = view.__name__
    return name if feature != "project" or feature in name else f"{name}_{feature}"


def _verify() -> dict[str, Any]:
    """Describe verify, which answers in headers."""
    refused = response(Empty, [Code.ACCESS_DENIED, Code.LIMIT_REACHED, Code.TOO_MANY_REQUESTS])
    refused["headers"]["Retry-After"]["required"] = False
    refused["headers"] |= FRAME["verify"]["refused"]
    return {
        "security": PROJECT_SECURITY,
        "parameters": FRAME["verify"]["parameters"],
        "responses": {
            "204": FRAME["verify"]["passed"],
            "400": response(Empty, [Code.INVALID_PARAMETER]),
            "401": response(Empty, [Code.UNAUTHENTICATED]),
            "403": refused,
            "500": http_failure(500),
            "503": response(Empty, [Code.DATABASE_UNAVAILABLE]),
        },
    }


def _markdown(text: str) -> str:
    return text.replace("``", "`").replace("\n", " ").strip()
