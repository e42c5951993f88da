"""Hold an account, so that nobody erases it meanwhile.

Whatever stores something about an account holds it first, in the same transaction. So an account
that is erased leaves nothing that a slower request stores after it. Requests also cannot deadlock,
because all lock in this order: the account, its codes, its counters, its mails, its projects.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, false, select, update

from gateway.auth.models import User
from gateway.db import db
from gateway.errors import ApiError, Code


def hold(*filters: ColumnElement[bool]) -> int | None:
    """Lock the one account that matches until the transaction ends.

    :returns: its id, or None when there is no such account.
    """
    # An UPDATE that changes nothing, because on SQLite a SELECT would lock nothing.
    same = {"token_generation": User.token_generation}
    held = update(User).where(*filters).values(same).returning(User.id)
    return db.session.scalars(held, execution_options={"synchronize_session": False}).first()


def refuse_last_admin(user_id: int, sentence: str) -> None:
    """Refuse when the account is the last admin that can log in; the caller goes on and commits.

    Every admin is held, because two requests at once must not each take the other's account for the
    one that stays.

    :param sentence: of the refusal.
    :raises ApiError: 1000.
    """
    hold(false())  # takes SQLite's write lock, because SQLite has no FOR UPDATE
    can_act = (User.is_admin.is_(True), User.is_banned.is_(False))
    admins = select(User.id).where(*can_act).order_by(User.id).with_for_update()
    if db.session.scalars(admins).all() == [user_id]:
        db.session.rollback()
        raise ApiError(Code.ACCESS_DENIED, sentence)
