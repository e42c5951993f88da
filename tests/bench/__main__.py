"""Compare the service with its floor, and write the table: ``make bench``.

Every figure that counts is a ratio of two things that ran in turn, the median of many rounds, as
machines are noisy. In-process it is CPU of this process; through gunicorn it is CPU of its workers
from the operating system.
"""

from __future__ import annotations

import base64
import io
import json
import logging
import os
import platform
import re
import shutil
import socket
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path
from statistics import median

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import floor  # noqa: E402 - beside this file
import psycopg  # noqa: E402
from flask import Flask  # noqa: E402
from flask_migrate import upgrade  # noqa: E402
from notes import NOTES  # noqa: E402
from servers import GUNICORN, ROOT, Server, free_port, postgres  # noqa: E402
from sqlalchemy import text  # noqa: E402

from gateway import clock, create_app, crypto  # noqa: E402
from gateway.auth import service, tokens  # noqa: E402
from gateway.auth.models import User  # noqa: E402
from gateway.extensions import db  # noqa: E402

TABLE = HERE / "table.md"
SECRET_KEY = "a secret of the bench, long enough to be one"
PASSWORD = "e10adc3949ba59abbe56e057f20f883e"
SECRET = "s" * 48
PER_USER = 1000  # projects of an account
QUICK = "--quick" in sys.argv  # fewer rounds, to see whether it works
ROUNDS = 5 if QUICK else 15


def settings(uri):
    return {
        "SQLALCHEMY_DATABASE_URI": uri,
        "SECRET_KEY": SECRET_KEY,
        "REQUEST_MAX": 30,
        "PROJECTS_PER_USER": 10**9,
        "MAIL_SUPPRESS_SEND": True,
    }


def make_app(uri, projects):
    """Return the application on a new database with so many projects, and what asks it."""
    app = create_app(settings(uri))
    with app.app_context():
        upgrade()
        user = service.new_user("lory", "civet148@126.com", PASSWORD)
        service.add(user)
        people = {
            "sqlite": f"WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < {max(2, projects // PER_USER)})",
            "postgresql": f"WITH n(i) AS (SELECT generate_series(2, {max(2, projects // PER_USER)}))",
        }[db.engine.dialect.name]
        keys = {
            "sqlite": f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {projects})",
            "postgresql": f"WITH n(i) AS (SELECT generate_series(1, {projects}))",
        }[db.engine.dialect.name]
        key = {"sqlite": "printf('%016d', i)", "postgresql": "lpad(i::text, 16, '0')"}[
            db.engine.dialect.name
        ]
        insert_users = (
            "INSERT INTO users (user_name, name_key, email, email_key, password_hash, is_admin,"
            " is_banned, live_projects, created_at, token_generation)"
        )
        insert_projects = (
            "INSERT INTO projects (user_id, project_name, project_type, project_key, secret_hash,"
            " sealed_secret, deleted, created_at, request_total, request_count, request_max)"
        )
        someone = (
            "SELECT 'u' || i, 'u' || i, 'u' || i, 'u' || i, 'x', FALSE, FALSE, 0, :now, 0 FROM n"
        )
        project = (
            f"SELECT 1 + (i - 1) / {PER_USER}, '我的ChatGPT项目', 1, {key}, :hash, :sealed, FALSE, :now,"
            " 0, 0, 0 FROM n"
        )
        given = {
            "hash": crypto.secret_hash(SECRET),
            "sealed": crypto.seal(SECRET),
            "now": clock.now()
            if db.engine.dialect.name == "postgresql"
            else clock.now().strftime("%Y-%m-%d %H:%M:%S.%f"),
        }
        with db.engine.begin() as connection:
            # SQLite wants the WITH after INSERT INTO, and Postgres allows it there.
            connection.execute(text(f"{insert_users} {people} {someone}"), {"now": given["now"]})
            connection.execute(text(f"{insert_projects} {keys} {project}"), given)
            connection.execute(
                text(
                    "UPDATE users SET live_projects = (SELECT count(*) FROM projects"
                    " WHERE user_id = users.id)"
                )
            )
        lent = db.engine.raw_connection()  # in autocommit, as VACUUM wants it
        lent.driver_connection.execute(
            "VACUUM ANALYZE" if db.engine.dialect.name == "postgresql" else "ANALYZE"
        )
        lent.close()
        user = db.session.get(User, 1)
        token = tokens.issue(user, clock.now())
        db.session.remove()
        db.engine.dispose()
    return app, token


class Asked:
    """A request: as a WSGI environment, and as the bytes that nginx would send."""

    def __init__(self, path, body=None, authorization="", query=""):
        content = b"" if body is None else json.dumps(body).encode()
        method = "GET" if body is None else "POST"
        self.content = content
        self.environ = {
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": "",
            "PATH_INFO": f"/api/v1{path}",
            "QUERY_STRING": query,
            "SERVER_NAME": "api.example.com",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "127.0.0.1",
            "HTTP_HOST": "api.example.com",
            "HTTP_AUTHORIZATION": authorization,
            "HTTP_X_REQUEST_ID": "0b2721feeb2d45e79a445ac47205b3cd",
            "HTTP_X_FORWARDED_FOR": "203.0.113.7",
            "CONTENT_LENGTH": str(len(content)) if content else "",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.multithread": True,
            "wsgi.multiprocess": True,
            "wsgi.run_once": False,
            "wsgi.errors": sys.stderr,
        }
        self.wire = (
            f"{method} /api/v1{path}{'?' + query if query else ''} HTTP/1.1\r\n"
            f"Host: api.example.com\r\nAuthorization: {authorization}\r\n"
            "X-Request-ID: 0b2721feeb2d45e79a445ac47205b3cd\r\nX-Forwarded-For: 203.0.113.7\r\n"
            + (f"Content-Length: {len(content)}\r\n" if content else "")
            + "\r\n"
        ).encode() + content

    def call(self, app):
        """Call a WSGI application; return status, headers and body."""
        answer = []
        environ = {**self.environ, "wsgi.input": io.BytesIO(self.content)}
        chunks = app(environ, lambda *told: answer.extend(told))
        content = b"".join(chunks)
        if hasattr(chunks, "close"):
            chunks.close()
        return answer[0], dict(answer[1]), content


def basic(number):
    return "Basic " + base64.b64encode(f"{number:016d}:{SECRET}".encode()).decode()


def requests(token):
    """Return the paths that are called all day; keys are rows of the table."""
    bearer = f"Bearer {token}"
    return {
        "verify": Asked("/project/verify", authorization=basic(7), query="pool="),
        **{
            f"list({size})": Asked("/project/list", {"page_size": size}, bearer)
            for size in (1, 20, 100)
        },
        "create": Asked("/project/create", {"project_type": 1, "project_name": "x"}, bearer),
        "login": Asked("/login", {"user_name": "lory", "password": PASSWORD}),
    }


def same(name, ours, floors):
    """Check that both give the same; what is random or of the moment apart."""
    assert ours[0] == floors[0], (name, ours, floors)
    if name.startswith("list"):
        assert ours[2] == floors[2], (name, ours, floors)
    elif name == "verify":
        names = ["X-Gateway-Project", "X-Gateway-Key", "X-Gateway-Pool", "RateLimit-Limit"]
        assert [ours[1].get(n) for n in names] == [floors[1].get(n) for n in names]
    else:
        changing = ("auth_token", "login_time", "project_key", "project_secret")
        shapes = []
        for _, _, content in (ours, floors):
            reply = json.loads(content)
            reply["data"] = {
                key: len(str(value)) if key in changing else value
                for key, value in reply["data"].items()
            }
            shapes.append(reply)
        assert shapes[0] == shapes[1], (name, shapes)


def cpu(app, asked, times):
    start = time.process_time()
    for _ in range(times):
        asked.call(app)
    return (time.process_time() - start) / times


def ratios(measure, ours, theirs, rounds):
    """Measure two things in turn; return the median of the ratios and of the first one's figure."""
    pairs = []
    for turn in range(rounds):
        first, second = (ours, theirs) if turn % 2 else (theirs, ours)
        figures = {id(first): measure(first)}
        figures[id(second)] = measure(second)
        pairs.append((figures[id(ours)], figures[id(theirs)]))
    return median(a / b for a, b in pairs), median(a for a, _ in pairs)


def empty_route():
    app = Flask("empty")
    app.add_url_rule("/api/v1/project/verify", view_func=lambda: ("", 204))
    return app


def in_process(app, token, bare):
    """Return, for each path, the ratio to the floor and microseconds of CPU."""
    lines = {}
    for name, asked in requests(token).items():
        times = {"login": 4, "list(100)": 60}.get(name, 150)
        for _ in range(3):
            same(name, asked.call(app), asked.call(bare))
        cpu(app, asked, times), cpu(bare, asked, times)
        lines[name] = ratios(lambda it, a=asked, t=times: cpu(it, a, t), app, bare, ROUNDS)
        if name == "verify":
            lines["verify / empty route"] = ratios(
                lambda it, a=asked, t=times: cpu(it, a, t), app, empty_route(), ROUNDS
            )
            lines["empty route / verify's floor"] = ratios(
                lambda it, a=asked, t=times: cpu(it, a, t), empty_route(), bare, ROUNDS
            )
    return lines


def share_of_argon2(app, token):
    """Return how much of login's CPU is argon2id."""
    asked = requests(token)["login"]
    with app.app_context():
        password_hash = db.session.get(User, 1).password_hash
        db.session.remove()

    def hashing(_):
        start = time.process_time()
        for _ in range(4):
            crypto.password_matches(PASSWORD, password_hash)
        return (time.process_time() - start) / 4

    ratio, _ = ratios(
        lambda it: hashing(it) if it is hashing else cpu(app, asked, 4), hashing, app, ROUNDS
    )
    return ratio


class Node:
    """gunicorn with the service or its floor."""

    def __init__(self, target, uri, workers=1, options=()):
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="gateway-bench-"))
        for name in ("wsgi.py", "gateway"):
            (shutil.copytree if name == "gateway" else shutil.copy2)(
                ROOT / name, self.folder / name
            )
        environment = {
            "WEB_CONCURRENCY": str(workers),
            "PYTHONPATH": str(HERE),
            **{f"GATEWAY_{name}": str(value) for name, value in settings(uri).items()},
            "GATEWAY_MAIL_SUPPRESS_SEND": "1",
        }
        self.started = time.monotonic()
        # The floor under the same settings, but for the hook that asks the application.
        (self.folder / "same.py").write_text(
            "from gateway.deploy.gunicorn import *\ndel post_worker_init\n"
        )
        config = ["-c", "python:same"]
        command = [*GUNICORN[:3], *config, *options, target]
        self.server = Server(command, self.folder, self.port, **environment)
        self.first_reply = self.wait()

    def wait(self):
        while True:
            try:
                connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
                connection.request(
                    "GET", "/api/v1/project/verify", headers={"Authorization": basic(7)}
                )
                connection.getresponse().read()
                connection.close()
            except OSError:
                assert not self.server.ended, self.server.output
                assert time.monotonic() - self.started < 30, self.server.output
                time.sleep(0.005)
            else:
                return time.monotonic() - self.started

    def seconds(self):
        times = [worker.cpu_times() for worker in self.server.workers()]
        return sum(one.user + one.system for one in times)

    def peak(self):
        """Return the largest worker's peak memory, in MiB."""
        status = [
            Path(f"/proc/{worker.pid}/status").read_text() for worker in self.server.workers()
        ]
        return max(int(re.search(r"VmHWM:\s+(\d+) kB", one)[1]) for one in status) / 1024

    def cpu(self, asked, times):
        before = self.seconds()
        load(self.port, asked.wire, times)
        return (self.seconds() - before) / times

    def stop(self):
        self.server.stop()
        shutil.rmtree(self.folder)


def load(port, wire, times, connections=8):
    """Send a request so often, over kept connections, as nginx does; return seconds."""

    def send():
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for _ in range(times // connections):
                connection.sendall(wire)
                got = connection.recv(65536)
                while b"\r\n\r\n" not in got:
                    got += connection.recv(65536)
                head, _, content = got.partition(b"\r\n\r\n")
                assert head[9:10] == b"2", head
                length = re.search(rb"(?i)content-length: (\d+)", head)
                missing = int(length[1]) - len(content) if length else 0
                while missing > 0:
                    missing -= len(connection.recv(65536))

    threads = [threading.Thread(target=send) for _ in range(connections)]
    start = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.monotonic() - start


def through_gunicorn(uri, token):
    """Return, for each path, the ratio of worker CPU, microseconds, and the peak memory."""
    ours, floors = Node("wsgi:app", uri), Node("floor:app()", uri)
    lines = {}
    for name, asked in requests(token).items():
        times = {"login": 16, "list(100)": 240, "verify": 1600}.get(name, 800)
        load(ours.port, asked.wire, 80), load(floors.port, asked.wire, 80)
        lines[name] = ratios(
            lambda node, a=asked, t=times: node.cpu(a, t), ours, floors, max(3, ROUNDS // 2)
        )
    ours.stop()
    floors.stop()
    return lines


def scale(uri, token):
    """Return what two workers answer to what one does, and both kinds of workers' figures."""
    found = {}
    for name in ("verify", "list(20)"):
        asked = requests(token)[name]
        one, two = Node("wsgi:app", uri, 1), Node("wsgi:app", uri, 2)
        times = 1600 if name == "verify" else 800
        load(one.port, asked.wire, 200), load(two.port, asked.wire, 200)
        found[name] = ratios(
            lambda node, a=asked, t=times: load(node.port, a.wire, t, 16),
            one,
            two,
            max(3, ROUNDS // 2),
        )[0]
        one.stop()
        two.stop()
    return found


def growth(apps, tokens_, name):
    """Return wall time at each size to that at the first, with other projects every time."""
    turn = iter(range(10**9))

    def wall(app):
        asked = []
        for _ in range(200):
            size = apps[app]
            bearer = f"Bearer {tokens_[app]}"
            asked.append(
                Asked("/project/verify", authorization=basic(1 + next(turn) * 7919 % size))
                if name == "verify"
                else Asked("/project/list", {"page_size": 20, "page_no": next(turn) % 50}, bearer)
            )
        start = time.perf_counter()
        for one in asked:
            status = one.call(app)[0]
            assert status[0] == "2"
        return (time.perf_counter() - start) / 200

    first, *others = apps
    wall(first)
    return [ratios(wall, other, first, ROUNDS)[0] for other in others if wall(other) is not None]


def main():
    create_app(settings("sqlite:////nowhere"))  # makes the log's handler
    logging.getLogger("gateway").handlers[0].setStream(Path(os.devnull).open("w"))
    out = []
    sizes = (1000, 100_000, 1_000_000)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gateway-bench-")))
        os.environ["GATEWAY_INSTANCE_PATH"] = str(folder)
        server = stack.enter_context(postgres())
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            for size in sizes:
                connection.execute(f"CREATE DATABASE size{size}")
        kinds = {
            "SQLite": {size: f"sqlite:///{folder / str(size)}.db" for size in sizes},
            "Postgres": {size: server.get_uri(f"size{size}") for size in sizes},
        }
        inside, outside, shares, grown, scales, peaks, firsts = {}, {}, {}, {}, {}, {}, {}
        for kind, uris in kinds.items():
            made = {size: make_app(uri, size) for size, uri in uris.items()}
            print(f"{kind}: made", file=sys.stderr)
            app, token = made[sizes[0]]
            inside[kind] = in_process(app, token, floor.make(uris[sizes[0]], SECRET_KEY))
            shares[kind] = share_of_argon2(app, token)
            print(kind, inside[kind], shares[kind], file=sys.stderr)
            apps = {app: size for size, (app, _) in made.items()}
            by_app = dict(made.values())
            grown[kind] = {name: growth(apps, by_app, name) for name in ("verify", "list(20)")}
            print(kind, grown[kind], file=sys.stderr)
            outside[kind] = through_gunicorn(uris[sizes[0]], token)
            print(kind, outside[kind], file=sys.stderr)
            largest = Node("wsgi:app", uris[sizes[-1]], 2)
            for asked in requests(made[sizes[-1]][1]).values():
                load(largest.port, asked.wire, 240, 16)
            peaks[kind] = largest.peak()
            largest.stop()
            firsts[kind] = []
            for _ in range(5):
                node = Node("wsgi:app", uris[sizes[-1]], 2)
                firsts[kind].append(node.first_reply)
                node.stop()
            scales[kind] = scale(uris[sizes[0]], token)
            print(kind, peaks[kind], firsts[kind], scales[kind], file=sys.stderr)
    out.append(
        "| path | in-process, SQLite | in-process, Postgres | gunicorn, SQLite | gunicorn, Postgres |"
    )
    out.append("|---|---|---|---|---|")

    def cell(lines, name):
        if name not in lines:
            return ""
        ratio, seconds = lines[name]
        return f"{ratio:.2f} ({seconds * 1e6:,.0f} µs)"

    for name in inside["SQLite"]:
        cells = [cell(lines[kind], name) for lines in (inside, outside) for kind in kinds]
        out.append(f"| {name} | {' | '.join(cells)} |")
    out += [
        "",
        "| | SQLite | Postgres |",
        "|---|---|---|",
        f"| argon2id's share of login | {shares['SQLite']:.0%} | {shares['Postgres']:.0%} |",
    ]
    for name in ("verify", "list(20)"):
        for position, size in enumerate(sizes[1:]):
            cells = " | ".join(f"{grown[kind][name][position]:.2f}" for kind in kinds)
            out.append(f"| {name} at {size:,} projects to 1,000 (wall time) | {cells} |")
    out.append(
        "| peak memory of a worker at 1,000,000 projects | "
        + " | ".join(f"{peaks[kind]:.0f} MiB" for kind in kinds)
        + " |"
    )
    out.append(
        "| from start to first reply | "
        + " | ".join(f"{median(firsts[kind]):.2f} s" for kind in kinds)
        + " |"
    )
    for name in ("verify", "list(20)"):
        out.append(
            f"| two workers to one, {name} a second | "
            + " | ".join(f"{scales[kind][name]:.2f}" for kind in kinds)
            + " |"
        )
    machine = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    head = (
        f"`make bench`, {os.cpu_count()} cores ({machine}), Python {platform.python_version()},"
        f" medians of {ROUNDS} rounds."
    )
    table = "\n".join([head, "", *out, "", NOTES.strip(), ""])
    print(table)
    TABLE.write_text(table)


main()
