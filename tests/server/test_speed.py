"""How many statements a request may need, and their plans; make bench measures times."""

import re
import sqlite3
from unittest import mock

import psycopg
import pytest
from sqlalchemy import text
from support.helpers import (
    NO_POSTGRES,
    PASSWORD,
    code_of,
    postgres_only,
    sqlite_only,
)

from gateway.db import db, sqlite
from gateway.server import gunicorn
from gateway.testing.mailbox import wait_for_background

GROWING = {*("users", "projects", "revoked_tokens", "throttle_counts", "mail_codes")}
# 2,000 accounts with five projects each, one of them deleted; enough rows for the planner.
PEOPLE = """
INSERT INTO users (user_name, name_key, email, email_key, password_hash, is_admin, is_banned,
  live_projects, created_at, token_generation)
SELECT 'u' || i, 'u' || i, 'u' || i, 'u' || i, 'x', FALSE, FALSE, 4, '2026-11-24 00:00:00', 0 FROM n
"""
PROJECTS = """
INSERT INTO projects (user_id, project_name, project_type, project_key, secret_hash, sealed_secret,
  deleted, created_at, request_total, request_count, request_max)
SELECT 10 + i % 2000, 'x', 1, 'key-' || i, 'x', 'x', i % 5 = 0, '2026-11-24 00:00:00', 0, 0, 30
FROM n
"""
TOKENS = "INSERT INTO revoked_tokens SELECT 'jti-' || i, '2099-11-24 00:00:00' FROM n"
COUNTS = """
INSERT INTO throttle_counts (key, name, account, count, expires_at)
SELECT 'key-' || i, 'login-account', i, 1, '2099-11-24 00:00:00' FROM n
"""
CODES = """
INSERT INTO mail_codes (purpose, email_key, asker, code_hash, tries, other_tries, expires_at)
SELECT 'register', 'u' || i, '', 'x', 0, 0, '2099-11-24 00:00:00' FROM n
"""


def numbers(dialect, insert, count):
    """Add the table n, with the numbers up to ``count``, to an INSERT ... SELECT."""
    series = {
        "sqlite": f"RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})",
        "postgresql": f"n(i) AS (SELECT generate_series(1, {count}))",
    }[dialect]
    if dialect == "postgresql":
        insert = re.sub("('2[^']*')", r"CAST(\1 AS TIMESTAMP)", insert)
    return insert.replace("SELECT", f"WITH {series} SELECT", 1)


@pytest.fixture
def crowded(app, person):
    """Fill every table that grows with use."""
    with app.app_context():
        with db.engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("ALTER SEQUENCE users_id_seq RESTART WITH 10"))
            else:
                connection.execute(text("UPDATE sqlite_sequence SET seq = 9 WHERE name = 'users'"))
            for insert, count in (
                (PEOPLE, 2000),
                (PROJECTS, 10_000),
                (TOKENS, 2000),
                (COUNTS, 2000),
                (CODES, 2000),
            ):
                connection.execute(text(numbers(connection.dialect.name, insert, count)))
        with db.engine.begin() as connection:
            connection.execute(text("ANALYZE"))


@pytest.fixture
def day(crowded, person, statements):
    """Return the statements of each path: {name: statements}."""
    project = person.create_project()
    other = person.create_project()
    sent = {}

    def note(name, reply, code=0):
        assert reply.status_code == 204 or code_of(reply) == code
        sent[name] = statements()

    statements()
    note("verify", person.verify(project))
    note("verify refused", person.verify(project, secret="x" * 48), 1001)
    note("list", person.post("/project/list"))
    note("list past the end", person.post("/project/list", {"page_no": 9}))
    note("create", person.post("/project/create", {"project_type": 1, "project_name": "x"}))
    note("rotate", person.post("/project/rotate", {"id": 10_001}), 0)
    note("delete", person.post("/project/delete", {"id": 10_002}), 0)
    assert other
    wrong = {"user_name": person.user_name, "password": "x" * 32}
    note("login", person.client.post("/api/v1/login", json={**wrong, "password": PASSWORD}))
    note("login refused", person.client.post("/api/v1/login", json=wrong), 1002)
    body = {"email": person.email}
    note("reset-code", person.post("/reset-code", body))
    wait_for_background()
    wrong_code = {**body, "reg_code": "00000000", "password": "x" * 32}
    note("reset-password", person.post("/reset-password", wrong_code), 1008)
    note("auth-code", person.post("/auth-code", {"user_name": "new", "email": "new@126.com"}))
    note("logout", person.post("/platform/logout"))
    return sent


# The token check is one statement; a refusal of verify reads once more, to find the reason.
COSTS = {
    "verify": 1,
    "verify refused": 2,
    "list": 1,
    "list past the end": 1,
    "create": 4,
    "rotate": 2,
    "delete": 3,
    "logout": 2,
}


def test_number_of_statements_per_request(day):
    assert {name: len(day[name]) for name in COSTS} == COSTS


def test_every_connection_is_returned_to_the_pool(app, day):
    with app.app_context():
        db.session.remove()
        assert day
        assert db.engine.pool.checkedout() == 0


def test_failed_connection_does_not_use_up_the_pool(person, make_app):
    nowhere = make_app(
        SQLALCHEMY_DATABASE_URI=NO_POSTGRES,
        SQLALCHEMY_ENGINE_OPTIONS={"pool_size": 1, "max_overflow": 0, "pool_timeout": 0},
    )
    for _ in range(2):
        headers = {"Authorization": person.token}
        refused = nowhere.test_client().post("/api/v1/project/list", headers=headers)
        assert code_of(refused) == 501
    with nowhere.app_context():
        assert db.engine.pool.checkedout() == 0


def plan_of(statement, connection):
    """Return the plan as text."""
    if isinstance(connection, psycopg.Connection):
        lines = connection.execute(f"EXPLAIN {statement}", statement.params)
        return "\n".join(line for (line,) in lines)
    # Python 3.10 does not log the values; the plan does not depend on them.
    bare = re.sub(r":[a-z_]\w*|\?", "NULL", statement)
    return "\n".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {bare}"))


@pytest.fixture
def plans(app, day):
    """Return the plan of every statement that was sent."""
    with app.app_context():
        borrowed = db.engine.raw_connection()
    connection = borrowed.driver_connection
    if isinstance(connection, psycopg.Connection):
        # Postgres reads small tables completely; now it does so only where no index fits.
        connection.execute("SET enable_seqscan = off")
    else:
        connection.set_trace_callback(None)
    found = {
        name: [plan_of(statement, connection) for statement in list(sent)]
        for name, sent in day.items()
    }
    if isinstance(connection, psycopg.Connection):
        connection.execute("RESET enable_seqscan")
    borrowed.close()
    return found


def test_no_statement_scans_a_growing_table(plans):
    scanned = [
        (name, plan)
        for name, of_path in plans.items()
        for plan in of_path
        if set(re.findall(r"(?:Seq Scan on|SCAN) (\w+)", plan)) & GROWING
    ]
    assert scanned == []
    assert all(plans.values())


def test_list_uses_its_index(plans):
    """The index is in the order of the list, so only the rows of the page are read."""
    (page,) = plans["list"]
    assert "ix_projects_live" in page


def test_pool_keeps_a_connection_for_each_thread(app):
    """Without it, the next request would have to log in to the database again."""
    with app.app_context():
        borrowed = [db.engine.connect() for _ in range(gunicorn.threads)]
        for connection in borrowed:
            connection.close()
        assert db.engine.pool.checkedin() == gunicorn.threads


@postgres_only
def test_only_long_unused_connections_are_pinged(app, person, monkeypatch):
    project = person.create_project()
    with app.app_context():
        dialect = db.engine.dialect
    with mock.patch.object(dialect, "do_ping", wraps=dialect.do_ping) as ping:
        person.verify(project)
        assert ping.call_count == 0
        monkeypatch.setattr("gateway.db.postgres.IDLE_LIMIT", -1)
        assert person.verify(project).status_code == 204
        assert ping.call_count == 1
        ping.side_effect = psycopg.OperationalError("gone")
        assert person.verify(project).status_code == 204  # on a new connection


@sqlite_only
def test_write_waits_for_a_locked_database(app, person, monkeypatch):
    """Another process holds the lock; reads still work."""
    project = person.create_project()
    with app.app_context():
        other = sqlite3.connect(db.engine.url.database, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    pauses = []

    def pause(seconds):
        pauses.append(seconds)
        if len(pauses) == 12:
            other.execute("ROLLBACK")

    monkeypatch.setattr("gateway.db.sqlite.time.sleep", pause)
    assert code_of(person.post("/project/list")) == 0
    assert not pauses
    assert person.verify(project).status_code == 204
    assert len(pauses) == 12
    assert pauses[0] <= 0.0001 < pauses[-1] <= 0.005
    monkeypatch.setattr("gateway.db.sqlite.LOCK_TIMEOUT", 0)
    other.execute("BEGIN IMMEDIATE")
    assert person.verify(project).status_code == 503
    assert code_of(person.post("/project/create", {"project_type": 1, "project_name": "x"})) == 501
    other.close()


@sqlite_only
def test_write_fails_after_waiting_too_long_for_other_threads(person, monkeypatch):
    project = person.create_project()
    monkeypatch.setattr("gateway.db.sqlite.WRITE_LOCK_TIMEOUT", 0.1)
    with sqlite.write_lock:
        refused = person.verify(project)
        page = person.post("/project/list")
    assert (refused.status_code, code_of(refused)) == (503, 501)
    assert code_of(page) == 0
    assert person.verify(project).status_code == 204
