"""One page of an account's projects: project/list."""

from __future__ import annotations

from datetime import date
from typing import Any
from zoneinfo import ZoneInfo

from flask import current_app
from sqlalchemy import BigInteger, bindparam, select, true

from gateway import clock, crypto, log
from gateway.auth import tokens
from gateway.auth.models import User
from gateway.db.hot_sql import HotStatement
from gateway.errors import ApiError, Code
from gateway.project import limits
from gateway.project.models import Project

_COLUMNS = (
    *("id", "project_name", "project_type", "project_key", "sealed_secret", "deleted"),
    *("created_at", "request_total", "request_day", "day_count", "request_max", "pool_id"),
    "pool_name",
)
# Each row repeats the account's number of projects. An empty page is one row with ``id`` NULL.
_page = (
    select(*(getattr(Project, name).label(name) for name in _COLUMNS))
    .where(Project.user_id == bindparam("owner"), Project.deleted.is_(False))
    .order_by(Project.id)
    .limit(bindparam("page_size", type_=BigInteger))
    .offset(bindparam("skipped", type_=BigInteger))
    .subquery()
)
_of_owner = select(User.live_projects, *_page.c).outerjoin(_page, true()).order_by(_page.c.id)
_LIST_PAGE = HotStatement(_of_owner.where(User.id == bindparam("owner")))
# It also checks the token, because on Postgres a second statement costs a quarter of a page.
_LIST_OWN_PAGE = HotStatement(_of_owner.where(tokens.IS_CALLER))


def list_page(user_id: int, page_no: int, page_size: int) -> tuple[list[dict[str, Any]], int]:
    """Return one page of an account's live projects, ordered by id, and the number of all.

    :param user_id: whose projects; 0 means the caller's.
    :raises ApiError: 1000 when they are another user's and the caller is no admin; 1001.
    """
    token = tokens.given()
    owner_id = user_id or token["id"]
    page_of_owner = {"owner": owner_id, "page_size": page_size, "skipped": page_no * page_size}
    if owner_id == token["id"]:
        rows = _LIST_OWN_PAGE.all({**token, **page_of_owner})
        if not rows:  # the token is revoked: an empty page has one row
            raise ApiError(Code.UNAUTHENTICATED)
        log.note(user=owner_id)
    else:
        caller = tokens.caller()
        log.note(owner=owner_id)
        if not caller.is_admin:
            text = "These projects are another user's; with user_id 0 you get yours"
            raise ApiError(Code.ACCESS_DENIED, text)
        rows = _LIST_PAGE.all(page_of_owner)
    total = rows[0].live_projects if rows else 0
    projects = [row for row in rows if row.id is not None]
    secrets = crypto.unseal(project.sealed_secret for project in projects)
    days, zone = limits.days(clock.now()), limits.zone()
    pairs = zip(projects, secrets, strict=True)
    return [_item(project, secret, days, zone) for project, secret in pairs], total


def _item(
    project: Any, secret: str | None, days: tuple[date, date], zone: ZoneInfo
) -> dict[str, Any]:
    """Return the thirteen fields of a listed project.

    :param project: a row of ``_LIST_PAGE``.
    :param secret: None when no key opens it.
    :param days: the result of ``limits.days``.
    :param zone: what ``created_time`` is in.
    """
    if secret is None:
        secret = ""
        log.logger.error(
            "no key opens the secret of project=%d; is SECRET_KEY_FALLBACKS complete?", project.id
        )
    pool, credential = project.pool_name, f"{project.project_key}.{secret}"
    return {
        "id": project.id,
        "project_name": project.project_name,
        "project_type": project.project_type,
        "project_key": project.project_key,
        "project_secret": secret,
        "end_points": [
            template.replace("{pool_name}", pool)
            .replace("{pool/}", pool and f"{pool}/")
            .replace("{credential}", credential)
            for template in current_app.config["END_POINTS"]
        ],
        "deleted": project.deleted,
        # strftime takes longer.
        "created_time": project.created_at.astimezone(zone).isoformat(" ", "seconds")[:19],
        "request_total": project.request_total,
        "request_today": limits.requests_on(project, *days),
        "request_max": project.request_max,
        "pool_id": project.pool_id or 0,
        "pool_name": project.pool_name,
    }
