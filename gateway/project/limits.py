"""The limits of a project: the quota of a day, the quota of a month, and the rate a minute.

A request counts as its cost. 0 is no limit. Days and months are those of TIMEZONE.

The rate is a GCRA: ``rate_moment`` is when the project has its whole burst again. Each request
moves it on by one interval for each unit of its cost, and passes when it is then at most a whole
burst ahead of the clock.
"""

from __future__ import annotations

import math
from calendar import monthrange
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from flask import current_app

from gateway import clock

LEEWAY = int(clock.LEEWAY.total_seconds())
MAX_COST = 10_000
MAX_PER_MINUTE = 6_000_000
SECOND = 10**9  # nanoseconds
DAY = 86_400  # seconds, but for the two days on which a clock is changed
MIN_BURST = 5
BURSTS = 6  # in a minute, because a burst is 10 seconds' worth
SLOW = MIN_BURST * BURSTS  # a slower rate has a larger burst


class Limit(NamedTuple):
    """One limit of a project as it stands now.

    ``name`` is day, month or minute. ``remaining`` is the cost that passes now. ``reset`` is the
    number of seconds until nothing counts as used any more, at least 1; ``window`` is how long the
    limit's period is, in seconds.
    """

    name: str
    maximum: int
    remaining: int
    reset: int
    window: int


def of(row: Any, now: datetime) -> list[Limit]:
    """Return the limits of a project; those that are 0 are left out.

    :param row: what ``verify`` reads of a project.
    """
    found = []
    if row.request_max:
        left = max(0, row.request_max - row.day_count)
        found.append(Limit("day", row.request_max, left, seconds_left(row.request_day, now), DAY))
    if row.month_max:
        last = month_of(row.request_day)[1]
        left = max(0, row.month_max - row.month_count)
        reset = seconds_left(last, now)
        found.append(Limit("month", row.month_max, left, reset, last.day * DAY))
    if row.per_minute:
        debt, interval = rate_debt(row), _interval(row.per_minute)
        left = burst(row.per_minute) - -(-debt // interval)
        found.append(Limit("minute", row.per_minute, left, max(1, -(-debt // SECOND)), 60))
    return found


def waits(row: Any, cost: int, found: list[Limit]) -> dict[str, int]:
    """Return the limits that have no room for a request, and after how many seconds they have.

    :param found: the result of ``of``.
    """
    full = {limit.name: limit.reset for limit in found if cost > limit.remaining}
    if "minute" in full:
        missing = cost - burst(row.per_minute)
        wait = rate_debt(row) + missing * _interval(row.per_minute)
        full["minute"] = max(1, -(-wait // SECOND))
    return full


def never_fits(row: Any, cost: int) -> bool:
    """Tell whether a request costs more than a whole limit."""
    most = [row.request_max, row.month_max, row.per_minute and burst(row.per_minute)]
    return any(limit and cost > limit for limit in most)


def burst(per_minute: int) -> int:
    """Return the cost that passes at once after a pause."""
    return max(MIN_BURST, per_minute // BURSTS)


def rate_debt(row: Any) -> int:
    """Return the nanoseconds until a project has its whole burst again; at most for a whole one."""
    ahead: int = row.rate_ahead
    return min(max(0, ahead), whole_burst(row.per_minute))


def whole_burst(per_minute: int) -> int:
    """Return the nanoseconds after which a whole burst passes again."""
    return burst(per_minute) * _interval(per_minute)


def nanoseconds(now: datetime) -> int:
    """Return a moment in unix nanoseconds."""
    return int(now.timestamp() * 1_000_000) * 1000


def _interval(per_minute: int) -> int:
    return -(-60 * SECOND // per_minute)


def days(now: datetime) -> tuple[date, date]:
    """Return today in TIMEZONE, and the day on a node whose clock is ahead by ``clock.LEEWAY``.

    A stored day in [today, latest] is today; another one is over, or came from a wrong clock.
    """
    return _days(int(now.timestamp() // LEEWAY), zone())


@lru_cache(maxsize=8)
def _days(leeways: int, zone: ZoneInfo) -> tuple[date, date]:
    """Return what ``days`` does. Midnight never falls between two multiples of the leeway."""
    here, there = (datetime.fromtimestamp(n * LEEWAY, zone) for n in (leeways, leeways + 1))
    return here.date(), there.date()


def zone() -> ZoneInfo:
    """Return TIMEZONE."""
    return ZoneInfo(current_app.config["TIMEZONE"])


@lru_cache(maxsize=8)
def month_of(day: date) -> tuple[date, date]:
    """Return the first and the last day of a day's month."""
    first = day.replace(day=1)
    return first, first.replace(day=monthrange(first.year, first.month)[1])


def requests_on(project: Any, today: date, latest: date) -> int:
    """Return what was counted of a project today; a new day begins at 0.

    :param project: an object with ``request_day`` and ``day_count``.
    :param today: the first result of ``days``.
    :param latest: the second one.
    """
    day: date | None = project.request_day
    return int(project.day_count) if day is not None and today <= day <= latest else 0


def requests_in_month(project: Any, now: datetime) -> int:
    """Return what was counted of a project this month.

    :param project: an object with ``request_day`` and ``month_count``.
    """
    first, last = month_of(days(now)[0])
    day: date | None = project.request_day
    return int(project.month_count) if day is not None and first <= day <= last else 0


def seconds_left(day: date, now: datetime) -> int:
    """Return the seconds until a day ends in TIMEZONE, at least 1."""
    end = datetime.combine(day + timedelta(days=1), time(), zone())
    return max(1, math.ceil((end - now).total_seconds()))
