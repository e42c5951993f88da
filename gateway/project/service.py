"""The rules of projects. Each function ends with the one commit that makes it true."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from flask import current_app
from sqlalchemy import ColumnElement, func, select, true, update

from gateway import clock, crypto, log
from gateway.auth.models import User
from gateway.errors import ApiError, Code
from gateway.extensions import db
from gateway.project import gate
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
        raise ApiError(
            Code.LIMIT_REACHED, "This account holds as many projects as it may; delete one first"
        )
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
        raise ApiError(
            Code.ACCESS_DENIED, "These projects are another user's; with user_id 0 you get yours"
        )
    projects, total = page(Project.user_id == owner_id, page_no=page_no, page_size=page_size)
    zone = ZoneInfo(current_app.config["TIMEZONE"])
    days = gate.days(clock.now())
    return [_item(project, zone, days) for project in projects], total


def page(
    *which: ColumnElement[bool], page_no: int, page_size: int
) -> tuple[Sequence[Project], int]:
    """Return one page of live projects, by id, and how many there are in all."""
    live = (Project.deleted.is_(False), *which)
    total = db.session.scalar(select(func.count()).select_from(Project).where(*live)) or 0
    projects = db.session.scalars(
        select(Project)
        .where(*live)
        .order_by(Project.id)
        .limit(page_size)
        .offset(page_no * page_size)
    )
    return projects.all(), total


def rotate(caller: User, project_id: int, grace_hours: int) -> tuple[str, str]:
    """Give a project a new secret; return its key and that secret.

    The old one works for ``grace_hours`` more; the one before it, if in its grace, no longer.

    :raises ApiError: 1006 when it is not there, deleted, or another user's and the caller is no
        admin.
    """
    secret = crypto.random_text(SECRET_LENGTH)
    until = clock.now() + timedelta(hours=grace_hours)
    project_key = db.session.scalar(
        update(Project)
        .where(*_may_change(caller, project_id))
        .values(
            secret_hash=crypto.secret_hash(secret),
            sealed_secret=crypto.seal(secret),
            old_secret_hash=Project.secret_hash if grace_hours else None,
            old_secret_until=until if grace_hours else None,
        )
        .returning(Project.project_key)
    )
    if project_key is None:
        raise _no_such_project()
    db.session.commit()
    return project_key, secret


def delete(caller: User, project_id: int) -> None:
    """Delete a project softly.

    :raises ApiError: 1006 when it is not there, already deleted, or another user's and the
        caller is no admin.
    """
    if not delete_where(*_may_change(caller, project_id)):
        raise _no_such_project()


def delete_where(*which: ColumnElement[bool]) -> bool:
    """Delete the one live project that matches, softly; return whether there was one."""
    owner_id = db.session.scalar(
        update(Project).where(*which).values(deleted=True).returning(Project.user_id)
    )
    if owner_id is None:
        return False
    db.session.execute(
        update(User).where(User.id == owner_id).values(live_projects=User.live_projects - 1)
    )
    db.session.commit()
    return True


def _no_such_project() -> ApiError:
    return ApiError(Code.NOT_FOUND, "You have no project with this id; project/list shows yours")


def _may_change(caller: User, project_id: int) -> tuple[ColumnElement[bool], ...]:
    """Return what picks a live project, if it is the caller's or the caller is an admin."""
    whose = true() if caller.is_admin else Project.user_id == caller.id
    return (Project.id == project_id, Project.deleted.is_(False), whose)


def _item(project: Project, zone: ZoneInfo, days: tuple[date, date]) -> dict[str, Any]:
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
        "request_today": project.requests_on(*days),
        "request_max": project.request_max,
        "pool_id": project.pool_id or 0,
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
