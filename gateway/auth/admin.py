"""What operators do to accounts.

``who`` is a user name or an e-mail address. Each function ends with the one commit.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func, select, update

from gateway import crypto
from gateway.auth import accounts, passwords
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

    :raises ApiError: 1018 or 1005.
    """
    user = accounts.new_user(user_name, email)
    user.is_admin = is_admin
    user.password_hash = crypto.hash_password(password)
    accounts.add(user)
    return user


def set_password(who: str, password: str) -> User:
    """Set a password and revoke every token."""
    user = find(who)
    passwords.set_hash(user.id, crypto.hash_password(password))
    return _committed(user)


def revoke_tokens(who: str) -> User:
    """Revoke every token of an account."""
    return _change(who, token_generation=User.token_generation + 1, kept_jti=None)


def set_banned(who: str, banned: bool) -> User:
    """Ban an account, or lift its ban."""
    return _change(who, is_banned=banned)


def set_admin(who: str, admin: bool) -> User:
    """Make an account an admin, or an ordinary account."""
    return _change(who, is_admin=admin)


def _change(who: str, **values: object) -> User:
    user = find(who)
    db.session.execute(update(User).where(User.id == user.id).values(**values))
    return _committed(user)


def _committed(user: User) -> User:
    """Commit; return the account as it is now."""
    db.session.commit()
    db.session.refresh(user)
    return user
