"""How long customers wait while strangers ask as fast as nginx lets them.

    python tests/bench/floods.py [sqlite|postgres [SECONDS [PAIRS]]]

Thirty kept connections from thirty addresses ask for sign-ins or mails. Beside them one customer
asks /rpc a hundred times a second. The figure is the p95 of his times, divided by the p95 beside
the same connections that ask what nginx itself answers with 404; the median of some pairs.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from ask import PASSWORD, SECRET, make_app, numbered, settings  # noqa: E402 - beside this file
from sqlalchemy import text  # noqa: E402
from support.nginx_front import NginxFront, Upstream  # noqa: E402
from support.servers import GUNICORN, ROOT, Server, free_port, postgres  # noqa: E402

from gateway.db import db  # noqa: E402

CONNECTIONS = 30
FLOODS = {
    "reset-code": ("/api/v1/reset-code", {"email": "nobody{n}@126.com"}),
    "auth-code": ("/api/v1/auth-code", {"user_name": "nobody{n}", "email": "nobody{n}@126.com"}),
    "login": ("/api/v1/login", {"user_name": "nobody{n}", "password": PASSWORD}),
}
ROWS = 1_000_000
EXPIRED = """
INSERT INTO project_days (project_id, user_id, day, requests, expires_at)
SELECT i, 1, DATE '2023-01-01', 1, TIMESTAMP '2024-01-01 00:00:00' FROM n
"""
QUIET = ("/nothing/here", {})


class Floods:
    """The service behind nginx, and a customer.

    :param uri: of an empty database.
    """

    def __init__(self, stack, uri):
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gateway-floods-")))
        self.app, _ = make_app(uri, 64)
        self.folder = folder
        (folder / "wsgi.py").write_text((ROOT / "wsgi.py").read_text())
        self.environment = {
            f"GATEWAY_{name}": str(int(value) if value is True else value)
            for name, value in {**settings(uri), "MAILS_PER_HOUR": 10**9}.items()
        }
        port, upstream = free_port(), Upstream()
        stack.callback(upstream.close)
        self.service = Server(
            GUNICORN, folder, port, WEB_CONCURRENCY="2", PYTHONPATH=str(ROOT), **self.environment
        )
        stack.callback(self.service.stop)
        self.service.wait_for("serving on")
        self.front = NginxFront(folder, [port], upstream.port, upstream.port)
        stack.callback(self.front.server.stop)

    def wait_beside(self, path, body, seconds, connections=CONNECTIONS):
        """Return the customer's times in ms beside a flood, sorted, and the flood's statuses."""
        command = [sys.executable, ROOT / "tests" / "support" / "rush.py", str(self.front.port)]
        command += [self.front.folder / "gateway.crt", str(connections), "POST", path]
        command += [json.dumps(body), str(connections)]
        rush = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert rush.stdout.readline() == "ready\n"
        times = self.ask(seconds)
        statuses, _ = rush.communicate("", timeout=30)
        return times, statuses.strip()

    def ask(self, seconds):
        """Ask /rpc one request after the other; return the times in ms, sorted."""
        connection, times, end = self.front.connect(), [], time.monotonic() + seconds
        headers = {f"{n:016d}.{SECRET}" for n in range(1, 65)}
        while time.monotonic() < end:
            key = headers.pop()
            headers.add(key)
            start = time.perf_counter()
            status, *_ = self.front.ask("/rpc", f"Bearer {key}", connection=connection)
            times.append(1000 * (time.perf_counter() - start))
            assert status == 200, status
            time.sleep(0.01)
        connection.close()
        return sorted(times)

    def beside_purge(self, seconds=10):
        """Return the customer's slowest times in ms, without and beside a purge of ROWS rows."""
        with self.app.app_context():
            with db.engine.begin() as connection:
                is_sqlite = db.engine.dialect.name == "sqlite"
                insert = re.sub("DATE |TIMESTAMP ", "", EXPIRED) if is_sqlite else EXPIRED
                connection.execute(text(numbered(insert, ROWS, is_sqlite)))
            db.engine.dispose()
        quiet = self.ask(seconds)
        command = [sys.executable, "-c", "from gateway.ops.cli import main; main()", "purge"]
        start = time.monotonic()
        purge = subprocess.Popen(command, env={**os.environ, **self.environment}, cwd=self.folder)
        busy = self.ask(seconds)
        is_running = purge.poll() is None
        assert purge.wait(600) == 0
        return quiet[-1], busy[-1], p95(busy), is_running, time.monotonic() - start

    def ratios(self, seconds=10, pairs=5):
        """Return the median ratio, and the median p95 in ms, beside each flood."""
        found = {}
        for name, flood in FLOODS.items():
            measured = []
            for _ in range(pairs):
                (quiet, _), (busy, statuses) = (
                    self.wait_beside(*each, seconds) for each in (QUIET, flood)
                )
                measured.append((p95(busy) / p95(quiet), p95(quiet), p95(busy)))
            found[name] = [median(each) for each in zip(*measured, strict=True)]
            print(name, *(f"{each:.1f}" for each in found[name]), statuses, flush=True)
        return found


def p95(times):
    return times[len(times) * 95 // 100]


def rows(uri, quick=False):
    """Return rows of the bench's table: what customers wait beside a purge and beside floods.

    :param uri: of an empty database.
    """
    with ExitStack() as stack:
        floods = Floods(stack, uri)
        floods.ask(1)
        quiet, busy, _, _, seconds = floods.beside_purge(2 if quick else 10)
        yield (
            f"slowest of /rpc without and beside a purge of {ROWS:,} rows",
            (f"{quiet:.0f}, {busy:.0f} ms; gone in {seconds:.0f} s"),
        )
        for name, (ratio, before, after) in floods.ratios(*((1, 1) if quick else (5, 2))).items():
            yield (
                f"p95 of /rpc beside 30 connections that ask {name} to the same that get 404",
                (f"{ratio:.1f} ({after:.0f} / {before:.0f} ms)"),
            )


def main(database="sqlite", seconds="10", pairs="5"):
    with ExitStack() as stack:
        if database == "sqlite":
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="gateway-floods-"))
            uri = f"sqlite:///{folder}/x.db"
        else:
            uri = stack.enter_context(postgres(in_memory=False)).get_uri()
        floods = Floods(stack, uri)
        floods.ask(1)
        print("purge", floods.beside_purge(), flush=True)
        if int(pairs):
            floods.ratios(int(seconds), int(pairs))
        for name, flood in FLOODS.items():
            times, statuses = floods.wait_beside(*flood, 3, connections=300)
            print(f"{name}, 300 connections: p95 {p95(times):.1f}", statuses, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
