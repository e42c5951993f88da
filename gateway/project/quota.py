"""The daily quota: which day it is in TIMEZONE, and how many requests a project made on it."""

from __future__ import annotations

import math
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from flask import current_app

from gateway import clock


def days(now: datetime) -> tuple[date, date]:
    """Return today in TIMEZONE, and the day on a node whose clock is ahead by ``clock.LEEWAY``.

    A stored day from the first to the second counts as today. A later day was stored by a clock
    that was wrong.
    """
    zone = ZoneInfo(current_app.config["TIMEZONE"])
    return now.astimezone(zone).date(), (now + clock.LEEWAY).astimezone(zone).date()


def requests_on(project: Any, today: date, latest: date) -> int:
    """Return how many requests of a project were counted today; a new day begins at 0.

    :param project: an object with ``request_day`` and ``request_count``.
    :param today: the first result of ``days``.
    :param latest: the second one.
    """
    day: date | None = project.request_day
    count: int = project.request_count
    return count if day is not None and today <= day <= latest else 0


def seconds_left(day: date, now: datetime) -> int:
    """Return the seconds until a day ends in TIMEZONE, at least 1."""
    return max(1, math.ceil(_end_of(day, current_app.config["TIMEZONE"]) - now.timestamp()))


@lru_cache(maxsize=8)
def _end_of(day: date, timezone: str) -> float:
    """Return the moment at which a day ends in a time zone, in unix seconds."""
    return datetime.combine(day + timedelta(days=1), time(), ZoneInfo(timezone)).timestamp()
