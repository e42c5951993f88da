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
# Requests a second of one worker, 16 connections, medians of rounds in turn; verify of 64 projects
# and list(20), on two cores that also ran the load and Postgres:
#               SQLite        Postgres
# sync         1,300  370    1,150  390   (measured apart; every request is a connection of its own)
# 1 thread     1,370  500    1,090  420
# 2 threads    1,150  400    1,370  450
# 4 threads    1,130  360    1,370  370
# 8 threads    1,180  320    1,170  390
# 12 threads   1,150  300    1,030  430
# A request may wait, for a relay or for the rest of itself, and its thread with it. With 4 threads,
# 4 half-sent requests stop a worker (a test sends 8); so there are 12, which costs verify nothing
# on SQLite and a quarter on Postgres. mail.MOST_AT_ONCE is less than this.
worker_class = "gthread"
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
