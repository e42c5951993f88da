"""The requests of projects by day."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from sqlalchemy import Subquery, func, select, union_all

from gateway import clock
from gateway.auth import admin
from gateway.auth.models import User
from gateway.auth.tokens import Caller
from gateway.db import db
from gateway.project import quota, service
from gateway.project.models import Project, ProjectDay


def of_project(caller: Caller, project_id: int, days: int) -> dict[str, Any]:
    """Return ``data`` of project/usage for the last days, of which the last is today.

    :raises ApiError: 1006 when the caller has no such project.
    """
    project = db.session.scalar(select(Project).where(*service.may_change(caller, project_id)))
    if project is None:
        raise service.no_such_project()
    service.note_owner(caller, project.user_id)
    today, latest = quota.days(clock.now())
    counts = counts_of(project_id, today, latest)
    until = project.active_until
    return {
        "active_until": int(until.timestamp()) if until else 0,
        "last_used": str(max(counts)) if counts else "",
        "list": [
            {"day": str(day), "requests": counts.get(day, 0)}
            for day in (today - timedelta(days=n) for n in reversed(range(days)))
        ],
    }


def counts_of(project_id: int, today: date, latest: date) -> dict[date, int]:
    """Return the requests of each day on which a project had any.

    :param today: the first result of ``quota.days``.
    :param latest: the second one.
    """
    counts: dict[date, int] = {}
    days = _days()
    for row in db.session.execute(select(days).where(days.c.project_id == project_id)):
        # A node whose clock is ahead may have begun tomorrow; here it is today.
        day = today if today <= row.day <= latest else row.day
        counts[day] = counts.get(day, 0) + row.requests
    return counts


def _days() -> Subquery:
    """Return the requests of all projects by day, with today's.

    One statement reads both tables, because a day may move from one to the other at any moment.
    """
    today = select(Project.id, Project.user_id, Project.request_day, Project.request_count)
    return union_all(
        select(ProjectDay.project_id, ProjectDay.user_id, ProjectDay.day, ProjectDay.requests),
        today.where(Project.request_count > 0, Project.request_day.is_not(None)),
    ).subquery()


def by_project(
    period: tuple[date, date], owner: str | None = None, top: int | None = None
) -> list[dict[str, Any]]:
    """Return the requests of every project that was used in a period, most used first.

    Of a project whose row was purged, 30 days after it was deleted, key and name are "".

    :param period: the first and the last day.
    :param owner: name or address of an account; None for all.
    :param top: how many projects to return at most.
    :raises ApiError: 1006 when there is no such account.
    """
    days = _days()
    requests = func.sum(days.c.requests).label("requests")
    found = (
        select(
            days.c.project_id.label("id"),
            func.coalesce(Project.project_key, "").label("project_key"),
            requests,
            User.user_name.label("owner"),
            func.coalesce(Project.project_name, "").label("project_name"),
        )
        .join(User, User.id == days.c.user_id)
        .outerjoin(Project, Project.id == days.c.project_id)
        .group_by(days.c.project_id, Project.id, User.id)
        .order_by(requests.desc(), days.c.project_id)
    )
    return _rows(found, days, period, owner, top)


def by_owner(
    period: tuple[date, date], owner: str | None = None, top: int | None = None
) -> list[dict[str, Any]]:
    """Return what ``by_project`` returns, summed up for each account."""
    days = _days()
    requests = func.sum(days.c.requests).label("requests")
    found = (
        select(
            User.id.label("user_id"),
            User.user_name.label("owner"),
            func.count(days.c.project_id.distinct()).label("projects"),
            requests,
        )
        .join(days, User.id == days.c.user_id)
        .group_by(User.id)
        .order_by(requests.desc(), User.id)
    )
    return _rows(found, days, period, owner, top)


def _rows(
    found: Any,
    days: Subquery,
    period: tuple[date, date],
    owner: str | None,
    top: int | None,
) -> list[dict[str, Any]]:
    found = found.where(days.c.day.between(*period)).limit(top)
    if owner is not None:
        found = found.where(User.id == admin.find(owner).id)
    rows = [dict(row._mapping) for row in db.session.execute(found)]
    return [{**row, "requests": int(row["requests"])} for row in rows]  # Postgres sums as Decimal
