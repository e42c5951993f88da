"""Decide whether a request may pass.

nginx asks for every request, so the answer takes one SQL statement. It checks the credentials,
counts the request and enforces the daily quota at once, so nodes that race never exceed the quota.
Only a refusal takes a second statement, which explains it.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, NamedTuple

from sqlalchemy import Date, String, and_, bindparam, case, exists, or_, select, update
from werkzeug.datastructures import Headers

from gateway import clock, crypto, log
from gateway.auth.models import User
from gateway.db import UtcDateTime
from gateway.db.hot_sql import HotStatement
from gateway.errors import ApiError, Code
from gateway.project import credentials, quota, quota_mails
from gateway.project.models import POOL_NAME, Project

_pool = bindparam("pool", type_=String)
_now = bindparam("now", type_=UtcDateTime)
_today = bindparam("today", type_=Date)
_latest_day = bindparam("latest_day", type_=Date)
# The database compares hashes of 48 random characters, so the time that it takes tells nothing.
_secret_hash = bindparam("secret_hash", type_=String)

_is_active = or_(Project.active_until.is_(None), Project.active_until > _now)
_has_key = Project.project_key == bindparam("key", type_=String)
_is_valid = and_(
    Project.deleted.is_(False),
    or_(
        Project.secret_hash == _secret_hash,
        and_(Project.old_secret_hash == _secret_hash, Project.old_secret_until > _now),
    ),
    exists().where(User.id == Project.user_id, User.is_banned.is_(False)),
    or_(_pool.is_(None), Project.pool_name == _pool),
)
# Clocks of nodes may differ by clock.LEEWAY. A node on which it is still yesterday goes on counting
# for the day that another node has begun.
_is_today = Project.request_day.between(_today, _latest_day)
_count = case((_is_today, Project.request_count), else_=0)
_columns = (
    Project.id,
    Project.project_key,
    Project.pool_name.label("pool_name"),
    Project.request_max,
    Project.request_count,
    Project.request_day,
)

COUNT_REQUEST = HotStatement(
    update(Project)
    .where(
        _has_key,
        _is_valid,
        _is_active,
        or_(Project.request_max == 0, _count < Project.request_max),
    )
    .values(
        request_total=Project.request_total + 1,
        request_count=_count + 1,
        request_day=case((_is_today, Project.request_day), else_=_today),
    )
    .returning(*_columns),
    durable=False,
)
EXPLAIN_REFUSAL = HotStatement(
    select(*_columns, _is_valid.label("is_valid"), _is_active.label("is_active")).where(_has_key)
)


class Decision(NamedTuple):
    """A request that may pass and was counted.

    ``limit`` is the daily quota, 0 for none. ``remaining`` is the rest of it. ``reset`` is the
    number of seconds until it begins anew.
    """

    project_id: int
    project_key: str
    pool_name: str
    limit: int
    remaining: int
    reset: int

    def headers(self) -> dict[str, str]:
        """Return the headers that nginx passes on."""
        headers = {
            "X-Gateway-Project": str(self.project_id),
            "X-Gateway-Key": self.project_key,
            "X-Gateway-Pool": self.pool_name,
        }
        if self.limit:
            headers["RateLimit-Limit"] = str(self.limit)
            headers["RateLimit-Remaining"] = str(self.remaining)
            headers["RateLimit-Reset"] = str(self.reset)
        return headers


def decide(headers: Headers, pools: list[str], path: str = "") -> Decision:
    """Let one request of a project pass and count it, or refuse it.

    :param headers: those of the request; two of them may hold the credentials.
    :param path: of the client's request, if it may hold them, too.
    :param pools: the pool of the end point that was called, "" for the one without a pool; empty
        when any pool will do. Two are refused, because a proxy asks for one.
    :raises ApiError: 1001 (HTTP 401) when the credentials are wrong or malformed, the project is
        deleted or of another pool, or its owner is banned. 1000 (HTTP 403) when it is paused. 429
        (HTTP 403) when the quota is used up.
    """
    key, secret = credentials.read(headers, path)
    pool = pools[0] if pools else None
    if len(pools) > 1 or (pool and not POOL_NAME.fullmatch(pool)):
        raise credentials.refusal()
    now = clock.now()
    today, latest_day = quota.days(now)
    values = {
        "key": key,
        "secret_hash": crypto.secret_hash(secret),
        "pool": pool,
        "now": now,
        "today": today,
        "latest_day": latest_day,
    }
    row = COUNT_REQUEST.first(values)
    if row is None:
        raise _explain(EXPLAIN_REFUSAL.first(values), now)
    quota_mails.announce(row.id, row.request_day, row.request_max, row.request_count)
    return _decision(row, max(0, row.request_max - row.request_count), now)


def _decision(row: Any, remaining: int, now: Any) -> Decision:
    return Decision(
        project_id=row.id,
        project_key=row.project_key,
        pool_name=row.pool_name,
        limit=row.request_max,
        remaining=remaining,
        reset=quota.seconds_left(row.request_day or quota.days(now)[0], now),
    )


def _explain(row: Any, now: Any) -> ApiError:
    """Return the refusal of a request that was not counted.

    :param row: of ``EXPLAIN_REFUSAL``; None when no project has the key.
    """
    if row is not None:
        log.note(project=row.id)
    if row is None or not row.is_valid:
        return credentials.refusal()
    if not row.is_active:
        return ApiError(
            Code.ACCESS_DENIED,
            "This project is paused or has expired; project/edit sets active_until",
            status=HTTPStatus.FORBIDDEN,
            headers={"X-Gateway-Code": str(Code.ACCESS_DENIED.number)},
        )
    decision = _decision(row, 0, now)
    return ApiError(
        Code.TOO_MANY_REQUESTS,
        "The daily allowance is used up; Retry-After tells when the next begins",
        status=HTTPStatus.FORBIDDEN,  # auth_request passes on only 401 and 403
        retry_after=decision.reset,
        headers={**decision.headers(), "X-Gateway-Code": str(Code.TOO_MANY_REQUESTS.number)},
    )
