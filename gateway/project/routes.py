"""HTTP for projects."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response

from gateway import log
from gateway.auth.tokens import caller, signed_in
from gateway.envelope import reply, takes
from gateway.project import schemas, service

bp = Blueprint("project", __name__, url_prefix="/api/v1/project")


@bp.post("/create")
@signed_in
@takes(schemas.CreateRequest)
def create(**fields: Any) -> Response:
    """Make a project; the reply shows its key and secret."""
    project, secret = service.create(caller(), **fields)
    log.note(project=project.id)
    return reply({"project_key": project.project_key, "project_secret": secret})


@bp.post("/list", endpoint="list")
@signed_in
@takes(schemas.ListRequest)
def list_projects(**fields: int) -> Response:
    """Show a page of an account's projects."""
    items, total = service.list_page(caller(), **fields)
    return reply({"list": items}, total=total, count=len(items))


@bp.post("/delete")
@signed_in
@takes(schemas.DeleteRequest)
def delete(id: int) -> Response:
    """Delete a project; its key stops working at once."""
    log.note(project=id)
    service.delete(caller(), id)
    return reply()
