"""Mails that an answer has promised: a row says what is owed to whom until when.

The rows outlive the process, and any worker or node sends them (``mail.senders``). A row holds no
code: it is made when the mail is sent, so nothing readable waits in the database. A process that is
killed between the relay's 250 and the commit leaves its row, so a mail may be sent twice, but never
not at all.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from flask import g
from sqlalchemy import (
    JSON,
    ColumnElement,
    String,
    UniqueConstraint,
    delete,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.orm import Mapped, mapped_column

from gateway import clock, log, mail
from gateway.db import Base, UtcDateTime, db, dialect
from gateway.web.client import request_id

LEASE = timedelta(seconds=15)  # of a claimed row; longer than one conversation with the relay
FIRST_PAUSE = timedelta(seconds=2)  # after a mail that the relay did not accept
LONGEST_PAUSE = timedelta(minutes=1)


class OwedMail(Base):
    """One mail that is owed.

    :param kind: a name given to ``sender``, or a folder of ``mail/templates``.
    :param key: what the mail is about. A second promise with the same kind and key replaces the
        first, so one mail goes out.
    :param details: what the sender needs, without secrets.
    """

    __tablename__ = "owed_mails"
    __table_args__ = (UniqueConstraint("kind", "key"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(32))
    key: Mapped[str] = mapped_column(String(254))
    language: Mapped[str] = mapped_column(String(8))
    details: Mapped[dict[str, Any]] = mapped_column(JSON)
    tries: Mapped[int] = mapped_column(default=0)
    next_try: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    claimed_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)


_senders: dict[str, Callable[[OwedMail], None]] = {}


def sender(kind: str) -> Callable[[Callable[[OwedMail], None]], Callable[[OwedMail], None]]:
    """Register the function that sends the mails of one kind.

    It is called without an open transaction, and commits what it stores. It raises ``MailError``
    when the mail is to be tried again.
    """

    def register(function: Callable[[OwedMail], None]) -> Callable[[OwedMail], None]:
        _senders[kind] = function
        return function

    return register


def promise(kind: str, key: str, language: str, lifetime: timedelta, **details: Any) -> None:
    """Owe a mail for a time; the caller commits, and then calls ``senders.send_soon``.

    A kind without a sender is a template. Its details are ``email`` and ``context``. A mail about
    an account that may go to another address has its ``user_id``, too.
    """
    now = clock.now()
    new = {
        "language": language,
        "details": {**details, "request_id": request_id()},
        "tries": 0,
        "next_try": now,
        "expires_at": now + lifetime,
    }
    db.session.execute(
        dialect()
        .insert(OwedMail)
        .values(kind=kind, key=key, **new)
        .on_conflict_do_update(index_elements=[OwedMail.kind, OwedMail.key], set_=new)
    )


def belong_to(address: str, user_id: int) -> ColumnElement[bool]:
    """Return the filter for every mail that is owed to an address or about an account.

    :param address: in lower case.
    """
    details = OwedMail.details
    return or_(
        OwedMail.key == address,
        func.lower(details["email"].as_string()) == address,
        details["user_id"].as_integer() == user_id,
    )


def send_next() -> bool:
    """Claim one mail that is due and send it; tell whether there was one."""
    owed = _claim()
    if owed is not None:
        _send(owed)
    return owed is not None


def _claim() -> OwedMail | None:
    """Take one row that is due, so that no other thread, worker or node takes it."""
    now = clock.now()
    due = select(OwedMail.id).where(*_is_due(now)).order_by(OwedMail.next_try).limit(1)
    # Usually there is none. On SQLite an UPDATE would then wait for the write lock for nothing.
    if db.session.scalar(due) is None:
        db.session.commit()
        return None
    claimed = db.session.scalar(
        update(OwedMail)
        .where(OwedMail.id == due.with_for_update(skip_locked=True).scalar_subquery())
        .values(claimed_until=now + LEASE, tries=OwedMail.tries + 1)
        .returning(OwedMail)
        .execution_options(synchronize_session=False, populate_existing=True)
    )
    db.session.commit()
    if claimed is not None:
        db.session.expunge(claimed)
    return claimed


def _is_due(now: datetime) -> tuple[ColumnElement[bool], ...]:
    return (
        OwedMail.expires_at > now,
        # A later moment was stored before the clock was set back.
        or_(OwedMail.next_try <= now, OwedMail.next_try > now + LONGEST_PAUSE + clock.LEEWAY),
        or_(
            OwedMail.claimed_until.is_(None),
            OwedMail.claimed_until <= now,
            OwedMail.claimed_until > now + LEASE + clock.LEEWAY,
        ),
    )


def _send(owed: OwedMail) -> None:
    """Send a claimed mail. Delete its row, or put off the next try."""
    g.request_id = owed.details["request_id"]  # for the log
    try:
        _senders.get(owed.kind, _send_template)(owed)
    except mail.RecipientRefused as error:
        log.logger.error("mail not sent, and not tried again: %s; %s", error, error.cure)
    except mail.MailError as error:
        _put_off(owed, str(error), error.cure)
        return
    except Exception:
        db.session.rollback()
        _put_off(owed, "unexpected error", "the next lines say which")
        raise
    db.session.execute(delete(OwedMail).where(OwedMail.id == owed.id))
    db.session.commit()


def _send_template(owed: OwedMail) -> None:
    mail.send(owed.kind, owed.details["email"], owed.language, **owed.details["context"])


def _put_off(owed: OwedMail, cause: str, cure: str) -> None:
    """Try again after a pause that grows, and once more just before the row expires."""
    now = clock.now()
    pause = min(FIRST_PAUSE * 2 ** min(owed.tries - 1, 10), LONGEST_PAUSE)
    next_try = min(now + pause, max(now, owed.expires_at - FIRST_PAUSE))
    is_last = next_try == now
    when = "not tried again" if is_last else f"next try in {(next_try - now).total_seconds():.0f} s"
    log.logger.error("mail not sent: %s; %s; %s", cause, when, cure)
    db.session.execute(
        update(OwedMail)
        .where(OwedMail.id == owed.id)
        .values(
            next_try=owed.expires_at if is_last else next_try,
            claimed_until=None,
            details=owed.details,
        )
    )
    db.session.commit()


def count_due(limit: int) -> int:
    """Return how many mails are due now, at most ``limit``."""
    due = select(OwedMail.id).where(*_is_due(clock.now())).limit(limit)
    return db.session.scalar(select(func.count()).select_from(due.subquery())) or 0


def is_anything_owed() -> bool:
    """Tell whether any mail is owed, now or later."""
    owed = select(OwedMail.id).where(OwedMail.expires_at > clock.now()).limit(1)
    return db.session.scalar(owed) is not None
