"""Endpoints of projects."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from flask import Blueprint, Response, request
from flask.blueprints import BlueprintSetupState
from werkzeug.routing import Rule

from gateway import log
from gateway.auth.tokens import caller, signed_in, signed_in_by_view
from gateway.errors import ApiError, Code
from gateway.project import credentials, listing, schemas, service
from gateway.project import delete as deletion
from gateway.project import usage as usages
from gateway.project import verify as verification
from gateway.web.body import body
from gateway.web.fields import Empty
from gateway.web.reply import reply, responses

bp = Blueprint("project", __name__, url_prefix="/api/v1/project")


@bp.post("/create")
@signed_in
@body(schemas.CreateRequest)
@responses(schemas.KeyAndSecret, Code.LIMIT_REACHED)
def create(**fields: Any) -> Response:
    """Create a project; the reply shows its key and secret.

    Its requests carry them as HTTP Basic user and password, or as KEY.SECRET: in ``Authorization:
    Bearer``, in ``X-API-Key``, or in the path after the end point.
    """
    project_id, project_key, secret = service.create(caller(), **fields)
    log.note(project=project_id)
    return reply({"project_key": project_key, "project_secret": secret})


@bp.post("/list", endpoint="list")
@signed_in_by_view
@body(schemas.ListRequest)
@responses(schemas.ProjectPage, Code.ACCESS_DENIED)
def list_projects(**fields: int) -> Response:
    """Return a page of an account's projects, ordered by id.

    ``header.total`` counts all of them, ``header.count`` those on this page. Without a user_id, or
    with 0, they are the caller's. Only an admin sees another user's.
    """
    items, total = listing.list_page(**fields)
    return reply({"list": items}, total=total, count=len(items))


@bp.post("/delete")
@signed_in
@body(schemas.DeleteRequest)
@responses(Empty, Code.NOT_FOUND)
def delete(id: int) -> Response:
    """Delete a project; its key stops working at once."""
    deletion.delete(caller(), id)
    return reply()


@bp.post("/rotate")
@signed_in
@body(schemas.RotateRequest)
@responses(schemas.KeyAndSecret, Code.NOT_FOUND)
def rotate(id: int, grace_hours: int) -> Response:
    """Give a project a new secret under the same key.

    The old secret works for ``grace_hours`` more.
    """
    project_key, secret = service.rotate(caller(), id, grace_hours)
    return reply({"project_key": project_key, "project_secret": secret})


@bp.post("/edit")
@signed_in
@body(schemas.EditRequest)
@responses(Empty, Code.NOT_FOUND, Code.ACCESS_DENIED)
def edit(id: int, **changes: Any) -> Response:
    """Change a project's name or type, pause it, or let it go on.

    An admin may also change its limits, 0 for none, and block it.

    A field that is not sent stays as it is. ``active_until`` is in unix seconds; 0 is for ever, and
    a time that has come pauses the project from its next request on.
    """
    service.edit(caller(), id, **changes)
    return reply()


@bp.post("/usage", endpoint="usage")
@signed_in
@body(schemas.UsageRequest)
@responses(schemas.Usage, Code.NOT_FOUND)
def project_usage(id: int, days: int) -> Response:
    """Return the requests of a project for each of the last days.

    The last day is today. ``last_used`` is the last day with a request, or "".
    """
    found = usages.of_project(caller(), id, days)
    return reply(found, total=len(found["list"]), count=len(found["list"]))


@bp.get("/verify")
def verify() -> Response:
    """Tell nginx's ``auth_request`` whether a request may pass, and count it if so.

    With ``pool``, only projects of that pool pass; with an empty one, only those without a pool.
    The request counts as its ``cost``, or as 1.
    """
    asked = request.args
    credential = credentials.read(request.headers)
    question = verification.question(asked.getlist("pool"), asked.getlist("cost"))
    try:
        headers = verification.decide(credential, *question)
    except ApiError as error:
        if error.code is Code.TOO_MANY_REQUESTS:
            error.status = HTTPStatus.FORBIDDEN.value  # auth_request passes on only 401 and 403
        raise
    return Response(status=HTTPStatus.NO_CONTENT.value, headers=headers)


def check(**_path: str) -> Response:
    """Answer the question of verify to proxies that pass the answer on to the client.

    The path is /POOL/COST, and after it the client's own path or nothing; then the proxy tells that
    in X-Forwarded-Uri. POOL is - for projects without one, _ for any. All is read as it was sent.
    """
    asked, _, query = (
        request.environ["RAW_URI"].removeprefix(f"{bp.url_prefix}/check/").partition("?")
    )
    pool, _, rest = asked.partition("/")
    cost, slash, below = rest.partition("/")
    told = request.headers.get("X-Forwarded-Uri", "")
    credential = credentials.read(request.headers, f"/{below}?{query}" if slash else told)
    pools = {"-": [""], "_": []}.get(pool, [pool or "?"])
    headers = verification.decide(credential, *verification.question(pools, [cost]))
    response = reply()
    response.headers.update(headers)
    return response


@bp.record
def _answer_every_method(state: BlueprintSetupState) -> None:
    """Route check without Flask, which would answer OPTIONS itself and refuse WebSockets."""
    path = f"{bp.url_prefix}/check/<path:path>"
    for is_websocket in (False, True):
        rule = Rule(path, endpoint="project.check", merge_slashes=False, websocket=is_websocket)
        state.app.url_map.add(rule)
    state.app.view_functions["project.check"] = check


@bp.get("/quota", endpoint="quota")
@responses(schemas.Quota, Code.ACCESS_DENIED, Code.UNAUTHENTICATED)
def project_quota() -> Response:
    """Return what is left of a project's limits; this counts as no request.

    The request carries the project's credentials, not a token. ``limit`` is 0 where there is none.
    """
    return reply(verification.standing(credentials.read(request.headers)))
