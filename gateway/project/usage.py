"""The requests of a project by day."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from sqlalchemy import func, select, union_all

from gateway import clock
from gateway.auth import admin as accounts
from gateway.auth.models import User
from gateway.auth.tokens import Caller
from gateway.db import db
from gateway.project import quota, service
from gateway.project.models import Project, ProjectDay

KEPT_DAYS = 400


def of_project(caller: Caller, project_id: int, days: int) -> dict[str, Any]:
    """Return ``data`` of project/usage for the last days, of which the last is today.

    :raises ApiError: 1006 when the caller has no such project.
    """
    project = db.session.scalar(select(Project).where(*service.may_change(caller, project_id)))
    if project is None:
        raise service.no_such_project()
    service.note_owner(caller, project.user_id)
    today, latest = quota.days(clock.now())
    first = today - timedelta(days=days - 1)
    counts = _counts(project_id, first)
    if project.request_day is not None:
        # A node whose clock is ahead may have begun tomorrow; here it is today.
        day = today if today <= project.request_day <= latest else project.request_day
        counts[day] = counts.get(day, 0) + project.request_count
    until = project.active_until
    return {
        "active_until": int(until.timestamp()) if until else 0,
        "last_used": str(max(used) if (used := _days_with_requests(project, counts)) else ""),
        "list": [
            {"day": str(day), "requests": counts.get(day, 0)}
            for day in (first + timedelta(days=n) for n in range(days))
        ],
    }


def _counts(project_id: int, first: date) -> dict[date, int]:
    rows = db.session.execute(
        select(ProjectDay.day, ProjectDay.requests).where(
            ProjectDay.project_id == project_id, ProjectDay.day >= first
        )
    )
    return {row.day: row.requests for row in rows}


def _days_with_requests(project: Project, counts: dict[date, int]) -> list[date]:
    days = [day for day, requests in counts.items() if requests]
    if not days:
        last = db.session.scalar(
            select(func.max(ProjectDay.day)).where(ProjectDay.project_id == project.id)
        )
        days = [last] if last else []
    return days


def by_project(
    first: date, last: date, owner: str | None = None, top: int | None = None
) -> list[dict[str, Any]]:
    """Return the requests of every project that was used between two days, most used first.

    Deleted projects are in it until their rows are purged.

    :param owner: name or address of an account; None for all.
    :param top: how many projects to return at most.
    :raises ApiError: 1006 when there is no such account.
    """
    day = union_all(
        select(ProjectDay.project_id, ProjectDay.day, ProjectDay.requests),
        select(Project.id, Project.request_day, Project.request_count),
    ).subquery()
    requests = func.sum(day.c.requests)
    found = (
        select(Project.id, Project.project_key, requests, User.user_name, Project.project_name)
        .join(day, day.c.project_id == Project.id)
        .join(User, User.id == Project.user_id)
        .where(day.c.day.between(first, last), day.c.requests > 0)
        .group_by(Project.id, User.id)
        .order_by(requests.desc(), Project.id)
        .limit(top)
    )
    if owner is not None:
        found = found.where(Project.user_id == accounts.find(owner).id)
    names = ("id", "project_key", "requests", "owner", "project_name")
    return [
        {**dict(zip(names, row, strict=True)), "requests": int(row[2])}
        for row in db.session.execute(found)
    ]
