"""Settings of gunicorn: ``gunicorn -c python:gateway.server.gunicorn wsgi:app``.

The number of workers is gunicorn's own WEB_CONCURRENCY.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import signal
import socket
from pathlib import Path
from types import FrameType
from typing import Any

from flask import Flask
from gunicorn.util import parse_address  # type: ignore[import-untyped]
from gunicorn.workers.gthread import ThreadWorker  # type: ignore[import-untyped]

# gunicorn takes every name in this module that is the name of a setting; "config" is one.
from gateway import crypto, db, log, mail, settings, throttle
from gateway.db import deadline, purge, readiness, shared
from gateway.errors import ConfigError
from gateway.mail import outbox
from gateway.server import metrics, turns
from gateway.settings import instance
from gateway.web import background

QUIT_TIMEOUT = 2  # seconds that a worker may take to end after Ctrl-C
CONNECT_TIMEOUT = 1  # seconds that a server may take to show that it listens on a Unix socket


def keep_settings(cfg: Any) -> None:
    """Keep gunicorn's settings as attributes; it looks up two dozen in each request, slowly."""
    for name, setting in cfg.settings.items():
        if not hasattr(type(cfg), name):  # else it is a property, made of one or more settings
            cfg.__dict__[name] = setting.get()


class Worker(ThreadWorker):  # type: ignore[misc]
    """gunicorn's worker with threads, which take turns; Ctrl-C always ends it within seconds."""

    def init_process(self) -> None:
        """Begin the new process, which has no threads yet; end when its requests are answered."""
        keep_settings(self.cfg)
        try:
            super().init_process()
        finally:
            if self.tpool:  # requests need what the interpreter ends first, for example threads
                self.tpool.shutdown()

    def get_thread_pool(self) -> turns.Pool:
        """Return where the requests are answered."""
        crypto.aside = deadline.aside = turns.aside
        return turns.Pool(self.cfg.threads)

    def init_signals(self) -> None:
        """Leave Ctrl-C to the master process, which then tells each worker to quit.

        A terminal sends SIGINT to every process. If a worker obeyed, the master's SIGQUIT would
        interrupt it while it stops its threads and holds their lock. The handler of the second
        signal would wait for the same lock, and never get it.
        """
        super().init_signals()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGALRM, lambda *_: os._exit(0))

    def handle_quit(self, sig: int, frame: FrameType | None) -> None:
        """Quit, and wait at most QUIT_TIMEOUT for requests that are not finished."""
        if not self.booted:
            # It still loads modules. sys.exit would print a traceback in some of their callbacks.
            self.log.info("Worker exiting (pid: %s)", self.pid)
            os._exit(0)
        signal.alarm(QUIT_TIMEOUT)
        # Not ThreadWorker's: it ends the pool, and this thread may hold the pool's lock.
        super(ThreadWorker, self).handle_quit(sig, frame)


try:
    bind = settings.from_environment(settings.BIND)
except ConfigError as error:
    settings.stop(error)
if not os.environ.get("WEB_CONCURRENCY"):
    workers = 2  # one goes on when the other ends
# Requests a second of one worker, 16 connections, medians of alternating rounds; verify of 64
# projects and list(20), on two cores that also ran the clients and Postgres:
#               SQLite        Postgres
# sync         2,180   660    1,910   690   (every request is a connection of its own)
# 1 thread     2,920 1,190    1,130   770
# 2 threads    2,900 1,200    1,410   880
# 4 threads    2,580 1,220    1,830   820
# 8 threads    2,910 1,200    1,960   790
# 12 threads   2,910 1,220    1,930   780
# On SQLite the number of threads does not change throughput; on Postgres 12 threads serve 10 %
# fewer lists than 2. A thread waits while its request waits for a relay, or for the rest of its
# body. With 4 threads, 4 half-sent requests stop a worker (a test sends 8), so there are 12. At
# most 8 of them wait for the relay (MAX_PARALLEL_MAILS).
worker_class = Worker
threads = settings.THREADS
graceful_timeout = 15
keepalive = 5
# gunicorn believes no header about the client's address or protocol; TRUSTED_PROXIES decides. With
# "*" it does not look up who sends such headers, because it believes none. Whoever sets
# forwarder_headers, secure_scheme_headers or http2_cleartext must name the proxies here instead.
secure_scheme_headers: dict[str, str] = {}
forwarder_headers = ""
forwarded_allow_ips = "*"
control_socket_disable = True


def on_starting(server: Any) -> None:
    """Check once, before any worker starts, all that can stop the service; say it on one line."""
    try:
        app = settings.load()
        instance.check_database_folder(app)
        db.init_app(app)
        shared.claim(app)
        with app.app_context():
            db.db.engine.dispose()  # workers must not share connections
        if app.config["METRICS"]:
            server.metrics_folder = metrics.make_folder()
        # Sockets that come from systemd or from an earlier gunicorn are open already.
        if not {"LISTEN_FDS", "GUNICORN_FD"} & set(os.environ):
            for address in server.cfg.bind:
                check_address(address)
    except ConfigError as error:
        settings.stop(error)


def on_exit(server: Any) -> None:
    """Remove what only the present master and its workers use."""
    if folder := getattr(server, "metrics_folder", None):
        shutil.rmtree(folder, ignore_errors=True)


def post_fork(_server: Any, _worker: Any) -> None:
    """Let a worker that has not begun end at once; the master's handlers would only note that."""
    for each in (signal.SIGQUIT, signal.SIGTERM):
        signal.signal(each, signal.SIG_DFL)


def pre_request(_worker: Any, request: Any) -> None:
    """Hang up after the answer to check if a body is announced, because nobody reads it."""
    announced = {name for name, _ in request.headers} & {"CONTENT-LENGTH", "TRANSFER-ENCODING"}
    if announced and request.path.startswith("/api/v1/project/check/"):
        request.force_close()


def post_worker_init(worker: Any) -> None:
    """Send the mails that ended processes have left. In the first worker, say what has begun.

    That is where the service listens, where mails go, and which settings have wrong names.
    """
    shared.keep_comparing(worker.wsgi)
    outbox.keep_sending(worker.wsgi)
    background.every(worker.wsgi, "purge", purge.PERIOD, purge.purge_expired)
    background.every(worker.wsgi, "clock", readiness.CLOCK_PERIOD, readiness.tell_clock)
    throttle.protect_process()
    if worker.age != 1:
        return
    if unknown := worker.wsgi.config["UNKNOWN_NAMES"]:
        log.logger.warning("%s", "; ".join(unknown))
    has_pages = worker.wsgi.config["PAGES"]
    addresses = ", ".join(describe_listener(str(each), has_pages) for each in worker.sockets)
    with worker.wsgi.app_context():
        level = logging.INFO if mail.is_possible() else logging.WARNING
    log.logger.log(level, "serving on %s; %s", addresses, mail.describe(worker.wsgi))


def worker_exit(_server: Any, worker: Any) -> None:
    """Send no more mails: what is owed, another worker sends."""
    if isinstance(worker.wsgi, Flask):
        background.stop(worker.wsgi, join=False)


def describe_listener(listener: str, has_pages: bool = True) -> str:
    """Return an address with those of its console and documentation, which a person can open."""
    if listener.startswith("unix:") or not has_pages:
        return listener
    # No browser opens the addresses that stand for all of a machine's addresses.
    url = listener.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")
    return f"{listener}, console at {url}/, documented at {url}/docs"


def check_address(address: str) -> None:
    """Check that gunicorn can listen at an address; it would try five times and say more.

    :raises ConfigError: when it cannot.
    """
    try:
        _bind(parse_address(address))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            reason = "another program listens there; stop it, or"
        elif isinstance(error, socket.gaierror):
            reason = "there is no such host;"
        else:
            reason = f"{os.strerror(error.errno) if error.errno else error};"
        message = f"BIND: cannot listen at {address}: {reason} set GATEWAY_BIND to another address"
        raise ConfigError(message) from None


def _bind(address: Any) -> None:
    """Bind to an address for a moment; remove a socket that no server listens on, as gunicorn does.

    gunicorn also removes the socket of a server that still runs. Nobody could reach that server
    any more, so this refuses.
    """
    if isinstance(address, int):  # a socket that is open already
        return
    is_path = isinstance(address, str)
    family = socket.AF_UNIX if is_path else socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    if is_path and os.path.exists(address):
        if not Path(address).is_socket():
            raise OSError("this file is no socket")
        with socket.socket(family) as probe:
            probe.settimeout(CONNECT_TIMEOUT)
            failure = probe.connect_ex(address)
        if failure != errno.ECONNREFUSED:
            raise OSError(failure or errno.EADDRINUSE, "")
        os.unlink(address)
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as gunicorn does
        probe.bind(address)
    if is_path:
        os.unlink(address)
