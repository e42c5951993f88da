"""Move an account to another e-mail address.

A code that was mailed to the new address proves it. The old address gets a mail that says so, and
works no more. Tokens stay valid, because the password is the same: an owner whose account somebody
else moves can still move it back.
"""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import delete
from sqlalchemy.exc import IntegrityError

from gateway import mail, throttle
from gateway.auth import codes, devices, limits, locks, passwords, register
from gateway.auth.devices import Client
from gateway.auth.fields import Password
from gateway.auth.models import MailCode, User, email_key
from gateway.auth.tokens import Caller
from gateway.db import db
from gateway.errors import ApiError, Code
from gateway.mail import outbox

NOTICE = "moved"  # a folder of mail/templates
NOTICE_LIFETIME = timedelta(days=1)


def send_code(caller: Caller, email: str, client: Client, language: str) -> None:
    """Mail a code to the address that the caller's account is to have.

    :raises ApiError: 1018, 429; 1003 when MAIL_DOMAINS or the relay refuses the address, 1029 when
        the relay did not take the mail.
    """
    register.refuse_address(email_key(email))
    device = devices.of(client, caller.id)
    purpose, asker = codes.purpose_of_change(caller.id), devices.asker(client, device)
    counters = limits.mails_of_account(caller.id, client.ip, device)
    codes.send(purpose, email, language, counters, asker, account=caller.id)


def change(caller: Caller, password: Password, email: str, reg_code: str, client: Client) -> None:
    """Move the caller's account and spend the code, or do nothing.

    :raises ApiError: 1003 when MAIL_DOMAINS refuses the address, 1018, 1002 when the password is
        wrong, 429 after too many of them, 1008, 1001 when the account has been erased meanwhile.
    """
    address, purpose = email_key(email), codes.purpose_of_change(caller.id)
    register.refuse_address(address)
    device = passwords.prove(caller, password, client)
    codes.check(purpose, address, reg_code, devices.asker(client, device), client.ip)
    passwords.hold(caller)
    codes.spend(purpose, address, reg_code)
    move(caller.id, email, None, *limits.of_guesses(client.ip, address))
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
    if locks.hold(User.id == user_id) is None:
        db.session.rollback()
        return False
    user = db.session.get_one(User, user_id, populate_existing=True)
    old, old_key = user.email, user.email_key
    user.email, user.email_key = email, email_key(email)
    try:
        db.session.flush()
    except IntegrityError:  # somebody else has just got the address
        db.session.rollback()
        raise ApiError(Code.EMAIL_EXISTS) from None
    db.session.execute(delete(MailCode).where(codes.belong_to(old_key, user_id)))
    throttle.clear(*cleared, *limits.naming(old_key))
    if mail.is_possible():
        spoken, asker = language or user.language, str(user_id)
        details = {"email": old, "context": {"user_name": user.user_name}, "user_id": user_id}
        outbox.promise(NOTICE, old_key, spoken, NOTICE_LIFETIME, asker=asker, **details)
    db.session.commit()
    return True
