"""gunicorn with the service or its floor, its workers' CPU and memory, and a load on loopback."""

import re
import shutil
import socket
import sys
import tempfile
import threading
import time
from http.client import HTTPConnection
from pathlib import Path

from ask import settings
from servers import ROOT, Server, free_port

HERE = Path(__file__).parent
# The floor runs under the very same settings, but for the hook that asks the application.
SAME = "from gateway.deploy.gunicorn import *\ndel post_worker_init\n"


class Node:
    """A gunicorn of our own, up when this is made.

    :param target: what gunicorn loads.
    :param options: more of gunicorn's command line.
    """

    def __init__(self, target, uri, workers=1, options=()):
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="gateway-bench-"))
        shutil.copytree(ROOT / "gateway", self.folder / "gateway")
        shutil.copy2(ROOT / "wsgi.py", self.folder)
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
        self.wait()
        self.first_reply = time.monotonic() - start

    def wait(self):
        """Wait for the first reply; the server's death is one, too."""
        while not self.server.ended:
            try:
                connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
                connection.request(
                    "GET", "/api/v1/project/verify", headers={"Authorization": "Basic YTpi"}
                )
                connection.getresponse().read()
            except OSError:
                time.sleep(0.005)
            else:
                connection.close()
                return
        raise AssertionError(self.server.output)

    def seconds(self):
        """Return the CPU that the workers took so far."""
        times = [worker.cpu_times() for worker in self.server.workers()]
        return sum(one.user + one.system for one in times)

    def cpu(self, asked, times):
        """Return the workers' CPU for one request, seconds, of so many."""
        before = self.seconds()
        load(self.port, asked.wire, times)
        return (self.seconds() - before) / times

    def memory(self):
        """Return the peak of the largest worker, and the largest share of one, in MiB.

        The peak counts pages that workers share, as those of libraries, for each of them.
        """
        peaks, shares = [], []
        for worker in self.server.workers():
            proc = Path(f"/proc/{worker.pid}")
            peaks.append(int(re.search(r"VmHWM:\s+(\d+)", (proc / "status").read_text())[1]))
            shares.append(int(re.search(r"Pss:\s+(\d+)", (proc / "smaps_rollup").read_text())[1]))
        return max(peaks) / 1024, max(shares) / 1024

    def stop(self):
        self.server.stop()
        shutil.rmtree(self.folder)


def load(port, wire, times, connections=8):
    """Send a request so often over kept connections, as nginx does; return how many a second."""

    def send():
        connection = None
        for _ in range(times // connections):
            connection = connection or socket.create_connection(("127.0.0.1", port))
            connection.sendall(wire)
            got = b""
            while b"\r\n\r\n" not in got:
                got += connection.recv(65536)
            head, _, content = got.partition(b"\r\n\r\n")
            head = head.lower()
            assert head[9:10] == b"2", head
            length = re.search(rb"content-length: (\d+)", head)
            missing = int(length[1]) - len(content) if length else 0
            while missing > 0:
                missing -= len(connection.recv(65536))
            if b"connection: close" in head:
                connection.close()
                connection = None
        if connection:
            connection.close()

    threads = [threading.Thread(target=send) for _ in range(connections)]
    start = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return times / (time.monotonic() - start)
