"""Erase an account: nothing that names it stays in any table.

Ids come from a sequence and are not reused. Keys are 16 random characters (5e28 possible), so a
deleted key does not come back by chance. A list of erased keys would itself name the account.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, delete, exists, or_, select
from sqlalchemy.orm import aliased

from gateway import throttle
from gateway.auth import codes, limits, locks, passwords
from gateway.auth.devices import Client
from gateway.auth.fields import Password
from gateway.auth.models import MailCode, User
from gateway.auth.tokens import Caller
from gateway.db import db, purge
from gateway.errors import ApiError, Code
from gateway.mail import outbox
from gateway.mail.outbox import OwedMail


class LastAdmin(ApiError):
    """The account is the last admin that can log in."""

    def __init__(
        self, text: str = "You are the last admin; let another account become one first"
    ) -> None:
        super().__init__(Code.ACCESS_DENIED, text)


def delete_account(caller: Caller, password: Password, client: Client) -> None:
    """Erase the caller's account.

    :raises ApiError: 1002 when the password is wrong, 429 after too many of them, 1000 when this is
        the last admin, 1001 when the account has been erased meanwhile.
    """
    passwords.prove(caller, password, client)
    if not erase(caller.id, passwords.is_unchanged(caller)):
        raise passwords.refusal(caller.id)


def erase(user_id: int, *filters: ColumnElement[bool], even_last_admin: bool = False) -> bool:
    """Delete an account and all that belongs to it in one transaction, or nothing of it.

    :param filters: what the account must match.
    :returns: whether there was such an account.
    :raises LastAdmin: unless ``even_last_admin`` is set.
    """
    is_admin = db.session.scalar(select(User.is_admin).where(User.id == user_id))
    may_leave = leaves_an_admin(lock=bool(is_admin))
    is_meant = User.id == user_id
    if locks.hold(is_meant, *filters) is None:
        db.session.rollback()
        return False
    if not even_last_admin and not db.session.scalar(select(User.id).where(is_meant, may_leave)):
        db.session.rollback()
        raise LastAdmin
    keys = db.session.execute(select(User.name_key, User.email_key).where(is_meant)).one()
    db.session.execute(delete(MailCode).where(codes.belong_to(keys.email_key, user_id)))
    throttle.clear_account(user_id)
    throttle.clear(*limits.naming(codes.COUNTED, *keys))
    db.session.execute(delete(OwedMail).where(outbox.belong_to(keys.email_key, user_id)))
    for table in reversed(db.metadata.sorted_tables):
        if "user_id" not in table.c:
            continue
        if table.c.user_id.foreign_keys:
            db.session.execute(delete(table).where(table.c.user_id == user_id))
        else:  # there may be very many rows, and they name nobody: the purge deletes the others
            purge.delete_batch(table, table.c.user_id == user_id)
    db.session.execute(delete(User).where(is_meant).execution_options(synchronize_session=False))
    db.session.commit()
    return True


def leaves_an_admin(*, lock: bool = True) -> ColumnElement[bool]:
    """Return the filter for accounts without which there is still an admin who can log in.

    :param lock: hold every admin, because two commands at once must not each take the other's admin
        for the one that stays.
    """
    can_act = (User.is_admin.is_(True), User.is_banned.is_(False))
    if lock:
        db.session.execute(select(User.id).where(*can_act).order_by(User.id).with_for_update())
    other = aliased(User)
    another = exists().where(
        other.id != User.id, other.is_admin.is_(True), other.is_banned.is_(False)
    )
    return or_(User.is_admin.is_(False), User.is_banned.is_(True), another)
