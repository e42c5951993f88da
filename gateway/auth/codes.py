"""Mailed codes: count the mail, send the code, check it, spend it.

Whoever asks for a code, a device or a network, has an open code of its own, so that strangers
replace nobody's. An invitation belongs to nobody, because nobody asked for it.
"""

from __future__ import annotations

import hmac
import string
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from flask import current_app
from sqlalchemy import ColumnElement, and_, case, delete, or_, select, update

from gateway import clock, crypto, log, mail, throttle
from gateway.auth import limits
from gateway.auth.models import MailCode
from gateway.db import db, dialect, not_durable
from gateway.errors import ApiError, Code
from gateway.throttle import Counter

# Purposes of a code, and folders of mail/templates.
REGISTER, RESET, EMAIL, INVITE = "register", "reset", "email", "invite"
COUNTED = (REGISTER, RESET)  # the address counts their mails
INVITE_DIGITS = 12  # more than REG_CODE_DIGITS may be; see auth.register
LIFETIME = timedelta(minutes=10)
INVITE_LIFETIME = timedelta(days=7)
MAX_TRIES = 5


def send(
    purpose: str,
    address: str,
    send_mail: Callable[..., None],
    counters: tuple[Counter, ...],
    asker: str,
    *,
    is_wanted: Callable[[], bool] = lambda: True,
) -> None:
    """Count a mail, and issue its code within the request that asks for it.

    When the relay does not take the mail, undo the counters. After a permanent refusal (5xx at
    RCPT) undo only the address's. The client's stay, or it could try endless invented addresses.

    :param address: the key of the e-mail address, here and in every function of this module.
    :param counters: from ``limits``.
    :param is_wanted: as in ``issue``.
    :raises ApiError: 1001 when the account has been erased meanwhile, 429, 1003 when the relay
        refuses the address, 1029 when it did not take the mail.
    """
    throttle.check(*counters)  # first, because a refusal needs no write
    if purpose == REGISTER:
        throttle.MAILS.take()
    not_durable()
    if not is_wanted():
        db.session.rollback()
        raise ApiError(Code.UNAUTHENTICATED)
    throttle.hit(*counters)
    db.session.commit()
    try:
        issue(purpose, address, send_mail, asker, is_wanted=is_wanted)
        db.session.commit()
    except mail.MailError as error:
        log.logger.error("mail not sent: %s; purpose=%s; %s", error, purpose, error.cure)
        is_refused = isinstance(error, mail.RecipientRefused)
        not_durable()
        throttle.undo(*(limits.of_address_only(counters) if is_refused else counters))
        db.session.commit()
        if is_refused:
            text = "email is refused by the relay; check its spelling"
            raise ApiError(Code.INVALID_PARAMETER, text) from None
        raise ApiError(Code.MAIL_NOT_SENT) from None


def issue(
    purpose: str,
    address: str,
    send_mail: Callable[..., None],
    asker: str = "",
    *,
    is_wanted: Callable[[], bool] = lambda: True,
) -> None:
    """Make a code, mail it, and store its hash once the relay has accepted the mail.

    The caller commits. No transaction is open during the conversation with the relay. When the mail
    could not be sent, an earlier code stays valid.

    :param send_mail: called with the code and its lifetime in minutes.
    :param asker: who asks, from ``devices.asker``; "" for an invitation.
    :param is_wanted: holds the account that the code is for, and tells whether it is still there.
        If not, nothing is stored.
    :raises MailError: when the mail could not be sent.
    """
    code = crypto.random_text(digits(purpose), string.digits)
    send_mail(code=code, minutes=lifetime(purpose) // timedelta(minutes=1))
    if not is_wanted():
        db.session.rollback()
        return
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
        throttle.check(limits.invitations(ip))
        query: Any = select(MailCode.code_hash).where(*_is_running(purpose, address))
    else:
        _lock(purpose, address)
        query = _count_try(purpose, address, asker)
    stored = db.session.scalars(query).all()
    if any(hmac.compare_digest(one, given) for one in stored):
        db.session.rollback()  # the right code costs no try
        return
    if purpose == INVITE or not stored:
        # Without an open code, write as much; otherwise the time would tell of one.
        throttle.hit(limits.invitations(ip) if purpose == INVITE else limits.without_code(asker))
    db.session.commit()
    raise ApiError(Code.WRONG_CODE)


def _count_try(purpose: str, address: str, asker: str) -> Any:
    """Return the statement that takes a try of each open code and returns what has one left."""
    is_own = MailCode.asker == asker
    has_try = or_(
        and_(is_own, MailCode.tries < MAX_TRIES), and_(~is_own, MailCode.other_tries < MAX_TRIES)
    )
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
