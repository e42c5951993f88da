"""What goes on behind a request, in a thread of its own, when nobody waits for it any more."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from flask import Response, after_this_request, current_app, g
from sqlalchemy.exc import SQLAlchemyError

from gateway import log

PATIENCE = 0.5  # seconds; servers close what they have written, but Flask's test client does not


def run(work: Callable[..., None], *arguments: Any) -> None:
    """Call a function once the reply to this request has been written.

    It has a thread and an application context of its own, and the process does not end before it
    does. Its failure is only logged.

    :raises RuntimeError: when no thread can be started.
    """
    app = current_app._get_current_object()  # type: ignore[attr-defined]
    request_id = log.request_id()
    written = threading.Event()

    def call() -> None:
        written.wait(PATIENCE)
        with app.app_context():
            g.request_id = request_id
            g.in_background = True
            try:
                work(*arguments)
            except SQLAlchemyError as error:
                log.logger.error("database unavailable: %s", log.first_line(error))
            except Exception as error:  # noqa: BLE001 - nobody else would hear of it
                log.logger.error("unhandled exception", exc_info=error)

    threading.Thread(target=call, name="background").start()

    @after_this_request
    def tell(response: Response) -> Response:
        response.call_on_close(written.set)
        return response


def is_running() -> bool:
    """Tell whether this is such a thread."""
    return bool(g.get("in_background"))
