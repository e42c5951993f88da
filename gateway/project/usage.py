"""The requests of projects by day."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, func, select, union_all

from gateway import clock
from gateway.auth import admin
from gateway.auth.models import User
from gateway.auth.tokens import Caller
from gateway.db import db
from gateway.project import limits, service
from gateway.project.models import Project, ProjectDay

# The requests of projects by day, with today's. One statement reads both tables, because a day may
# move from one to the other at any moment.
_DAYS = union_all(
    select(ProjectDay.project_id, ProjectDay.user_id, ProjectDay.day, ProjectDay.requests),
    select(Project.id, Project.user_id, Project.request_day, Project.day_count).where(
        Project.day_count > 0, Project.request_day.is_not(None)
    ),
).subquery("days")
_requests = func.sum(_DAYS.c.requests).label("requests")


def of_project(caller: Caller, project_id: int, days: int) -> dict[str, Any]:
    """Return ``data`` of project/usage for the last days, of which the last is today.

    :raises ApiError: 1006 when the caller has no such project.
    """
    project = db.session.scalar(select(Project).where(*service.may_change(caller, project_id)))
    if project is None:
        raise service.no_such_project()
    service.note_owner(caller, project.user_id)
    today, latest = limits.days(clock.now())
    counts = counts_of(project_id, today, latest)
    first, last = limits.month_of(today)
    grace = project.old_secret_until
    return {
        "active_until": _unix(project.active_until),
        "last_used": str(max(counts)) if counts else "",
        "month_max": project.month_max,
        "month_used": sum(counts[day] for day in counts if first <= day <= last),
        "per_minute": project.per_minute,
        "old_secret_until": _unix(grace if grace and grace > clock.now() else None),
        "list": [
            {"day": str(day), "requests": counts.get(day, 0)}
            for day in (today - timedelta(days=n) for n in reversed(range(days)))
        ],
    }


def _unix(moment: datetime | None) -> int:
    return int(moment.timestamp()) if moment else 0


def counts_of(project_id: int, today: date, latest: date) -> dict[date, int]:
    """Return the requests of each day on which a project had any.

    :param today: the first result of ``limits.days``.
    :param latest: the second one.
    """
    return _counts(_DAYS.c.project_id == project_id, today, latest).get(project_id, {})


def counts_of_user(user_id: int, today: date, latest: date) -> dict[int, dict[date, int]]:
    """Return what ``counts_of`` returns for each project of an account, by its id."""
    return _counts(_DAYS.c.user_id == user_id, today, latest)


def _counts(is_meant: ColumnElement[bool], today: date, latest: date) -> dict[int, dict[date, int]]:
    counts: dict[int, dict[date, int]] = {}
    for row in db.session.execute(select(_DAYS).where(is_meant)):
        # A node whose clock is ahead may have begun tomorrow; here it is today.
        day = today if today <= row.day <= latest else row.day
        of_project = counts.setdefault(row.project_id, {})
        of_project[day] = of_project.get(day, 0) + row.requests
    return counts


def by_project(
    period: tuple[date, date], owner: str | None = None, top: int | None = None
) -> Iterator[dict[str, Any]]:
    """Yield the requests of every project that was used in a period, most used first.

    Of a project whose row was purged, 30 days after it was deleted, key and name are "".

    :param period: the first and the last day.
    :param owner: name or address of an account; None for all.
    :param top: how many projects to return at most.
    :raises ApiError: 1006 when there is no such account.
    """
    found = (
        select(
            _DAYS.c.project_id.label("id"),
            func.coalesce(Project.project_key, "").label("project_key"),
            _requests,
            User.user_name.label("owner"),
            func.coalesce(Project.project_name, "").label("project_name"),
        )
        .join(User, User.id == _DAYS.c.user_id)
        .outerjoin(Project, Project.id == _DAYS.c.project_id)
        .group_by(_DAYS.c.project_id, Project.id, User.id)
        .order_by(_requests.desc(), _DAYS.c.project_id)
    )
    return _rows(found, period, owner, top)


def by_owner(
    period: tuple[date, date], owner: str | None = None, top: int | None = None
) -> Iterator[dict[str, Any]]:
    """Yield what ``by_project`` yields, summed up for each account."""
    found = (
        select(
            User.id.label("user_id"),
            User.user_name.label("owner"),
            func.count(_DAYS.c.project_id.distinct()).label("projects"),
            _requests,
        )
        .join(_DAYS, User.id == _DAYS.c.user_id)
        .group_by(User.id)
        .order_by(_requests.desc(), User.id)
    )
    return _rows(found, period, owner, top)


def _rows(
    found: Any, period: tuple[date, date], owner: str | None, top: int | None
) -> Iterator[dict[str, Any]]:
    found = found.where(_DAYS.c.day.between(*period)).limit(top)
    if owner is not None:
        found = found.where(_DAYS.c.user_id == admin.find(owner).id)
    rows = db.session.execute(found.execution_options(yield_per=1000))
    # Postgres sums as Decimal.
    return ({**row._mapping, "requests": int(row.requests)} for row in rows)
