"""Hold an account, so that nobody erases it meanwhile.

Whatever stores something about an account holds it first, in the same transaction. So an account
that is erased leaves nothing that a slower request stores after it. Requests also cannot deadlock,
because all lock in this order: the account, its codes, its counters, its mails, its projects.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, update

from gateway.auth.models import User
from gateway.db import db


def hold(*filters: ColumnElement[bool]) -> int | None:
    """Lock the one account that matches until the transaction ends.

    :returns: its id, or None when there is no such account.
    """
    # An UPDATE that changes nothing, because on SQLite a SELECT would lock nothing.
    held: int | None = db.session.scalar(
        update(User)
        .where(*filters)
        .values(token_generation=User.token_generation)
        .returning(User.id)
        .execution_options(synchronize_session=False)
    )
    return held
