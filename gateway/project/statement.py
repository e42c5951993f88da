"""The two statements of verify: one that counts a request, and one that reads a project.

The first checks the credentials, counts the request and enforces every limit at once, so nodes that
race never exceed one. The second explains a refusal.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Date,
    Integer,
    String,
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

from gateway import crypto
from gateway.auth.models import User
from gateway.db import UtcDateTime
from gateway.db.hot_sql import HotStatement
from gateway.project import limits
from gateway.project.models import Project, kept_requests


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


_pool = bindparam("pool", type_=String)
_now = bindparam("now", type_=UtcDateTime)
_today = bindparam("today", type_=Date)
_latest_day = bindparam("latest_day", type_=Date)
_month = (bindparam("month_begin", type_=Date), bindparam("month_end", type_=Date))
_cost = bindparam("cost", type_=BigInteger)  # of all requests that are counted
_requests = bindparam("requests", type_=Integer)
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
            request_count=case((_is_today, Project.request_count), else_=0) + _requests,
            extra_count=case((_is_today, Project.extra_count), else_=_kept_today)
            + (_cost - _requests),
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


def values(
    credential: tuple[str, str], pool: str | None, cost: int, now: datetime, requests: int = 1
) -> dict[str, Any]:
    """Return the parameters of both statements.

    :param credential: the project's key and secret.
    :param pool: the pool whose end point was called, "" for none, None for any.
    :param cost: what a request counts as.
    :param requests: how many are counted.
    """
    today, latest_day = limits.days(now)
    month_begin, month_end = limits.month_of(today)
    return {
        "key": credential[0],
        "secret_hash": crypto.secret_hash(credential[1]),
        "pool": pool,
        "cost": cost * requests,
        "requests": requests,
        "now": now,
        "moment": limits.nanoseconds(now),
        "today": today,
        "latest_day": latest_day,
        "month_begin": month_begin,
        "month_end": month_end,
    }
