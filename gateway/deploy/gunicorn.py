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
# sync         1,520  360    1,450  360   (every request is a connection of its own)
# 1 thread     2,060  610      790  470
# 2 threads    1,380  540    1,350  440
# 4 threads    1,210  510    1,460  370
# 8 threads    1,260  480    1,580  350
# 12 threads   1,250  360    1,340  410
# A request may wait, for a relay or for the rest of itself, and its thread with it. With 4 threads,
# 4 half-sent requests stop a worker (a test sends 8); so there are 12. Next to 4, they cost verify
# nothing on SQLite and a tenth on Postgres. mail.smtp.MAX_PARALLEL_MAILS is less than this.
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
