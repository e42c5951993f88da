"""Mailed codes: count the mail, send the code, check it, spend it.

Whoever asks for a code, a device or a network, has an open code of its own, so that strangers
replace nobody's. An invitation belongs to nobody, because nobody asked for it.
"""

from __future__ import annotations

import hmac
import string
from datetime import timedelta
from typing import Any

from flask import current_app
from sqlalchemy import ColumnElement, case, delete, or_, select, update

from gateway import clock, crypto, log, mail, throttle
from gateway.auth import limits, locks
from gateway.auth.models import MailCode, User, email_key
from gateway.db import db, dialect, not_durable
from gateway.errors import ApiError, Code
from gateway.throttle import Counter
from gateway.web.client import network

# Purposes of a code, and folders of mail/templates.
REGISTER, RESET, EMAIL, INVITE = "register", "reset", "email", "invite"
INVITE_DIGITS = 12  # more than REG_CODE_DIGITS may be; see auth.register
LIFETIME = timedelta(minutes=10)
INVITE_LIFETIME = timedelta(days=7)
MAX_TRIES = 5


def send(
    purpose: str,
    email: str,
    language: str,
    counters: tuple[Counter, ...],
    asker: str,
    *,
    account: int | None = None,
) -> None:
    """Count a mail, and send a code within the request that asks for it.

    When the relay does not take the mail, undo the counters. After a permanent refusal (5xx at
    RCPT) undo only the address's. The client's stay, or it could try endless invented addresses.

    :param language: of the mail, one of ``mail.LANGUAGES``.
    :param counters: from ``limits``.
    :param asker: who asks, from ``devices.asker``.
    :param account: the id of the account that the code is for; None for a registration.
    :raises ApiError: 1001 when the account has been erased meanwhile, 429, 1003 when the relay
        refuses the address, 1029 when it did not take the mail.
    """
    throttle.check(*counters)  # first, because a refusal needs no write
    if purpose == REGISTER:
        throttle.MAILS.take()
    not_durable()
    _hold(account)
    throttle.hit(*counters)
    db.session.commit()
    try:
        code = mail_code(purpose, email, language)
    except mail.MailError as error:
        name, user = purpose.split(maxsplit=1)[0], account or "-"
        log.logger.error("mail not sent: %s; user=%s purpose=%s; %s", error, user, name, error.cure)
        is_refused = isinstance(error, mail.RecipientRefused)
        not_durable()
        throttle.undo(*(limits.of_address_only(counters) if is_refused else counters))
        db.session.commit()
        if is_refused:
            text = "email is refused by the relay; check its spelling"
            raise ApiError(Code.INVALID_PARAMETER, text) from None
        raise ApiError(Code.MAIL_NOT_SENT) from None
    _hold(account)
    store(purpose, email_key(email), code, asker)
    db.session.commit()


def _hold(account: int | None) -> None:
    if account is not None and locks.hold(User.id == account) is None:
        db.session.rollback()
        raise ApiError(Code.UNAUTHENTICATED)


def mail_code(purpose: str, email: str | None, language: str) -> str:
    """Make a code and mail it; return it once the relay has accepted the mail.

    The caller stores it, so when the mail could not be sent, an earlier code stays valid. No
    transaction may be open, because the relay can be slow.

    :param email: None sends no mail, but takes the same way: the relay is asked.
    :raises MailError: when the mail could not be sent.
    """
    code, term = crypto.random_text(digits(purpose), string.digits), lifetime(purpose)
    if email is None:
        mail.probe()  # when the relay fails, an unknown address must count for nothing, too
    else:
        template, minutes = purpose.partition(" ")[0], term // timedelta(minutes=1)
        mail.send(template, email, language, code=code, minutes=minutes, days=term.days)
    return code


def store(purpose: str, address: str, code: str, asker: str = "") -> None:
    """Store the hash of a code that has been mailed; the caller commits.

    :param address: the key of the e-mail address, here and below.
    :param asker: "" for an invitation.
    """
    key = {"purpose": purpose, "email_key": address, "asker": asker}
    until = clock.now() + lifetime(purpose)
    code_hash = _hash(purpose, address, code)
    new = {"code_hash": code_hash, "tries": 0, "other_tries": 0, "expires_at": until}
    insert = dialect().insert(MailCode).values(**key, **new)
    db.session.execute(insert.on_conflict_do_update(index_elements=list(key), set_=new))


def digits(purpose: str) -> int:
    """Return how many digits a code has."""
    fixed = {RESET: 8, INVITE: INVITE_DIGITS}
    return fixed.get(purpose) or int(current_app.config["REG_CODE_DIGITS"])


def lifetime(purpose: str) -> timedelta:
    """Return how long a code is valid."""
    return INVITE_LIFETIME if purpose == INVITE else LIFETIME


def purpose_of_change(user_id: int) -> str:
    """Return the purpose of a code for a new address; each account has its own."""
    return f"{EMAIL} {user_id}"


def check(purpose: str, address: str, code: str, asker: str, ip: str) -> None:
    """Refuse a wrong code before any costly work is done; a right one stays as it is.

    A wrong code costs a try of each open code of the address: the asker has as many tries of his
    own code as all others together. So a code works on another machine, and yet strangers cannot
    use up the tries. Wrong codes of an invitation count for the network only. A code with another
    number of digits costs no try.

    Tries are counted, and rows locked, before the codes are compared. So guesses that are sent at
    once get no more tries than guesses that are sent one after the other.

    :raises ApiError: 1008, or 429 after too many wrong codes of invitations.
    """
    if len(code) != digits(purpose):
        raise ApiError(Code.WRONG_CODE)
    given = _hash(purpose, address, code)
    not_durable()
    if purpose == INVITE:
        wrong = limits.counter("invitation-ip", network(ip))
        throttle.check(wrong)
        query: Any = select(MailCode.code_hash).where(*_is_running(purpose, address))
    else:
        wrong = limits.counter("wrong-code", asker)
        _lock(purpose, address)
        query = _count_try(purpose, address, asker)
    stored = db.session.scalars(query).all()
    if any(hmac.compare_digest(one, given) for one in stored):
        db.session.rollback()  # the right code costs no try
        return
    throttle.hit(wrong)  # also without an open code, or the time would tell of one
    db.session.commit()
    raise ApiError(Code.WRONG_CODE)


def _count_try(purpose: str, address: str, asker: str) -> Any:
    """Return the statement that takes a try of each open code and returns what has one left."""
    is_own = MailCode.asker == asker
    has_try = case((is_own, MailCode.tries), else_=MailCode.other_tries) < MAX_TRIES
    return (
        update(MailCode)
        .where(*_is_running(purpose, address), has_try)
        .values(
            tries=MailCode.tries + case((is_own, 1), else_=0),
            other_tries=MailCode.other_tries + case((is_own, 0), else_=1),
        )
        .returning(MailCode.code_hash)
        .execution_options(synchronize_session=False)
    )


def spend(purpose: str, address: str, code: str) -> None:
    """Delete the address's codes in the caller's transaction; ``check`` has found the code right.

    :raises ApiError: 1008 when it has been spent or replaced meanwhile.
    """
    _lock(purpose, address)
    spent = delete(MailCode).where(MailCode.purpose == purpose, MailCode.email_key == address)
    if _hash(purpose, address, code) not in db.session.scalars(spent.returning(MailCode.code_hash)):
        db.session.rollback()
        raise ApiError(Code.WRONG_CODE)


def _hash(purpose: str, address: str, code: str) -> str:
    return crypto.keyed_hash("mail-code", purpose, address, code)


def _lock(purpose: str, address: str) -> None:
    """Lock the address's codes in one order; otherwise two requests could wait for each other."""
    of_address = (MailCode.purpose == purpose, MailCode.email_key == address)
    found = select(MailCode.asker).where(*of_address).order_by(MailCode.asker)
    db.session.execute(found.with_for_update())


def _is_running(purpose: str, address: str) -> tuple[ColumnElement[bool], ...]:
    now = clock.now()
    return (
        MailCode.purpose == purpose,
        MailCode.email_key == address,
        MailCode.expires_at > now,
        # A later end was stored before the clock was set back.
        MailCode.expires_at <= now + lifetime(purpose) + clock.LEEWAY,
    )


def belong_to(address: str, user_id: int) -> ColumnElement[bool]:
    """Return the filter for every code of an account: of its address, or for a new one."""
    return or_(MailCode.email_key == address, MailCode.purpose == purpose_of_change(user_id))
