"""Settings of gunicorn: ``gunicorn -c python:gateway.deploy.gunicorn wsgi:app``.

The number of workers is gunicorn's own WEB_CONCURRENCY.
"""

import os
from typing import Any

from gateway import log, mail
from gateway.config import DEFAULT_BIND

bind = os.environ.get("GATEWAY_BIND") or DEFAULT_BIND
if not os.environ.get("WEB_CONCURRENCY"):
    workers = 2  # one goes on when the other dies
worker_class = "gthread"
# A request may wait for a relay, and with one thread a worker would wait with it; mail.MOST_AT_ONCE
# is less than this.
threads = 12
timeout = 30
graceful_timeout = 15
keepalive = 5
# No request may tell gunicorn what it came by; TRUSTED_PROXIES is the only word on that.
forwarded_allow_ips = ""
forwarder_headers = ""
control_socket_disable = True
accesslog = None  # the application writes one line for each request
errorlog = "-"


def post_worker_init(worker: Any) -> None:
    """Say once where the service listens and where its mails go, as the application knows it."""
    if worker.age == 1:
        listeners = ", ".join(str(listener) for listener in worker.sockets)
        log.logger.info("serving on %s; %s", listeners, mail.describe(worker.wsgi))
