"""Mailed codes: count the mail, send the code, check it, spend it."""

from __future__ import annotations

import hmac
import string
from collections.abc import Callable
from datetime import timedelta

from flask import current_app
from sqlalchemy import ColumnElement, and_, delete, or_, select, update

from gateway import clock, crypto, log, mail, throttle
from gateway.auth import limits
from gateway.auth.models import MailCode
from gateway.db import db, dialect, not_durable
from gateway.errors import ApiError, Code
from gateway.throttle import Counter

# Purposes of a code, and folders of mail/templates.
REGISTER, RESET, EMAIL, INVITE = "register", "reset", "email", "invite"
COUNTED = (REGISTER, RESET, EMAIL)  # their mails have limits
RESET_DIGITS = 8
INVITE_DIGITS = 12  # more than REG_CODE_DIGITS may be; see auth.joining
LIFETIME = timedelta(minutes=10)
INVITE_LIFETIME = timedelta(days=7)
MAX_TRIES = 5


def count_mail(
    purpose: str, address: str, ip: str, *, known: str = "", account: int | None = None
) -> tuple[Counter, ...]:
    """Count a mail before it is sent; return the counters to undo when it could not be sent.

    :param address: the key of the e-mail address, here and in every function of this module.
    :param known: the name of the client if the account of the address knows it.
    :param account: the id of the account that has the address.
    :raises ApiError: 429.
    """
    counters = limits.mails(purpose, address, ip, known=known, account=account)
    throttle.check(*counters)  # first, because a refusal needs no write
    if purpose == REGISTER:
        throttle.MAILS.take()
    not_durable()
    throttle.hit(*counters)
    db.session.commit()
    return counters


def send(
    purpose: str,
    address: str,
    send_mail: Callable[..., None],
    counters: tuple[Counter, ...],
    *,
    is_wanted: Callable[[], bool] = lambda: True,
) -> None:
    """Issue a code within the request that asks for it.

    When the relay does not take the mail, the counters are undone. When it refuses the address for
    good, only those of the address are: the client can make up addresses without end.

    :raises ApiError: 1003 when the relay refuses the address, 1029 when it did not take the mail.
    """
    try:
        issue(purpose, address, send_mail, is_wanted=is_wanted)
    except mail.MailError as error:
        log.logger.error("mail not sent: %s; %s", error, error.cure)
        is_refused = isinstance(error, mail.RecipientRefused)
        not_durable()
        throttle.undo(*(limits.of_address_only(counters) if is_refused else counters))
        db.session.commit()
        if is_refused:
            text = "email is refused by the mail server; check its spelling"
            raise ApiError(Code.INVALID_PARAMETER, text) from None
        raise ApiError(Code.MAIL_NOT_SENT) from None


def issue(
    purpose: str,
    address: str,
    send_mail: Callable[..., None],
    client: str = "",
    *,
    is_wanted: Callable[[], bool] = lambda: True,
) -> None:
    """Make a code, mail it, and store its hash once the relay has accepted the mail.

    No transaction is open during the conversation with the relay. When the mail could not be sent,
    an earlier code stays valid.

    :param send_mail: called with the code and its lifetime in minutes.
    :param client: for whom: a client that the account knows, or "" for everybody else, here and
        below. Each has an open code of its own, so that strangers replace nobody's.
    :param is_wanted: holds the account that the code is for, and tells whether it is still there.
        If not, nothing is stored.
    :raises MailError: when the mail could not be sent.
    """
    code = crypto.random_text(digits(purpose), string.digits)
    send_mail(code=code, minutes=lifetime(purpose) // timedelta(minutes=1))
    if not is_wanted():
        db.session.rollback()
        return
    new = {
        "code_hash": crypto.code_hash(purpose, address, code),
        "tries": 0,
        "other_tries": 0,
        "expires_at": clock.now() + lifetime(purpose),
    }
    db.session.execute(
        dialect()
        .insert(MailCode)
        .values(purpose=purpose, email_key=address, client=client, **new)
        .on_conflict_do_update(
            index_elements=[MailCode.purpose, MailCode.email_key, MailCode.client], set_=new
        )
    )
    db.session.commit()


def digits(purpose: str) -> int:
    """Return how many digits a code has."""
    fixed = {RESET: RESET_DIGITS, INVITE: INVITE_DIGITS}
    return fixed.get(purpose) or int(current_app.config["REG_CODE_DIGITS"])


def lifetime(purpose: str) -> timedelta:
    """Return how long a code is valid."""
    return INVITE_LIFETIME if purpose == INVITE else LIFETIME


def purpose_of_change(user_id: int) -> str:
    """Return the purpose of a code for a new address; each account has its own."""
    return f"{EMAIL} {user_id}"


def refuse_hopeless(purpose: str, address: str, code: str, client: str = "") -> None:
    """Raise 1008 when the code cannot be right, before any costly work is done.

    That is when the client can open no code, or when the person left out a digit. The latter costs
    no try.
    """
    if len(code) != digits(purpose):
        raise ApiError(Code.WRONG_CODE)
    can_open = or_(
        and_(MailCode.client == client, MailCode.tries < MAX_TRIES),
        and_(MailCode.client != client, MailCode.other_tries < MAX_TRIES),
    )
    found = select(MailCode.client).where(*_is_running(purpose, address), can_open).limit(1)
    if db.session.scalar(found) is None:
        raise ApiError(Code.WRONG_CODE)


def spend(purpose: str, address: str, code: str, client: str = "") -> None:
    """Delete the address's codes in the caller's transaction, when one of them is the given one.

    A wrong code costs a try of each, committed here. The client for whom a code was made has tries
    of its own; all others share as many. So a code works on another machine than the one that asked
    for it, and yet strangers cannot use up the tries.

    The tries are counted, and the rows locked, before the codes are compared. So guesses that are
    sent at once get no more tries than guesses that are sent one after the other.

    :raises ApiError: 1008.
    """
    of_address = (MailCode.purpose == purpose, MailCode.email_key == address)
    # Every request locks the rows in the same order; otherwise two could wait for each other.
    locked = select(MailCode.client).where(*of_address).order_by(MailCode.client)
    given, is_right = crypto.code_hash(purpose, address, code), False
    for owner in db.session.scalars(locked.with_for_update()).all():
        tries = MailCode.tries if owner == client else MailCode.other_tries
        stored = db.session.scalar(
            update(MailCode)
            .where(*_is_running(purpose, address), MailCode.client == owner, tries < MAX_TRIES)
            .values({tries: tries + 1})
            .returning(MailCode.code_hash)
            .execution_options(synchronize_session=False)
        )
        is_right |= stored is not None and hmac.compare_digest(stored, given)
    if not is_right:
        db.session.commit()
        raise ApiError(Code.WRONG_CODE)
    db.session.execute(delete(MailCode).where(*of_address))


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
