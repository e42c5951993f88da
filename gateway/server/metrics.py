"""Numbers for Prometheus at /metrics, of all workers of this node together, with ``METRICS=1``.

prometheus_client adds up files that each worker writes, in a folder that the master makes. No label
holds what a client chooses, because each new value would cost memory for ever.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from time import perf_counter
from typing import Any

from flask import Flask, Response, abort, g, request
from sqlalchemy import true
from sqlalchemy.exc import SQLAlchemyError

from gateway import mail
from gateway.mail import outbox
from gateway.web.access_log import QUESTIONS
from gateway.web.client import is_forwarded

FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # where prometheus_client looks, when it is imported
MEMORY = "/dev/shm"  # noqa: S108 - a folder in memory, in which a private one is made
METHODS = {"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"}
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


def make_folder() -> str:
    """Make the folder of the files, and return it. Call it before workers start."""
    parent = MEMORY if os.access(MEMORY, os.W_OK) else None
    os.environ[FOLDER] = tempfile.mkdtemp(prefix="gateway-metrics-", dir=parent)
    return os.environ[FOLDER]


def init_app(app: Flask) -> None:
    """Count requests and mails, and serve the counts, when METRICS says so."""
    if not app.config["METRICS"]:
        return
    # Not before the folder is set; and most installations have no such library.
    import prometheus_client as prometheus  # noqa: PLC0415
    from prometheus_client.multiprocess import MultiProcessCollector  # noqa: PLC0415

    registry = prometheus.CollectorRegistry()
    requests = prometheus.Counter(
        "gateway_requests", "Answers.", ["rule", "method", "code"], registry=registry
    )
    seconds = prometheus.Histogram(
        "gateway_verify_seconds", "Answers to proxies.", registry=registry, buckets=SECONDS
    )
    sent = prometheus.Counter("gateway_mails_sent", "Mails sent.", registry=registry)
    failed = prometheus.Counter("gateway_mails_failed", "Failed tries.", registry=registry)

    def count_mail(_app: Flask, is_sent: bool) -> None:
        (sent if is_sent else failed).inc()

    def begin() -> None:
        g.began = perf_counter()

    def count(response: Response) -> Response:
        asked = request._get_current_object()  # type: ignore[attr-defined]
        rule = asked.url_rule.rule if asked.url_rule else "none"
        method = asked.method if asked.method in METHODS else "other"
        code = g.get("notes", {}).get("code", response.status_code)
        requests.labels(rule, method, code).inc()
        if asked.endpoint in QUESTIONS:
            seconds.observe(perf_counter() - g.began)
        return response

    def metrics() -> Response:
        if is_forwarded():  # a proxy must not publish it
            abort(404)
        collected: Any = registry
        if FOLDER in os.environ:
            collected = prometheus.CollectorRegistry()
            MultiProcessCollector(collected)  # type: ignore[no-untyped-call]
        content = prometheus.generate_latest(collected)
        with suppress(SQLAlchemyError):  # the other numbers are needed most when it fails
            _, number = outbox.owed(true(), 0, 0)
            own = prometheus.CollectorRegistry()
            prometheus.Gauge("gateway_mails_owed", "Promised mails.", registry=own).set(number)
            content += prometheus.generate_latest(own)
        return Response(content, content_type=prometheus.CONTENT_TYPE_LATEST)

    mail.tried.connect(count_mail, app, weak=False)
    app.before_request(begin)
    app.after_request(count)
    app.add_url_rule("/metrics", view_func=metrics)
