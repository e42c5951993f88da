"""What operators do to projects.

``id_or_key`` is a project's id or project key. Each function ends with the one commit.
"""

from __future__ import annotations

import re
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, Connection, case, func, select, update
from sqlalchemy.exc import IntegrityError

from gateway import clock, crypto
from gateway.auth import admin as accounts
from gateway.auth.models import User
from gateway.db import db, shared
from gateway.errors import ApiError, Code
from gateway.project import delete as deletion
from gateway.project import limits, pools, service
from gateway.project.models import Project, kept_requests
from gateway.settings import INT32_MAX

SECRETS = 5  # how many stored secrets ``try_secrets`` opens

Found = TypeVar("Found")
_WITH_OWNER = select(Project, User.user_name).join(User)


def search(
    owner: str | None, pool_name: str | None, sort: str | None, page_no: int, page_size: int
) -> tuple[list[tuple[Project, str]], int]:
    """Return one page of live projects, each with its owner's name, and the number of all.

    :param owner: name or address of an account; None for all.
    :param pool_name: "" for projects without a pool; None for all.
    :param sort: "today", "month" or "total": most used first; None for the order of ids.
    :raises ApiError: 1006 when there is no such account or pool.
    """
    filters: list[ColumnElement[bool]] = []
    if owner is not None:
        filters.append(Project.user_id == accounts.find(owner).id)
    if pool_name is not None:
        pool_id = pools.id_of(pool_name) if pool_name else None
        filters.append(Project.pool_id.is_not_distinct_from(pool_id))
    live = (Project.deleted.is_(False), *filters)
    total = db.session.scalar(select(func.count()).select_from(Project).where(*live)) or 0
    found = _WITH_OWNER.where(*live).order_by(*_order(sort), Project.id)
    page = db.session.execute(found.limit(page_size).offset(page_no * page_size))
    return list(page), total


def _order(sort: str | None) -> list[ColumnElement[int]]:
    """Return what to sort projects by, before their ids."""
    today, latest = limits.days(clock.now())
    if sort == "today":
        is_now, used = Project.request_day.between(today, latest), Project.day_count
    elif sort == "month":
        is_now, used = Project.request_day.between(*limits.month_of(today)), Project.month_count
    else:
        return [Project.request_total.desc()] if sort else []
    return [case((is_now, used), else_=0).desc()]


def assign(id_or_key: str, pool_name: str) -> Project:
    """Move a project to a pool; "" takes it out of its pool.

    :raises ApiError: 1006 when there is no such project or pool.
    """
    try:
        return change(id_or_key, pool_id=pools.id_of(pool_name) if pool_name else None)
    except IntegrityError:
        db.session.rollback()
        raise ApiError(Code.NOT_FOUND, "There is no such pool any more") from None


def change(id_or_key: str, **values: Any) -> Project:
    """Set limits of a project, or block it.

    :param values: of ``service.ADMINS_COLUMNS``; a limit of 0 is none.
    :raises ApiError: 1006 when there is no such project.
    """
    return _found(service.change(*_is_live(id_or_key), **values))


def find(id_or_key: str) -> tuple[Project, str]:
    """Return a live project, and its owner's name.

    :raises ApiError: 1006 when there is no such project.
    """
    return _found(db.session.execute(_WITH_OWNER.where(*_is_live(id_or_key))).first())


def delete(id_or_key: str) -> None:
    """Mark a project as deleted.

    :raises ApiError: 1006 when there is no such project.
    """
    _found(deletion.mark_deleted(*_is_live(id_or_key)))


def change_timezone(zone: str) -> str | None:
    """Store a time zone; return the one before, None if there was none.

    The new zone may have another date now. Requests that were counted on the old zone's today then
    count for the new zone's, so that no quota begins a second time.
    """
    connection = db.session.connection()
    before = shared.stored(connection).get("TIMEZONE")
    now = clock.now()
    new_day = now.astimezone(ZoneInfo(zone)).date()
    old_day = now.astimezone(ZoneInfo(before or zone)).date()
    if old_day != new_day:
        month_count = kept_requests(*limits.month_of(new_day)) + Project.day_count
        connection.execute(
            update(Project)
            .where(Project.request_day == old_day)
            .values(request_day=new_day, month_count=month_count)
        )
    shared.store(connection, "TIMEZONE", zone)
    db.session.commit()
    return before


def try_secrets(connection: Connection) -> tuple[int, int]:
    """Open some secrets of projects, the newest and the oldest among them.

    :returns: how many were tried, and how many no key opens.
    """
    sealed = select(Project.sealed_secret).where(Project.sealed_secret != "")
    newest = connection.scalars(sealed.order_by(Project.id.desc()).limit(SECRETS - 1)).all()
    oldest = connection.scalars(sealed.order_by(Project.id).limit(1)).all()
    tried = {*newest, *oldest}
    return len(tried), crypto.unseal(tried).count(None)


def _is_live(id_or_key: str) -> tuple[ColumnElement[bool], ...]:
    is_id = re.fullmatch(r"\d{1,10}", id_or_key, re.ASCII) and int(id_or_key) <= INT32_MAX
    is_meant = Project.id == int(id_or_key) if is_id else Project.project_key == id_or_key
    return (is_meant, Project.deleted.is_(False))


def _found(project: Found | None) -> Found:
    if project is None:
        raise ApiError(Code.NOT_FOUND, "There is no live project with this id or key")
    return project
