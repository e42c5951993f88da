"""HTTP for projects."""

from __future__ import annotations

from flask import Blueprint, Response

from gateway import log
from gateway.auth.tokens import caller, signed_in
from gateway.envelope import load, reply
from gateway.project import schemas, service

bp = Blueprint("project", __name__, url_prefix="/api/v1/project")


@bp.post("/create")
@signed_in
def create() -> Response:
    """Make a project; the reply shows its key and secret."""
    project, secret = service.create(caller(), **load(schemas.CreateRequest()))
    log.note(project=project.id)
    return reply({"project_key": project.project_key, "project_secret": secret})


@bp.post("/list", endpoint="list")
@signed_in
def list_projects() -> Response:
    """Show a page of an account's projects."""
    items, total = service.list_page(caller(), **load(schemas.ListRequest()))
    return reply({"list": items}, total=total, count=len(items))


@bp.post("/delete")
@signed_in
def delete() -> Response:
    """Delete a project; its key stops working at once."""
    fields = load(schemas.DeleteRequest())
    log.note(project=fields["id"])
    service.delete(caller(), fields["id"])
    return reply()
