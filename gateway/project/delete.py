"""Delete a project: its key stops working at once, its secrets go, and its row is purged later."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, or_, select, update

from gateway import clock
from gateway.auth.models import User
from gateway.auth.tokens import Caller
from gateway.db import db
from gateway.project import service
from gateway.project.models import Project

KEPT = timedelta(days=30)  # the row of a deleted project
MENDED_AT_ONCE = 500  # rows


def delete(caller: Caller, project_id: int) -> None:
    """Mark a project as deleted.

    :raises ApiError: 1006 when the caller has no such project.
    """
    service.found(caller, mark_deleted(*service.may_change(caller, project_id)))


def mark_deleted(*filters: ColumnElement[bool]) -> Any:
    """Mark the one live project that matches as deleted; return its ``user_id``, None without one.

    Its secrets are wiped at once. The row is purged later.
    """
    # The account's row is locked first, as everywhere; see auth.locks.
    owner_id = db.session.scalar(
        update(User)
        .where(User.id == select(Project.user_id).where(*filters).scalar_subquery())
        .values(live_projects=User.live_projects - 1)
        .returning(User.id)
    )
    if owner_id is None:
        return None
    gone = update(Project).where(*filters).values(deleted=True, **_wiped())
    deleted = db.session.execute(gone.returning(Project.user_id)).first()
    if deleted is None:  # another request was first
        db.session.rollback()
        return None
    db.session.commit()
    return deleted


def _wiped() -> dict[str, Any]:
    """Return what the columns of a deleted project become."""
    return {
        "expires_at": clock.now() + KEPT,
        "secret_hash": "",
        "sealed_secret": "",
        "old_secret_hash": None,
        "old_secret_until": None,
        "request_day": None,  # the trigger then keeps the day
        "request_count": 0,
        "extra_count": 0,
        "month_count": 0,
    }


def mend_rows_of_0004() -> None:
    """Wipe the secrets of projects that nodes of schema 0004 deleted, and add to the month what
    they counted on its last day; in small transactions."""
    was_deleted = and_(Project.deleted.is_(True), Project.expires_at.is_(None))
    of_day = Project.request_count + Project.extra_count
    counts_less = Project.month_count < of_day
    is_left, last = or_(was_deleted, counts_less), 0
    while True:
        left = select(Project.id).where(is_left, Project.id > last)
        ids = db.session.scalars(left.order_by(Project.id).limit(MENDED_AT_ONCE)).all()
        if not ids:
            db.session.rollback()
            return
        batch, last = update(Project).where(Project.id.in_(ids)), ids[-1]
        db.session.execute(batch.where(was_deleted).values(**_wiped()))
        db.session.execute(batch.where(counts_less).values(month_count=of_day))
        db.session.commit()
