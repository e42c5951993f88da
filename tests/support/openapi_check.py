"""Check replies against the description of the API in /openapi.json.

The description leaves replies open, because a later version may add fields. The check does not: a
reply has exactly the described fields, and a code that the description lists for its status.
"""

import copy
from functools import cache

import jsonschema_rs

from gateway.web import openapi as spec

REFERENCE = "#/components/schemas/"


def check_reply(app, method, reply):
    """Fail when a described endpoint sends a reply that its description does not allow."""
    operation = _description(app)["paths"].get(reply.request.path, {}).get(method.lower())
    if operation is None:
        return
    status = str(reply.status_code)
    assert status in operation["responses"], f"{reply.request.path}: {status} is not described"
    expected = operation["responses"][status]
    for name, header in expected.get("headers", {}).items():
        assert name in reply.headers or not header["required"]
    if "content" in expected:
        check_body(expected, reply.get_json())
    else:
        assert reply.data == b""


def check_body(expected, body):
    """Compare the body of a reply with the description of its status."""
    schema = expected["content"][spec.JSON]["schema"]["$ref"].removeprefix(REFERENCE)
    _validator(schema).validate(body)
    header, data = body["header"], body["data"]
    assert header["code"] in expected["x-codes"], f"{header} is not described"
    if header["code"]:
        assert (data, header["total"], header["count"]) == ({}, 0, 0)
    else:
        assert header["message"] == "OK"
        # The description requires none of them, because a refusal has none.
        assert data.keys() == _fields_of_data(schema)


def _description(app, made=[]):  # noqa: B006 - the same for every application
    if not made:
        made.append(spec.describe(app))
    return made[0]


@cache
def _validator(name):
    """Return a validator of a schema that refuses every field that is not described."""
    schemas = copy.deepcopy(_description(None)["components"]["schemas"])
    _close(schemas)
    return jsonschema_rs.validator_for(
        {"$ref": f"{REFERENCE}{name}", "components": {"schemas": schemas}}
    )


def _close(node):
    """Close every schema of an object in a part of the description."""
    if isinstance(node, dict):
        if node.get("type") == "object":
            node["additionalProperties"] = False
        _close(list(node.values()))
    elif isinstance(node, list):
        for child in node:
            _close(child)


def _fields_of_data(name):
    """Return the names of the fields of ``data`` in a success."""
    schemas = _description(None)["components"]["schemas"]
    data = schemas[name]["properties"]["data"]["$ref"].removeprefix(REFERENCE)
    return schemas[data].get("properties", {}).keys()
