"""The threads that send what ``mail.outbox`` owes."""

from __future__ import annotations

import threading
from contextlib import suppress

from flask import Flask, current_app

from gateway.db import db
from gateway.mail import outbox
from gateway.web import after_response

MAX_SENDERS = 4  # threads of one process that send at the same time
POLL = 2  # seconds between two looks at what other processes left, or what is to be tried again


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
    try:
        while True:
            while crew.goes_on() and outbox.send_next():
                tried += 1
            if crew.may_leave():
                break
    except BaseException:
        with crew.lock:
            crew.senders -= 1
        raise
    if tried and outbox.is_anything_owed():
        keep_sending(app, for_ever=False)
    return tried


def keep_sending(app: Flask, *, for_ever: bool) -> None:
    """Start the thread that sends what is due later, and what ended processes left.

    A process has one such thread for each application.

    :param for_ever: go on when nothing is owed.
    """
    crew = _crew(app)
    with crew.lock:
        if crew.keeper is not None or crew.stopped.is_set():
            return
        crew.keeper = threading.Thread(
            target=_keep_sending, args=(app, crew, for_ever), name="outbox", daemon=True
        )
        try:
            crew.keeper.start()
        except RuntimeError:  # no thread can be started now
            crew.keeper = None


def _keep_sending(app: Flask, crew: _Crew, for_ever: bool) -> None:
    is_needed = [True]

    def work() -> None:
        _send_together(app)
        with crew.lock:  # so that no row comes between the look and the end
            is_needed[0] = for_ever or outbox.is_anything_owed()
            if not is_needed[0]:
                crew.keeper = None

    while is_needed[0] and not crew.stopped.wait(POLL):
        after_response.call(app, "-", work)


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
    """End the thread of ``keep_sending``, for tests."""
    crew = _crew(app)
    crew.stopped.set()
    if (keeper := crew.keeper) is not None:
        keeper.join()
