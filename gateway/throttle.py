"""Counters that every worker and node shares: one table, one atomic statement.

A ``Counter`` allows ``limit`` events within ``seconds`` of the first one. ``check`` refuses when a
counter is full; ``hit`` counts an event or refuses it; ``undo`` takes one event back; ``clear``
forgets all.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import String, bindparam, case, delete, or_, select, update
from sqlalchemy.orm import Mapped, mapped_column

from gateway import clock
from gateway.db import Base, UtcDateTime, db, dialect
from gateway.errors import ApiError, Code

MINUTE, HOUR, DAY = 60, 3600, 86400  # seconds


class ThrottleCount(Base):
    """How many events a counter has seen, and when its window ends."""

    __tablename__ = "throttle_counts"

    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    count: Mapped[int]
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)


@dataclass(frozen=True)
class Counter:
    """One limit, applied to one subject.

    :param name: what is counted. Counters with different names are independent.
    :param subject: who it is counted for, such as an account or an address.
    :param limit: events allowed in a window.
    :param seconds: length of the window, from its first event.
    """

    name: str
    subject: str
    limit: int
    seconds: int

    @property
    def key(self) -> str:
        """The key of the row: a hash, because a subject may be any text."""
        return hashlib.sha256(f"{self.name}\0{self.subject}".encode()).hexdigest()

    def latest_end(self, now: datetime) -> datetime:
        """Return the latest moment at which a window that runs now can end.

        A later end was stored before the clock was set back.
        """
        return now + timedelta(seconds=self.seconds) + clock.LEEWAY


# Built once, because building it takes longer than running it, and each login runs it twice.
_RUNNING = select(
    ThrottleCount.key, ThrottleCount.count.label("events"), ThrottleCount.expires_at
).where(
    ThrottleCount.key.in_(bindparam("keys", expanding=True)),
    ThrottleCount.expires_at > bindparam("now", type_=UtcDateTime),
)


def check(*counters: Counter) -> None:
    """Refuse when a counter is full. Count nothing.

    :raises ApiError: 429 with the seconds until every full counter is free again.
    """
    now = clock.now()
    by_key = {counter.key: counter for counter in counters}
    running = db.session.execute(_RUNNING, {"keys": list(by_key), "now": now})
    waits = [
        row.expires_at - now
        for row in running
        if row.events >= by_key[row.key].limit and row.expires_at <= by_key[row.key].latest_end(now)
    ]
    if waits:
        raise _refusal(max(waits))


def hit(*counters: Counter) -> None:
    """Count one event on every counter; when one is full, roll back and refuse.

    The caller commits. Always name counters in the same order, because each locks its row.

    :raises ApiError: 429 with the seconds until every full counter is free again.
    """
    now = clock.now()
    for counter in counters:
        insert = (
            dialect()
            .insert(ThrottleCount)
            .values(key=counter.key, count=1, expires_at=now + timedelta(seconds=counter.seconds))
        )
        window_is_over = or_(
            ThrottleCount.expires_at <= now,
            ThrottleCount.expires_at > counter.latest_end(now),
            # After ``undo`` the count may be 0; then no window runs.
            ThrottleCount.count == 0,
        )
        counted = db.session.execute(
            insert.on_conflict_do_update(
                index_elements=[ThrottleCount.key],
                set_={
                    "count": case((window_is_over, 1), else_=ThrottleCount.count + 1),
                    "expires_at": case(
                        (window_is_over, insert.excluded.expires_at),
                        else_=ThrottleCount.expires_at,
                    ),
                },
                where=or_(window_is_over, ThrottleCount.count < counter.limit),
            ).returning(ThrottleCount.count)
        ).first()
        if counted is None:
            db.session.rollback()
            check(*counters)
            raise _refusal(timedelta(seconds=1))  # the window ended between the two statements


def undo(*counters: Counter) -> None:
    """Take back one ``hit``; the caller commits."""
    for counter in counters:
        db.session.execute(
            update(ThrottleCount)
            .where(ThrottleCount.key == counter.key, ThrottleCount.count > 0)
            .values(count=ThrottleCount.count - 1)
        )


def clear(*counters: Counter) -> None:
    """Forget every event of the counters; the caller commits."""
    # Usually there is none. On SQLite a DELETE would then wait for the write lock for nothing.
    keys = [counter.key for counter in counters]
    if not db.session.scalars(select(ThrottleCount.key).where(ThrottleCount.key.in_(keys))).all():
        return
    for key in keys:  # one by one, because each locks its row
        db.session.execute(delete(ThrottleCount).where(ThrottleCount.key == key))


def _refusal(wait: timedelta) -> ApiError:
    seconds = max(1, math.ceil(wait.total_seconds()))
    text = f"Too many attempts; try again in {_in_words(seconds)}"
    return ApiError(Code.TOO_MANY_REQUESTS, text, retry_after=seconds)


def _in_words(seconds: int) -> str:
    """Return a duration in words, rounded up."""
    for name, size in (("hours", HOUR), ("minutes", MINUTE)):
        if seconds > 2 * size:
            return f"{math.ceil(seconds / size)} {name}"
    return f"{seconds} s"
