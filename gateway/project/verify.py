"""Decide whether a request may pass.

nginx asks for every request, so the answer takes one SQL statement. It checks the credentials,
counts the request and enforces every limit at once, so nodes that race never exceed one. Only a
refusal takes a second statement, which explains it.
"""

from __future__ import annotations

import re
from datetime import datetime
from http import HTTPStatus
from typing import Any, cast

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Date,
    Integer,
    String,
    Table,
    and_,
    bindparam,
    case,
    func,
    literal,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from gateway import clock, crypto, log
from gateway.auth.models import User
from gateway.db import UtcDateTime, db
from gateway.db.hot_sql import HotStatement
from gateway.errors import ApiError, Code
from gateway.project import credentials, limits, quota_mails
from gateway.project.limits import Limit
from gateway.project.models import POOL_NAME, Project, kept_requests

COST = re.compile(r"[1-9][0-9]{0,4}", re.ASCII)


class moment(FunctionElement[int]):
    """SQL: the present moment in unix nanoseconds.

    Postgres tells it itself, because clocks of nodes differ.
    """

    type = BigInteger()
    inherit_cache = True


@compiles(moment, "postgresql")
def _ask_postgres(_element: moment, _compiler: Any, **_: Any) -> str:
    return "(extract(epoch FROM clock_timestamp()) * 1000000000)::bigint"


@compiles(moment)
def _ask_clock(_element: moment, compiler: Any, **kw: Any) -> str:
    return str(compiler.process(bindparam("moment", type_=BigInteger), **kw))


_projects = cast(Table, Project.__table__)
_pool = bindparam("pool", type_=String)
_now = bindparam("now", type_=UtcDateTime)
_today = bindparam("today", type_=Date)
_latest_day = bindparam("latest_day", type_=Date)
_month = (bindparam("month_begin", type_=Date), bindparam("month_end", type_=Date))
_cost = bindparam("cost", type_=BigInteger)
# The database compares hashes of 48 random characters, so the time that it takes tells nothing.
_secret_hash = bindparam("secret_hash", type_=String)

_is_active = and_(
    Project.blocked.is_(False),
    or_(Project.active_until.is_(None), Project.active_until > _now),
)
_has_key = Project.project_key == bindparam("key", type_=String)
_is_valid = and_(
    Project.deleted.is_(False),
    or_(
        Project.secret_hash == _secret_hash,
        and_(Project.old_secret_hash == _secret_hash, Project.old_secret_until > _now),
    ),
    # As a value, because planning a join takes Postgres a tenth of the whole statement.
    select(User.is_banned).where(User.id == Project.user_id).scalar_subquery().is_(False),
)
# Clocks of nodes may differ by clock.LEEWAY. A node on which it is still yesterday goes on counting
# for the day that another node has begun.
_is_today = Project.request_day.between(_today, _latest_day)
_request_day = case((_is_today, Project.request_day), else_=_today)
# A day that was counted is known, so a clock that is set back begins no day and no month anew.
_kept_today = kept_requests(_today, _today)
_day_count = case((_is_today, Project.day_count), else_=_kept_today)
_month_count = case(
    (_is_today, Project.month_count),
    else_=kept_requests(*_month)
    + case((Project.request_day.between(*_month), Project.day_count), else_=0),
)
# NULL without a rate.
_interval = (literal(60 * limits.SECOND - 1, BigInteger) + Project.per_minute) // func.nullif(
    Project.per_minute, 0, type_=Integer
)
_burst = case(
    (Project.per_minute < limits.SLOW, limits.MIN_BURST), else_=Project.per_minute // limits.BURSTS
)
_columns = (
    Project.id,
    Project.project_key,
    Project.request_max,
    Project.month_max,
    Project.per_minute,
    (Project.rate_moment - moment()).label("rate_ahead"),
)


def _count_request(is_in_pool: ColumnElement[bool], *pool_name: ColumnElement[str]) -> HotStatement:
    """Return the statement that verifies, counts and enforces the limits."""
    return HotStatement(
        update(Project)
        .where(
            _has_key,
            _is_valid,
            is_in_pool,
            _is_active,
            or_(Project.request_max == 0, _day_count + _cost <= Project.request_max),
            or_(Project.month_max == 0, _month_count + _cost <= Project.month_max),
            or_(
                Project.per_minute == 0,
                and_(
                    _cost <= _burst, Project.rate_moment + (_cost - _burst) * _interval <= moment()
                ),
            ),
        )
        .values(
            request_total=Project.request_total + _cost,
            request_day=_request_day,
            request_count=case((_is_today, Project.request_count), else_=0) + 1,
            extra_count=case((_is_today, Project.extra_count), else_=_kept_today) + _cost - 1,
            month_count=_month_count + _cost,
            rate_moment=func.coalesce(
                case((Project.rate_moment > moment(), Project.rate_moment), else_=moment())
                + _cost * _interval,
                Project.rate_moment,
            ),
        )
        .returning(
            *_columns,
            *pool_name,
            Project.request_day,
            Project.day_count.label("day_count"),
            Project.month_count,
        ),
        durable=False,
    )


_pool_name = Project.pool_name.label("pool_name")
# nginx names the pool, so the first need not return it: a subquery less to plan.
COUNT_IN_POOL = _count_request(Project.pool_name == _pool)
COUNT_IN_ANY = _count_request(true(), _pool_name)
READ_PROJECT = HotStatement(
    select(
        *_columns,
        _request_day.label("request_day"),
        _day_count.label("day_count"),
        _month_count.label("month_count"),
        _pool_name,
        and_(_is_valid, or_(_pool.is_(None), Project.pool_name == _pool)).label("is_valid"),
        _is_active.label("is_active"),
    ).where(_has_key)
)


def _headers(row: Any, pool_name: str, found: list[Limit]) -> dict[str, str]:
    """Return the headers that a proxy passes on.

    The last two are those of draft-ietf-httpapi-ratelimit-headers.
    """
    headers = {
        "X-Gateway-Project": str(row.id),
        "X-Gateway-Key": row.project_key,
        "X-Gateway-Pool": pool_name,
    }
    if row.request_max:
        _, most, left, reset, _ = found[0]
        headers["RateLimit-Limit"] = str(most)
        headers["RateLimit-Remaining"] = str(left)
        headers["RateLimit-Reset"] = str(reset)
    if found:
        policy = [f'"{name}";q={most};w={window}' for name, most, _, _, window in found]
        headers["RateLimit-Policy"] = ", ".join(policy)
        state = [f'"{name}";r={left};t={reset}' for name, _, left, reset, _ in found]
        headers["RateLimit"] = ", ".join(state)
    return headers


def question(pools: list[str], costs: list[str]) -> tuple[str | None, int]:
    """Return the pool and the cost that the proxy's configuration puts into a question.

    :param pools: the pool of the end point that was called, "" for the one without a pool; empty
        when any pool will do.
    :param costs: the cost of the request; empty for 1.
    :raises ApiError: 1003 when one is malformed or given twice.
    """
    pool, cost = pools[0] if pools else None, costs[0] if costs else "1"
    rule = ""
    if len(pools) > 1 or (pool and not POOL_NAME.fullmatch(pool)):
        rule = "pool must be the name of one pool"
    elif len(costs) > 1 or not COST.fullmatch(cost) or int(cost) > limits.MAX_COST:
        rule = f"cost must be one integer from 1 to {limits.MAX_COST}"
    if rule:
        log.logger.error("a proxy's configuration asks with a bad question: %s", rule)
        raise ApiError(Code.INVALID_PARAMETER, rule)
    return pool, int(cost)


def decide(credential: tuple[str, str], pool: str | None, cost: int) -> dict[str, str]:
    """Count one request of a project and return the headers that let it pass, or refuse it.

    :param credential: the project's key and secret.
    :param pool: the pool whose end point was called, "" for none, None for any.
    :param cost: what the request counts as, from 1 to ``limits.MAX_COST``.
    :raises ApiError: 1001 (HTTP 401) when the credential is wrong, the project is deleted or of
        another pool, or its owner is banned. 1000 (HTTP 403) when it is paused, expired or blocked.
        1009 (HTTP 403) when the cost is more than a whole limit. 429 when a limit is reached.
    """
    now = clock.now()
    values = _values(credential, pool, cost, now)
    row = (COUNT_IN_ANY if pool is None else COUNT_IN_POOL).first(values)
    if row is None:
        raise _explain(_read(values), cost, now)
    quota_mails.announce(row, cost)
    return _headers(row, row.pool_name if pool is None else pool, limits.of(row, now))


def standing(credential: tuple[str, str]) -> dict[str, Any]:
    """Return ``data`` of project/quota: the limits of a project, of which this counts nothing.

    :raises ApiError: 1001 when the credential is wrong; 1000 when the project is paused.
    """
    now = clock.now()
    row = _read(_values(credential, None, 1, now))
    if not row.is_active:
        raise ApiError(Code.ACCESS_DENIED, _PAUSED)
    found = {name: numbers for name, *numbers in limits.of(row, now)}
    names = ("limit", "remaining", "reset")
    return {
        name: dict(zip(names, found.get(name, (0, 0, 0)), strict=False))
        for name in ("day", "month", "minute")
    }


def _values(
    credential: tuple[str, str], pool: str | None, cost: int, now: datetime
) -> dict[str, Any]:
    today, latest_day = limits.days(now)
    month_begin, month_end = limits.month_of(today)
    return {
        "key": credential[0],
        "secret_hash": crypto.secret_hash(credential[1]),
        "pool": pool,
        "cost": cost,
        "now": now,
        "moment": limits.nanoseconds(now),
        "today": today,
        "latest_day": latest_day,
        "month_begin": month_begin,
        "month_end": month_end,
    }


def _read(values: dict[str, Any]) -> Any:
    """Return a project and its limits.

    :raises ApiError: 1001 when the credential is wrong.
    """
    row = READ_PROJECT.first(values)
    if row is not None:
        log.note(project=row.id)
    if row is None or not row.is_valid:
        raise credentials.refusal()
    return row


_PAUSED = (
    "This project is paused, has expired or was blocked by an admin; project/edit sets active_until"
)


def _explain(row: Any, cost: int, now: datetime) -> ApiError:
    """Return the refusal of a request that was not counted."""
    if not row.is_active:
        return _refusal(Code.ACCESS_DENIED, _PAUSED, {})
    found = limits.of(row, now)
    headers = _headers(row, row.pool_name, found)
    if limits.never_fits(row, cost):
        text = f"A request here costs {cost}, which is more than a whole limit of this project"
        return _refusal(Code.LIMIT_REACHED, text, headers)
    _forget_wrong_clock(row)
    # When a limit had room again before it was read, the client may try again at once.
    waits = limits.waits(row, cost, found) or {"minute": 1}
    name, wait = max(waits.items(), key=lambda each: each[1])
    text = f"The quota of the {name} is used up; try again in {wait} seconds"
    return _refusal(Code.TOO_MANY_REQUESTS, text, headers, wait)


def _refusal(
    code: Code, text: str, headers: dict[str, str], retry_after: int | None = None
) -> ApiError:
    """Return a refusal with headers that tell nginx what to answer."""
    headers |= {"X-Gateway-Code": str(code.number), "X-Gateway-Message": text}
    status = None if retry_after else HTTPStatus.FORBIDDEN
    return ApiError(code, text, status=status, retry_after=retry_after, headers=headers)


def _forget_wrong_clock(row: Any) -> None:
    """Let a rate count as just used up when a clock that was wrong has stored a later moment."""
    used_up = limits.whole_burst(row.per_minute) if row.per_minute else 0
    if row.rate_ahead <= used_up or not used_up:
        return
    lock = update(_projects).where(_projects.c.id == row.id)
    db.session.execute(lock.values(rate_moment=_projects.c.rate_moment))
    # Read the clock with the row locked, because requests that came meanwhile have moved it on.
    db.session.execute(
        lock.where(_projects.c.rate_moment > moment() + used_up).values(
            rate_moment=moment() + used_up
        ),
        {"moment": limits.nanoseconds(clock.now())},
    )
    db.session.commit()
