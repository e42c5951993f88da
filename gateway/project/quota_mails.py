"""Mails to owners when a project has used 80 % and 100 % of its quota of the day or month.

Counts are unique within a day and a month, so exactly one request reaches 80 % and one 100 %. It
stores the mail after its response has been sent.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

from flask import current_app
from sqlalchemy import select

from gateway import clock, mail, throttle
from gateway.auth import locks
from gateway.auth.models import User
from gateway.db import db
from gateway.errors import ApiError
from gateway.mail import outbox
from gateway.mail.models import OwedMail
from gateway.project import limits
from gateway.project.models import Project
from gateway.throttle import DAY, Counter
from gateway.web import background

KIND = "quota"  # of an owed mail, and the folder of mail/templates
A_DAY, A_MONTH = "%Y-%m-%d", "%Y-%m"  # how a day names its period
SHARES = (100, 80)  # percent of the quota
MAILS_OF_ACCOUNT = 100  # a day; a thousand projects must not fill a mailbox
SHORTEST_LIFE = timedelta(hours=1)  # of a promise that is made just before midnight
PAUSE = 0.1  # seconds between two looks whether the mail at 80 % has been sent


def announce(row: Any, cost: int) -> None:
    """Mail the project's owner after the response, when this request has reached a share.

    :param row: the project with this request, as verify's statement returns it.
    :param cost: what this request counts as.
    """
    for period, used in _reached(row, row.day_count, row.month_count, cost):
        if mail.is_possible():
            _queue()[0].append((row.id, row.request_day, period, used))
            background.run(_promise_first)


def owe_after_change(project: Project) -> None:
    """Owe the mails about shares that changed quotas make reached; the service sends them."""
    now = clock.now()
    day_count = limits.requests_on(project, *limits.days(now))
    month_count = limits.requests_in_month(project, now)
    for period, used in _reached(project, day_count, month_count, max(day_count, month_count)):
        if project.request_day:
            _owe(project.id, project.request_day, period, used)


def _reached(
    row: Any, day_count: int, month_count: int, cost: int
) -> Iterator[tuple[str, dict[str, int]]]:
    """Yield each quota of which the last requests have reached a share, and what the mail says.

    :param cost: what these requests count as.
    """
    for period, limit, count in (
        (A_DAY, row.request_max, day_count),
        (A_MONTH, row.month_max, month_count),
    ):
        share = share_reached(limit, count, cost)
        if share and current_app.config["QUOTA_MAILS"]:
            yield period, {"share": share, "limit": limit, "used": count}


def share_reached(limit: int, count: int, cost: int) -> int:
    """Return the share of the quota, in percent, that this very request has reached; 0 for none.

    A share is reached by the request whose count crosses it.
    """
    if limit and count * 100 >= limit * SHARES[-1]:
        for share in SHARES:
            if (count - cost) * 100 < limit * share <= count * 100:
                return share
    return 0


def _promise_first() -> None:
    """Owe the mail about the share that was reached first, and send it."""
    waiting, lock = _queue()
    with lock:
        _owe(*waiting.popleft())
    outbox.send_soon()


def _queue() -> Any:
    """Return what requests have reached and nobody owes yet, in order, and the lock of who does."""
    return current_app.extensions.setdefault("gateway.quota_mails", (deque(), threading.Lock()))


def _owe(project_id: int, day: date, period: str, used: dict[str, int]) -> None:
    """Owe the mail, unless it was owed before; an operator may change the quota.

    :param period: the format in which a day names its period.
    :param used: which share of which limit, and how much that is.
    """
    owner = db.session.execute(
        select(User.id, User.language).join(Project).where(Project.id == project_id)
    ).first()
    if owner is None or locks.hold(User.id == owner.id) is None:  # erased meanwhile
        db.session.rollback()
        return
    key, days = f"{project_id} {day:{period}}", 32 if period == A_MONTH else 2
    of_account = Counter("quota-mail-user", f"user {owner.id}", MAILS_OF_ACCOUNT, DAY, owner.id)

    def once(share: int) -> Counter:
        return Counter("quota-mail", f"project {key} {share}", 1, days * DAY, owner.id)

    try:
        throttle.check(once(100))  # a mail at 80 % would be late
        throttle.hit(once(used["share"]), of_account)
    except ApiError:
        db.session.rollback()
        return
    last_day = limits.month_of(day)[1] if period == A_MONTH else day
    outbox.promise(
        KIND,
        key,
        owner.language,
        max(timedelta(seconds=limits.seconds_left(last_day, clock.now())), SHORTEST_LIFE),
        asker=str(used["share"]),
        user_id=owner.id,
        project_id=project_id,
        context={"day": f"{day:{period}}", **used},
    )
    db.session.commit()


def _send(owed: OwedMail) -> None:
    """Send a promised mail to whom the project belongs now.

    The mail at 80 % never comes after the one at 100 %: that one drops it if it is late, and waits
    if it is being sent.

    :raises MailError: when the relay did not accept the mail.
    """
    project_id = owed.details["project_id"]
    while owed.asker == "100" and not outbox.drop(KIND, owed.key, "80"):
        time.sleep(PAUSE)
    found = db.session.execute(
        select(User.email, Project.project_name)
        .join(Project, Project.user_id == User.id)
        .where(Project.id == project_id, Project.deleted.is_(False))
    ).first()
    db.session.rollback()
    if found is not None:
        mail.send(
            KIND,
            found.email,
            owed.language,
            project_id=project_id,
            project_name=found.project_name,
            timezone=current_app.config["TIMEZONE"],
            **owed.details["context"],
        )


outbox.senders[KIND] = _send
