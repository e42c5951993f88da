"""Check replies against the description of the API in /openapi.json."""

from functools import cache

import jsonschema_rs

from gateway.web import openapi as spec


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
        _validator(reply.request.path, method.lower(), status).validate(reply.get_json())
    else:
        assert reply.data == b""


def _description(app, made=[]):  # noqa: B006 - the same for every application
    if not made:
        made.append(spec.describe(app))
    return made[0]


@cache
def _validator(path, method, status):
    description = _description(None)
    schema = description["paths"][path][method]["responses"][status]["content"][spec.JSON]["schema"]
    return jsonschema_rs.validator_for({**schema, "components": description["components"]})
