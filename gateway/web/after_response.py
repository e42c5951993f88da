"""Run a function in its own thread after the response has been sent."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from flask import Flask, Response, after_this_request, current_app, g
from sqlalchemy.exc import SQLAlchemyError

from gateway import log
from gateway.db import deadline
from gateway.web.client import request_id

Result = TypeVar("Result")

# Seconds to wait for the response. Servers close a response that they have sent, but Flask's test
# client does not.
RESPONSE_TIMEOUT = 0.5


def run(function: Callable[[], Any]) -> None:
    """Call a function after the response to this request has been sent.

    The function has its own thread and application context. The process does not end before the
    function does.

    :raises RuntimeError: when no thread can be started.
    """
    app = current_app._get_current_object()  # type: ignore[attr-defined]
    present_request = request_id()
    sent = threading.Event()

    def wait_and_call() -> None:
        sent.wait(RESPONSE_TIMEOUT)
        call(app, present_request, function)

    threading.Thread(target=wait_and_call, name="background", daemon=False).start()

    @after_this_request
    def notice_sending(response: Response) -> Response:
        response.call_on_close(sent.set)
        return response


def call(app: Flask, request: str, function: Callable[[], Result]) -> Result | None:
    """Call a function in an application context; log its exception, and return None after one.

    :param request: the id of the request that it belongs to, for the log.
    """
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
