"""The mails that an answer has promised, and what sends them.

Each row is one mail to send before ``expires_at``. Rows outlive the process, and any worker or node
sends them. Delivery is at least once: a process that dies after the relay's 250 leaves its row, and
the mail is sent again. A row holds no code: the code is made when the mail is sent, so nothing
readable waits in the database.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

from flask import Flask, current_app, g
from sqlalchemy import ColumnElement, delete, func, or_, select, update

from gateway import clock, log, mail
from gateway.db import db, dialect, not_durable
from gateway.mail.models import FIRST_PAUSE, LEASE, LONGEST_PAUSE, MAX_CAUSE, OwedMail
from gateway.web import background
from gateway.web.client import request_id

POLL = 2  # seconds between two looks at what other processes left, or what is to be tried again

# What sends the mails of one kind. It has no transaction open while it talks to the relay. What it
# stores after that, ``send_next`` commits together with the end of the promise. It raises
# ``MailError`` when the mail is to be tried again; what it stored before is committed, too.
senders: dict[str, Callable[[OwedMail], None]] = {}


def promise(
    kind: str, key: str, language: str, lifetime: timedelta, *, asker: str = "", **details: Any
) -> None:
    """Owe a mail for a time; the caller commits, and then calls ``send_soon``.

    A mail of this kind, key and asker that is being sent goes out, and then this one.

    A kind without a sender is a template. Its details are ``email`` and ``context``. A mail about
    an account that may go to another address has its ``user_id``, too.
    """
    now = clock.now()
    new = {
        "language": language,
        "details": {**details, "request_id": request_id()},
        "promised_at": now,
        "tries": 0,
        "cause": "",
        "next_try": now,
        "expires_at": now + lifetime,
    }
    db.session.execute(
        dialect()
        .insert(OwedMail)
        .values(kind=kind, key=key, asker=asker, **new)
        .on_conflict_do_update(index_elements=["kind", "key", "asker"], set_=new)
    )


def belong_to(address: str, user_id: int) -> ColumnElement[bool]:
    """Return the filter for every mail that is owed to an address or about an account.

    :param address: in lower case.
    """
    return or_(
        OwedMail.key == address,
        func.lower(OwedMail.details["email"].as_string()) == address,
        OwedMail.details["user_id"].as_integer() == user_id,
    )


def owed(
    is_meant: ColumnElement[bool], page: int, page_size: int
) -> tuple[Sequence[OwedMail], int]:
    """Return the mails that are owed, or given up just now, oldest first; and how many there are.

    :param is_meant: a filter, such as ``belong_to``.
    """
    found = select(OwedMail).where(is_meant, OwedMail.expires_at > clock.now())
    number = db.session.scalar(select(func.count()).select_from(found.subquery())) or 0
    shown = found.order_by(OwedMail.id).offset(page * page_size).limit(page_size)
    return db.session.scalars(shown).all(), number


def drop(kind: str, key: str, asker: str) -> bool:
    """Owe a mail no longer, if it waits; commit. Return False while it is being sent."""
    same = (OwedMail.kind == kind, OwedMail.key == key, OwedMail.asker == asker)
    db.session.execute(delete(OwedMail).where(*same, OwedMail.is_free(clock.now())))
    is_left = db.session.scalar(select(OwedMail.id).where(*same)) is not None
    db.session.commit()
    return not is_left


def send_soon() -> None:
    """Send one mail that is due after the response to this request has been sent."""
    background.run(send_next)


def keep_sending(app: Flask) -> None:
    """Send what is due later, and what ended processes left, until the process ends."""

    def send_together() -> bool | None:
        return background.submit(app, partial(send_next, in_parallel=True)).result()

    background.every(app, "outbox", POLL, send_together)


def send_due() -> int:
    """Send every mail that is due now, one after the other; return the number of tries."""
    return sum(1 for _ in iter(send_next, False))


def send_next(*, in_parallel: bool = False) -> bool:
    """Claim one mail that is due and send it; tell whether there was one.

    :param in_parallel: let another thread do the same meanwhile, until none is due.
    """
    app = _app()
    owed = None if background.stops(app) else claim()
    if owed is not None:
        if in_parallel:
            background.submit(app, partial(send_next, in_parallel=True))
        send(owed)
    return owed is not None


def _app() -> Flask:
    return current_app._get_current_object()  # type: ignore[attr-defined, no-any-return]


def claim() -> OwedMail | None:
    """Take one row that is due, so that no other thread, worker or node takes it."""
    now = clock.now()
    due = (
        select(OwedMail.id)
        .where(OwedMail.is_due(now))
        .order_by(OwedMail.next_try, OwedMail.id)
        .limit(1)
    )
    # Usually there is none. On SQLite an UPDATE would then wait for the write lock for nothing.
    if db.session.scalar(due) is None:
        db.session.commit()
        return None
    not_durable()  # a lost claim only costs a second mail
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


def send(owed: OwedMail) -> None:
    """Send a claimed mail. Delete its row, or put off the next try."""
    g.request_id = owed.details["request_id"]  # for the log
    try:
        senders.get(owed.kind, _send_template)(owed)
    except mail.RecipientRefused as error:
        _log(owed, "and not tried again", str(error), error.cure)
    except mail.MailError as error:
        _put_off(owed, str(error), error.cure)
        return
    except Exception:
        db.session.rollback()
        _put_off(owed, "unexpected error", "the next lines say which")
        raise
    _end_claim(owed, delete(OwedMail))


def _send_template(owed: OwedMail) -> None:
    mail.send(owed.kind, owed.details["email"], owed.language, **owed.details["context"])


def _put_off(owed: OwedMail, cause: str, cure: str) -> None:
    """Try again after a pause that grows, and once more just before the row expires."""
    now = clock.now()
    pause = min(FIRST_PAUSE * 2 ** min(owed.tries - 1, 10), LONGEST_PAUSE)
    next_try = min(now + pause, max(now, owed.expires_at - FIRST_PAUSE))
    is_last = next_try == now
    when = "not tried again" if is_last else f"next try in {(next_try - now).total_seconds():.0f} s"
    _log(owed, when, cause, cure)
    later = {
        "next_try": owed.expires_at if is_last else next_try,
        "claimed_until": None,
        "details": owed.details,
        "cause": cause[:MAX_CAUSE],
    }
    _end_claim(owed, update(OwedMail).values(**later))
    keep_sending(_app())


def _log(owed: OwedMail, when: str, cause: str, cure: str) -> None:
    user = owed.details.get("user_id") or "-"
    log.logger.error(
        "mail not sent, %s: %s; user=%s purpose=%s; %s", when, cause, user, owed.kind, cure
    )


def _end_claim(owed: OwedMail, change: Any) -> None:
    """Change the row if it still is what was claimed; if it was promised anew, free it. Commit."""
    own = (OwedMail.id == owed.id, OwedMail.claimed_until == owed.claimed_until)
    ended = change.where(*own, OwedMail.tries == owed.tries).returning(OwedMail.id)
    connection = db.session.connection()
    is_ended = connection.scalar(ended) is not None
    if not is_ended:
        connection.execute(update(OwedMail).where(*own).values(claimed_until=None))
    db.session.commit()
    if not is_ended:
        send_soon()
