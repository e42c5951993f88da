"""HTTP for projects."""

from __future__ import annotations

import base64
import re
from http import HTTPStatus
from typing import Any

from flask import Blueprint, Response, request

from gateway import log
from gateway.auth.tokens import caller, signed_in
from gateway.envelope import failure, gives, reply, takes
from gateway.errors import ApiError, Code
from gateway.fields import Nothing
from gateway.project import gate, schemas, service

# What service.create hands out, 16 and 48 characters: 65 with the colon, 88 in base64.
_BASIC = re.compile(r"basic +([A-Za-z0-9+/]{87}=)", re.IGNORECASE | re.ASCII)
_KEY_AND_SECRET = re.compile(rb"([A-Za-z0-9]{16}):([A-Za-z0-9]{48})")

bp = Blueprint("project", __name__, url_prefix="/api/v1/project")


@bp.post("/create")
@signed_in
@takes(schemas.CreateRequest)
@gives(schemas.KeyAndSecret, Code.LIMIT_REACHED)
def create(**fields: Any) -> Response:
    """Make a project; the reply shows its key and secret.

    Its requests carry them as HTTP Basic user and password.
    """
    project_id, project_key, secret = service.create(caller(), **fields)
    log.note(project=project_id)
    return reply({"project_key": project_key, "project_secret": secret})


@bp.post("/list", endpoint="list")
@signed_in
@takes(schemas.ListRequest)
@gives(schemas.ProjectPage, Code.ACCESS_DENIED)
def list_projects(**fields: int) -> Response:
    """Show a page of an account's projects, by id.

    ``header.total`` counts all of them, ``header.count`` those on this page. A user_id of 0, or
    none, is the caller; another's projects are shown to admins only.
    """
    items, total = service.list_page(caller(), **fields)
    return reply({"list": items}, total=total, count=len(items))


@bp.post("/delete")
@signed_in
@takes(schemas.DeleteRequest)
@gives(Nothing, Code.NOT_FOUND)
def delete(id: int) -> Response:
    """Delete a project; its key stops working at once."""
    log.note(project=id)
    service.delete(caller(), id)
    return reply()


@bp.post("/rotate")
@signed_in
@takes(schemas.RotateRequest)
@gives(schemas.KeyAndSecret, Code.NOT_FOUND)
def rotate(id: int, grace_hours: int) -> Response:
    """Give a project a new secret under the same key.

    The old secret works for ``grace_hours`` more.
    """
    log.note(project=id)
    project_key, secret = service.rotate(caller(), id, grace_hours)
    return reply({"project_key": project_key, "project_secret": secret})


@bp.get("/verify")
def verify() -> Response:
    """Tell nginx's ``auth_request`` whether a request may pass, and count it if so.

    With ``pool``, only projects of that pool pass; with an empty one, only those without a pool.
    """
    try:
        verdict = gate.admit(*_credentials(), request.args.get("pool"))
    except ApiError as error:
        response = failure(error)
        response.headers["WWW-Authenticate"] = 'Basic realm="gateway"'
        return response
    told = {
        "X-Gateway-Project": str(verdict.project_id),
        "X-Gateway-Key": verdict.project_key,
        "X-Gateway-Pool": verdict.pool_name,
    }
    if verdict.limit:
        told["RateLimit-Limit"] = str(verdict.limit)
        told["RateLimit-Remaining"] = str(verdict.remaining)
        told["RateLimit-Reset"] = str(verdict.reset)
    if verdict.passed:
        return Response(status=HTTPStatus.NO_CONTENT.value, headers=told)
    response = _used_up(verdict)
    response.headers.extend(told)
    return response


def _used_up(verdict: gate.Verdict) -> Response:
    text = "The daily allowance is used up; Retry-After tells when the next begins"
    refusal = ApiError(Code.TOO_MANY_REQUESTS, text, retry_after=verdict.reset)
    response = failure(refusal)
    response.status_code = HTTPStatus.FORBIDDEN  # auth_request passes on this and 401 alone
    response.headers["X-Gateway-Code"] = str(refusal.code.number)
    return response


def _credentials() -> tuple[str, str]:
    """Return key and secret of the Basic ``Authorization``; raise 1001 for any other form."""
    given = _BASIC.fullmatch(request.headers.get("Authorization", ""))
    pair = _KEY_AND_SECRET.fullmatch(base64.b64decode(given[1])) if given else None
    if pair is None:
        raise gate.unknown()
    return pair[1].decode(), pair[2].decode()
