"""The servers that ``make compare`` compares: how each is installed, gets its keys, and starts.

Each is set up as its documentation says, with two workers and a database of SQLite. Only SQLite's
journal is set, to WAL as in the service, because that lowers the CPU of the others. What they need
comes from PyPI and npm into temporary folders, in the versions that stand here.
"""

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from functools import cache
from pathlib import Path

from ask import PER_USER, make_app, verify
from node import Node, Workers
from sqlalchemy import text
from support import interrupts
from support.helpers import TIMEOUT
from support.servers import Server, free_port

from gateway.db import db
from gateway.version import __version__

HERE = Path(__file__).parent
INSTALL_TIMEOUT = 600  # seconds; without a ready-made binary, npm compiles SQLite
FASTAPI, SQLALCHEMY, KEYGATE, BETTER_AUTH = "0.165.0", "2.1.9", "0.5.1", "1.7.5"
FROM_PYPI = (
    f"fastapi=={FASTAPI}",
    f"sqlalchemy=={SQLALCHEMY}",
    f"fastapi-keygate[redis]=={KEYGATE}",
    "uvicorn[standard]==0.54.0",
    "limits==5.8.0",
    "redis==8.1.0",
)
FROM_NPM = (
    f"better-auth@{BETTER_AUTH}",
    f"@better-auth/api-key@{BETTER_AUTH}",
    # The newest of these three do not go with this version of the plugin.
    f"@better-auth/core@{BETTER_AUTH}",
    "@better-auth/utils@0.4.2",
    "better-call@1.4.0",
    "better-sqlite3@12.11.1",
)
FIRST = 2  # the project of the first key; the start is awaited with project 1


class MissingError(Exception):
    """Something is not at hand; the message says what."""


def folder(name):
    """Return a new temporary folder, which is removed at the exit."""
    with interrupts.held():
        made = Path(tempfile.mkdtemp(prefix=f"gateway-compare-{name}-"))
        interrupts.add_folder(made)
    return made


def run(command, where, **environment):
    """Run a command to its end and return what it prints.

    :raises MissingError: when it fails or takes longer than INSTALL_TIMEOUT.
    """
    with interrupts.held():
        process = subprocess.Popen(
            command,
            cwd=where,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        interrupts.add_group(process.pid)
    name = " ".join(str(part) for part in command[:4])
    try:
        output, errors = process.communicate(timeout=INSTALL_TIMEOUT)
    except subprocess.TimeoutExpired:
        raise MissingError(f"{name} took more than {INSTALL_TIMEOUT} s") from None
    interrupts.remove_group(process.pid)
    if process.returncode:
        lines = (errors or output).strip().splitlines() or [f"exit code {process.returncode}"]
        said = next((line for line in lines if "error" in line.lower()), lines[-1])
        raise MissingError(f"{name} failed: {said}")
    return output


@cache
def python():
    """Return the Python of a new environment that has what the Python servers need."""
    made = folder("python")
    run([sys.executable, "-m", "venv", "."], made)
    run(["bin/python", "-m", "pip", "install", "--quiet", "--retries", "1", *FROM_PYPI], made)
    return made / "bin" / "python"


class Running(Workers):
    """A server in a folder, that answers requests when the constructor returns."""

    def __init__(self, command, where, raw_request, **environment):
        port = free_port()
        command = [str(part).replace("PORT", str(port)) for part in command]
        self.server = Server(command, where, port, PORT=str(port), **environment)
        self.wait(raw_request)

    def stop(self):
        self.server.stop()


def settle(workers):
    """Wait until both workers have started, which is when they use no more CPU."""
    before, end = -1, time.monotonic() + TIMEOUT
    while len(workers.server.workers()) < 2 or workers.seconds() != before:
        assert time.monotonic() < end, "the workers do not come to rest"
        before = workers.seconds()
        time.sleep(0.3)


def use_wal(file):
    """Set the journal of a database of SQLite to WAL, which the file then keeps."""
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")


def request(key):
    return f"GET /verify HTTP/1.1\r\nHost: api.example.com\r\nX-API-Key: {key}\r\n\r\n".encode()


class Ours:
    """This service under gunicorn."""

    name = f"this service {__version__}"

    def __init__(self, *quotas):
        self.uri = f"sqlite:///{folder('ours') / 'gateway.db'}"
        app, _ = make_app(self.uri, PER_USER)
        with app.app_context(), db.engine.begin() as connection:
            for number, quota in enumerate(quotas, FIRST):
                values = {"quota": quota, "number": number}
                change = "UPDATE projects SET request_max = :quota WHERE id = :number"
                connection.execute(text(change), values)
        with app.app_context():
            db.engine.dispose()
        numbers = range(FIRST, FIRST + len(quotas))
        self.requests = [verify(number).raw_request for number in numbers]

    def start(self):
        return Node("wsgi:app", self.uri, 2)


class PythonServer:
    """An application of this folder under uvicorn."""

    def __init__(self, *quotas):
        self.where = folder("python-server")
        shutil.copy2(HERE / f"{self.module}.py", self.where)
        self.environment = {"DATABASE_URL": "sqlite:///keys.db", **self.more()}
        command = [python(), f"{self.module}.py", *map(str, quotas)]
        output = run(command, self.where, **self.environment)
        use_wal(self.where / "keys.db")
        self.requests = [request(key) for key in output.split()]

    def more(self):
        """Return more of the environment."""
        return {}

    def start(self):
        command = [python(), "-m", "uvicorn", f"{self.module}:app", "--port", "PORT"]
        command += ["--workers", "2"]
        return Running(command, self.where, self.requests[-1], **self.environment)


class Plain(PythonServer):
    name = f"FastAPI {FASTAPI} + SQLAlchemy {SQLALCHEMY}, by hand"
    module = "plain_app"


class Keygate(PythonServer):
    name = f"fastapi-keygate {KEYGATE}"
    module = "keygate_app"

    def more(self):
        return {"LIMITS_URI": "memory://"}


class KeygateOnRedis(Keygate):
    name = f"fastapi-keygate {KEYGATE} with Redis"

    def more(self):
        if not shutil.which("redis-server"):
            raise MissingError("there is no redis-server here")
        port = free_port()
        command = ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--save", ""]
        self.redis = Server(command, folder("redis"), port)
        self.redis.wait_for("Ready to accept connections")
        return {"LIMITS_URI": f"redis://127.0.0.1:{port}"}


class BetterAuth:
    """better-auth on Node, with better-sqlite3."""

    name = f"better-auth {BETTER_AUTH} on Node"

    def __init__(self, *quotas):
        for tool in ("node", "npm"):
            if not shutil.which(tool):
                raise MissingError(f"there is no {tool} here")
        self.where = folder("node")
        shutil.copy2(HERE / "better_auth.mjs", self.where)
        (self.where / "package.json").write_text('{"private": true}\n')
        quietly = ("--no-fund", "--no-audit", "--fetch-retries", "1")
        run(["npm", "install", *quietly, *FROM_NPM], self.where)
        self.environment = {
            "DATABASE": "keys.db",
            "BETTER_AUTH_SECRET": os.urandom(32).hex(),
            "BETTER_AUTH_TELEMETRY": "0",
        }
        command = ["node", "better_auth.mjs", *map(str, quotas)]
        output = run(command, self.where, PORT="1", **self.environment)
        use_wal(self.where / "keys.db")
        self.requests = [request(key) for key in output.split()]

    def start(self):
        command = ["node", "better_auth.mjs"]
        return Running(command, self.where, self.requests[-1], **self.environment)
