"""The threads that send what ``mail.outbox`` owes."""

from __future__ import annotations

import threading
from contextlib import suppress

from flask import Flask, current_app

from gateway.db import db
from gateway.mail import outbox
from gateway.mail.outbox import send_next
from gateway.web import after_response
from gateway.web.client import request_id

MAX_SENDERS = 4  # threads of one process that send at the same time
POLL = 2  # seconds between two looks at what other processes left, or what is to be tried again
LONGEST_POLL = 60  # seconds, while the database fails


class _Crew:
    """The threads of this process that send the mails of one application."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.senders = 0
        self.more_came = False
        self.keeper: threading.Thread | None = None
        self.stopped = threading.Event()

    def join(self) -> bool:
        """Tell whether the present thread may send; if not, those who do will look again."""
        with self.lock:
            if self.senders == MAX_SENDERS:
                self.more_came = True
                return False
            self.senders += 1
            return True

    def may_leave(self) -> bool:
        """Tell whether nothing came since the present thread looked last; then it has left."""
        with self.lock:
            if self.more_came:
                self.more_came = False
                return False
            self.senders -= 1
            return True

    def leave(self) -> None:
        """Leave, whatever came."""
        with self.lock:
            self.senders -= 1

    def goes_on(self) -> bool:
        """Tell whether the process does not end yet."""
        return not self.stopped.is_set() and threading.main_thread().is_alive()


def _crew(app: Flask) -> _Crew:
    crew: _Crew = app.extensions.setdefault("gateway.mail.senders", _Crew())
    return crew


def send_soon() -> None:
    """Send what is owed after the response to this request has been sent."""
    with suppress(RuntimeError):  # no thread can be started; the keeper, or another process, sends
        after_response.run(send_due)


def send_due() -> int:
    """Send every mail that is due now; return the number of tries.

    When enough threads of this process send already, leave the work to them.
    """
    app = current_app._get_current_object()  # type: ignore[attr-defined]
    crew = _crew(app)
    if not crew.join():
        return 0
    tried = 0
    sent: bool | None = True
    while True:
        # Each mail has a context of its own, because a context limits its waits for the database.
        while crew.goes_on() and (sent := after_response.call(app, request_id(), send_next)):
            tried += 1
        if sent is None or crew.may_leave():
            break
    if sent is None:  # it failed, and that is logged
        crew.leave()
    if sent is None or (tried and outbox.is_anything_owed()):
        keep_sending(app, for_ever=False)
    return tried


def keep_sending(app: Flask, *, for_ever: bool) -> None:
    """Start the thread that sends what is due later, and what ended processes left.

    A process has one such thread for each application.

    :param for_ever: go on when nothing is owed.
    """
    crew = _crew(app)
    with crew.lock, suppress(RuntimeError):  # no thread can be started now
        if crew.keeper is None and not crew.stopped.is_set():
            keeper = threading.Thread(
                target=_keep_sending, args=(app, crew, for_ever), name="outbox", daemon=True
            )
            keeper.start()
            crew.keeper = keeper


def _keep_sending(app: Flask, crew: _Crew, for_ever: bool) -> None:
    def look() -> bool:
        """Send what is due; tell whether this thread is still needed."""
        _send_together(app)
        with crew.lock:  # so that no mail is put off between this look and the end
            is_needed = for_ever or outbox.is_anything_owed()
            if not is_needed:
                crew.keeper = None
        return is_needed

    pause: float = POLL
    while not crew.stopped.wait(pause):
        is_needed = after_response.call(app, "-", look)
        if is_needed is False:
            break
        # The database fails, and the log says so each time.
        pause = POLL if is_needed else min(2 * pause, LONGEST_POLL)


def _send_together(app: Flask) -> None:
    """Send what is due, with as many threads as there are mails and senders."""
    number = outbox.count_due(MAX_SENDERS)
    db.session.commit()
    helpers = [
        threading.Thread(target=after_response.call, args=(app, "-", send_due), name="background")
        for _ in range(number - 1)
    ]
    with suppress(RuntimeError):  # no thread can be started; this one does the work
        for helper in helpers:
            helper.start()
    if number:
        send_due()


def stop(app: Flask) -> None:
    """Send nothing more, for tests."""
    crew = _crew(app)
    crew.stopped.set()
    if (keeper := crew.keeper) is not None:
        keeper.join()
