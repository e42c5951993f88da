"""The table of the mails that are owed."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import JSON, ColumnElement, String, UniqueConstraint, or_
from sqlalchemy.orm import Mapped, mapped_column

from gateway import clock
from gateway.db import Base, UtcDateTime

LEASE = timedelta(seconds=15)  # of a claimed row; longer than one conversation with the relay
FIRST_PAUSE = timedelta(seconds=2)  # after a mail that the relay did not accept
LONGEST_PAUSE = timedelta(minutes=1)
MAX_CAUSE = 255  # characters


class OwedMail(Base):
    """One mail that is owed.

    :param kind: a name in ``outbox.senders``, or a folder of ``mail/templates``.
    :param key: what the mail is about.
    :param asker: who asked for it. A second promise with the same kind, key and asker replaces the
        first; of two askers each gets a mail.
    :param details: what the sender needs, without secrets.
    :param cause: why the last try failed, or "".
    :param claimed_until: until when one thread of one process sends it. Only this thread deletes
        the row or puts it off, and only if ``tries`` is still what it was: it begins anew with a
        second promise.
    """

    __tablename__ = "owed_mails"
    __table_args__ = (UniqueConstraint("kind", "key", "asker"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(32))
    key: Mapped[str] = mapped_column(String(254))
    asker: Mapped[str] = mapped_column(String(64), server_default="")
    language: Mapped[str] = mapped_column(String(8))
    details: Mapped[dict[str, Any]] = mapped_column(JSON)
    promised_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    tries: Mapped[int]
    cause: Mapped[str] = mapped_column(String(MAX_CAUSE), server_default="")
    next_try: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    claimed_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)

    @classmethod
    def is_due(cls, now: datetime) -> ColumnElement[bool]:
        """Return the filter for what is to be sent now."""
        # A later moment was stored before the clock was set back.
        latest = now + LONGEST_PAUSE + clock.LEEWAY
        is_time = or_(cls.next_try <= now, cls.next_try > latest)
        return (cls.expires_at > now) & is_time & cls.is_free(now)

    @classmethod
    def is_free(cls, now: datetime) -> ColumnElement[bool]:
        """Return the filter for what nobody is sending; claims from before a set clock end."""
        until = cls.claimed_until
        return or_(until.is_(None), until <= now, until > now + LEASE + clock.LEEWAY)
