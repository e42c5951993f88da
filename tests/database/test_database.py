"""The schema and the connections, on both databases."""

import os
import subprocess
import sys
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.exc import IntegrityError, StatementError
from support.helpers import NO_SQLITE, SECRET_KEY, postgres_only, sqlite_only

from gateway.auth.models import MailCode, RevokedToken
from gateway.db import db
from gateway.db.schema import latest_revision as latest_version
from gateway.ops.cli import main

ROOT = Path(__file__).parents[2]

ADD_ONE = """
import sys
from gateway import create_app
from gateway.db import db
from sqlalchemy import text
app = create_app({"SQLALCHEMY_DATABASE_URI": sys.argv[1], "SECRET_KEY": "x" * 32})
for _ in range(100):
    with app.app_context():
        live = db.session.scalar(text("SELECT live_projects FROM users"))
        db.session.execute(text("UPDATE users SET live_projects = live_projects + 1"))
        db.session.commit()
"""


def test_migrations_create_the_tables_of_the_models(app):
    with app.app_context(), db.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, db.metadata) == []


def test_downgrade_and_upgrade(app, command):
    assert command("db", "downgrade", "base").exit_code == 0
    with app.app_context():
        assert set(inspect(db.engine).get_table_names()) == {"alembic_version"}
    assert command("db", "upgrade").exit_code == 0
    with app.app_context():
        assert "projects" in inspect(db.engine).get_table_names()


def test_latest_version_is_the_head_of_alembic(app):
    assert latest_version() == ScriptDirectory(f"{ROOT}/gateway/db/migrations").get_current_head()


def test_server_does_not_load_alembic(tmp_path):
    code = "import sys, wsgi; sys.exit('alembic' in sys.modules)"
    environment = {**os.environ, "GATEWAY_INSTANCE_PATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=False)
    assert done.returncode == 0


def test_projects_survive_downgrade_and_upgrade(app, person, command):
    made = person.create_project()
    command("pool", "add", "blue")
    command("project", "assign", 1, "blue")
    person.verify(made)
    (before,) = person.projects()
    assert command("db", "downgrade", "0001").exit_code == 0
    assert command("db", "upgrade").exit_code == 0
    (after,) = person.projects()
    templates = ["https://api.hobbychain.org//rpc", "wss://api.hobbychain.org//ws"]
    assert after == {**before, "pool_id": 0, "pool_name": "", "end_points": templates}
    assert person.verify(made).status_code == 204
    assert person.create_project().keys() == made.keys()


def test_nodes_can_migrate_at_the_same_time(database_uri, app, command):
    assert command("db", "downgrade", "base").exit_code == 0
    environment = {
        **os.environ,
        "GATEWAY_SQLALCHEMY_DATABASE_URI": database_uri,
        "GATEWAY_SECRET_KEY": SECRET_KEY,
    }
    call = [Path(sys.prefix) / "bin" / "gateway", "db", "upgrade"]
    nodes = [subprocess.Popen(call, cwd=ROOT, env=environment) for _ in range(3)]
    assert [node.wait(timeout=120) for node in nodes] == [0, 0, 0]
    with app.app_context():
        assert "projects" in inspect(db.engine).get_table_names()


def test_times_are_read_back_in_utc(app):
    shanghai = timezone(timedelta(hours=8))
    moment = datetime(2024, 3, 7, 23, 44, 43, tzinfo=shanghai)
    with app.app_context():
        db.session.add(RevokedToken(jti="x", expires_at=moment))
        db.session.commit()
        db.session.expire_all()
        stored = db.session.get(RevokedToken, "x").expires_at
    assert stored == moment
    assert stored.utcoffset() is not None


def test_time_without_time_zone_is_refused(app):
    with app.app_context():
        db.session.add(RevokedToken(jti="x", expires_at=datetime(2024, 3, 7)))  # noqa: DTZ001
        with pytest.raises(StatementError, match="without a time zone"):
            db.session.commit()


def test_database_errors_do_not_show_parameters(app):
    row = {
        "purpose": "register",
        "email_key": "a@b.com",
        "code_hash": "secret-hash",
        "expires_at": datetime(2024, 3, 7, tzinfo=timezone.utc),
    }
    with app.app_context():
        db.session.add(MailCode(**row))
        db.session.commit()
        db.session.expunge_all()
        db.session.add(MailCode(**row))
        with pytest.raises(IntegrityError) as error:
            db.session.commit()
    assert "secret-hash" not in str(error.value)


@postgres_only
def test_options_in_a_postgres_url_are_kept(database_uri, make_app):
    app = make_app(SQLALCHEMY_DATABASE_URI=database_uri + "&options=-csearch_path%3Dpublic,foo")
    with app.app_context():
        assert db.session.scalar(text("SHOW search_path")) == "public,foo"


def test_operator_command_without_database_prints_one_line(make_app):
    runner = make_app(SQLALCHEMY_DATABASE_URI=NO_SQLITE).test_cli_runner()
    result = runner.invoke(main, args=["user", "ban", "lory"])
    assert result.exit_code == 1
    assert result.output.startswith("Error: ")
    assert len(result.output.splitlines()) == 1


@sqlite_only
def test_pragmas_of_sqlite_connections(app, person):
    project = person.create_project()
    with app.app_context():
        # First after verify, which changes a pragma, then after another statement.
        db.session.execute(text("DELETE FROM revoked_tokens"))
        db.session.commit()
        person.verify(project)
        values = {
            pragma: db.session.scalar(text(f"PRAGMA {pragma}"))
            for pragma in ("journal_mode", "foreign_keys", "busy_timeout")
        }
        db.session.execute(text("DELETE FROM revoked_tokens"))
        values["synchronous"] = db.session.scalar(text("PRAGMA synchronous"))
    full = 2
    assert values == {
        "journal_mode": "wal",
        "synchronous": full,
        "foreign_keys": 1,
        "busy_timeout": 5000,
    }


@sqlite_only
def test_locked_database_is_reported_in_time(database_uri, person, monkeypatch):
    project = person.create_project()
    monkeypatch.setattr("gateway.db.sqlite.LOCK_TIMEOUT", 1)
    other = create_engine(database_uri)
    with other.connect() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        for ask in (person.create_project, lambda: person.verify(project).json["data"]):
            start = time.monotonic()
            assert ask() == {}
            assert 0.8 < time.monotonic() - start < 5
        connection.rollback()
    other.dispose()
    assert person.verify(project).status_code == 204
    assert len(person.projects()) == 1


def test_processes_that_read_and_write_lose_no_update(database_uri, app, person, sql):
    processes = [
        subprocess.Popen([sys.executable, "-c", ADD_ONE, database_uri], cwd=ROOT) for _ in range(3)
    ]
    assert [process.wait(timeout=120) for process in processes] == [0, 0, 0]
    assert sql("SELECT live_projects FROM users") == [(300,)]


@sqlite_only
def test_readers_do_not_wait_for_a_writer(database_uri, person):
    other = create_engine(database_uri)
    with other.connect() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        assert person.projects() == []
        connection.rollback()
    other.dispose()
