"""Change the time zone of a database whose nodes are stopped."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from sqlalchemy import delete, insert, update

from gateway import clock
from gateway.db import db
from gateway.db.facts import TIMEZONE, Fact, stored_zone
from gateway.project.models import Project


def change(zone: str) -> str | None:
    """Store a time zone; return the one before, None if there was none.

    The new zone may have another date now. Requests that were counted on the old zone's today then
    count for the new zone's, so that no quota begins a second time.
    """
    connection = db.session.connection()
    before = stored_zone(connection)
    now = clock.now()
    new_day = now.astimezone(ZoneInfo(zone)).date()
    old_day = now.astimezone(ZoneInfo(before or zone)).date()
    if old_day != new_day:
        db.session.execute(
            update(Project)
            .where(Project.request_day == old_day)
            .values(request_day=new_day)
            .execution_options(synchronize_session=False)
        )
    db.session.execute(delete(Fact).where(Fact.name == TIMEZONE))
    db.session.execute(insert(Fact).values(name=TIMEZONE, value=zone))
    db.session.commit()
    return before
