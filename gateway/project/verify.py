"""Decide whether a request may pass.

nginx asks for every request, so the answer takes one SQL statement, or a part of one. Only a
refusal takes a second one, which explains it.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Any

from gateway import clock, log
from gateway.errors import ApiError, Code
from gateway.project import answer, batch, credentials, limits, quota_mails, statement
from gateway.project.models import POOL_NAME

COST = re.compile(r"[1-9][0-9]{0,4}", re.ASCII)


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
    row = batch.count((credential, pool, cost), partial(_count, credential, pool, cost))
    now = clock.now()
    if row is None:
        raise answer.refusal(_read(statement.values(credential, pool, cost, now)), cost, now)
    return answer.headers_of(row, row.pool_name if pool is None else pool, limits.of(row, now))


def _count(credential: tuple[str, str], pool: str | None, cost: int, requests: int) -> list[Any]:
    """Count so many requests, or none of them; return the project with each of them."""
    count = statement.COUNT_IN_ANY if pool is None else statement.COUNT_IN_POOL
    row = count.first(statement.values(credential, pool, cost, clock.now(), requests))
    if row is None:
        return []
    earlier = [
        row._replace(day_count=row.day_count - later, month_count=row.month_count - later)
        for later in range((requests - 1) * cost, 0, -cost)
    ]
    rows = [*earlier, row]
    for row in rows:
        quota_mails.announce(row, cost)
    return rows


def standing(credential: tuple[str, str]) -> dict[str, Any]:
    """Return ``data`` of project/quota: the limits of a project, of which this counts nothing.

    :raises ApiError: 1001 when the credential is wrong; 1000 when the project is paused.
    """
    now = clock.now()
    row = _read(statement.values(credential, None, 1, now))
    if not row.is_active:
        raise ApiError(Code.ACCESS_DENIED, answer.PAUSED)
    found = {name: numbers for name, *numbers in limits.of(row, now)}
    names = ("limit", "remaining", "reset")
    return {
        name: dict(zip(names, found.get(name, (0, 0, 0)), strict=False))
        for name in ("day", "month", "minute")
    }


def _read(values: dict[str, Any]) -> Any:
    """Return a project and its limits.

    :raises ApiError: 1001 when the credential is wrong.
    """
    row = statement.READ_PROJECT.first(values)
    if row is not None:
        log.note(project=row.id)
    if row is None or not row.is_valid:
        raise credentials.refusal()
    return row
