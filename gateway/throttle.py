"""Counters that every worker and node shares: one table, one atomic statement.

A counter allows ``most`` events within ``seconds`` of its first one. ``take`` counts an event
or refuses it; ``check`` only looks; ``give_back`` undoes one; ``clear`` forgets all.
"""

from __future__ import annotations

import hashlib
import ipaddress
import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import String, bindparam, case, delete, or_, select, update
from sqlalchemy.orm import Mapped, mapped_column

from gateway import clock
from gateway.errors import ApiError, Code
from gateway.extensions import Base, UtcDateTime, db, upsert
from gateway.statement import Statement

MINUTE, HOUR, DAY = 60, 3600, 86400  # seconds


class ThrottleCount(Base):
    """How many events a counter has seen, and when it starts anew."""

    __tablename__ = "throttle_counts"

    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    count: Mapped[int]
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)


@dataclass(frozen=True)
class Counter:
    """One limit applied to one subject.

    :param name: what is counted; counters of different names never meet.
    :param subject: whom it is counted for: an account, an address.
    :param most: events allowed in a window.
    :param seconds: length of the window, from its first event.
    """

    name: str
    subject: str
    most: int
    seconds: int

    @property
    def key(self) -> str:
        """The row's key; hashed, as a subject may be any text."""
        return hashlib.sha256(f"{self.name}\0{self.subject}".encode()).hexdigest()

    def latest(self, now: datetime) -> datetime:
        """Return when a window ends at the latest; a later end was set before the clock was."""
        return now + timedelta(seconds=self.seconds) + clock.LEEWAY


def network(ip: str) -> str:
    """Return what to count an IP address under: itself, or an IPv6 address's /64.

    One IPv6 customer owns at least a /64, so counting single addresses would limit nobody.
    """
    if ":" not in ip:
        return ip
    return str(ipaddress.ip_network(f"{ip.partition('%')[0]}/64", strict=False))


MOST_AT_ONCE = 3  # counters that one check looks at
_RUNNING = Statement(
    select(ThrottleCount.key, ThrottleCount.count, ThrottleCount.expires_at).where(
        ThrottleCount.key.in_([bindparam(f"key_{n}", type_=String) for n in range(MOST_AT_ONCE)]),
        ThrottleCount.expires_at > bindparam("now", type_=UtcDateTime),
    )
)


def check(*counters: Counter) -> None:
    """Refuse when a counter is full, without counting.

    :param counters: at most ``MOST_AT_ONCE``.
    :raises ApiError: 429 with the seconds until every full counter starts anew.
    """
    now = clock.now()
    wanted = {counter.key: counter for counter in counters}
    waits = [
        row.expires_at - now
        for row in _running(now, *wanted)
        if row.count >= wanted[row.key].most and row.expires_at <= wanted[row.key].latest(now)
    ]
    if waits:
        raise _refusal(max(waits))


def _running(now: datetime, *keys: str) -> list[Any]:
    """Return the rows of those keys whose windows have not ended."""
    asked = [*keys, *[None] * MOST_AT_ONCE][:MOST_AT_ONCE]
    return _RUNNING.all({"now": now, **{f"key_{n}": key for n, key in enumerate(asked)}})


def take(*counters: Counter) -> None:
    """Count one event on every counter, or roll back and refuse.

    The caller commits. Always name counters in the same order: each locks its row.

    :raises ApiError: 429 with the seconds until every full counter starts anew.
    """
    now = clock.now()
    for counter in counters:
        insert = upsert(ThrottleCount).values(
            key=counter.key, count=1, expires_at=now + timedelta(seconds=counter.seconds)
        )
        fresh = or_(
            ThrottleCount.expires_at <= now,
            ThrottleCount.expires_at > counter.latest(now),
            # An event given back leaves a zero, and with it no window to wait for.
            ThrottleCount.count == 0,
        )
        counted = db.session.execute(
            insert.on_conflict_do_update(
                index_elements=[ThrottleCount.key],
                set_={
                    "count": case((fresh, 1), else_=ThrottleCount.count + 1),
                    "expires_at": case(
                        (fresh, insert.excluded.expires_at), else_=ThrottleCount.expires_at
                    ),
                },
                where=or_(fresh, ThrottleCount.count < counter.most),
            ).returning(ThrottleCount.count)
        ).first()
        if counted is None:
            db.session.rollback()
            check(*counters)
            raise _refusal(timedelta(seconds=1))  # it emptied between the two statements


def give_back(*counters: Counter) -> None:
    """Undo one ``take``; the caller commits."""
    for counter in counters:
        db.session.execute(
            update(ThrottleCount)
            .where(ThrottleCount.key == counter.key, ThrottleCount.count > 0)
            .values(count=ThrottleCount.count - 1)
        )


def clear(*counters: Counter) -> None:
    """Forget every event of the counters; the caller commits.

    :param counters: at most ``MOST_AT_ONCE``.
    """
    if not _running(clock.now(), *(counter.key for counter in counters)):
        return
    for counter in counters:
        db.session.execute(delete(ThrottleCount).where(ThrottleCount.key == counter.key))


def _refusal(wait: timedelta) -> ApiError:
    seconds = max(1, math.ceil(wait.total_seconds()))
    text = f"Too many attempts; try again in {_in_words(seconds)}"
    return ApiError(Code.TOO_MANY_REQUESTS, text, retry_after=seconds)


def _in_words(seconds: int) -> str:
    """Say how long that is, as people would, and never less."""
    for name, size in (("hours", HOUR), ("minutes", MINUTE)):
        if seconds > 2 * size:
            return f"{math.ceil(seconds / size)} {name}"
    return f"{seconds} s"
