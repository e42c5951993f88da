"""gunicorn with the service or its floor, CPU and memory of workers, and a load generator."""

import re
import selectors
import shutil
import socket
import sys
import tempfile
import time
from pathlib import Path

from ask import settings, verify
from support import interrupts
from support.helpers import TIMEOUT
from support.servers import ROOT, Server, free_port

HERE = Path(__file__).parent
# The floor runs with the same settings, but without the hook that needs the application.
# The load generator logs in more often than a client may.
NO_LIMIT = (
    "\nfrom gateway.auth import limits\nlimits.LIMITS['right-password'] = limits.Limit(10**9, 1)\n"
)
SAME = "from gateway.server.gunicorn import *\ndel post_worker_init\n"


class Workers:
    """A server on loopback, ``server``, whose worker processes are its children."""

    def seconds(self):
        """Return the CPU seconds that the workers have used so far."""
        times = [worker.cpu_times() for worker in self.server.workers()]
        return sum(one.user + one.system for one in times)

    def cpu(self, raw_request, times):
        """Return the CPU seconds of the workers for one request, from ``times`` requests."""
        before = self.seconds()
        load(self.server.port, raw_request, times)
        return (self.seconds() - before) / times

    def wait(self, raw_request):
        """Wait for the first reply; fail if the server ends."""
        while not self.server.ended:
            try:
                load(self.server.port, raw_request, 1, 1)
            except ConnectionError:
                time.sleep(0.005)
            else:
                return
        raise AssertionError(self.server.output)


class Node(Workers):
    """A gunicorn that answers requests when the constructor returns.

    :param target: what gunicorn loads.
    :param options: more of gunicorn's command line.
    """

    def __init__(self, target, uri, workers=1, options=()):
        self.port = free_port()
        with interrupts.held():
            self.folder = Path(tempfile.mkdtemp(prefix="gateway-bench-"))
            interrupts.add_folder(self.folder)
        shutil.copytree(ROOT / "gateway", self.folder / "gateway")
        shutil.copy2(ROOT / "wsgi.py", self.folder)
        with Path(self.folder, "wsgi.py").open("a") as file:
            file.write(NO_LIMIT)
        (self.folder / "same.py").write_text(SAME)
        environment = {
            "WEB_CONCURRENCY": str(workers),
            "PYTHONPATH": str(HERE),
            **{
                f"GATEWAY_{name}": str(int(value) if value is True else value)
                for name, value in settings(uri).items()
            },
        }
        command = [sys.executable, "-m", "gunicorn", "-c", "python:same", *options, target]
        start = time.monotonic()
        self.server = Server(command, self.folder, self.port, **environment)
        self.wait(verify(1).raw_request)
        self.first_reply = time.monotonic() - start

    def memory(self):
        """Return the memory of the largest worker at rest, its share, and its peak, in MiB.

        The share divides the pages that workers have in common, for example those of libraries.
        """
        found = []
        for worker in self.server.workers():
            proc = Path(f"/proc/{worker.pid}")
            text = (proc / "status").read_text() + (proc / "smaps_rollup").read_text()
            names = ("VmRSS", "Pss", "VmHWM")
            found.append([int(re.search(rf"{n}:\s+(\d+)", text)[1]) / 1024 for n in names])
        return [max(each) for each in zip(*found, strict=True)]

    def stop(self):
        self.server.stop()
        interrupts.remove_folder(self.folder)


def load(port, raw_requests, times, connections=8, statuses=None):
    """Send ``times`` requests over kept connections, as nginx does; return requests per second.

    :param raw_requests: the bytes of a request, or of several that are sent in turn.
    :param statuses: a Counter that takes the first digit of each status, and "closed" for each
        connection that ends without a reply; without it each reply must be one of success.
    One thread serves all connections, because the load must leave the CPU to the server.
    """
    raw_requests = [raw_requests] if isinstance(raw_requests, bytes) else raw_requests
    ready = selectors.DefaultSelector()
    left, waiting = times, 0

    def send(connection):
        nonlocal left, waiting
        if not left:
            connection.close()
            return
        left, waiting = left - 1, waiting + 1
        connection.sendall(raw_requests[left % len(raw_requests)])
        ready.register(connection, selectors.EVENT_READ, bytearray())

    start = time.monotonic()
    for _ in range(connections):
        send(socket.create_connection(("127.0.0.1", port)))
    while waiting:
        events = ready.select(TIMEOUT)
        assert events, f"no reply within {TIMEOUT} s"
        for key, _ in events:
            try:
                received = key.fileobj.recv(262_144)
            except ConnectionResetError:
                received = b""
            key.data.extend(received)
            if not received and statuses is not None:
                statuses["closed"] += 1
                waiting -= 1
                ready.unregister(key.fileobj)
                key.fileobj.close()
                send(socket.create_connection(("127.0.0.1", port)))
                continue
            assert received, bytes(key.data)
            head, end, content = bytes(key.data).partition(b"\r\n\r\n")
            length = re.search(rb"(?i)content-length: (\d+)", head)
            if not end or (length and len(content) < int(length[1])):
                continue
            if statuses is None:
                assert head[9:10] == b"2", head
            else:
                statuses[head[9:10].decode()] += 1
            waiting -= 1
            ready.unregister(key.fileobj)
            if b"connection: close" in head.lower():
                key.fileobj.close()
                send(socket.create_connection(("127.0.0.1", port)))
            else:
                send(key.fileobj)
    return times / (time.monotonic() - start)
