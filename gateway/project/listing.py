"""One page of an account's projects: project/list."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from flask import current_app
from sqlalchemy import BigInteger, bindparam, select, true

from gateway import clock, crypto, log
from gateway.auth.models import User
from gateway.auth.tokens import Caller
from gateway.db.hot_sql import HotStatement
from gateway.errors import ApiError, Code
from gateway.project import quota, service
from gateway.project.models import Project

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
    service.note_owner(caller, owner_id)
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
