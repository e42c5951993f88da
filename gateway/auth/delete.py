"""Erase an account: nothing that names it stays in any table.

Ids come from a sequence and are not reused. Keys are 16 random characters (5e28 possible), so a
deleted key does not come back by chance. A list of erased keys would itself name the account.
"""

from __future__ import annotations

from sqlalchemy import delete, select

from gateway import throttle
from gateway.auth import codes, limits, locks, passwords
from gateway.auth.devices import Client
from gateway.auth.fields import Password
from gateway.auth.models import MailCode, User
from gateway.auth.tokens import Caller
from gateway.db import db, purge
from gateway.mail import outbox
from gateway.mail.models import OwedMail


def delete_account(caller: Caller, password: Password, client: Client) -> None:
    """Erase the caller's account.

    :raises ApiError: 1002 when the password is wrong, 429 after too many of them, 1000 when this is
        the last admin, 1001 when the account has been erased meanwhile.
    """
    passwords.prove(caller, password, client)
    sentence = "You are the last admin; let another account become one first"
    locks.refuse_last_admin(caller.id, sentence)
    passwords.hold(caller)
    erase(caller.id)


def erase(user_id: int) -> None:
    """Delete an account, if it is there, and all that belongs to it in one transaction."""
    is_meant = User.id == user_id
    if locks.hold(is_meant) is None:
        db.session.rollback()
        return
    keys = db.session.execute(select(User.name_key, User.email_key).where(is_meant)).one()
    db.session.execute(delete(MailCode).where(codes.belong_to(keys.email_key, user_id)))
    throttle.clear_account(user_id)
    throttle.clear(*limits.naming(*keys))
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
