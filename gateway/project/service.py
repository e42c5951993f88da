"""The rules of projects. Each function ends with the one commit that makes it true."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from flask import current_app
from sqlalchemy import func, select, true, update

from gateway import clock, crypto, log
from gateway.auth.models import User
from gateway.errors import ApiError, Code
from gateway.extensions import db
from gateway.project.models import KEY_LENGTH, SECRET_LENGTH, Project


def create(owner: User, project_type: int, project_name: str) -> tuple[Project, str]:
    """Make a project and return it with its secret.

    :raises ApiError: 1009 when the account holds PROJECTS_PER_USER live projects.
    """
    config = current_app.config
    # One statement decides and locks the account's row, so that racing requests cannot pass it.
    counted = db.session.scalar(
        update(User)
        .where(User.id == owner.id, User.live_projects < config["PROJECTS_PER_USER"])
        .values(live_projects=User.live_projects + 1)
        .returning(User.id)
    )
    if counted is None:
        raise ApiError(Code.LIMIT_REACHED, "This account holds as many projects as it may")
    secret = crypto.random_text(SECRET_LENGTH)
    project = Project(
        user_id=owner.id,
        project_name=project_name,
        project_type=project_type,
        project_key=crypto.random_text(KEY_LENGTH),
        secret_hash=crypto.secret_hash(secret),
        sealed_secret=crypto.seal(secret),
        created_at=clock.now(),
        request_max=config["REQUEST_MAX"],
    )
    db.session.add(project)
    db.session.commit()
    return project, secret


def list_page(
    caller: User, user_id: int, page_no: int, page_size: int
) -> tuple[list[dict[str, Any]], int]:
    """Return one page of an account's live projects, by id, and how many there are in all.

    :param user_id: whose projects; 0 means the caller's.
    :raises ApiError: 1000 when they are another user's and the caller is no admin.
    """
    owner_id = user_id or caller.id
    if owner_id != caller.id and not caller.is_admin:
        raise ApiError(Code.ACCESS_DENIED)
    live = (Project.user_id == owner_id, Project.deleted.is_(False))
    total = db.session.scalar(select(func.count()).select_from(Project).where(*live)) or 0
    page = db.session.scalars(
        select(Project)
        .where(*live)
        .order_by(Project.id)
        .limit(page_size)
        .offset(page_no * page_size)
    )
    zone = ZoneInfo(current_app.config["TIMEZONE"])
    today = clock.now().astimezone(zone).date()
    return [_item(project, zone, today) for project in page], total


def delete(caller: User, project_id: int) -> None:
    """Delete a project softly.

    :raises ApiError: 1006 when it is not there, already deleted, or another user's and the
        caller is no admin.
    """
    allowed = true() if caller.is_admin else Project.user_id == caller.id
    owner_id = db.session.scalar(
        update(Project)
        .where(Project.id == project_id, Project.deleted.is_(False), allowed)
        .values(deleted=True)
        .returning(Project.user_id)
    )
    if owner_id is None:
        raise ApiError(Code.NOT_FOUND)
    db.session.execute(
        update(User).where(User.id == owner_id).values(live_projects=User.live_projects - 1)
    )
    db.session.commit()


def _item(project: Project, zone: ZoneInfo, today: date) -> dict[str, Any]:
    """Return the reference's thirteen fields of a project."""
    return {
        "id": project.id,
        "project_name": project.project_name,
        "project_type": project.project_type,
        "project_key": project.project_key,
        "project_secret": _secret_of(project),
        "end_points": [
            template.replace("{pool_name}", project.pool_name)
            for template in current_app.config["END_POINTS"]
        ],
        "deleted": project.deleted,
        "created_time": _local(project.created_at, zone),
        "request_total": project.request_total,
        "request_today": project.requests_on(today),
        "request_max": project.request_max,
        "pool_id": project.pool_id,
        "pool_name": project.pool_name,
    }


def _local(moment: datetime, zone: ZoneInfo) -> str:
    return moment.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S")


def _secret_of(project: Project) -> str:
    secret = crypto.unseal(project.sealed_secret)
    if secret is None:
        log.logger.error(
            "no key opens the secret of project=%d; is SECRET_KEY_FALLBACKS complete?", project.id
        )
    return secret or ""
