"""The requests of projects by day."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Subquery, func, select, union_all

from gateway import clock
from gateway.auth import admin
from gateway.auth.models import User
from gateway.auth.tokens import Caller
from gateway.db import db
from gateway.project import limits, service
from gateway.project.models import Project, ProjectDay

Filters = Sequence[ColumnElement[bool]]


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
    of_one = (ProjectDay.project_id == project_id,), (Project.id == project_id,)
    return _counts(*of_one, today, latest).get(project_id, {})


def counts_of_user(user_id: int, today: date, latest: date) -> dict[int, dict[date, int]]:
    """Return what ``counts_of`` returns for each project of an account, by its id."""
    return _counts((ProjectDay.user_id == user_id,), (Project.user_id == user_id,), today, latest)


def _counts(
    of_days: Filters, of_today: Filters, today: date, latest: date
) -> dict[int, dict[date, int]]:
    counts: dict[int, dict[date, int]] = {}
    for row in db.session.execute(select(_days(of_days, of_today))):
        # A node whose clock is ahead may have begun tomorrow; here it is today.
        day = today if today <= row.day <= latest else row.day
        of_project = counts.setdefault(row.project_id, {})
        of_project[day] = of_project.get(day, 0) + row.requests
    return counts


def _days(of_days: Filters, of_today: Filters) -> Subquery:
    """Return the requests of projects by day, with today's.

    One statement reads both tables, because a day may move from one to the other at any moment.

    :param of_days: filters for days that are over.
    :param of_today: the same filters for the present day.
    """
    past = select(ProjectDay.project_id, ProjectDay.user_id, ProjectDay.day, ProjectDay.requests)
    today = select(Project.id, Project.user_id, Project.request_day, Project.day_count)
    return union_all(
        past.where(*of_days),
        today.where(Project.day_count > 0, Project.request_day.is_not(None), *of_today),
    ).subquery()


def _days_in(period: tuple[date, date], owner: str | None) -> Subquery:
    of_days: list[ColumnElement[bool]] = [ProjectDay.day.between(*period)]
    of_today: list[ColumnElement[bool]] = [Project.request_day.between(*period)]
    if owner is not None:
        user_id = admin.find(owner).id
        of_days.append(ProjectDay.user_id == user_id)
        of_today.append(Project.user_id == user_id)
    return _days(of_days, of_today)


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
    days = _days_in(period, owner)
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
    return _rows(found.limit(top))


def by_owner(
    period: tuple[date, date], owner: str | None = None, top: int | None = None
) -> Iterator[dict[str, Any]]:
    """Yield what ``by_project`` yields, summed up for each account."""
    days = _days_in(period, owner)
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
    return _rows(found.limit(top))


def _rows(found: Any) -> Iterator[dict[str, Any]]:
    for row in db.session.execute(found.execution_options(yield_per=1000)):
        yield {**row._mapping, "requests": int(row.requests)}  # Postgres sums as Decimal
