"""Who may register, and how: REGISTRATION, MAIL_DOMAINS, registration codes and invitations.

An invitation is a mailed code that lives for 7 days. The number of digits tells it from a
registration code.
"""

from __future__ import annotations

from typing import Any

from flask import current_app
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from gateway import clock, crypto, throttle
from gateway.auth import codes, devices, limits, passwords
from gateway.auth.devices import Client
from gateway.auth.fields import Password
from gateway.auth.models import User, email_key, name_key
from gateway.db import db
from gateway.errors import ApiError, Code
from gateway.throttle import Counter

CLOSED = "Registration is closed; ask who runs this service"
BY_INVITATION = (
    "Registration is by invitation; ask the people who run this service for one, then register with"
    f" its {codes.INVITE_DIGITS} digits"
)


def send_code(user_name: str, email: str, client: Client, language: str) -> None:
    """Mail a registration code to an address that has no account.

    :raises ApiError: 1000 when not everybody may register, 1018, 1005, 429; 1003 when MAIL_DOMAINS
        or the relay refuses the address, 1029 when the relay did not take the mail.
    """
    _refuse_unless("open")
    address = email_key(email)
    _refuse_taken(name_key(user_name), address)
    counters = limits.mails(codes.REGISTER, address, client.ip)
    codes.send(codes.REGISTER, email, language, counters, devices.asker(client, ""))


def create_account(
    user_name: str, password: Password, email: str, reg_code: str, client: Client, *, language: str
) -> User:
    """Create an account and spend its code in one transaction.

    :param reg_code: a registration code, or that of an invitation.
    :param language: of later mails, one of ``mail.LANGUAGES``.
    :raises ApiError: 1000 when registration is closed, or by invitation and the code is none; 1003
        when the password is the own name or address, or MAIL_DOMAINS refuses the address; 1018,
        1005, 1008; 429 after too many wrong codes of invitations.
    """
    purpose = codes.INVITE if len(reg_code) == codes.INVITE_DIGITS else codes.REGISTER
    _refuse_unless("open", *(["invited"] if purpose == codes.INVITE else []))
    passwords.refuse_own(password, user_name, email)
    user = new_user(user_name, email, language=language)
    refuse_domain(user.email_key)
    if current_app.config["REGISTRATION"] == "open":  # else it would tell who has an account
        _refuse_taken(user.name_key, user.email_key)
    throttle.SIGN_INS.take()
    codes.check(purpose, user.email_key, reg_code, devices.asker(client, ""), client.ip)
    # Hash first, because hashing is slow and spending the code locks its row.
    user.password_hash = crypto.hash_password(password.proof)
    codes.spend(purpose, user.email_key, reg_code)
    add(user, *limits.of_guesses(client.ip, user.name_key, user.email_key))
    return user


def _refuse_unless(*allowed: str) -> None:
    """Raise 1000 unless REGISTRATION has one of the values."""
    registration = current_app.config["REGISTRATION"]
    if registration not in allowed:
        text = CLOSED if registration == "closed" else BY_INVITATION
        raise ApiError(Code.ACCESS_DENIED, text)


def refuse_domain(address: str) -> None:
    """Raise 1003 when MAIL_DOMAINS names domains, and not that of an address.

    :param address: the key of the e-mail address.
    """
    domains = current_app.config["MAIL_DOMAINS"]
    if domains and address.rpartition("@")[2] not in domains:
        text = f"email must be an address at {' or '.join(domains)}"
        raise ApiError(Code.INVALID_PARAMETER, text)


def refuse_address(address: str) -> None:
    """Raise 1003 when MAIL_DOMAINS refuses an address, 1018 when it has an account."""
    refuse_domain(address)
    if db.session.scalar(select(User.id).where(User.email_key == address)):
        raise ApiError(Code.EMAIL_EXISTS)


def _refuse_taken(name_key: str, address: str) -> None:
    """Raise 1018 when the address has an account, else 1005 when the name is taken."""
    refuse_address(address)
    if db.session.scalar(select(User.id).where(User.name_key == name_key)):
        raise ApiError(Code.USER_NAME_EXISTS)


def new_user(user_name: str, email: str, **more: Any) -> User:
    """Return an account that is not yet in the database and has no password.

    :param more: other columns.
    """
    return User(
        user_name=user_name,
        name_key=name_key(user_name),
        email=email,
        email_key=email_key(email),
        created_at=clock.now(),
        **more,
    )


def add(user: User, *cleared: Counter) -> None:
    """Commit a new account together with the rest of the transaction, or nothing of it.

    :param cleared: counters to forget.
    :raises ApiError: 1018 or 1005.
    """
    keys = user.name_key, user.email_key
    db.session.add(user)
    try:
        db.session.flush()
        throttle.clear(*cleared)  # after the account's row, as everywhere
        db.session.commit()
    except IntegrityError:
        db.session.rollback()
        _refuse_taken(*keys)
        raise
