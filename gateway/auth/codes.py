"""Mailed codes: count the mail, send the code, check it, spend it."""

from __future__ import annotations

import hmac
import string
from collections.abc import Callable
from datetime import timedelta

from flask import current_app
from sqlalchemy import ColumnElement, delete, select, update

from gateway import clock, crypto, log, mail, throttle
from gateway.auth import limits
from gateway.auth.models import MailCode
from gateway.db import db, dialect
from gateway.errors import ApiError, Code
from gateway.ops.purge import purge_expired
from gateway.throttle import Counter

REGISTER, RESET = "register", "reset"  # purposes of a code, and folders of mail/templates
RESET_DIGITS = 8
LIFETIME = timedelta(minutes=10)
MAX_TRIES = 5


def count_mail(purpose: str, address: str, ip: str) -> tuple[Counter, ...]:
    """Count a mail before it is sent; return the counters to undo when it could not be sent.

    :param address: the key of the e-mail address, here and in every function of this module.
    :raises ApiError: 429.
    """
    counters = limits.mails(purpose, address, ip)
    purge_expired()
    throttle.hit(*counters)
    db.session.commit()
    return counters


def send(
    purpose: str,
    address: str,
    send_mail: Callable[..., None],
    counters: tuple[Counter, ...],
) -> None:
    """Issue a code within the request that asks for it.

    When the relay does not take the mail, the counters are undone. When it refuses the address for
    good, only those of the address are: the client can make up addresses without end.

    :raises ApiError: 1003 when the relay refuses the address, 1029 when it did not take the mail.
    """
    try:
        issue(purpose, address, send_mail)
    except mail.MailError as error:
        log.logger.error("mail not sent: %s; %s", error, error.cure)
        is_refused = isinstance(error, mail.RecipientRefused)
        throttle.undo(*(limits.of_address(counters) if is_refused else counters))
        db.session.commit()
        if is_refused:
            text = "email is refused by the mail server; check its spelling"
            raise ApiError(Code.INVALID_PARAMETER, text) from None
        raise ApiError(Code.MAIL_NOT_SENT) from None


def issue(purpose: str, address: str, send_mail: Callable[..., None]) -> None:
    """Make a code, mail it, and store its hash once the relay has accepted the mail.

    No transaction is open during the conversation with the relay. When the mail could not be sent,
    an earlier code stays valid.

    :param send_mail: called with the code and its lifetime in minutes.
    :raises MailError: when the mail could not be sent.
    """
    code = crypto.random_text(digits(purpose), string.digits)
    send_mail(code=code, minutes=LIFETIME // timedelta(minutes=1))
    new = {
        "code_hash": crypto.code_hash(purpose, address, code),
        "tries": 0,
        "expires_at": clock.now() + LIFETIME,
    }
    db.session.execute(
        dialect()
        .insert(MailCode)
        .values(purpose=purpose, email_key=address, **new)
        .on_conflict_do_update(index_elements=[MailCode.purpose, MailCode.email_key], set_=new)
    )
    db.session.commit()


def digits(purpose: str) -> int:
    """Return how many digits a code has."""
    return RESET_DIGITS if purpose == RESET else int(current_app.config["REG_CODE_DIGITS"])


def refuse_hopeless(purpose: str, address: str, code: str) -> None:
    """Raise 1008 when the code cannot be right, before any costly work is done.

    That is when the address has no open code, or when the person left out a digit. The latter
    costs no try.
    """
    if len(code) != digits(purpose):
        raise ApiError(Code.WRONG_CODE)
    if db.session.scalar(select(MailCode.tries).where(*_is_open(purpose, address))) is None:
        raise ApiError(Code.WRONG_CODE)


def spend(purpose: str, address: str, code: str) -> None:
    """Delete the code in the caller's transaction. A wrong code costs a try, committed here.

    The try is counted, and the row locked, before the codes are compared. So guesses that are sent
    at once get no more tries than guesses that are sent one after the other.

    :raises ApiError: 1008.
    """
    stored = db.session.scalar(
        update(MailCode)
        .where(*_is_open(purpose, address))
        .values(tries=MailCode.tries + 1)
        .returning(MailCode.code_hash)
    )
    given = crypto.code_hash(purpose, address, code)
    if stored is None or not hmac.compare_digest(stored, given):
        db.session.commit()
        raise ApiError(Code.WRONG_CODE)
    db.session.execute(
        delete(MailCode).where(MailCode.purpose == purpose, MailCode.email_key == address)
    )


def _is_open(purpose: str, address: str) -> tuple[ColumnElement[bool], ...]:
    now = clock.now()
    return (
        MailCode.purpose == purpose,
        MailCode.email_key == address,
        MailCode.expires_at > now,
        # A later end was stored before the clock was set back.
        MailCode.expires_at <= now + LIFETIME + clock.LEEWAY,
        MailCode.tries < MAX_TRIES,
    )
