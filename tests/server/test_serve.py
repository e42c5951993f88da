"""``make``, and the server that ``make run`` starts: a whole session, bad starts, Ctrl-C."""

import ast
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
from contextlib import ExitStack, suppress
from http.client import HTTPConnection
from pathlib import Path
from urllib.request import urlopen

import pytest
from support.helpers import NO_POSTGRES, PASSWORD, TIMEOUT
from support.servers import GUNICORN, MAKE_RUN, ROOT, Server, free_port

from gateway import mail


@pytest.fixture
def checkout(tmp_path):
    """A copy of what ``make run`` needs, so that its instance folder is new."""
    folder = tmp_path / "a check out"  # make must stand the spaces
    folder.mkdir()
    for name in ("Makefile", "README.md", "constraints.txt", "setup.cfg", "wsgi.py"):
        shutil.copy2(ROOT / name, folder / name)
    shutil.copytree(ROOT / "gateway", folder / "gateway")
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


@pytest.fixture
def serve(checkout):
    """Return a function that starts the server and waits until it listens."""
    servers = []
    port = free_port()

    def start(**environment):
        # The tests' environment holds this checkout; PYTHONPATH puts the copy first.
        environment["PYTHONPATH"] = str(checkout)
        server = Server(MAKE_RUN, checkout, port, **environment)
        servers.append(server)
        server.wait_for("Booting worker")
        return server

    yield start
    for server in servers:
        if server.process.poll() is None:
            server.kill()  # because stop() would wait 15 s for unfinished requests


@pytest.fixture
def make(checkout):
    """Return a function that runs make on an environment of stand-ins for what it installs."""
    (checkout / ".venv").unlink()
    programs = checkout / ".venv" / "bin"
    programs.mkdir(parents=True)

    def stand_in(name, script):
        if not (programs / name).exists():
            (programs / name).write_text(f"#!/bin/sh\n{script}\n")
            (programs / name).chmod(0o755)

    def make(*arguments, pip="echo Installing", **environment):
        stand_in("pip", pip)
        stand_in("gateway", "exit 0")
        stand_in("gunicorn", f"exec '{sys.executable}' -c 'import os; print(dict(os.environ))'")
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
        return subprocess.run(
            ["make", "--no-print-directory", *arguments],
            cwd=checkout,
            env={**clean, **environment},
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )

    return make


def test_the_first_run_shows_what_it_installs(make, checkout):
    pip = r"""printf '%s\n' 'Obtaining file:///x' 'Collecting flask-mail>=0.10 (from gateway==1)' \
        '  Downloading flask_mail-0.10.0-py3-none-any.whl' 'Collecting psycopg[binary]>=3.3' \
        'Processing /x/flask-3.1.3-py3-none-any.whl' 'Installing collected packages: flask'"""
    run = make("run", pip=pip)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[:3] == [
        "Setting up .venv (once, about 15 s):",
        " flask-mail psycopg flask",
        "Installing what was fetched",
    ]
    assert run.stderr == ""
    assert "Setting up" not in make("run").stdout  # the second time it is there


def test_a_failed_installation_is_no_installation(make, checkout):
    run = make("run", pip="echo Collecting flask; echo no network >&2; exit 1")
    assert run.returncode != 0
    assert run.stderr.startswith("no network\n")
    assert not (checkout / ".venv" / ".run").exists()


def test_make_run_hands_on_every_variable(make):
    given = {
        "GATEWAY_MAIL_PASSWORD": """a $b $$c ${d} 'e' "f" # \\g `h` %i""",
        "GATEWAY_END_POINTS": '["https://x/{pool_name}"]',
        "GATEWAY_ANYTHING": "1",
    }

    def served(*arguments, **environment):
        return ast.literal_eval(make("run", *arguments, **environment).stdout.splitlines()[-1])

    assert given.items() <= served(**given).items()
    assert served("GATEWAY_REQUEST_MAX=5")["GATEWAY_REQUEST_MAX"] == "5"
    assert served()["GATEWAY_MAIL_SUPPRESS_SEND"] == "1"
    assert served(GATEWAY_MAIL_SUPPRESS_SEND="0")["GATEWAY_MAIL_SUPPRESS_SEND"] == "0"
    assert "GATEWAY_MAIL_SUPPRESS_SEND" not in served(GATEWAY_MAIL_SERVER="mail.example.com")
    assert served(WEB_CONCURRENCY="3")["WEB_CONCURRENCY"] == "3"
    assert "WEB_CONCURRENCY" not in served(WEB_CONCURRENCY="")  # gunicorn would stumble over it


def test_make_help_lists_every_target(make):
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    phony = re.search(r"^\.PHONY: (.*)", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split()
    listed = [line.split()[1] for line in make().stdout.splitlines()]
    assert listed == targets
    assert sorted(phony) == sorted(targets)


def test_make_clean_leaves_only_what_the_checkout_had(make, checkout):
    before = sorted(path for path in checkout.rglob("*") if ".venv" not in path.parts)
    (checkout / "instance").mkdir()
    (checkout / "instance" / "gateway.db").touch()
    ignored = (ROOT / ".gitignore").read_text().split()
    for pattern in ignored:
        for folder in (checkout, checkout / "gateway"):
            made = folder / pattern.replace("*", "x")
            made.mkdir(exist_ok=True)
            (made / "file").touch()
            if pattern != "__pycache__/":
                break
    assert make("clean").returncode == 0
    left = sorted(path for path in checkout.rglob("*") if "instance" not in path.parts)
    assert left == before
    assert (checkout / "instance" / "gateway.db").exists()


def test_the_whole_story(serve):
    server = serve()
    address = rf"http://127\.0\.0\.1:{server.port}"
    pages = server.wait_for(
        rf"serving on {address}, console at ({address}/), documented at ({address}/docs);"
        " mails, codes included, are not"
    )
    for url in pages:
        with urlopen(url, timeout=TIMEOUT) as page:
            assert page.status == 200
    lory = {"user_name": "lory", "email": "civet148@126.com"}
    assert server.post("/auth-code", lory) == (200, 0, {})
    code = server.wait_for(r"code is (\d{6})\b")
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


@pytest.mark.parametrize("shell", ["bash", "sh"])
def test_the_readmes_session(serve, checkout, shell):
    server = serve()
    readme = (checkout / "README.md").read_text()
    session = readme.split("\n## A session\n")[1].split("\n## ")[0]
    helper, *steps = re.findall(r"```bash\n(.*?)```", session, re.DOTALL)
    helper = helper.replace("127.0.0.1:8082", f"127.0.0.1:{server.port}")

    def paste(*blocks):
        command = [shell, "-euc", helper + "".join(blocks)]
        return subprocess.check_output(command, text=True)

    assert paste(steps[0]) == "OK\n"
    code = server.wait_for(r"code is (\d{6})\b")
    output = paste(*(step.replace("CODE=123456", f"CODE={code}") for step in steps[1:]))
    # register, project/create, verify, project/list, project/delete, logout
    created, page = re.fullmatch(
        r"OK\n({.+?^})\n204\n(\[.+?^\])\nOK\nOK\n", output, re.DOTALL | re.MULTILINE
    ).groups()
    (project,) = json.loads(page)
    assert json.loads(created)["project_key"] == project["project_key"]
    assert project["request_today"] == 1


def test_the_readmes_session_stops_with_a_sentence(serve, checkout):
    server = serve()
    readme = (checkout / "README.md").read_text()
    helper = re.search(r"```bash\n(.*?)```", readme, re.DOTALL)[1]
    helper = helper.replace("127.0.0.1:8082", f"127.0.0.1:{server.port}")
    script = helper + "ask login '{}' auth_token && echo goes on"
    run = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr.startswith("login: code 1004: ")
    assert run.stderr.count("\n") == 1


def test_the_start_warns_when_no_mail_can_be_sent(serve):
    server = serve(GATEWAY_MAIL_SUPPRESS_SEND="0")
    server.wait_for(r"WARNING request=- serving on .*no MAIL_SERVER is set: codes cannot be mailed")


def test_restart_keeps_everything(serve):
    server = serve()
    lory = {"user_name": "lory", "email": "civet148@126.com"}
    server.post("/auth-code", lory)
    account = {**lory, "password": PASSWORD, "reg_code": server.wait_for(r"code is (\d{6})\b")}
    server.post("/register", account)
    *_, login = server.post("/login", {"user_name": "lory", "password": PASSWORD})
    server.stop()
    server = serve()
    assert server.post("/project/list", {}, login["auth_token"])[:2] == (200, 0)


def test_settings_reach_the_server(serve, relay):
    server = serve(
        GATEWAY_MAIL_SERVER="127.0.0.1",
        GATEWAY_MAIL_PORT=str(relay.port),
        GATEWAY_REG_CODE_DIGITS="7",
    )
    server.wait_for(r"mails are sent through 127\.0\.0\.1")
    assert server.post("/auth-code", {"user_name": "lory", "email": "civet148@126.com"})[1] == 0
    assert len(relay.code()) == 7
    assert relay.code() not in server.output


@pytest.mark.parametrize(
    ("setting", "value", "line"),
    [
        ("GATEWAY_TIMEZONE", "Mars/Olympus", "gateway cannot start: TIMEZONE must be"),
        ("WEB_CONCURRENCY", "x", "gateway cannot start: WEB_CONCURRENCY must be"),
        (
            "GATEWAY_INSTANCE_PATH",
            "/dev/null/x",
            "gateway cannot start: INSTANCE_PATH must be a folder that is there",
        ),
        (
            "GATEWAY_SQLALCHEMY_DATABASE_URI",
            NO_POSTGRES,
            "Error: the database cannot be reached:",
        ),
    ],
)
def test_failed_start_prints_one_line(checkout, setting, value, line):
    server = Server(MAKE_RUN, checkout, 1, PYTHONPATH=str(checkout), **{setting: value})
    assert server.process.wait(timeout=TIMEOUT) != 0
    server.reader.join(timeout=TIMEOUT)
    server.process.stdout.close()
    first, *rest = server.lines
    assert first.startswith(line)
    assert all(line.startswith("make:") for line in rest)


def test_a_port_in_use_is_told_once_and_at_once(checkout):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        server = Server(MAKE_RUN, checkout, port, PYTHONPATH=str(checkout))
        assert server.process.wait(timeout=TIMEOUT) != 0
    server.reader.join(timeout=TIMEOUT)
    server.process.stdout.close()
    first, second, *rest = server.lines
    assert "Starting gunicorn" in first
    assert second.startswith(
        f"gateway cannot start: BIND: cannot listen at 127.0.0.1:{server.port}:"
    )
    assert all(line.startswith("make:") for line in rest)


def test_names_that_set_nothing_are_told_once(serve, checkout):
    (checkout / "instance").mkdir()
    (checkout / "instance" / "config.py").write_text("TIMZONE = 'UTC'\n")
    server = serve(GATEWAY_REQEST_MAX="5", WEB_CONCURRENCY="3")
    for _ in range(3):
        server.wait_for("serving on")
    told = [line for line in server.lines if "there is no such setting" in line]
    assert len(told) == 1
    assert "GATEWAY_REQEST_MAX" in told[0]
    assert "TIMZONE" in told[0]
    assert "WARNING" in told[0]


# A process that has the terminal gets the signals of its keys.
IN_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


class Terminal:
    """A terminal in which the server runs as ``make run`` starts it."""

    def __init__(self, folder):
        self.port = free_port()
        self.output = ""
        self.keys, theirs = os.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", IN_TERMINAL, *GUNICORN],
            cwd=folder,
            env={**os.environ, "GATEWAY_BIND": f"127.0.0.1:{self.port}"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)

    def read_until(self, text):
        """Read what the server says; return whether it said the text before it ended."""
        while text not in self.output:
            try:
                self.output += os.read(self.keys, 65536).decode()
            except OSError:  # the last process has closed the terminal
                return False
        return True

    def press_ctrl_c(self):
        """Press the keys; return after how many seconds the server ended, and its exit code."""
        start = time.monotonic()
        os.write(self.keys, b"\x03")
        self.read_until("no such text")
        code = self.process.wait(timeout=TIMEOUT)
        os.close(self.keys)
        return time.monotonic() - start, code


@pytest.mark.parametrize("sent", [None, b"", b"GET /healthz HTTP/1.1\r\n\r\n", b"GET /healthz HTT"])
def test_ctrl_c_ends_the_server_within_seconds(checkout, sent):
    migrate = [Path(sys.prefix) / "bin" / "gateway", "db", "upgrade"]
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    subprocess.run(migrate, cwd=checkout, env=environment, check=True)
    for _ in range(3):
        terminal = Terminal(checkout)
        assert terminal.read_until("serving on"), terminal.output
        with ExitStack() as clients:
            if sent is not None:
                client = socket.create_connection(("127.0.0.1", terminal.port), timeout=TIMEOUT)
                clients.enter_context(client)
                client.sendall(sent)
                if sent.endswith(b"\r\n\r\n"):
                    assert b" 200 " in client.recv(65536)  # and the connection is kept
            seconds, code = terminal.press_ctrl_c()
        assert (seconds < 5, code) == (True, 0), (seconds, terminal.output)
        assert "Traceback" not in terminal.output
        assert "ERROR" not in terminal.output


def test_ctrl_c_is_for_the_master_alone(serve):
    server = serve(WEB_CONCURRENCY="1")
    server.wait_for("serving on")
    os.kill(int(server.wait_for(r"Booting worker with pid: (\d+)")), signal.SIGINT)
    assert server.post("/login", {}) == (400, 1004, {})
    assert server.output.count("Booting worker") == 1
    assert "exiting" not in server.output


EARLY = """
import os, signal
from gateway.server.gunicorn import *

begin = post_fork

def post_fork(server, worker):
    begin(server, worker)
    if worker.age == 1:
        os.kill(worker.pid, signal.SIGQUIT)
"""


def test_a_worker_that_just_begins_can_be_stopped(checkout):
    (checkout / "early.py").write_text(EARLY)
    command = [sys.executable, "-m", "gunicorn", "-c", "early.py", "wsgi:app"]
    server = Server(command, checkout, free_port(), WEB_CONCURRENCY="1")
    try:
        assert server.wait_for("serving on|was sent SIGQUIT") == "was sent SIGQUIT"
    finally:
        server.kill()


def test_a_relay_that_hangs_leaves_room_for_other_requests(serve):
    held, full = [], threading.Event()
    listener = socket.create_server(("127.0.0.1", 0), backlog=100)

    def accept():
        with suppress(OSError):
            while True:
                held.append(listener.accept())
                if len(held) == mail.relay.MAX_PARALLEL_MAILS:
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
        assert time.monotonic() - start < mail.relay.DEADLINE / 2
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


@pytest.mark.parametrize("is_socket", [False, True], ids=["port", "socket"])
def test_what_a_client_says_of_its_scheme_is_no_matter(serve, tmp_path, is_socket):
    """gunicorn would believe whoever reaches its socket, and refuse what it finds contradictory."""
    path = tmp_path / "gateway.sock"
    server = serve(**({"GATEWAY_BIND": f"unix:{path}"} if is_socket else {}))
    address = str(path) if is_socket else ("127.0.0.1", server.port)
    with socket.socket(socket.AF_UNIX if is_socket else socket.AF_INET) as connection:
        connection.settimeout(TIMEOUT)
        connection.connect(address)
        connection.sendall(
            b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            b"X-Forwarded-Proto: http\r\nX-Forwarded-Ssl: on\r\n\r\n"
        )
        reply = connection.makefile("rb").read()
    assert reply.startswith(b"HTTP/1.1 200 ")


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
