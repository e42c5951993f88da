"""The requests of projects by day."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import func, select, union_all

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


#: The requests of every project that was used, most used first. Of one whose row was purged, which
#: is 30 days after it was deleted, key and name are "".
BY_PROJECT = (
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
#: The same, summed up for each account.
BY_OWNER = (
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


def of_project(caller: Caller, project_id: int, days: int) -> dict[str, Any]:
    """Return ``data`` of project/usage for the last days, of which the last is today.

    :raises ApiError: 1006 when the caller has no such project.
    """
    found = db.session.scalar(select(Project).where(*service.may_change(caller, project_id)))
    project = service.found(caller, found)
    now = clock.now()
    today, _ = limits.days(now)
    counts = of_days(project_id=project_id)[project_id]
    first, last = limits.month_of(today)
    grace = project.old_secret_until
    return {
        "active_until": _unix(project.active_until),
        "last_used": str(max(counts)) if counts else "",
        "month_max": project.month_max,
        "month_used": sum(counts[day] for day in counts if first <= day <= last),
        "per_minute": project.per_minute,
        "old_secret_until": _unix(grace if grace and grace > now else None),
        "list": [
            {"day": str(day), "requests": counts[day]}
            for day in (today - timedelta(days=n) for n in reversed(range(days)))
        ],
    }


def _unix(moment: datetime | None) -> int:
    return int(moment.timestamp()) if moment else 0


def of_days(**whose: int) -> dict[int, Counter[date]]:
    """Return the requests of each day on which a project had any, by the project's id.

    :param whose: ``project_id``, or ``user_id`` for each project of an account.
    """
    today, latest = limits.days(clock.now())
    counts: dict[int, Counter[date]] = defaultdict(Counter)
    for row in db.session.execute(select(_DAYS).filter_by(**whose)):
        # A node whose clock is ahead may have begun tomorrow; here it is today.
        day = today if today <= row.day <= latest else row.day
        counts[row.project_id][day] += row.requests
    return counts


def rows(
    found: Any, period: tuple[date, date], owner: str | None, top: int | None
) -> Iterator[dict[str, Any]]:
    """Yield what was used in a period.

    :param found: ``BY_PROJECT`` or ``BY_OWNER``.
    :param period: the first and the last day.
    :param owner: name or address of an account; None for all.
    :param top: how many rows to return at most; None for all.
    :raises ApiError: 1006 when there is no such account.
    """
    found = found.where(_DAYS.c.day.between(*period)).limit(top)
    if owner is not None:
        found = found.where(_DAYS.c.user_id == admin.find(owner).id)
    listed = db.session.execute(found.execution_options(yield_per=1000))
    # Postgres sums as Decimal.
    return ({**row._mapping, "requests": int(row.requests)} for row in listed)
