"""Settings of gunicorn: ``gunicorn -c python:gateway.deploy.gunicorn wsgi:app``.

The number of workers is gunicorn's own WEB_CONCURRENCY.
"""

import os
from typing import Any

from gateway import log, mail
from gateway.config import DEFAULT_BIND, THREADS

bind = os.environ.get("GATEWAY_BIND") or DEFAULT_BIND
if not os.environ.get("WEB_CONCURRENCY"):
    workers = 2  # one goes on when the other dies
# Requests a second of one worker, 16 connections, medians of rounds in turn; verify of 64 projects
# and list(20), on two cores that also ran the load and Postgres:
#               SQLite        Postgres
# sync         1,360  370    1,200  460   (every request is a connection of its own)
# 1 thread     1,810  630    1,140  450
# 2 threads    1,580  550    1,730  470
# 4 threads    1,370  520    1,680  460
# 8 threads    1,460  480    1,500  380
# 12 threads   1,500  430    1,000  400
# A request may wait, for a relay or for the rest of itself, and its thread with it. With 4 threads,
# 4 half-sent requests stop a worker (a test sends 8); so there are 12, which costs verify nothing
# on SQLite and a quarter on Postgres. mail.MOST_AT_ONCE is less than this.
worker_class = "gthread"
threads = THREADS
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
