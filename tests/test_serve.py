"""The server as ``make run`` starts it, with good and with harmful clients."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPConnection

import pytest
from helpers import NO_POSTGRES, PASSWORD, TIMEOUT
from servers import MAKE_RUN, ROOT, Server, free_port

from gateway import mail


@pytest.fixture
def checkout(tmp_path):
    """A copy of the files that ``make run`` needs, with a new instance folder."""
    for name in ("Makefile", "README.md", "constraints.txt", "setup.cfg", "wsgi.py"):
        shutil.copy2(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "gateway", tmp_path / "gateway")
    (tmp_path / ".venv").symlink_to(sys.prefix)
    return tmp_path


@pytest.fixture
def serve(checkout):
    """Return a function that starts the server and waits until it listens."""
    servers = []
    port = free_port()

    def start(**environment):
        server = Server(MAKE_RUN, checkout, port, **environment)
        servers.append(server)
        server.wait_for("Booting worker")
        return server

    yield start
    for server in servers:
        if server.process.poll() is None:
            server.kill()  # because stop() would wait 15 s for unfinished requests


def test_register_create_and_delete_with_make_run(serve):
    server = serve()
    server.wait_for(
        rf"serving on http://127\.0\.0\.1:{server.port}; mails, codes included, are not sent"
    )
    lory = {"user_name": "lory", "email": "civet148@126.com"}
    assert server.post("/auth-code", lory) == (200, 0, {})
    code = server.wait_for(r"code is (\d{4})\b")
    account = {**lory, "password": PASSWORD, "reg_code": code}
    assert server.post("/register", account) == (200, 0, {})
    assert server.post("/register", account)[:2] == (200, 1018)
    *_, login = server.post("/login", {"user_name": "lory", "password": PASSWORD})
    token = login["auth_token"]
    assert login["login_ip"] == "127.0.0.1"
    *_, made = server.post("/project/create", {"project_type": 1, "project_name": "我的"}, token)
    *_, page = server.post("/project/list", {}, token)
    assert [(p["project_name"], p["project_secret"]) for p in page["list"]] == [
        ("我的", made["project_secret"])
    ]
    assert server.post("/project/delete", {"id": 1}, token) == (200, 0, {})
    assert server.post("/project/list", {}, token) == (200, 0, {"list": []})
    assert server.post("/platform/logout", {}, token) == (200, 0, {})
    assert server.post("/project/list", {}, token) == (401, 1001, {})


def test_session_in_the_readme(serve, checkout):
    server = serve()
    readme = (checkout / "README.md").read_text()
    session = readme.split("\n## A session\n")[1].split("\n## ")[0]
    ask, *rest = re.findall(r"```bash\n(.*?)```", session, re.DOTALL)
    ask = ask.replace("127.0.0.1:8082", f"127.0.0.1:{server.port}")
    outputs = subprocess.check_output(["bash", "-euc", ask], text=True)
    code = server.wait_for(r"code is (\d{4})\b")
    script = ask.split("\n")[0] + "\n" + "".join(rest).replace("CODE=6328", f"CODE={code}")
    outputs += subprocess.check_output(["bash", "-euc", script], text=True)
    decoder, codes = json.JSONDecoder(), []
    while outputs := outputs.strip():
        reply, end = decoder.raw_decode(outputs)
        codes.append(reply if isinstance(reply, int) else reply["header"]["code"])
        outputs = outputs[end:]
    # auth-code, register, verify, list, delete, logout; login's and create's go into variables
    assert codes == [0, 0, 204, 0, 0, 0]


def test_restart_keeps_everything(serve):
    server = serve()
    lory = {"user_name": "lory", "email": "civet148@126.com"}
    server.post("/auth-code", lory)
    account = {**lory, "password": PASSWORD, "reg_code": server.wait_for(r"code is (\d{4})\b")}
    server.post("/register", account)
    *_, login = server.post("/login", {"user_name": "lory", "password": PASSWORD})
    server.stop()
    server = serve()
    assert server.post("/project/list", {}, login["auth_token"])[:2] == (200, 0)


def test_settings_reach_the_server(serve, outbox):
    server = serve(
        GATEWAY_MAIL_SERVER="127.0.0.1",
        GATEWAY_MAIL_PORT=str(outbox.port),
        GATEWAY_REG_CODE_DIGITS="7",
    )
    server.wait_for(r"mails are sent through 127\.0\.0\.1")
    assert server.post("/auth-code", {"user_name": "lory", "email": "civet148@126.com"})[1] == 0
    assert len(outbox.code()) == 7
    assert outbox.code() not in server.output


@pytest.mark.parametrize(
    ("setting", "value", "line"),
    [
        ("GATEWAY_TIMEZONE", "Mars/Olympus", "gateway cannot start: TIMEZONE must be"),
        (
            "GATEWAY_SQLALCHEMY_DATABASE_URI",
            NO_POSTGRES,
            "Error: the database cannot be migrated:",
        ),
    ],
)
def test_failed_start_prints_one_line(checkout, setting, value, line):
    server = Server(MAKE_RUN, checkout, 1, **{setting: value})
    assert server.process.wait(timeout=TIMEOUT) != 0
    server.reader.join(timeout=TIMEOUT)
    server.process.stdout.close()
    first, *rest = server.lines
    assert first.startswith(line)
    assert all(line.startswith("make:") for line in rest)


def test_hanging_relay_does_not_block_other_requests(serve):
    held, full = [], threading.Event()
    listener = socket.create_server(("127.0.0.1", 0), backlog=100)

    def accept():
        with suppress(OSError):
            while True:
                held.append(listener.accept())
                if len(held) == mail.MOST_AT_ONCE:
                    full.set()

    threading.Thread(target=accept, daemon=True).start()
    port = str(listener.getsockname()[1])
    server = serve(WEB_CONCURRENCY="1", GATEWAY_MAIL_SERVER="127.0.0.1", GATEWAY_MAIL_PORT=port)
    with ThreadPoolExecutor(30) as pool:
        bodies = [{"user_name": f"u{n}", "email": f"u{n}@126.com"} for n in range(30)]
        replies = [pool.submit(server.post, "/auth-code", body) for body in bodies]
        assert full.wait(TIMEOUT)
        start = time.monotonic()
        assert server.post("/login", {}) == (400, 1004, {})
        assert time.monotonic() - start < mail.DEADLINE / 2
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for connection, _ in held:
            connection.close()
        assert {reply.result()[:2] for reply in replies} == {(503, 1029)}


def test_killed_worker_is_replaced(serve):
    server = serve(WEB_CONCURRENCY="1")
    worker = int(server.wait_for(r"Booting worker with pid: (\d+)"))
    os.kill(worker, signal.SIGKILL)
    server.wait_for(rf"\(pid:{worker}\) was sent SIGKILL[\s\S]*Booting worker with pid: \d+")
    assert server.post("/login", {}) == (400, 1004, {})


def test_garbage_and_incomplete_requests_do_no_harm(serve):
    server = serve(WEB_CONCURRENCY="1")
    address = ("127.0.0.1", server.port)
    idle = [socket.create_connection(address, timeout=TIMEOUT) for _ in range(8)]
    for connection in idle:
        connection.sendall(b"POST /api/v1/login HTTP/1.1\r\nHost: x\r\n")
    for garbage in (b"\x16\x03\x01\x00\xa5\x01\x00", b"GET\r\n\r\n", b"\0" * 100 + b"\r\n\r\n"):
        with socket.create_connection(address, timeout=TIMEOUT) as connection:
            connection.sendall(garbage)
            connection.shutdown(socket.SHUT_WR)
            assert b" 500 " not in connection.recv(65536)
    assert server.post("/login", {}) == (400, 1004, {})
    for connection in idle:
        connection.close()
    assert "Traceback" not in server.output


CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
BROKEN_BODIES = [
    CHUNKED + b"zz\r\n",
    CHUNKED + b"-5\r\nhello\r\n",
    CHUNKED + b"0x5\r\nhello\r\n0\r\n\r\n",
    CHUNKED + b"5\r\nhelloXX0\r\n\r\n",
    CHUNKED + b"9" * 9000 + b"\r\n",
    CHUNKED + b"2\r\n{}\r\n",
    CHUNKED + b"2\r\n{}\r\n0\r\n",
    b"Content-Length: 100\r\n\r\n",
    b"Content-Length: 100\r\n\r\n" + b'{"user_name": "lory", "password": "12345678"}',
]


def test_broken_body_is_refused(serve):
    server = serve()
    for body in BROKEN_BODIES:
        address = ("127.0.0.1", server.port)
        with socket.create_connection(address, timeout=TIMEOUT) as connection:
            connection.sendall(b"POST /api/v1/login HTTP/1.1\r\nHost: x\r\n" + body)
            connection.shutdown(socket.SHUT_WR)
            reply = connection.makefile("rb").read()
        assert reply == b"" or b" 400 " in reply.splitlines()[0], (body[:60], reply)
    assert "Traceback" not in server.output


@pytest.mark.parametrize(("size", "status"), [(100, 400), (16 * 1024, 400), (40_000, 413)])
def test_chunked_body_is_read_completely_or_refused(serve, size, status):
    server = serve()
    connection = HTTPConnection("127.0.0.1", server.port, timeout=TIMEOUT)
    body = b'{"other": "' + b"x" * (size - 13) + b'"}'
    chunks = (body[start : start + 1000] for start in range(0, size, 1000))
    connection.request("POST", "/api/v1/login", chunks, encode_chunked=True)
    reply = connection.getresponse()
    assert reply.status == status
    assert json.loads(reply.read())["header"]["code"] == {400: 1004, 413: 413}[status]
    connection.close()


def test_gunicorn_opens_no_control_socket(serve, tmp_path):
    server = serve(HOME=str(tmp_path), XDG_RUNTIME_DIR=str(tmp_path))
    assert server.post("/login", {})[0] == 400
    assert not list(tmp_path.rglob("*.ctl"))
    server.stop()
    assert "Control socket" not in server.output
