"""Upgrades stop no traffic, and a restored database is the one of that day."""

import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Date, bindparam, create_engine, inspect, text
from support.helpers import SECRET_KEY, login, postgres_only, sqlite_only
from support.servers import ROOT

from gateway import clock
from gateway.crypto import secret_hash
from gateway.db import UtcDateTime, db, schema
from gateway.ops.cli import main

BIN = Path(sys.prefix) / "bin"
# The statement of verify that nodes of schema 0004 run, until they are replaced.
VERIFY_0004 = text("""
UPDATE projects SET request_total = request_total + 1,
  request_day = CASE WHEN request_day BETWEEN :today AND :latest_day THEN request_day
    ELSE :today END,
  request_count = CASE WHEN request_day BETWEEN :today AND :latest_day THEN request_count
    ELSE 0 END + 1
WHERE project_key = :key AND deleted IS false
  AND (secret_hash = :secret_hash OR old_secret_hash = :secret_hash AND old_secret_until > :now)
  AND EXISTS (SELECT * FROM users WHERE users.id = projects.user_id AND users.is_banned IS false)
  AND (CAST(:pool AS VARCHAR) IS NULL OR coalesce(
    (SELECT pools.pool_name FROM pools WHERE pools.id = projects.pool_id), '') = :pool)
  AND (request_max = 0 OR CASE WHEN request_day BETWEEN :today AND :latest_day
    THEN request_count ELSE 0 END < request_max)
RETURNING id, request_max, request_count, request_day
""").bindparams(
    bindparam("today", type_=Date),
    bindparam("latest_day", type_=Date),
    bindparam("now", type_=UtcDateTime),
)


@pytest.fixture
def verify_0004(app):
    """Return a function that asks as a node of 0004 does; it returns the count of the day."""

    def verify(project):
        now = clock.now()
        values = {
            "key": project["project_key"],
            "secret_hash": secret_hash(project["project_secret"]),
            "pool": "",
            "now": now,
            "today": now.date(),
            "latest_day": (now + clock.LEEWAY).date(),
        }
        with app.app_context(), db.engine.begin() as connection:
            row = connection.execute(VERIFY_0004, values).first()
        return row and row.request_count

    return verify


def test_nodes_of_0004_verify_exactly_beside_new_ones(api, person, verify_0004, clock, sql):
    project = person.create_project()
    clock.freeze(2026, 3, 7, 12)
    sql("UPDATE projects SET request_max = 5")
    old, new = verify_0004(project), person.verify(project).status_code
    assert (old, new, verify_0004(project)) == (1, 204, 3)
    assert [person.verify(project).status_code for _ in range(3)] == [204, 204, 403]
    assert verify_0004(project) is None
    clock.advance(days=1)
    assert verify_0004(project) == 1
    person.token = login(api).json["data"]["auth_token"]
    days = person.post("/project/usage", {"id": 1, "days": 2}).json["data"]["list"]
    assert [day["requests"] for day in days] == [5, 1]


def test_a_month_knows_the_day_of_the_upgrade(command, person, verify_0004, clock, sql):
    project, other = person.create_project(), person.create_project()
    clock.freeze(2026, 3, 7, 12)
    assert command("db", "downgrade", "0004").exit_code == 0
    assert [verify_0004(project) for _ in range(20)][-1] == 20
    assert command("db", "upgrade").exit_code == 0
    person.verify(other)
    sql("UPDATE projects SET month_max = 25, month_count = month_count + 2 * (id - 1)")
    assert [person.verify(project).status_code for _ in range(6)] == [204] * 5 + [403]
    assert command("db", "upgrade").exit_code == 0  # what is more than the day's count stays
    assert sql("SELECT month_count FROM projects ORDER BY id") == [(25,), (3,)]


@pytest.fixture
def upgrade(database_uri):
    """Return a function that starts the command in a process of its own."""
    environment = {
        **os.environ,
        "GATEWAY_SQLALCHEMY_DATABASE_URI": database_uri,
        "GATEWAY_SECRET_KEY": SECRET_KEY,
    }
    return lambda: subprocess.Popen(
        [BIN / "gateway", "db", "upgrade"],
        cwd=ROOT,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )


@postgres_only
def test_an_upgrade_gives_way_to_traffic(person, command, upgrade, verify_0004, database_uri):
    project = person.create_project()
    assert command("db", "downgrade", "0004").exit_code == 0
    waits, stop = [], threading.Event()

    def ask():
        while not stop.is_set():
            began = time.monotonic()
            verify_0004(project)
            waits.append(time.monotonic() - began)

    traffic = threading.Thread(target=ask)
    with psycopg.connect(database_uri, application_name="report") as reader:
        reader.execute("SELECT count(*) FROM projects")
        traffic.start()
        process = upgrade()
        said = process.stderr.readline()
        pid = reader.info.backend_pid
    try:
        assert f"pid {pid} (report) holds projects" in said
        assert "trying again in 5 s" in said
        assert process.wait(timeout=60) == 0
    finally:
        stop.set()
        traffic.join()
        process.stderr.close()
    assert 0.4 < max(waits) < 5  # seconds: it stood while the upgrade tried to get its locks
    assert person.verify(project).status_code in (204, 403)


@postgres_only
def test_an_upgrade_ends_when_the_locks_stay_held(command, database_uri, monkeypatch, caplog):
    monkeypatch.setattr(schema, "GIVE_UP", 0)
    assert command("db", "downgrade", "0004").exit_code == 0
    with psycopg.connect(database_uri) as reader:
        reader.execute("SELECT count(*) FROM users")
        result = command("db", "upgrade")
    assert (result.exit_code, "nothing was changed: pid" in caplog.text) == (1, True)
    assert command("db", "upgrade").exit_code == 0


def test_migrations_take_their_locks_first():
    for file in Path(schema.__file__).parent.glob("migrations/versions/[1-9]*.py"):
        for name in ("upgrade", "downgrade"):
            body = file.read_text().partition(f"def {name}() -> None:\n")[2]
            assert body.lstrip().startswith("on_postgres = lock()"), file


def test_tables_of_a_newer_version_beside_an_older_revision(client, command, sql):
    ours = schema.latest_revision()
    sql("UPDATE alembic_version SET version_num = '0004'")
    try:
        result = command("db", "upgrade")
        assert (result.exit_code, result.output.count("\n")) == (1, 1)
        assert "drop and create the database, then restore it" in result.output
        doctor = command("doctor").output
        assert "drop and create the database, then restore it" in doctor
        assert "drop and create" in client.get("/readyz").json["header"]["message"]
    finally:
        sql("UPDATE alembic_version SET version_num = :r", r=ours)


@pytest.fixture
def by_the_guide(make_app, cluster, tmp_path, monkeypatch):
    """Return a function that runs commands on a server; ``block`` runs the guide's."""
    cluster.sql("CREATE ROLE gateway LOGIN")
    tools = {
        # sudo -u USER COMMAND: USER is who connects to Postgres.
        "sudo": 'if [ "$1" = -u ]; then export PGUSER=$2; shift 2; fi; exec "$@"',
        "systemctl": '[ "$1" != start ] || exec gateway db upgrade',
    }
    for name, lines in tools.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{lines}\n")
        (tmp_path / name).chmod(0o755)
    paths = (tmp_path, cluster.tools, BIN, os.environ["PATH"])
    settings = {
        "PATH": ":".join(map(str, paths)),
        "PGHOST": "127.0.0.1",
        "PGPORT": str(cluster.port),
        "GATEWAY_SQLALCHEMY_DATABASE_URI": f"postgresql://gateway@127.0.0.1:{cluster.port}/gateway",
        "GATEWAY_SECRET_KEY": SECRET_KEY,
        "GATEWAY_MAIL_SUPPRESS_SEND": "1",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    guide = (ROOT / "gateway/deploy/README.md").read_text()

    def run(block):
        done = subprocess.run(
            ["bash", "-ec", block], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def run_block(*words):
        """Run the one block of commands that holds all of these words."""
        blocks = re.findall(r"```bash\n(.*?)```", guide, re.DOTALL)
        (block,) = [block for block in blocks if all(word in block for word in words)]
        run(block.replace("/var/backups/gateway", str(tmp_path)))

    run.block = run_block
    run.uri = settings["GATEWAY_SQLALCHEMY_DATABASE_URI"].replace("://", "+psycopg://")
    yield run
    cluster.sql("DROP DATABASE gateway WITH (FORCE)")
    cluster.sql("DROP ROLE gateway")


ROWS_OF_0004 = """
INSERT INTO users VALUES (1, 'al', 'al', 'a@x.org', 'a@x.org', '-', false, false, 1, now(), 0,
  NULL);
INSERT INTO projects VALUES (1, 1, 'x', 1, 'abcdefghijklmnop', '-', '', false, now(), 7,
  current_date, 7, 30, NULL)
"""


def rows_of(uri):
    """Return every row of every table."""
    engine = create_engine(uri)
    with engine.connect() as connection:
        rows = {
            name: sorted(map(repr, connection.execute(text(f"SELECT * FROM {name}"))))
            for name in inspect(connection).get_table_names()
        }
    engine.dispose()
    return rows


@pytest.fixture
def runner(by_the_guide, make_app):
    """What runs commands in this process on the guide's database."""
    app = make_app(SQLALCHEMY_DATABASE_URI=by_the_guide.uri)
    yield app.test_cli_runner()
    with app.app_context():
        db.engine.dispose()


@sqlite_only
def test_an_older_backup_is_restored_over_a_newer_database(by_the_guide, runner, tmp_path):
    by_the_guide("sudo -u postgres createdb --owner gateway gateway")
    assert runner.invoke(main, args=["db", "upgrade", "0004"]).exit_code == 0
    by_the_guide(f'sudo -u gateway psql -d gateway -c "{ROWS_OF_0004}"')
    before = rows_of(by_the_guide.uri)
    by_the_guide(f"sudo -u gateway pg_dump -Fc gateway -f {tmp_path}/2026-01-31.dump")
    assert runner.invoke(main, args=["db", "upgrade"]).exit_code == 0
    by_the_guide("sudo -u gateway psql -d gateway -c \"UPDATE users SET user_name = 'changed'\"")
    by_the_guide.block("dropdb", "pg_restore")
    after = rows_of(by_the_guide.uri)
    assert after["alembic_version"] == [f"({schema.latest_revision()!r},)"]
    assert after["owed_mails"] == []
    assert runner.invoke(main, args=["db", "downgrade", "0004"]).exit_code == 0
    assert rows_of(by_the_guide.uri) == before | {"alembic_version": ["('0004',)"]}


@sqlite_only
def test_a_role_that_may_not_create_tables_is_told(by_the_guide, runner):
    by_the_guide("sudo -u postgres createdb gateway")
    client = runner.app.test_client()
    cure = "as a superuser run: GRANT CREATE ON SCHEMA public TO gateway"
    refused = runner.invoke(main, args=["db", "upgrade"])
    assert (refused.exit_code, cure in refused.output) == (1, True)
    assert cure in runner.invoke(main, args=["doctor"]).output
    assert cure in client.get("/readyz").json["header"]["message"]
    through_a_proxy = client.get("/readyz", headers={"X-Forwarded-For": "192.0.2.1"})
    assert "TO gateway" not in through_a_proxy.json["header"]["message"]
    by_the_guide("sudo -u postgres psql -d gateway -c 'GRANT CREATE ON SCHEMA public TO gateway'")
    assert runner.invoke(main, args=["db", "upgrade"]).exit_code == 0


@sqlite_only
def test_recipes_of_the_guide(by_the_guide, runner):
    by_the_guide("sudo -u postgres createdb --owner gateway gateway")
    assert runner.invoke(main, args=["db", "upgrade"]).exit_code == 0
    for name in ("lory", "mallory"):
        create = ["user", "create", name, f"{name}@example.com", "--password-stdin"]
        assert runner.invoke(main, args=create, input="violet harbour 77").exit_code == 0
    for words in ("user unlock lory", "usage --today", "secret-key rotate"):
        by_the_guide.block(words)
    assert re.search("banned *yes", runner.invoke(main, args=["user", "show", "mallory"]).output)
