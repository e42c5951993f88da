"""Mails to owners when a project has used 80 % and 100 % of its daily quota.

Counts are unique within a day and a month, so exactly one request reaches 80 % and one 100 %. It
stores the mail after its response has been sent.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from datetime import date, timedelta
from typing import NamedTuple

from flask import current_app
from sqlalchemy import select

from gateway import clock, mail, throttle
from gateway.auth import locks
from gateway.auth.models import User
from gateway.db import db
from gateway.errors import ApiError
from gateway.mail import outbox
from gateway.project import limits
from gateway.project.models import Project
from gateway.throttle import DAY, Counter
from gateway.web import background

KIND = "quota"  # of an owed mail, and the folder of mail/templates
SHARES = (100, 80)  # percent of the quota
MAILS_OF_ACCOUNT = 100  # a day; a thousand projects must not fill a mailbox
SHORTEST_LIFE = timedelta(hours=1)  # of a promise that is made just before midnight
PAUSE = 0.1  # seconds between two looks whether the mail at 80 % has been sent


class Used(NamedTuple):
    """What is used of a quota.

    ``period`` is whose quota it is, such as "2024-03-07", with its last day. ``limit`` is 0 for
    none.
    """

    project_id: int
    period: str
    last_day: date
    limit: int
    counted: int


def announce(used: Used, cost: int) -> None:
    """Mail the project's owner after the response, when this request has reached a share.

    :param used: with this request.
    :param cost: what this request counts as.
    """
    share = share_reached(used.limit, used.counted, cost)
    if share and current_app.config["QUOTA_MAILS"] and mail.is_possible():
        waiting, _ = _reached()
        waiting.append((used, share))
        background.run(_promise_first)


def share_reached(limit: int, count: int, cost: int) -> int:
    """Return the share of the quota, in percent, that this very request has reached; 0 for none.

    A share is reached by the request whose count crosses it.
    """
    if limit and count * 100 >= limit * SHARES[-1]:
        for share in SHARES:
            if (count - cost) * 100 < limit * share <= count * 100:
                return share
    return 0


def owe_after_change(project: Project) -> None:
    """Owe the mail about a share that a changed quota makes reached; the service sends it."""
    day, count = project.request_day, limits.requests_on(project, *limits.days(clock.now()))
    share = share_reached(project.request_max, count, count)
    if share and day and current_app.config["QUOTA_MAILS"]:
        _owe(Used(project.id, str(day), day, project.request_max, count), share)


def _promise_first() -> None:
    """Owe the mail about the share that was reached first, and send it."""
    waiting, lock = _reached()
    with lock:
        _owe(*waiting.popleft())
    outbox.send_soon()


def _reached() -> tuple[deque[tuple[Used, int]], threading.Lock]:
    """Return what requests have reached and nobody owes yet, in order, and the lock of who does."""
    reached: tuple[deque[tuple[Used, int]], threading.Lock] = current_app.extensions.setdefault(
        "gateway.quota_mails", (deque(), threading.Lock())
    )
    return reached


def _owe(used: Used, share: int) -> None:
    """Owe the mail, unless it was owed before; an operator may change the quota."""
    owner = db.session.execute(
        select(User.id, User.language).join(Project).where(Project.id == used.project_id)
    ).first()
    if owner is None or locks.hold(User.id == owner.id) is None:  # erased meanwhile
        db.session.rollback()
        return
    key = f"{used.project_id} {used.period}"
    once = [Counter("quota-mail", f"project {key} {each}", 1, 2 * DAY, owner.id) for each in SHARES]
    try:
        throttle.check(once[0])  # a mail at 80 % would be late
        throttle.hit(
            once[SHARES.index(share)],
            Counter("quota-mail-user", f"user {owner.id}", MAILS_OF_ACCOUNT, DAY, owner.id),
        )
    except ApiError:
        db.session.rollback()
        return
    outbox.promise(
        KIND,
        key,
        owner.language,
        max(timedelta(seconds=limits.seconds_left(used.last_day, clock.now())), SHORTEST_LIFE),
        asker=str(share),
        user_id=owner.id,
        project_id=used.project_id,
        context={"day": used.period, "share": share, "limit": used.limit, "used": used.counted},
    )
    db.session.commit()


@outbox.sender(KIND)
def _send(owed: outbox.OwedMail) -> None:
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
