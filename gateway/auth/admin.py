"""What operators do to accounts.

``who`` is a user name or an e-mail address. Each function ends with the one commit.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, exists, func, or_, select, update
from sqlalchemy.orm import aliased

from gateway import crypto, throttle
from gateway.auth import accounts, limits, passwords, strength
from gateway.auth.models import User
from gateway.db import db
from gateway.errors import ApiError, Code


def find(who: str) -> User:
    """Return an account.

    :raises ApiError: 1006 when there is none; every function with ``who`` raises this.
    """
    user = accounts.find(who)
    if user is None:
        raise ApiError(Code.NOT_FOUND, "There is no such account; see: user list")
    return user


def search(*, admins: bool, banned: bool, page_no: int, size: int) -> tuple[Sequence[User], int]:
    """Return one page of accounts, ordered by id, and the number of all matches.

    :param admins: only admins.
    :param banned: only banned accounts.
    """
    filters = []
    if admins:
        filters.append(User.is_admin.is_(True))
    if banned:
        filters.append(User.is_banned.is_(True))
    total = db.session.scalar(select(func.count()).select_from(User).where(*filters)) or 0
    page = select(User).where(*filters).order_by(User.id).limit(size).offset(page_no * size)
    return db.session.scalars(page).all(), total


def create(user_name: str, email: str, password: str, *, is_admin: bool) -> User:
    """Create an account without a mailed code.

    :raises ApiError: 1003 when the password is weak, 1018 or 1005.
    """
    strength.refuse_weak(password, name=user_name, email=email)
    user = accounts.new_user(user_name, email)
    user.is_admin = is_admin
    user.password_hash = crypto.hash_password(password)
    accounts.add(user)
    return user


def set_password(who: str, password: str) -> User:
    """Set a password, revoke every token and lift every lock.

    :raises ApiError: 1003 when the password is weak.
    """
    user = find(who)
    strength.refuse_weak(password, name=user.user_name, email=user.email)
    passwords.set_hash(user.id, crypto.hash_password(password))
    throttle.clear_account(user.id)
    return _committed(user)


def unlock(who: str) -> User:
    """Forget every count that keeps an account out."""
    user = find(who)
    throttle.clear_account(user.id)
    return _committed(user)


def locks(user: User) -> list[tuple[str, datetime]]:
    """Return what an account cannot do at the moment, because of limits, and until when."""
    found: dict[str, datetime] = {}
    for row in throttle.counts_of(user.id):  # the last to end first
        most, words = limits.LOCKS.get(row.name, (0, ""))
        if words and row.count >= most:
            found.setdefault(words, row.expires_at)
    return list(found.items())


def revoke_tokens(who: str) -> User:
    """Revoke every token of an account."""
    return _change(who, token_generation=User.token_generation + 1, kept_jti=None)


def set_banned(who: str, banned: bool, *, even_last_admin: bool = False) -> User:
    """Ban an account, or lift its ban. A ban revokes every token for good.

    :raises ApiError: 1009 when this would ban the last admin.
    """
    if not banned:
        return _change(who, is_banned=False)
    filters = [] if even_last_admin else [_leaves_an_admin()]
    revoked = {"token_generation": User.token_generation + 1, "kept_jti": None}
    return _change(who, *filters, is_banned=True, **revoked)


def set_admin(who: str, admin: bool, *, even_last_admin: bool = False) -> User:
    """Make an account an admin, or an ordinary account.

    :raises ApiError: 1009 when this would demote the last admin.
    """
    filters = [] if admin or even_last_admin else [_leaves_an_admin()]
    return _change(who, *filters, is_admin=admin)


def _leaves_an_admin() -> ColumnElement[bool]:
    """Return the filter for accounts without which there is still an admin who can log in."""
    # Two commands at once must not each take the other's admin for the one that stays.
    can_act = (User.is_admin.is_(True), User.is_banned.is_(False))
    db.session.execute(select(User.id).where(*can_act).order_by(User.id).with_for_update())
    other = aliased(User)
    another = exists().where(
        other.id != User.id, other.is_admin.is_(True), other.is_banned.is_(False)
    )
    return or_(User.is_admin.is_(False), User.is_banned.is_(True), another)


def _change(who: str, *filters: ColumnElement[bool], **values: object) -> User:
    user = find(who)
    changed = db.session.scalar(
        update(User)
        .where(User.id == user.id, *filters)
        .values(**values)
        .returning(User.id)
        .execution_options(synchronize_session=False)
    )
    if changed is None:
        db.session.rollback()
        raise ApiError(
            Code.LIMIT_REACHED, f"{user.user_name} is the last admin; give --yes to do it anyway"
        )
    return _committed(user)


def _committed(user: User) -> User:
    """Commit; return the account as it is now."""
    db.session.commit()
    db.session.refresh(user)
    return user
