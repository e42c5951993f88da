"""Backups and copies are complete, and the service works with them."""

import sqlite3
from contextlib import closing
from datetime import datetime, timezone

import pytest
from sqlalchemy import text
from support.helpers import NO_SQLITE, PASSWORD, code_of, postgres_only, sqlite_only

from gateway.db import db
from gateway.mail import outbox as owed
from gateway.ops.cli import main
from gateway.ops.copy import copy_from

MANY = 2_500  # more than are copied at once


@pytest.fixture
def target_uri(database_uri, request):
    """An empty database of the other kind."""
    other = "postgres" if database_uri.startswith("sqlite") else "sqlite"
    return request.getfixturevalue(f"{other}_uri")


@pytest.fixture
def target(make_app, target_uri):
    return make_app(SQLALCHEMY_DATABASE_URI=target_uri)


@pytest.fixture
def world(person, sign_up, command, api, sql, monkeypatch):
    """A database with rows in every table."""
    command("pool", "add", "gone")
    command("pool", "remove", "gone")
    command("pool", "add", "blue")
    sign_up("王小明", "wang@126.com").post("/platform/logout")
    project = person.create_project()
    person.verify(project)
    command("project", "assign", 1, "blue")
    person.post("/project/rotate", {"id": 1, "grace_hours": 24})
    sql(
        "INSERT INTO projects (user_id, project_name, project_type, project_key, secret_hash,"
        " sealed_secret, deleted, created_at, request_total, request_day, request_count,"
        " request_max)"
        " WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :many)"
        " SELECT user_id, '项目' || i, i, 'key' || i, secret_hash, sealed_secret, i % 3 = 0,"
        " created_at, 3000000000 + i, request_day, i % 7, 30 FROM n, projects WHERE id = 1",
        many=MANY - 1,
    )
    sql(
        "INSERT INTO project_days (project_id, user_id, day, requests, expires_at)"
        " VALUES (1, 1, '2024-03-07', 12, '2031-01-01 00:00:00.000000')"
    )
    person.project = person.create_project("the last")
    person.create_project()
    sql("DELETE FROM projects WHERE id IN (2000, :last)", last=MANY + 2)  # is not used again
    sql("INSERT INTO stored_values (name, value) VALUES ('TIMEZONE', 'UTC')")
    api("/auth-code", {"user_name": "x", "email": "x@126.com"})
    api("/login", {"user_name": "lory", "password": "not this one"})
    monkeypatch.setattr(owed, "send_soon", lambda: None)
    api("/reset-code", {"email": "x@126.com"})
    person.old = project
    return person


def in_utc(value):
    """Databases name the time zone of a moment differently."""
    return value.astimezone(timezone.utc) if isinstance(value, datetime) else value


def tables_of(app):
    with app.app_context(), db.engine.connect() as connection:
        return {
            table.name: sorted(
                str(list(map(in_utc, row))) for row in connection.execute(table.select())
            )
            for table in db.metadata.sorted_tables
        }


def copy(target, source_uri):
    return target.test_cli_runner().invoke(main, args=["copy-from", source_uri])


def test_copy_everything_and_continue_there(world, app, target, database_uri, relay):
    result = copy(target, database_uri)
    assert result.exit_code == 0, result.output
    printed = dict(line.split() for line in result.output.splitlines()[1:])
    assert printed["projects"] == str(MANY)
    assert printed["users"] == "2"
    assert printed["pools"] == "1"
    before, after = tables_of(app), tables_of(target)
    assert {name: len(rows) for name, rows in before.items()} == {
        name: int(count) for name, count in printed.items()
    }
    assert min(map(len, before.values())) >= 1
    assert before == after
    page = world.projects(page_size=1)
    assert page[0]["pool_name"] == "blue"
    world.client = target.test_client()
    assert world.projects(page_size=1) == page
    for project in (world.project, world.old):  # the old secret, too
        assert world.verify(project).status_code == 204
    assert len(world.create_project("new")["project_key"]) == 16
    assert rows_of(target, "SELECT max(id) FROM projects") == [(MANY + 3,)]
    assert world.operate("pool", "add", "new") == "new: added\n"
    assert rows_of(target, "SELECT id FROM pools WHERE pool_name = 'new'") == [(3,)]
    account = {"user_name": "x", "email": "x@126.com", "password": PASSWORD}
    code = relay.codes["x@126.com"]
    reply = world.client.post("/api/v1/register", json={**account, "reg_code": code})
    assert code_of(reply) == 0
    world.sign_in()


def rows_of(app, query):
    with app.app_context():
        return [tuple(row) for row in db.session.execute(text(query))]


def test_copy_reads_one_moment_of_all_tables(person, target, database_uri, sql):
    """All tables are read as of the moment when the copy started."""

    def write_meanwhile(_done, _total):
        sql("UPDATE users SET user_name = 'changed meanwhile'")
        sql("DELETE FROM throttle_counts")

    with target.app_context():
        copy_from(database_uri, write_meanwhile)
    assert sql("SELECT user_name FROM users") == [("changed meanwhile",)]
    assert rows_of(target, "SELECT user_name FROM users") == [("lory",)]
    assert len(rows_of(target, "SELECT * FROM throttle_counts")) >= 1


ALTERS_ROWS = {
    "sqlite": "CREATE TRIGGER alters AFTER INSERT ON users BEGIN UPDATE users SET email = ''; END",
    "postgresql": "CREATE RULE alters AS ON INSERT TO users DO ALSO UPDATE users SET email = ''",
}


def test_copy_that_differs_is_undone(person, target, database_uri):
    with target.app_context(), db.engine.begin() as connection:
        connection.execute(text(ALTERS_ROWS[db.engine.dialect.name]))
    result = copy(target, database_uri)
    assert result.exit_code == 1
    assert "users is not the same on both sides; nothing was copied" in result.output
    assert set(map(len, tables_of(target).values())) == {0}


def test_copy_refuses_bad_source_or_target(person, app, target, target_uri, database_uri, make_app):
    def refusal(uri, into=target):
        result = copy(into, uri)
        assert result.exit_code == 1
        return result.output

    assert "The source must be an sqlite:/// or postgresql:// URL" in refusal("mysql://x")
    assert "There is no file at the source's URL" in refusal(NO_SQLITE)
    dead = refusal("postgresql://u:the-password@127.0.0.1:1/x")
    assert "The source does not answer; check its URL" in dead
    assert "the-password" not in dead
    assert "The target is not empty: " in refusal(database_uri, into=app)
    person.create_project()
    other = make_app(SQLALCHEMY_DATABASE_URI=target_uri, SECRET_KEY="another secret" * 3)
    assert "This SECRET_KEY does not open the secrets" in refusal(database_uri, into=other)
    assert set(map(len, tables_of(target).values())) == {0}


def test_copy_refuses_a_source_with_another_schema(app, target, database_uri, sql):
    ((current,),) = sql("SELECT version_num FROM alembic_version")
    sql("UPDATE alembic_version SET version_num = '0001'")
    try:
        result = copy(target, database_uri)
    finally:
        sql("UPDATE alembic_version SET version_num = :current", current=current)
    assert "Error: The source's schema is not current; run db upgrade there first" in result.output


def test_source_from_the_environment(person, target, database_uri):
    result = target.test_cli_runner().invoke(
        main, args=["copy-from"], env={"COPY_FROM": database_uri}
    )
    assert result.exit_code == 0, result.output


# Backups


@sqlite_only
def test_backup_while_in_use_and_restore(app, person, command, tmp_path, make_app):
    made = person.create_project()
    file = tmp_path / "backup.db"
    with closing(sqlite3.connect(tmp_path / "gateway.db")) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM users").fetchone()
        result = command("backup", file)
    assert result.exit_code == 0
    assert result.output.startswith(f"{file}: ")
    assert file.stat().st_mode & 0o777 == 0o600
    assert {path.name for path in tmp_path.glob("*backup*")} == {"backup.db"}
    person.create_project("after the backup")
    restored = make_app(SQLALCHEMY_DATABASE_URI=f"sqlite:///{file}").test_client()
    headers = {"Authorization": person.token}
    page = restored.post("/api/v1/project/list", headers=headers).json
    assert [p["project_secret"] for p in page["data"]["list"]] == [made["project_secret"]]
    assert restored.get("/readyz").status_code == 200


@sqlite_only
def test_backup_does_not_overwrite(command, person, tmp_path):
    file = tmp_path / "precious"
    file.write_text("precious")
    result = command("backup", file)
    assert result.exit_code == 1
    assert result.output == f"Error: {file} is there already; a backup is a new file\n"
    assert file.read_text() == "precious"
    result = command("backup", tmp_path / "nowhere" / "x.db")
    assert (result.exit_code, "No such file or directory" in result.output) == (1, True)


@postgres_only
def test_backup_of_postgres_is_refused(command, tmp_path):
    for arguments in ([tmp_path / "x"], ["--keep", "2", tmp_path]):
        result = command("backup", *arguments)
        assert (result.exit_code, "pg_dump makes its backups" in result.output) == (1, True)
    assert not (tmp_path / "x").exists()
