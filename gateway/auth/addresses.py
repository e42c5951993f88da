"""Move an account to another e-mail address.

A code that was mailed to the new address proves it. The old address gets a mail that says so, and
works no more. Tokens stay valid, because the password is the same: an owner whose account somebody
else moves can still move it back.
"""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import ColumnElement, delete, select, update
from sqlalchemy.exc import IntegrityError

from gateway import mail, throttle
from gateway.auth import accounts, clients, codes, joining, limits, locks, passwords
from gateway.auth.fields import Password
from gateway.auth.models import MailCode, User, email_key
from gateway.auth.tokens import Caller
from gateway.db import db
from gateway.errors import ApiError, Code
from gateway.mail import outbox

NOTICE = "moved"  # a folder of mail/templates
NOTICE_LIFETIME = timedelta(days=1)


def refuse(address: str) -> None:
    """Raise 1003 when MAIL_DOMAINS refuses an address, 1018 when it has an account."""
    joining.refuse_domain(address)
    accounts.refuse_taken_address(address)


def send_code(caller: Caller, email: str, ip: str, language: str) -> None:
    """Mail a code to the address that the caller's account is to have.

    :raises ApiError: 1018, 429; 1003 when MAIL_DOMAINS or the relay refuses the address, 1029 when
        the relay did not take the mail.
    """
    address = email_key(email)
    refuse(address)
    counters = codes.count_mail(codes.EMAIL, address, ip)

    def send_mail(**content: object) -> None:
        mail.send(codes.EMAIL, email, language, **content)

    def is_still_there() -> bool:
        return locks.hold(User.id == caller.id) is not None

    purpose = codes.purpose_of_change(caller.id)
    codes.send(purpose, address, send_mail, counters, is_wanted=is_still_there)


def change(caller: Caller, password: Password, email: str, reg_code: str, *, ip: str) -> None:
    """Move the caller's account and spend the code, or do nothing.

    :raises ApiError: 1003 when MAIL_DOMAINS refuses the address, 1018, 1002 when the password is
        wrong, 429 after too many of them, 1008, 1001 when the account has been erased meanwhile.
    """
    address = email_key(email)
    refuse(address)
    tries = limits.of_caller(caller.id, ip, known=bool(clients.known(caller.id, ip)))
    if not passwords.is_right(password, caller.password_hash, tries):
        raise passwords.refusal(caller.id)
    # The password that was right may have been changed meanwhile.
    is_unchanged = User.token_generation == caller.token_generation
    if locks.hold(User.id == caller.id, is_unchanged) is None:
        db.session.rollback()
        raise passwords.refusal(caller.id)
    codes.spend(codes.purpose_of_change(caller.id), address, reg_code)
    move(caller.id, email, None, *tries.cleared, *limits.of_guesses(ip, address))
    outbox.send_soon()


def move(user_id: int, email: str, language: str | None, *cleared: throttle.Counter) -> bool:
    """Give an account another address, let the codes of the old one die, owe it a mail; commit.

    The caller lets the mail be sent.

    :param language: of that mail, one of ``mail.LANGUAGES``; None is the account's own, because
        whoever asks for the change may be a thief.
    :param cleared: counters to forget.
    :returns: whether there was such an account.
    :raises ApiError: 1018.
    """
    is_meant = User.id == user_id
    if locks.hold(is_meant) is None:
        db.session.rollback()
        return False
    old = db.session.execute(
        select(User.user_name, User.email, User.email_key, User.language).where(is_meant)
    ).one()
    _set(is_meant, email)
    db.session.execute(delete(MailCode).where(codes.belong_to(old.email_key, user_id)))
    throttle.clear(*cleared, *limits.naming(codes.COUNTED, old.email_key))
    if mail.is_possible():
        outbox.promise(
            NOTICE,
            old.email_key,
            language or old.language,
            NOTICE_LIFETIME,
            asker=str(user_id),
            email=old.email,
            context={"user_name": old.user_name},
            user_id=user_id,
        )
    db.session.commit()
    return True


def _set(is_meant: ColumnElement[bool], email: str) -> None:
    try:
        db.session.execute(
            update(User)
            .where(is_meant)
            .values(email=email, email_key=email_key(email))
            .execution_options(synchronize_session=False)
        )
    except IntegrityError:  # somebody else has just got the address
        db.session.rollback()
        raise ApiError(Code.EMAIL_EXISTS) from None
