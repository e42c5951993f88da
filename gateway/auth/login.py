"""Log in and log out."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from sqlalchemy import update
from sqlalchemy.exc import IntegrityError

from gateway import crypto, log
from gateway.auth import devices, limits, passwords
from gateway.auth.devices import Client
from gateway.auth.fields import Password
from gateway.auth.models import RevokedToken, User, find_user, login_key
from gateway.auth.tokens import Caller
from gateway.db import db
from gateway.errors import ApiError, Code


def log_in(user_name: str, password: Password, client: Client, language: str | None) -> User:
    """Return the account that a user name, or an address, and a password belong to.

    :param language: what the client asks for; None when it does not say.
    :raises ApiError: 1002, 1012 or 429.
    """
    user = find_user(user_name)
    user_id = user.id if user else None
    if user_id:
        log.note(user=user_id)
    device = devices.of(client, user_id)
    tries = limits.of_login(login_key(user_name), user_id, client.ip, device)
    is_right = passwords.is_right(password, user, tries, by_stranger=not device)
    if not is_right or user is None:
        raise ApiError(Code.WRONG_CREDENTIALS)
    if user.is_banned:
        raise ApiError(Code.BANNED)
    _update(user, password, language or user.language)
    return user


def _update(user: User, password: Password, language: str) -> None:
    """Store the language of later mails, and a hash with today's parameters.

    A password that was changed in the meantime stays: then the token generation is another.
    """
    new = {}
    if language != user.language:
        new["language"] = language
    if crypto.password_needs_rehash(user.password_hash):
        new["password_hash"] = crypto.hash_password(password.proof)
    if new:
        is_unchanged = User.token_generation == user.token_generation
        db.session.execute(update(User).where(User.id == user.id, is_unchanged).values(new))
        db.session.commit()


def log_out(caller: Caller) -> None:
    """Revoke the token of the request until it has expired.

    :raises ApiError: 1001 when another request revoked it first.
    """
    # The revocation is kept a day longer. So a clock that is wrong for a while, here or on another
    # node, does not purge it early and let the token in again.
    until = datetime.fromtimestamp(caller.expires, timezone.utc) + timedelta(days=1)
    db.session.add(RevokedToken(jti=caller.jti, expires_at=until))
    try:
        db.session.commit()
    except IntegrityError:
        db.session.rollback()
        raise ApiError(Code.UNAUTHENTICATED) from None
