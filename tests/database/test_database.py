"""The schema and the connections, on both databases."""

import os
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError, StatementError
from support.helpers import SECRET_KEY, sqlite_only

from gateway.auth.models import MailCode, RevokedToken
from gateway.db import db
from gateway.db.schema import latest_revision

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


def test_latest_revision_is_the_head_of_alembic(app):
    assert latest_revision() == ScriptDirectory(f"{ROOT}/gateway/db/migrations").get_current_head()


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
    before = person.projects()
    assert command("db", "downgrade", "0004").exit_code == 0
    assert command("db", "upgrade").exit_code == 0
    assert person.projects() == before
    assert person.verify(made).status_code == 204
    assert person.create_project().keys() == made.keys()
    assert [command("db", "downgrade").exit_code for _ in range(2)] == [0, 1]  # 0004 is the first
    assert command("db", "upgrade").exit_code == 0
    assert len(person.projects()) == 2


def test_a_schema_before_the_first_is_said(command, sql):
    assert command("db", "downgrade", "0004").exit_code == 0
    sql("UPDATE alembic_version SET version_num = '0003'")
    for words in (["db", "upgrade"], ["doctor"]):
        result = command(*words)
        assert result.exit_code == 1
        for said in ("older than that of 0.1.0", "upgrade with version 0.1.0 first"):
            assert said in result.output


def test_nodes_can_migrate_at_the_same_time(database_uri, app, command):
    assert command("db", "downgrade", "0004").exit_code == 0
    environment = {
        **os.environ,
        "GATEWAY_SQLALCHEMY_DATABASE_URI": database_uri,
        "GATEWAY_SECRET_KEY": SECRET_KEY,
    }
    call = [Path(sys.prefix) / "bin" / "gateway", "db", "upgrade"]
    nodes = [subprocess.Popen(call, cwd=ROOT, env=environment) for _ in range(2)]
    assert [node.wait(timeout=120) for node in nodes] == [0, 0]
    assert app.test_client().get("/readyz").status_code == 200


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


@sqlite_only
def test_pragmas_of_sqlite_connections(app, person):
    person.verify(person.create_project())  # which changes the wait
    with app.app_context():
        values = [
            db.session.scalar(text(f"PRAGMA {pragma}"))
            for pragma in ("journal_mode", "foreign_keys", "busy_timeout")
        ]
    assert values == ["wal", 1, 5000]


@sqlite_only
def test_processes_that_read_and_write_lose_no_update(database_uri, app, person, sql):
    call = [sys.executable, "-c", ADD_ONE, database_uri]
    processes = [subprocess.Popen(call, cwd=ROOT) for _ in range(2)]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    assert sql("SELECT live_projects FROM users") == [(200,)]
