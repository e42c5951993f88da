"""What operators do to accounts. Each function ends with the one commit."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func, select, update

from gateway import crypto
from gateway.auth import service
from gateway.auth.models import User
from gateway.errors import ApiError, Code
from gateway.extensions import db


def find(who: str) -> User:
    """Return the account with this name or address.

    :raises ApiError: 1006 when there is none.
    """
    user = service.find(who)
    if user is None:
        raise ApiError(Code.NOT_FOUND, "There is no such account; see: user list")
    return user


def search(*, admins: bool, banned: bool, page_no: int, size: int) -> tuple[Sequence[User], int]:
    """Return one page of accounts, by id, and how many there are.

    :param admins: only those who are.
    :param banned: only those who are.
    """
    which = []
    if admins:
        which.append(User.is_admin.is_(True))
    if banned:
        which.append(User.is_banned.is_(True))
    total = db.session.scalar(select(func.count()).select_from(User).where(*which)) or 0
    page = select(User).where(*which).order_by(User.id).limit(size).offset(page_no * size)
    return db.session.scalars(page).all(), total


def create(user_name: str, email: str, password: str, *, is_admin: bool) -> User:
    """Make an account without a code.

    :raises ApiError: 1018 or 1005.
    """
    user = service.new_user(user_name, email, password)
    user.is_admin = is_admin
    service.add(user)
    return user


def set_password(user: User, password: str) -> None:
    """Set another password and revoke every token."""
    service.set_password(
        crypto.hash_password(password), User.id == user.id, **service.ALL_TOKENS_REVOKED
    )
    db.session.commit()


def revoke_tokens(user: User) -> None:
    """Sign an account out everywhere."""
    db.session.execute(update(User).where(User.id == user.id).values(**service.ALL_TOKENS_REVOKED))
    db.session.commit()


def set_flags(who: str, **flags: bool) -> User:
    """Set ``is_admin`` or ``is_banned`` of the account with this name or address.

    :raises ApiError: 1006 when there is none.
    """
    user = find(who)
    db.session.execute(update(User).where(User.id == user.id).values(**flags))
    db.session.commit()
    return user
