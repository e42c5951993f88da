"""Settings of gunicorn: ``gunicorn -c python:gateway.deploy.gunicorn wsgi:app``.

The number of workers is gunicorn's own WEB_CONCURRENCY.
"""

import os

from gateway.config import DEFAULT_BIND

bind = os.environ.get("GATEWAY_BIND") or DEFAULT_BIND
if not os.environ.get("WEB_CONCURRENCY"):
    workers = 2  # one goes on when the other dies
worker_class = "gthread"
threads = 12  # a request may wait for a relay; with single-threaded workers two would stop all
timeout = 30
graceful_timeout = 15
keepalive = 5
# No request may tell gunicorn what it came by; TRUSTED_PROXIES is the only word on that.
forwarded_allow_ips = ""
forwarder_headers = ""
control_socket_disable = True
accesslog = None  # the application writes one line for each request
errorlog = "-"
