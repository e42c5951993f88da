"""The gate: may this request pass? Asked by nginx for every request, so it costs one statement.

The statement verifies, counts and enforces the allowance at once; whatever is not in its WHERE
is not decided. Nodes may race, and their clocks may differ by ``clock.LEEWAY``: one that still
lives before midnight goes on counting for the day that another has begun.
"""

from __future__ import annotations

import math
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from flask import current_app
from sqlalchemy import (
    Date,
    String,
    and_,
    bindparam,
    case,
    exists,
    or_,
    select,
    update,
)

from gateway import clock, crypto, log
from gateway.auth.models import User
from gateway.errors import ApiError, Code
from gateway.extensions import UtcDateTime
from gateway.project.models import POOL_NAME, Project
from gateway.statement import Statement

_pool = bindparam("pool", type_=String)
_now = bindparam("now", type_=UtcDateTime)
_today = bindparam("today", type_=Date)
_latest = bindparam("latest", type_=Date)
# Hashes of 48 random characters: what time tells of a comparison is of no use to a guesser.
_given = bindparam("given", type_=String)

_is_known = and_(
    Project.deleted.is_(False),
    or_(
        Project.secret_hash == _given,
        and_(Project.old_secret_hash == _given, Project.old_secret_until > _now),
    ),
    exists().where(User.id == Project.user_id, User.is_banned.is_(False)),
    or_(_pool.is_(None), Project.pool_name == _pool),
)
_is_asked_for = Project.project_key == bindparam("key", type_=String)
_same_day = Project.request_day.between(_today, _latest)
_count = case((_same_day, Project.request_count), else_=0)
_shown = (
    Project.id,
    Project.project_key,
    Project.pool_name.label("pool_name"),
    Project.request_max,
    Project.request_count,
    Project.request_day,
)

PASS = Statement(
    update(Project)
    .where(
        _is_asked_for,
        _is_known,
        or_(Project.request_max == 0, _count < Project.request_max),
    )
    .values(
        request_total=Project.request_total + 1,
        request_count=_count + 1,
        request_day=case((_same_day, Project.request_day), else_=_today),
    )
    .returning(*_shown),
    durable=False,
)
WHY_NOT = Statement(select(*_shown, _is_known.label("is_known")).where(_is_asked_for))


class Verdict(NamedTuple):
    """What became of a request with a good key and secret.

    ``limit`` is the daily allowance, 0 for none; ``remaining`` what is left of it; ``reset`` the
    seconds until it is whole again.
    """

    passed: bool
    project_id: int
    project_key: str
    pool_name: str
    limit: int
    remaining: int
    reset: int


def admit(key: str, secret: str, pool: str | None) -> Verdict:
    """Let one request of a project pass and count it, or not (README, Behind nginx).

    :param pool: the pool whose end point was called, "" for the one without; None when it does
        not matter.
    :raises ApiError: 1001 when the project is not there or deleted, the secret neither the
        present one nor an old one in its grace, the owner banned, or the pool another.
    """
    if pool and not POOL_NAME.fullmatch(pool):
        raise unknown()
    now = clock.now()
    today, latest = days(now)
    values = {
        "key": key,
        "given": crypto.secret_hash(secret),
        "pool": pool,
        "now": now,
        "today": today,
        "latest": latest,
    }
    row = PASS.first(values)
    passed = row is not None
    if not passed:
        # It is refused already; this only tells which of two refusals it is.
        row = WHY_NOT.first(values)
        if row is not None:
            log.note(project=row.id)
        if row is None or not row.is_known:
            raise unknown()
    return Verdict(
        passed=passed,
        project_id=row.id,
        project_key=row.project_key,
        pool_name=row.pool_name,
        limit=row.request_max,
        remaining=max(0, row.request_max - row.request_count) if passed else 0,
        reset=_seconds_left(row.request_day or today, now),
    )


def unknown() -> ApiError:
    """Return the one refusal of all credentials that are no good, whatever is wrong with them."""
    return ApiError(
        Code.UNAUTHENTICATED,
        "The project key or secret is wrong, or not for this end point; project/list shows them",
    )


def days(now: datetime) -> tuple[date, date]:
    """Return today in TIMEZONE, and the day that it may be already on a node that is ahead.

    A stored day between the two is today; a later one was written by a clock that was wrong.
    """
    zone = _zone()
    return now.astimezone(zone).date(), (now + clock.LEEWAY).astimezone(zone).date()


def requests_on(project: Any, today: date, latest: date) -> int:
    """Return how many requests of a project were counted on a day; a new day begins at 0.

    :param project: with ``request_day`` and ``request_count``.
    :param latest: the day that a node whose clock is ahead may have counted for.
    """
    day: date | None = project.request_day
    counted: int = project.request_count
    return counted if day is not None and today <= day <= latest else 0


def _seconds_left(day: date, now: datetime) -> int:
    return max(1, math.ceil(_end_of(day, current_app.config["TIMEZONE"]) - now.timestamp()))


@lru_cache(maxsize=8)
def _end_of(day: date, timezone: str) -> float:
    """Return the moment that a day ends in a zone, unix seconds."""
    return datetime.combine(day + timedelta(days=1), time(), ZoneInfo(timezone)).timestamp()


def _zone() -> ZoneInfo:
    return ZoneInfo(current_app.config["TIMEZONE"])
