"""What verify answers: the headers that a proxy passes on, and the refusals."""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from typing import Any

from sqlalchemy import update

from gateway import clock
from gateway.db import db
from gateway.errors import ApiError, Code
from gateway.project import limits
from gateway.project.limits import Limit
from gateway.project.models import Project
from gateway.project.statement import moment

PAUSED = (
    "This project is paused, has expired or was blocked by an admin; project/edit sets active_until"
)


def headers_of(row: Any, pool_name: str, found: list[Limit]) -> dict[str, str]:
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


def refusal(row: Any, cost: int, now: datetime) -> ApiError:
    """Return the refusal of a request that was not counted, with headers that tell nginx why.

    :param row: what ``statement.READ_PROJECT`` returns.
    """
    if not row.is_active:
        return _refusal(Code.ACCESS_DENIED, PAUSED, {})
    found = limits.of(row, now)
    headers = headers_of(row, row.pool_name, found)
    if limits.never_fits(row, cost):
        text = f"A request here costs {cost}, which is more than a whole limit of this project"
        return _refusal(Code.LIMIT_REACHED, text, headers)
    if row.per_minute and row.rate_ahead > limits.whole_burst(row.per_minute):
        _forget_wrong_clock(row)
    # When a limit had room again before it was read, the client may try again at once.
    waits = limits.waits(row, cost, found) or {"minute": 1}
    name, wait = max(waits.items(), key=lambda each: each[1])
    text = f"The quota of the {name} is used up; try again in {wait} seconds"
    return _refusal(Code.TOO_MANY_REQUESTS, text, headers, wait)


def _refusal(
    code: Code, text: str, headers: dict[str, str], retry_after: int | None = None
) -> ApiError:
    headers |= {"X-Gateway-Code": str(code.number), "X-Gateway-Message": text}
    status = None if retry_after else HTTPStatus.FORBIDDEN
    return ApiError(code, text, status=status, retry_after=retry_after, headers=headers)


def _forget_wrong_clock(row: Any) -> None:
    """Let a rate count as just used up, because a wrong clock has stored a later moment."""
    lock = update(Project).where(Project.id == row.id)
    db.session.execute(lock.values(rate_moment=Project.rate_moment))
    # Read the clock with the row locked, because requests that came meanwhile have moved it on.
    used_up = moment() + limits.whole_burst(row.per_minute)
    db.session.execute(
        lock.where(Project.rate_moment > used_up).values(rate_moment=used_up),
        {"moment": limits.nanoseconds(clock.now())},
    )
    db.session.commit()
