"""Run work that no response waits for: behind a response, or every few seconds.

The process does not end before the work that has begun ends.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

from flask import Flask, Response, after_this_request, current_app, g, has_request_context
from sqlalchemy.exc import SQLAlchemyError

from gateway import log
from gateway.db import deadline
from gateway.web.client import request_id

Result = TypeVar("Result")

MAX_THREADS = 4  # of a process; they start with the first work
LONGEST_PAUSE = 60  # seconds between two calls of ``every``, while they fail

_executor = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="background")
_unfinished: set[Future[Any]] = set()


def run(function: Callable[[], Any]) -> None:
    """Call a function after the response to this request has been sent; outside a request, now.

    When no thread can be started, say so in the log: the work is lost.
    """
    app, request = current_app._get_current_object(), request_id()  # type: ignore[attr-defined]

    def begin() -> None:
        try:
            submit(app, function, request)
        except RuntimeError as error:  # no thread can be started
            log.logger.error("work after a response cannot begin: %s", error)

    if not has_request_context():
        begin()
        return

    @after_this_request
    def begin_when_sent(response: Response) -> Response:
        response.call_on_close(begin)
        return response


def submit(app: Flask, function: Callable[[], Result], request: str = "-") -> Future[Result | None]:
    """Call a function in one of the threads, in an application context of its own.

    :param request: the id of the request that it belongs to, for the log.
    :returns: its result; None after an exception, which is in the log.
    :raises RuntimeError: when no thread can be started.
    """
    future = _executor.submit(_call, app, function, request)
    _unfinished.add(future)
    future.add_done_callback(_unfinished.discard)
    return future


def _call(app: Flask, function: Callable[[], Result], request: str) -> Result | None:
    with app.app_context():
        g.request_id = request
        deadline.start()
        try:
            return function()
        except SQLAlchemyError as error:
            log.logger.error("database unavailable: %s", log.first_line(error))
        except Exception as error:  # noqa: BLE001 - the log is the only place to report it
            log.logger.error("unhandled exception", exc_info=error)
    return None


def every(app: Flask, name: str, seconds: float, function: Callable[[], Any]) -> None:
    """Call a function now and every few seconds, in a thread of its own, until ``stop``.

    After a failure the pauses grow. Do nothing when the application has such a thread already.

    :param name: of the thread.
    :param function: called in an application context.
    :raises RuntimeError: when no thread can be started.
    """
    stopped, threads = _state(app)

    def repeat() -> None:
        pause = seconds
        while not stopped.is_set():
            has_failed = _call(app, function, "-") is None
            pause = max(seconds, min(2 * pause, LONGEST_PAUSE)) if has_failed else seconds
            stopped.wait(pause)

    if name not in threads and not stopped.is_set():
        thread = threading.Thread(target=repeat, name=name, daemon=True)
        thread.start()
        threads[name] = thread


def stops(app: Flask) -> bool:
    """Tell whether the application was stopped, so that no more work should begin."""
    stopped, _ = _state(app)
    return bool(stopped.is_set())


def stop(app: Flask, *, join: bool = True) -> None:
    """End the threads of ``every`` after what they do now.

    :param join: wait for that.
    """
    stopped, threads = _state(app)
    stopped.set()
    for thread in threads.values() if join else ():
        thread.join()


def join(seconds: float) -> None:
    """Wait until all work is done that has begun, and what it began itself; for tests.

    :raises TimeoutError: when it still goes on after so many seconds.
    """
    while unfinished := list(_unfinished):
        if wait(unfinished, seconds).not_done:
            raise TimeoutError(f"work after a response has not ended in {seconds} s")


def _state(app: Flask) -> Any:
    """Return what tells the threads of ``every`` to end, and these threads by name."""
    return app.extensions.setdefault("gateway.background", (threading.Event(), {}))
