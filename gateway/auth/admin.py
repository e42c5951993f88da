"""What operators do to accounts.

``who`` is a user name or an e-mail address. Each function ends with the one commit.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from flask import current_app
from sqlalchemy import false, func, or_, select, update

from gateway import crypto, throttle
from gateway.auth import codes, limits, locks, passwords, register
from gateway.auth.delete import erase
from gateway.auth.email import move
from gateway.auth.fields import Password
from gateway.auth.models import User, email_key, find_user, name_key
from gateway.auth.tokens import Caller
from gateway.db import db
from gateway.errors import ApiError, Code
from gateway.mail import outbox
from gateway.settings import INT32_MAX

# Values for ``change`` that revoke every token.
REVOKED: dict[str, Any] = {"token_generation": User.token_generation + 1, "kept_jti": None}


def find(who: str) -> User:
    """Return an account.

    :raises ApiError: 1006 when there is none; every function with ``who`` raises this.
    """
    user = find_user(who)
    if user is None:
        raise ApiError(Code.NOT_FOUND, "There is no such account; see: user list")
    return user


def summary(user: User) -> dict[str, Any]:
    """Return what the console and the commands show of an account, but for when it was created."""
    return {
        "id": user.id,
        "user_name": user.user_name,
        "email": user.email,
        "role": user.role,
        "banned": user.is_banned,
        "projects": user.live_projects,
    }


def search(
    query: str = "", *, admins: bool = False, banned: bool = False, page_no: int, size: int
) -> tuple[Sequence[User], int]:
    """Return one page of accounts, ordered by id, and the number of all matches.

    :param query: an id, if it is digits only; else a part of a user name or of an address.
    :param admins: only admins.
    :param banned: only banned accounts.
    """
    filters = []
    if query.isascii() and query.isdigit():
        filters.append(User.id == int(query) if int(query) <= INT32_MAX else false())
    elif query:
        keys = (User.name_key, name_key(query)), (User.email_key, email_key(query))
        filters.append(or_(*(column.contains(key, autoescape=True) for column, key in keys)))
    filters += [User.is_admin.is_(True)] * admins + [User.is_banned.is_(True)] * banned
    total = db.session.scalar(select(func.count()).select_from(User).where(*filters)) or 0
    page = select(User).where(*filters).order_by(User.id).limit(size).offset(page_no * size)
    return db.session.scalars(page).all(), total


def create(user_name: str, email: str, password: Password, *, is_admin: bool) -> User:
    """Create an account without a mailed code.

    :raises ApiError: 1003 when the password is the own name or address, 1018 or 1005.
    """
    passwords.refuse_own(password, user_name, email)
    user = register.new_user(user_name, email, is_admin=is_admin)
    user.password_hash = crypto.hash_password(password.proof)
    register.add(user)
    return user


def invite(email: str, language: str) -> None:
    """Mail an invitation; it replaces an earlier one once the relay has accepted the mail.

    :param language: one of ``mail.LANGUAGES``.
    :raises ApiError: 1000 when registration is closed, 1003 when MAIL_DOMAINS refuses the address,
        1018.
    :raises MailError: when the mail could not be sent.
    """
    if current_app.config["REGISTRATION"] == "closed":
        text = "Registration is closed; set REGISTRATION to open or invited"
        raise ApiError(Code.ACCESS_DENIED, text)
    register.refuse_address(email_key(email))
    code = codes.mail_code(codes.INVITE, email, language)
    codes.store(codes.INVITE, email_key(email), code)
    db.session.commit()


def set_email(who: str, email: str, language: str | None) -> User:
    """Move an account to another address, without a mailed code; the old one gets a mail.

    :param language: of that mail, one of ``mail.LANGUAGES``; None is the account's own.
    :raises ApiError: 1003 when MAIL_DOMAINS refuses the address, 1018.
    """
    user = find(who)
    register.refuse_address(email_key(email))
    if not move(user.id, email, language):
        return find(who)  # it has been erased meanwhile
    outbox.send_due()
    return user


def refuse_last_admin(user: User) -> None:
    """Refuse the last admin before an operator is asked; ``delete`` decides anew."""
    _refuse_last_admin(user)
    db.session.commit()


def delete(who: str, *, even_last_admin: bool = False) -> User:
    """Erase an account for good; return it as it was.

    :raises ApiError: 1000 at the last admin, unless ``even_last_admin`` is set, here and below.
    """
    user = find(who)
    if not even_last_admin:
        _refuse_last_admin(user)
    erase(user.id)
    return user


def set_password(who: str, password: Password) -> User:
    """Set a password, revoke every token and lift every lock.

    :raises ApiError: 1003 when the password is the own name or address.
    """
    user = find(who)
    passwords.refuse_own(password, user.user_name, user.email)
    passwords.set_hash(user.id, crypto.hash_password(password.proof))
    return unlock(who)


def unlock(who: str) -> User:
    """Forget every count that keeps an account out, and no other, such as which mails were owed."""
    user = find(who)
    throttle.clear_account(user.id, limits.LOCKS)
    db.session.commit()
    return user


def lockouts(user: User) -> list[tuple[str, datetime]]:
    """Return what an account cannot do at the moment, because of limits, and until when."""
    found: dict[str, datetime] = {}
    for row in throttle.counts_of(user.id):  # the last to end first
        limit = limits.LIMITS.get(row.name)
        if limit and limit.lock and row.count >= limit.events:
            found.setdefault(limit.lock, row.expires_at)
    return list(found.items())


def change(who: str, *, even_last_admin: bool = False, **values: Any) -> User:
    """Change columns of an account. A ban revokes every token for good.

    :raises ApiError: 1000 when this would ban or demote the last admin.
    """
    user = find(who)
    if values.get("is_banned"):
        values |= REVOKED
    if not even_last_admin and (values.get("is_banned") or values.get("is_admin") is False):
        _refuse_last_admin(user)
    db.session.execute(update(User).where(User.id == user.id).values(**values))
    db.session.commit()
    return find(who)  # unless it has been erased meanwhile


def edit(admin: Caller, user_id: int, **changes: Any) -> None:
    """Do what an admin asks of an account.

    :param changes: ``is_banned``; ``projects_max``, None for PROJECTS_PER_USER.
    :raises ApiError: 1006; 1000 at one's own ban, and at that of the last admin.
    """
    if changes.get("is_banned") and user_id == admin.id:
        raise ApiError(Code.ACCESS_DENIED, "Nobody bans himself; let another admin do it")
    user = db.session.get(User, user_id)
    if user is None:
        raise ApiError(Code.NOT_FOUND)
    if changes:
        change(user.user_name, **changes)


def _refuse_last_admin(user: User) -> None:
    sentence = f"{user.user_name} is the last admin; give --yes to do it anyway"
    locks.refuse_last_admin(user.id, sentence)
