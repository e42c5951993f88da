"""The rules of projects. Each function ends with the one commit that makes it true."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from flask import current_app
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    bindparam,
    insert,
    select,
    true,
    update,
)

from gateway import clock, crypto, log
from gateway.auth.models import User
from gateway.auth.tokens import Caller
from gateway.errors import ApiError, Code
from gateway.extensions import db
from gateway.project import gate
from gateway.project.models import KEY_LENGTH, SECRET_LENGTH, Project
from gateway.statement import Statement, transaction

_LISTED = (
    Project.id,
    Project.project_name,
    Project.project_type,
    Project.project_key,
    Project.sealed_secret,
    Project.deleted,
    Project.created_at,
    Project.request_total,
    Project.request_day,
    Project.request_count,
    Project.request_max,
    Project.pool_id,
    Project.pool_name.label("pool_name"),
)


# The account's row decides, and is locked, so that racing requests cannot pass the limit.
_COUNT_ONE = Statement(
    update(User)
    .where(User.id == bindparam("owner"), User.live_projects < bindparam("most", type_=Integer))
    .values(live_projects=User.live_projects + 1)
    .returning(User.id)
)
_ADD = Statement(
    insert(Project)
    .values(
        {
            **{
                name: bindparam(name)
                for name in (
                    "user_id",
                    "project_name",
                    "project_type",
                    "project_key",
                    "secret_hash",
                    "sealed_secret",
                    "created_at",
                    "request_max",
                )
            },
            "deleted": False,
            "request_total": 0,
            "request_count": 0,
        }
    )
    .returning(Project.id)
)

# The account's own count is the total, so that no page costs more than its rows; it comes with
# every one of them, and alone when there are none.
_projects = (
    select(*_LISTED)
    .where(Project.user_id == bindparam("owner"), Project.deleted.is_(False))
    .order_by(Project.id)
    .limit(bindparam("page_size", type_=BigInteger))
    .offset(bindparam("skipped", type_=BigInteger))
    .subquery()
)
_PAGE = Statement(
    select(User.live_projects, *_projects.c)
    .outerjoin(_projects, true())
    .where(User.id == bindparam("owner"))
    .order_by(_projects.c.id)
)


def create(owner: Caller, project_type: int, project_name: str) -> tuple[int, str, str]:
    """Make a project; return its id, its key and its secret.

    :raises ApiError: 1009 when the account holds PROJECTS_PER_USER live projects.
    """
    config = current_app.config
    project_key, secret = crypto.random_text(KEY_LENGTH), crypto.random_text(SECRET_LENGTH)
    project = {
        "user_id": owner.id,
        "project_name": project_name,
        "project_type": project_type,
        "project_key": project_key,
        "secret_hash": crypto.secret_hash(secret),
        "sealed_secret": crypto.seal(secret),
        "created_at": clock.now(),
        "request_max": config["REQUEST_MAX"],
    }
    with transaction() as together:
        limit = {"owner": owner.id, "most": config["PROJECTS_PER_USER"]}
        if _COUNT_ONE.first(limit, together) is None:
            raise ApiError(
                Code.LIMIT_REACHED,
                "This account holds as many projects as it may; delete one first",
            )
        project_id = _ADD.first(project, together).id
    return project_id, project_key, secret


def list_page(
    caller: Caller, user_id: int, page_no: int, page_size: int
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
    rows = _PAGE.all({"owner": owner_id, "page_size": page_size, "skipped": page_no * page_size})
    total = rows[0].live_projects if rows else 0
    zone = ZoneInfo(current_app.config["TIMEZONE"])
    days = gate.days(clock.now())
    return [_item(row, zone, days) for row in rows if row.id is not None], total


def rotate(caller: Caller, project_id: int, grace_hours: int) -> tuple[str, str]:
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


def delete(caller: Caller, project_id: int) -> None:
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


def _may_change(caller: Caller, project_id: int) -> tuple[ColumnElement[bool], ...]:
    """Return what picks a live project, if it is the caller's or the caller is an admin."""
    whose = true() if caller.is_admin else Project.user_id == caller.id
    return (Project.id == project_id, Project.deleted.is_(False), whose)


def _item(project: Any, zone: ZoneInfo, days: tuple[date, date]) -> dict[str, Any]:
    """Return the reference's thirteen fields of a project, a row of ``_PAGE``."""
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
        "request_today": gate.requests_on(project, *days),
        "request_max": project.request_max,
        "pool_id": project.pool_id or 0,
        "pool_name": project.pool_name,
    }


def _local(moment: datetime, zone: ZoneInfo) -> str:
    return moment.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S")


def _secret_of(project: Any) -> str:
    secret = crypto.unseal(project.sealed_secret)
    if secret is None:
        log.logger.error(
            "no key opens the secret of project=%d; is SECRET_KEY_FALLBACKS complete?", project.id
        )
    return secret or ""
