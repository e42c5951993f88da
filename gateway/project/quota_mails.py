"""Mails to owners when a project has used 80 % and 100 % of its daily quota.

The database gives each request of a day another count, so exactly one request reaches a share. It
does not wait: its thread only compares two numbers, and the mail is promised behind the response.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from datetime import date, timedelta

from flask import current_app
from sqlalchemy import select

from gateway import clock, mail, throttle
from gateway.auth import locks
from gateway.auth.models import User
from gateway.db import db
from gateway.errors import ApiError
from gateway.mail import outbox
from gateway.project import quota
from gateway.project.models import Project
from gateway.throttle import DAY, Counter
from gateway.web import background

KIND = "quota"  # of an owed mail, and the folder of mail/templates
SHARES = (100, 80)  # percent of the quota
MAILS_OF_ACCOUNT = 100  # a day; a thousand projects must not fill a mailbox
SHORTEST_LIFE = timedelta(hours=1)  # of a promise that is made just before midnight
PAUSE = 0.1  # seconds between two looks whether the mail at 80 % has been sent


def announce(project_id: int, day: date, limit: int, count: int) -> None:
    """Mail the project's owner after the response, when this request has reached a share.

    :param limit: the daily quota, 0 for none.
    :param count: the number of the request on its day, from 1.
    """
    share = share_reached(limit, count)
    if share and current_app.config["QUOTA_MAILS"] and mail.is_possible():
        waiting, _ = _reached()
        waiting.append((project_id, day, share, limit, count))
        background.run(_promise_first)


def share_reached(limit: int, count: int) -> int:
    """Return the share of the quota, in percent, that this very request has reached; 0 for none."""
    if limit:
        for share in SHARES:
            if count == -(-limit * share // 100):
                return share
    return 0


def owe_after_change(project: Project) -> None:
    """Owe the mail about a share that a changed quota makes reached; the service sends it."""
    limit, today = project.request_max, quota.days(clock.now())
    used = quota.requests_on(project, *today)
    reached = [share for share in SHARES if limit and used >= -(-limit * share // 100)]
    if reached and project.request_day and current_app.config["QUOTA_MAILS"]:
        _owe(project.id, project.request_day, reached[0], limit, used)


def _promise_first() -> None:
    """Owe the mail about the share that was reached first, and send it."""
    waiting, lock = _reached()
    with lock:
        _owe(*waiting.popleft())
    outbox.send_soon()


def _reached() -> tuple[deque[tuple[int, date, int, int, int]], threading.Lock]:
    """Return what requests have reached and nobody owes yet, in order, and the lock of who does."""
    reached: tuple[deque[tuple[int, date, int, int, int]], threading.Lock] = (
        current_app.extensions.setdefault("gateway.quota_mails", (deque(), threading.Lock()))
    )
    return reached


def _owe(project_id: int, day: date, share: int, limit: int, count: int) -> None:
    """Owe the mail, unless it was owed before; an operator may change the quota."""
    owner = db.session.execute(
        select(User.id, User.language).join(Project).where(Project.id == project_id)
    ).first()
    if owner is None or locks.hold(User.id == owner.id) is None:  # erased meanwhile
        db.session.rollback()
        return
    key = f"{project_id} {day}"
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
        max(timedelta(seconds=quota.seconds_left(day, clock.now())), SHORTEST_LIFE),
        asker=str(share),
        user_id=owner.id,
        project_id=project_id,
        context={"day": str(day), "share": share, "limit": limit, "used": count},
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
