"""Counters that every worker and node shares, and how much work a process does for strangers.

``check`` refuses when a counter is full; ``hit`` counts an event or refuses it; ``undo`` takes one
event back; ``clear`` forgets all. All lock the rows in the order of their keys, so requests cannot
deadlock.

A ``Bucket`` costs nothing but a comparison, so it comes before the counters and before any hash.
"""

from __future__ import annotations

import hashlib
import math
import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from operator import attrgetter
from time import monotonic
from typing import Any

from sqlalchemy import ColumnElement, Integer, String, bindparam, case, delete, or_, select, update
from sqlalchemy.orm import Mapped, mapped_column

from gateway import clock
from gateway.db import Base, UtcDateTime, db, dialect
from gateway.errors import ApiError, Code

MINUTE, HOUR, DAY = 60, 3600, 86400  # seconds


class ThrottleCount(Base):
    """How many events a counter has seen, and when its window ends."""

    __tablename__ = "throttle_counts"

    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(32))
    account: Mapped[int | None] = mapped_column(index=True)
    count: Mapped[int]
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)


@dataclass(frozen=True)
class Counter:
    """One limit, applied to one subject.

    :param name: what is counted. Counters with different names are independent.
    :param subject: who it is counted for, such as an account or an address.
    :param limit: events allowed in a window.
    :param seconds: length of the window, from its first event.
    :param account: the id of the account that a full counter keeps out, if it is one.
    """

    name: str
    subject: str
    limit: int
    seconds: int
    account: int | None = None

    @property
    def key(self) -> str:
        """The key of the row: a hash, because a subject may be any text."""
        return hashlib.sha256(f"{self.name}\0{self.subject}".encode()).hexdigest()

    def latest_end(self, now: datetime) -> datetime:
        """Return the latest moment at which a window that runs now can end.

        A later end was stored before the clock was set back.
        """
        return now + timedelta(seconds=self.seconds) + clock.LEEWAY


class Bucket:
    """Work that a process does for strangers: so many times a second, and so many at once.

    It is open until a server sets ``per_second``: only the threads of a server need protection.
    """

    def __init__(self, at_once: int) -> None:
        self.per_second: int | None = None
        self._at_once = at_once
        self._taken, self._last = 0.0, monotonic()  # how many of ``at_once`` were taken by then
        self._lock = threading.Lock()

    def take(self) -> None:
        """Begin one piece of work.

        :raises ApiError: 429 when there has been too much.
        """
        if self.per_second is None:
            return
        with self._lock:
            last, self._last = self._last, monotonic()
            self._taken = max(0, self._taken - (self._last - last) * self.per_second)
            if self._taken > self._at_once - 1:
                raise _refusal(timedelta(seconds=1))
            self._taken += 1


SIGN_INS, MAILS = Bucket(20), Bucket(40)


def protect_process() -> None:
    """Limit what this process does for strangers, because customers' requests come first."""
    SIGN_INS.per_second, MAILS.per_second = 20, 5


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
    if waits := _waits(counters):
        raise _refusal(max(waits))


def is_full(*counters: Counter) -> bool:
    """Tell whether any of the counters is full."""
    return bool(_waits(counters))


def _waits(counters: Collection[Counter]) -> list[timedelta]:
    """Return how long each full counter stays full."""
    now = clock.now()
    by_key = {counter.key: counter for counter in counters}
    running = db.session.execute(_RUNNING, {"keys": list(by_key), "now": now})
    return [
        row.expires_at - now
        for row in running
        if row.events >= by_key[row.key].limit and row.expires_at <= by_key[row.key].latest_end(now)
    ]


def hit(*counters: Counter) -> None:
    """Count one event on every counter; when one is full, roll back and refuse.

    The caller commits.

    :raises ApiError: 429 with the seconds until every full counter is free again.
    """
    now = clock.now()
    for counter in sorted(counters, key=attrgetter("key")):
        event = {
            "key": counter.key,
            "name": counter.name,
            "account": counter.account,
            "count": 1,
            "expires_at": now + timedelta(seconds=counter.seconds),
            "now": now,
            "latest_end": counter.latest_end(now),
            "limit": counter.limit,
        }
        counted = db.session.execute(_count_event(db.engine.dialect.name), event).first()
        if counted is None:
            db.session.rollback()
            check(*counters)
            raise _refusal(timedelta(seconds=1))  # the window ended between the two statements


@cache
def _count_event(_dialect_name: str) -> Any:
    """Return the statement that counts one event; it is built once, as ``_RUNNING`` is.

    It counts nothing when the counter is full.
    """
    table = ThrottleCount.__table__
    insert = dialect().insert(table)
    window_is_over = or_(
        table.c.expires_at <= bindparam("now", type_=UtcDateTime),
        table.c.expires_at > bindparam("latest_end", type_=UtcDateTime),
        # After ``undo`` the count may be 0; then no window runs.
        table.c.count == 0,
    )
    has_room = or_(window_is_over, table.c.count < bindparam("limit", type_=Integer))
    return insert.on_conflict_do_update(
        index_elements=[table.c.key],
        set_={
            "account": insert.excluded.account,  # the name may have become an account's
            "count": case((window_is_over, 1), else_=table.c.count + 1),
            "expires_at": case(
                (window_is_over, insert.excluded.expires_at), else_=table.c.expires_at
            ),
        },
        where=has_room,
    ).returning(table.c.count)


def undo(*counters: Counter) -> None:
    """Take back one ``hit``; the caller commits."""
    one_less = update(ThrottleCount).values(count=ThrottleCount.count - 1)
    for key in sorted(counter.key for counter in counters):
        db.session.execute(one_less.where(ThrottleCount.key == key, ThrottleCount.count > 0))


def clear(*counters: Counter) -> None:
    """Forget every event of the counters; the caller commits."""
    _delete(ThrottleCount.key.in_([counter.key for counter in counters]))


def clear_account(account: int, names: Collection[str] | None = None) -> None:
    """Forget every event of the counters that keep an account out; the caller commits.

    :param names: only counters with these names.
    """
    is_meant = [] if names is None else [ThrottleCount.name.in_(names)]
    _delete(ThrottleCount.account == account, *is_meant)


def _delete(*filters: ColumnElement[bool]) -> None:
    found = select(ThrottleCount.key).where(*filters).order_by(ThrottleCount.key)
    keys = db.session.scalars(found.with_for_update()).all()
    # Usually there is none. On SQLite a DELETE would then wait for the write lock for nothing.
    if keys:
        db.session.execute(delete(ThrottleCount).where(ThrottleCount.key.in_(keys)))


def counts_of(account: int) -> Sequence[ThrottleCount]:
    """Return the running counts that can keep an account out, the last to end first."""
    is_running = (ThrottleCount.account == account, ThrottleCount.expires_at > clock.now())
    running = select(ThrottleCount).where(*is_running).order_by(ThrottleCount.expires_at.desc())
    return db.session.scalars(running).all()


def _refusal(wait: timedelta) -> ApiError:
    seconds = max(1, math.ceil(wait.total_seconds()))
    units = (("hours", HOUR), ("minutes", MINUTE), ("s", 1))
    unit, size = next(each for each in units if seconds > 2 * each[1] or each[1] == 1)
    text = f"Too many attempts; try again in {math.ceil(seconds / size)} {unit}"
    return ApiError(Code.TOO_MANY_REQUESTS, text, retry_after=seconds)
