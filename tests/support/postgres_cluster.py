"""Postgres servers of a test's own, with standbys, and PgBouncer before them."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pytest
from support.helpers import TIMEOUT
from support.servers import free_port, postgres_folder

from gateway.testing.databases import migrated

PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")


class Cluster:
    """One Postgres server on loopback; anybody there may log in as ``postgres``."""

    def __init__(self, tools, user):
        self.tools, self.user = tools, user
        self.port = free_port()
        self.folder = postgres_folder()
        if user:
            entry = pwd.getpwnam(user)
            os.chown(self.folder, entry.pw_uid, entry.pw_gid)
        self.data = self.folder / "data"

    def run(self, tool, *arguments):
        command = [self.tools / tool, *map(str, arguments)]
        with (self.folder / "tools.log").open("a") as log:
            done = subprocess.run(
                command, user=self.user, stdout=log, stderr=log, check=False, cwd=self.folder
            )
        assert done.returncode == 0, (self.folder / "tools.log").read_text()

    def initialise(self, encoding="UTF8", **settings):
        self.run("initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "-E", encoding,
                 "--no-locale", "--no-sync")  # fmt: skip
        self.configure(fsync="off", **settings)

    def configure(self, **settings):
        ours = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": self.folder,
            **settings,
        }
        lines = "".join(f"{name} = '{value}'\n" for name, value in ours.items())
        with (self.data / "postgresql.conf").open("a") as file:
            file.write(lines)

    def copy_of(self, primary):
        """Become a standby of another cluster."""
        source = f"host=127.0.0.1 port={primary.port} user=postgres application_name=standby"
        self.run("pg_basebackup", "-D", self.data, "-R", "-d", source, "-c", "fast", "--no-sync")
        self.configure()

    def start(self):
        self.run("pg_ctl", "-w", "-D", self.data, "-l", self.folder / "log", "start")

    def stop(self, mode="immediate"):
        self.run("pg_ctl", "-w", "-D", self.data, "-m", mode, "stop")

    def set_alone(self):
        """Let the server commit without a standby once it is the primary."""
        self.configure(synchronous_standby_names="", default_transaction_read_only="off")
        auto = self.data / "postgresql.auto.conf"  # of ALTER SYSTEM, copied from the primary
        kept = [line for line in auto.read_text().splitlines() if "synchronous" not in line]
        auto.write_text("\n".join(kept) + "\n")
        self.run("pg_ctl", "-D", self.data, "reload")

    def promote(self):
        self.run("pg_ctl", "-w", "-D", self.data, "promote")

    def uri(self, database="postgres"):
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def sql(self, statement, database="postgres"):
        with psycopg.connect(self.uri(database), autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else None

    def set(self, **settings):
        """Change settings of the running server."""
        for name, value in settings.items():
            self.sql(f"ALTER SYSTEM SET {name} = '{value}'")
        self.sql("SELECT pg_reload_conf()")

    def reset(self):
        """Undo ``set``, also when the server does not write or waits for a standby."""
        options = "-c default_transaction_read_only=off -c synchronous_commit=local"
        with psycopg.connect(self.uri(), autocommit=True, options=options) as connection:
            connection.execute("ALTER SYSTEM RESET ALL")
            connection.execute("SELECT pg_reload_conf()")

    def remove(self):
        if (self.data / "postmaster.pid").exists():
            with suppress(AssertionError):
                self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def make_cluster(server):
    """Return a new cluster that has the programs and the user of the tests' server."""
    return Cluster(server.bin_path, server.system_user)


@pytest.fixture(scope="session")
def cluster(postgres_server):
    """A server with the tables, for tests that change its settings and reset them."""
    cluster = make_cluster(postgres_server)
    cluster.initialise()
    cluster.start()
    migrated(cluster.uri())
    yield cluster
    cluster.remove()


@contextmanager
def pooler(cluster, mode, **settings):
    """Run PgBouncer before a cluster; return the port. Skip the test where there is none."""
    if PGBOUNCER is None:
        if os.environ.get("SKIP_NOTHING"):
            pytest.fail("pgbouncer is not installed")
        pytest.skip("pgbouncer is not installed")
    port = free_port()
    file = cluster.folder / f"pgbouncer-{port}.ini"
    options = {"pool_mode": mode, "listen_addr": "127.0.0.1", "listen_port": port,
               "auth_type": "any", "unix_socket_dir": "", **settings}  # fmt: skip
    lines = [f"{name} = {value}" for name, value in options.items()]
    server = f"host=127.0.0.1 port={cluster.port} user=postgres"
    file.write_text("\n".join(["[databases]", f"* = {server}", "[pgbouncer]", *lines]))
    file.chmod(0o644)
    log = (cluster.folder / f"pgbouncer-{port}.log").open("w")
    process = subprocess.Popen(
        [PGBOUNCER, file], user=cluster.user, stdout=log, stderr=log, cwd="/"
    )
    try:
        deadline = time.monotonic() + TIMEOUT
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            assert process.poll() is None, Path(log.name).read_text()
            assert time.monotonic() < deadline
        yield port
    finally:
        process.terminate()
        process.wait(timeout=TIMEOUT)
        log.close()
