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
from contextlib import ExitStack, closing, contextmanager, suppress
from http.client import HTTPConnection
from urllib.request import urlopen

import pytest
from support.helpers import NO_POSTGRES, TIMEOUT
from support.servers import GUNICORN, MAKE_RUN, ROOT, Server, free_port

from gateway import mail


def copy_of_this(folder):
    """Copy what ``make run`` needs, so that its instance folder is new."""
    folder = folder / "a check out"  # make must stand the spaces
    folder.mkdir()
    for name in ("Makefile", "README.md", "constraints.txt", "setup.cfg", "wsgi.py"):
        shutil.copy2(ROOT / name, folder / name)
    bytecode = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "gateway", folder / "gateway", ignore=bytecode)
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


@pytest.fixture
def checkout(tmp_path):
    return copy_of_this(tmp_path)


def make_run(checkout, port, **environment):
    # The tests' environment holds this checkout; PYTHONPATH puts the copy first.
    return Server(MAKE_RUN, checkout, port, PYTHONPATH=str(checkout), **environment)


@contextmanager
def started(command, folder, **environment):
    """Run a server until it serves; it is killed, because stop() would wait for requests."""
    server = Server(command, folder, free_port(), **environment)
    try:
        server.wait_for("serving on")
        yield server
    finally:
        if server.process.poll() is None:
            server.kill()


@pytest.fixture(scope="module")
def by_make(tmp_path_factory):
    """The server that ``make run`` starts."""
    folder = copy_of_this(tmp_path_factory.mktemp("make"))
    with started(MAKE_RUN, folder, PYTHONPATH=str(folder)) as server:
        yield server


@pytest.fixture(scope="module")
def running(tmp_path_factory, sqlite_databases):
    """One worker that serves."""
    folder = tmp_path_factory.mktemp("running")
    settings = {
        "HOME": str(folder),
        "XDG_RUNTIME_DIR": str(folder),
        "GATEWAY_INSTANCE_PATH": str(folder),
        "GATEWAY_SQLALCHEMY_DATABASE_URI": sqlite_databases.new(),
        "GATEWAY_MAIL_SUPPRESS_SEND": "1",
        "WEB_CONCURRENCY": "1",
    }
    with started(GUNICORN, ROOT, **settings) as server:
        server.folder = folder
        yield server
    assert "Traceback" not in server.output


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


def test_the_first_lines_lead_to_the_pages(by_make):
    address = rf"http://127\.0\.0\.1:{by_make.port}"
    pages = by_make.wait_for(
        rf"serving on {address}, console at ({address}/), documented at ({address}/docs);"
        " mails, codes included, are not"
    )
    for url in pages:
        with urlopen(url, timeout=TIMEOUT) as page:
            assert page.status == 200


def test_the_readmes_session(by_make):
    readme = (ROOT / "README.md").read_text()
    session = readme.split("\n## A session\n")[1].split("\n## ")[0]
    helper, *steps = re.findall(r"```bash\n(.*?)```", session, re.DOTALL)
    helper = helper.replace("127.0.0.1:8082", f"127.0.0.1:{by_make.port}")

    def paste(*blocks):
        return subprocess.check_output(["sh", "-euc", helper + "".join(blocks)], text=True)

    assert paste(steps[0]) == "OK\n"
    code = by_make.wait_for(r"code is (\d{6})\b")
    output = paste(*(step.replace("CODE=123456", f"CODE={code}") for step in steps[1:]))
    # register, project/create, verify, project/list, project/delete, logout
    created, page = re.fullmatch(
        r"OK\n({.+?^})\n204\n(\[.+?^\])\nOK\nOK\n", output, re.DOTALL | re.MULTILINE
    ).groups()
    (project,) = json.loads(page)
    assert json.loads(created)["project_key"] == project["project_key"]
    assert project["request_today"] == 1
    script = helper + "ask login '{}' auth_token && echo goes on"
    run = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr.startswith("login: code 1004: ")
    assert run.stderr.count("\n") == 1


def test_the_start_warns_once(tmp_path, sqlite_uri):
    (tmp_path / "config.py").write_text("TIMZONE = 'UTC'\n")
    settings = {
        "GATEWAY_INSTANCE_PATH": str(tmp_path),
        "GATEWAY_SQLALCHEMY_DATABASE_URI": sqlite_uri,
        "GATEWAY_REQEST_MAX": "5",
        "WEB_CONCURRENCY": "2",
    }
    with started(GUNICORN, ROOT, **settings) as server:
        server.wait_for(
            "WARNING request=- serving on .*no MAIL_SERVER is set: codes cannot be mailed"
        )
        server.stop()
    (told,) = [line for line in server.lines if "there is no such setting" in line]
    assert "WARNING" in told
    assert "GATEWAY_REQEST_MAX" in told
    assert "TIMZONE" in told


def ended(server):
    """Return what a server said that ended by itself with a failure, without make's own lines."""
    assert server.process.wait(timeout=TIMEOUT) != 0
    server.reader.join(timeout=TIMEOUT)
    server.process.stdout.close()
    return [line for line in server.lines if not line.startswith("make:")]


def test_a_database_that_does_not_answer_is_told_on_one_line(checkout):
    (line,) = ended(make_run(checkout, 1, GATEWAY_SQLALCHEMY_DATABASE_URI=NO_POSTGRES))
    assert line.startswith("Error: the database cannot be reached:")


def test_a_port_in_use_is_told_once_and_at_once(checkout):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        first, second = ended(make_run(checkout, port))
    assert "Starting gunicorn" in first
    assert second.startswith(f"gateway cannot start: BIND: cannot listen at 127.0.0.1:{port}:")


# A process that has the terminal gets the signals of its keys.
IN_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


class Terminal:
    """A terminal in which the server runs as ``make run`` starts it."""

    def __init__(self, **environment):
        self.port = free_port()
        self.output = ""
        self.keys, theirs = os.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", IN_TERMINAL, *GUNICORN],
            cwd=ROOT,
            env={**os.environ, "GATEWAY_BIND": f"127.0.0.1:{self.port}", **environment},
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
def test_ctrl_c_ends_the_server_within_seconds(tmp_path, sqlite_uri, sent):
    settings = {
        "GATEWAY_INSTANCE_PATH": str(tmp_path),
        "GATEWAY_SQLALCHEMY_DATABASE_URI": sqlite_uri,
    }
    terminal = Terminal(**settings)
    assert terminal.read_until("serving on"), terminal.output
    with ExitStack() as clients:
        if sent is not None:
            client = socket.create_connection(("127.0.0.1", terminal.port), timeout=TIMEOUT)
            clients.enter_context(client)
            client.sendall(sent)
            if sent.endswith(b"\r\n\r\n"):
                assert b" 200 " in client.recv(65536)  # and the connection is kept
        seconds, code = terminal.press_ctrl_c()
    assert (seconds < 10, code) == (True, 0), (seconds, terminal.output)  # not graceful_timeout
    assert "Traceback" not in terminal.output
    assert "ERROR" not in terminal.output


def test_ctrl_c_is_for_the_master_alone(running):
    (worker,) = running.workers()
    worker.send_signal(signal.SIGINT)
    assert running.post("/login", {}) == (400, 1004, {})
    assert running.workers() == [worker]
    assert "exiting" not in running.output


EARLY = """
import os, signal
from gateway.server.gunicorn import *

begin = post_fork

def post_fork(server, worker):
    begin(server, worker)
    if worker.age == 1:
        os.kill(worker.pid, signal.SIGQUIT)
"""


def test_a_worker_that_just_begins_can_be_stopped(tmp_path):
    (tmp_path / "early.py").write_text(EARLY)
    command = [sys.executable, "-m", "gunicorn", "-c", tmp_path / "early.py", "wsgi:app"]
    settings = {"WEB_CONCURRENCY": "1", "GATEWAY_INSTANCE_PATH": str(tmp_path)}
    server = Server(command, ROOT, free_port(), **settings)
    try:
        assert server.wait_for("serving on|was sent SIGQUIT") == "was sent SIGQUIT"
    finally:
        server.kill()


def test_a_relay_that_hangs_leaves_room_for_other_requests(tmp_path, sqlite_uri):
    held, full = [], threading.Event()
    listener = socket.create_server(("127.0.0.1", 0), backlog=100)

    def accept():
        with suppress(OSError):
            while True:
                held.append(listener.accept())
                if len(held) == mail.relay.MAX_PARALLEL_MAILS:
                    full.set()

    threading.Thread(target=accept, daemon=True).start()
    settings = {
        "GATEWAY_INSTANCE_PATH": str(tmp_path),
        "GATEWAY_SQLALCHEMY_DATABASE_URI": sqlite_uri,
        "GATEWAY_MAIL_SERVER": "127.0.0.1",
        "GATEWAY_MAIL_PORT": str(listener.getsockname()[1]),
        "WEB_CONCURRENCY": "1",
    }
    bodies = [{"user_name": f"u{n}", "email": f"u{n}@126.com"} for n in range(30)]
    with started(GUNICORN, ROOT, **settings) as server, ThreadPoolExecutor(30) as pool:
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


def test_killed_worker_is_replaced(running):
    (worker,) = running.workers()
    worker.kill()
    running.wait_for(rf"\(pid:{worker.pid}\) was sent SIGKILL[\s\S]*Booting worker with pid: \d+")
    assert running.post("/login", {}) == (400, 1004, {})


def test_garbage_and_incomplete_requests_do_no_harm(running):
    address = ("127.0.0.1", running.port)
    idle = [socket.create_connection(address, timeout=TIMEOUT) for _ in range(8)]
    for connection in idle:
        connection.sendall(b"POST /api/v1/login HTTP/1.1\r\nHost: x\r\n")
    for garbage in (b"\x16\x03\x01\x00\xa5\x01\x00", b"GET\r\n\r\n", b"\0" * 100 + b"\r\n\r\n"):
        with socket.create_connection(address, timeout=TIMEOUT) as connection:
            connection.sendall(garbage)
            connection.shutdown(socket.SHUT_WR)
            assert b" 500 " not in connection.recv(65536)
    assert running.post("/login", {}) == (400, 1004, {})
    for connection in idle:
        connection.close()


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


def test_what_a_client_says_of_its_scheme_is_no_matter(running):
    """gunicorn would believe whoever reaches it, and refuse what it finds contradictory."""
    with socket.create_connection(("127.0.0.1", running.port), timeout=TIMEOUT) as connection:
        connection.sendall(
            b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            b"X-Forwarded-Proto: http\r\nX-Forwarded-Ssl: on\r\n\r\n"
        )
        reply = connection.makefile("rb").read()
    assert reply.startswith(b"HTTP/1.1 200 ")


def test_broken_body_is_refused(running):
    for body in BROKEN_BODIES:
        address = ("127.0.0.1", running.port)
        with socket.create_connection(address, timeout=TIMEOUT) as connection:
            connection.sendall(b"POST /api/v1/login HTTP/1.1\r\nHost: x\r\n" + body)
            connection.shutdown(socket.SHUT_WR)
            reply = connection.makefile("rb").read()
        assert reply == b"" or b" 400 " in reply.splitlines()[0], (body[:60], reply)


@pytest.mark.parametrize(("size", "status"), [(100, 400), (16 * 1024, 400), (40_000, 413)])
def test_chunked_body_is_read_completely_or_refused(running, size, status):
    with closing(HTTPConnection("127.0.0.1", running.port, timeout=TIMEOUT)) as connection:
        body = b'{"other": "' + b"x" * (size - 13) + b'"}'
        chunks = (body[start : start + 1000] for start in range(0, size, 1000))
        connection.request("POST", "/api/v1/login", chunks, encode_chunked=True)
        reply = connection.getresponse()
        assert reply.status == status
        assert json.loads(reply.read())["header"]["code"] == {400: 1004, 413: 413}[status]


def test_gunicorn_opens_no_control_socket(running):
    assert running.post("/login", {})[0] == 400
    assert not list(running.folder.rglob("*.ctl"))
    assert "Control socket" not in running.output
