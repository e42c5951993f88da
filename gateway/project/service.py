"""The rules of projects. Each function ends with the one commit that makes its result true."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

from flask import current_app
from sqlalchemy import BigInteger, ColumnElement, and_, bindparam, case, select, true, update

from gateway import clock, crypto, log
from gateway.auth.models import User
from gateway.auth.tokens import Caller
from gateway.db import db
from gateway.db.hot_sql import HotStatement
from gateway.errors import ApiError, Code
from gateway.project import quota
from gateway.project.models import KEY_LENGTH, SECRET_LENGTH, SECRET_PREFIX_LENGTH, Project


def create(owner: Caller, project_type: int, project_name: str) -> tuple[Project, str]:
    """Create a project; return it and its secret.

    :raises ApiError: 1009 when the account has PROJECTS_PER_USER live projects.
    """
    _count_live_project(owner.id)
    secret = crypto.random_text(SECRET_LENGTH)
    project = Project(
        user_id=owner.id,
        project_name=project_name,
        project_type=project_type,
        project_key=crypto.random_text(KEY_LENGTH),
        secret_hash=crypto.secret_hash(secret),
        sealed_secret=crypto.seal(secret),
        created_at=clock.now(),
        request_max=current_app.config["REQUEST_MAX"],
    )
    db.session.add(project)
    db.session.commit()
    return project, secret


def _count_live_project(owner_id: int) -> None:
    """Add one to the account's live projects. This locks its row, so racing requests queue here.

    :raises ApiError: 1009.
    """
    counted = db.session.execute(
        update(User)
        .where(User.id == owner_id, User.live_projects < current_app.config["PROJECTS_PER_USER"])
        .values(live_projects=User.live_projects + 1)
        .returning(User.id)
        .execution_options(synchronize_session=False)
    ).first()
    if counted is None:
        raise ApiError(
            Code.LIMIT_REACHED, "This account holds as many projects as it may; delete one first"
        )


# The account's own count is the total, so a page costs no more than its rows. The count comes with
# every row, and in one row without a project when the page is empty.
_page = (
    select(
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
    .where(Project.user_id == bindparam("owner"), Project.deleted.is_(False))
    .order_by(Project.id)
    .limit(bindparam("page_size", type_=BigInteger))
    .offset(bindparam("skipped", type_=BigInteger))
    .subquery()
)
_LIST_PAGE = HotStatement(
    select(User.live_projects, *_page.c)
    .outerjoin(_page, true())
    .where(User.id == bindparam("owner"))
    .order_by(_page.c.id)
)


def list_page(
    caller: Caller, user_id: int, page_no: int, page_size: int
) -> tuple[list[dict[str, Any]], int]:
    """Return one page of an account's live projects, ordered by id, and the number of all.

    :param user_id: whose projects; 0 means the caller's.
    :raises ApiError: 1000 when they are another user's and the caller is no admin.
    """
    owner_id = user_id or caller.id
    if owner_id != caller.id and not caller.is_admin:
        raise ApiError(
            Code.ACCESS_DENIED, "These projects are another user's; with user_id 0 you get yours"
        )
    rows = _LIST_PAGE.all(
        {"owner": owner_id, "page_size": page_size, "skipped": page_no * page_size}
    )
    total = rows[0].live_projects if rows else 0
    zone = ZoneInfo(current_app.config["TIMEZONE"])
    days = quota.days(clock.now())
    return [_item(row, zone, days) for row in rows if row.id is not None], total


def _item(project: Any, zone: ZoneInfo, days: tuple[date, date]) -> dict[str, Any]:
    """Return the thirteen fields of a listed project.

    :param project: a row of ``_LIST_PAGE``.
    """
    secret = _open_secret(project)
    return {
        "id": project.id,
        "project_name": project.project_name,
        "project_type": project.project_type,
        "project_key": project.project_key,
        "project_secret": secret,
        "end_points": _end_points(project, secret),
        "deleted": project.deleted,
        "created_time": _local_time(project.created_at, zone),
        "request_total": project.request_total,
        "request_today": quota.requests_on(project, *days),
        "request_max": project.request_max,
        "pool_id": project.pool_id or 0,
        "pool_name": project.pool_name,
    }


def _open_secret(project: Any) -> str:
    secret = crypto.unseal(project.sealed_secret)
    if secret is None:
        log.logger.error(
            "no key opens the secret of project=%d; is SECRET_KEY_FALLBACKS complete?", project.id
        )
    return secret or ""


def _end_points(project: Any, secret: str) -> list[str]:
    pool = project.pool_name
    return [
        template.replace("{pool_name}", pool)
        .replace("{pool/}", f"{pool}/" if pool else "")
        .replace("{credential}", f"{project.project_key}.{secret}")
        for template in current_app.config["END_POINTS"]
    ]


def _local_time(moment: datetime, zone: ZoneInfo) -> str:
    return moment.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S")


def rotate(caller: Caller, project_id: int, grace_hours: int) -> tuple[str, str]:
    """Give a project a new secret; return its key and that secret.

    At most two secrets work: the new one, and with ``grace_hours`` one from before, for that many
    hours from now. The latest rotation alone decides when the old one ends.

    The old one is the secret that this rotation replaces; but while the grace of an earlier
    rotation lasts, it is still the one that had the grace, and the secret in between stops at
    once. A client that did not get the reply, and rotates again, thus keeps what it has deployed.
    Without grace only the new secret works.

    :raises ApiError: 1006 when the caller has no such project.
    """
    secret = _new_secret(caller, project_id, grace_hours)
    now = clock.now()
    has_grace = and_(Project.old_secret_hash.is_not(None), Project.old_secret_until > now)
    oldest = case((has_grace, Project.old_secret_hash), else_=Project.secret_hash)
    project_key = db.session.scalar(
        update(Project)
        .where(*may_change(caller, project_id))
        .values(
            secret_hash=crypto.secret_hash(secret),
            sealed_secret=crypto.seal(secret),
            old_secret_hash=oldest if grace_hours else None,
            old_secret_until=now + timedelta(hours=grace_hours) if grace_hours else None,
        )
        .returning(Project.project_key)
        .execution_options(synchronize_session=False)
    )
    if project_key is None:
        raise no_such_project()
    db.session.commit()
    return project_key, secret


def _new_secret(caller: Caller, project_id: int, grace_hours: int) -> str:
    """Return a random secret; with grace it begins like the one that it replaces.

    nginx knows by the beginning that both belong to one project, and gives them one rate.
    """
    secret = crypto.random_text(SECRET_LENGTH)
    if not grace_hours:
        return secret
    sealed = db.session.scalar(select(Project.sealed_secret).where(*may_change(caller, project_id)))
    present = crypto.unseal(sealed) if sealed else None
    return (present or secret)[:SECRET_PREFIX_LENGTH] + secret[SECRET_PREFIX_LENGTH:]


def edit(caller: Caller, project_id: int, **changes: Any) -> None:
    """Change a project's name, its type, or the time at which it pauses.

    :param changes: columns and values; ``active_until`` in unix seconds, 0 for ever.
    :raises ApiError: 1006 when the caller has no such project.
    """
    if "active_until" in changes:
        until = changes["active_until"]
        changes["active_until"] = datetime.fromtimestamp(until, timezone.utc) if until else None
    changed = db.session.scalar(
        update(Project)
        .where(*may_change(caller, project_id))
        # With nothing to change, the statement still tells whether the project is there.
        .values(changes or {"project_type": Project.project_type})
        .returning(Project.id)
        .execution_options(synchronize_session=False)
    )
    if changed is None:
        raise no_such_project()
    db.session.commit()


def delete(caller: Caller, project_id: int) -> None:
    """Mark a project as deleted.

    :raises ApiError: 1006 when the caller has no such project.
    """
    if not mark_deleted(*may_change(caller, project_id)):
        raise no_such_project()


def may_change(caller: Caller, project_id: int) -> tuple[ColumnElement[bool], ...]:
    """Return the filters for a live project that is the caller's, or anybody's for an admin."""
    is_allowed = true() if caller.is_admin else Project.user_id == caller.id
    return (Project.id == project_id, Project.deleted.is_(False), is_allowed)


def no_such_project() -> ApiError:
    """Return the refusal of a project that is not there or not the caller's."""
    return ApiError(Code.NOT_FOUND, "You have no project with this id; project/list shows yours")


def mark_deleted(*filters: ColumnElement[bool]) -> bool:
    """Mark the one live project that matches as deleted; return whether there was one."""
    owner_id = db.session.scalar(
        update(Project)
        .where(*filters)
        .values(deleted=True)
        .returning(Project.user_id)
        .execution_options(synchronize_session=False)
    )
    if owner_id is None:
        return False
    db.session.execute(
        update(User)
        .where(User.id == owner_id)
        .values(live_projects=User.live_projects - 1)
        .execution_options(synchronize_session=False)
    )
    db.session.commit()
    return True
