"""Databases that answer but cannot serve: readyz tells, and the service finds the right one."""

import json
import time
from datetime import datetime, timezone

import pytest
from sqlalchemy import text
from sqlalchemy.exc import InternalError
from support.helpers import SECRET_KEY, TIMEOUT, code_of, postgres_only, sqlite_only, until

from gateway import create_app
from gateway.db import db, postgres
from gateway.db.postgres import server
from gateway.db.schema import latest_revision
from gateway.ops.cli import main


@pytest.fixture
def served(cluster, make_app, sign_up):
    """A person with a project on that server."""
    app = make_app(SQLALCHEMY_DATABASE_URI=cluster.uri(), REQUEST_MAX=0)
    cluster.sql(
        "TRUNCATE users, mail_codes, throttle_counts, stored_values RESTART IDENTITY CASCADE"
    )
    person = sign_up(client=app.test_client())
    person.project = person.create_project()
    yield person
    server.standby.__init__()


def ready(person):
    return person.client.get("/readyz").status_code


@postgres_only
def test_a_server_that_becomes_read_only_is_left(cluster, served):
    assert served.verify(served.project).status_code == 204
    cluster.set(default_transaction_read_only="on")
    until(lambda: ready(served) == 503, seconds=10)
    for _ in range(5):
        reply = served.verify(served.project)
        assert (reply.status_code, code_of(reply)) == (503, 501)
    # A standby may be behind and would let a revoked token pass, so it is not even read.
    assert code_of(served.post("/project/list")) == 501
    cluster.reset()
    until(lambda: served.verify(served.project).status_code == 204, seconds=10)
    until(lambda: ready(served) == 200, seconds=10)  # 5 s after a write that failed


@postgres_only
def test_error_25006_gives_up_every_connection(cluster, served, make_app):
    app = served.client.application
    with app.app_context():
        engine = db.engine
        others = [engine.raw_connection() for _ in range(3)]
        old = {other.dbapi_connection for other in others}
        for other in others:
            other.close()
        with engine.connect() as connection:
            connection.exec_driver_sql("SET TRANSACTION READ ONLY")
            with pytest.raises(InternalError, match="read-only"):
                connection.execute(text("DELETE FROM stored_values"))
        others = [engine.raw_connection() for _ in range(3)]
        assert not old & {other.dbapi_connection for other in others}
        for other in others:
            other.close()


@postgres_only
def test_a_lost_synchronous_standby_does_not_stop_verify(cluster, served, monkeypatch, sql):
    monkeypatch.setattr(postgres, "ANSWER_TIMEOUT", 1)
    cluster.set(synchronous_standby_names="gone")
    first = served.verify(served.project)
    start = time.monotonic()
    others = [served.verify(served.project).status_code for _ in range(20)]
    assert (first.status_code, set(others)) == (204, {204})
    assert time.monotonic() - start < 15  # each that waits for the standby takes a second
    total = cluster.sql("SELECT request_total FROM projects")
    assert total == [(21,)]
    # What is answered 0 must be on the standby, too, so this is refused.
    assert code_of(served.post("/project/create", {"project_type": 1, "project_name": "x"})) == 501
    cluster.reset()
    monkeypatch.setattr(server, "STANDBY_RETRY", 0)
    until(lambda: served.verify(served.project).status_code == 204, seconds=10)
    assert "project_key" in served.create_project()


@postgres_only
def test_a_statement_that_waits_for_a_lock_is_not_counted_later(cluster, served, monkeypatch):
    monkeypatch.setattr(postgres, "ANSWER_TIMEOUT", 1)
    import psycopg  # noqa: PLC0415 - only this test

    with psycopg.connect(cluster.uri()) as other:
        other.execute("SELECT * FROM projects FOR UPDATE")
        assert served.verify(served.project).status_code == 503
    assert served.verify(served.project).status_code == 204
    assert cluster.sql("SELECT request_total FROM projects") == [(1,)]


def test_a_newer_schema_is_ready_where_this_version_can_serve(app, client, sql, command):
    ours = latest_revision()
    newer, breaking = f"{ours[0]}999", f"{int(ours[0]) + 1}999"
    try:
        sql("UPDATE alembic_version SET version_num = :r", r=newer)
        assert client.get("/readyz").status_code == 200
        result = command("db", "upgrade")
        assert (result.exit_code, "which can serve it" in result.output) == (0, True)
        sql("UPDATE alembic_version SET version_num = :r", r=breaking)
        assert client.get("/readyz").status_code == 503
        result = command("db", "upgrade")
        assert (result.exit_code, result.output.count("\n")) == (1, 1)
        sql("UPDATE alembic_version SET version_num = '0001'")
        assert client.get("/readyz").status_code == 503
    finally:
        sql("UPDATE alembic_version SET version_num = :r", r=ours)


@sqlite_only
def test_nodes_with_different_time_zones(start_service, database_uri, make_app, monkeypatch):
    service = start_service(workers=1, TIMEZONE="Asia/Shanghai")
    assert service.server.post("/login", {})[0] == 400
    other = start_service.another(TIMEZONE="UTC")
    other.wait_for("gateway cannot start: TIMEZONE is UTC here, but Asia/Shanghai in the database")
    assert other.process.wait(timeout=TIMEOUT) == 3
    other.process.stdout.close()
    runner = make_app(TIMEZONE="UTC").test_cli_runner()
    refused = runner.invoke(main, args=["db", "upgrade"])
    assert refused.exit_code == 3
    service.server.stop()
    changed = runner.invoke(main, args=["set-timezone", "--yes"])
    assert (changed.exit_code, "before: Asia/Shanghai" in changed.output) == (0, True)
    assert make_app(TIMEZONE="UTC").test_client().get("/readyz").status_code == 200


@pytest.mark.parametrize("zones", [("UTC", "Asia/Shanghai"), ("Asia/Shanghai", "UTC")])
def test_a_change_of_the_time_zone_gives_no_second_quota(make_app, sign_up, clock, zones, sql):
    clock.freeze(2024, 3, 7, 20)  # the 8th in Shanghai
    person = sign_up(client=make_app(TIMEZONE=zones[0], REQUEST_MAX=2).test_client())
    project = person.create_project()
    sql("INSERT INTO stored_values (name, value) VALUES ('TIMEZONE', :zone)", zone=zones[0])
    assert [person.verify(project).status_code for _ in range(3)] == [204, 204, 403]
    app = make_app(TIMEZONE=zones[1], REQUEST_MAX=2)
    result = app.test_cli_runner().invoke(main, args=["set-timezone", "--yes"])
    assert result.exit_code == 0, result.output
    person.client = app.test_client()
    assert person.verify(project).status_code == 403
    clock.frozen = datetime(2024, 3, 9, 0, tzinfo=timezone.utc)
    assert person.verify(project).status_code == 204


@postgres_only
def test_a_small_pool_and_a_hung_server(cluster, make_app, served):
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - only this test

    import psycopg  # noqa: PLC0415 - only this test

    app = make_app(
        SQLALCHEMY_DATABASE_URI=cluster.uri(),
        REQUEST_MAX=0,
        SQLALCHEMY_ENGINE_OPTIONS={"pool_size": 1, "max_overflow": 0},
    )
    served.client = app.test_client()
    with psycopg.connect(cluster.uri()) as other, ThreadPoolExecutor(12) as threads:
        other.execute("LOCK TABLE projects, revoked_tokens")

        def ask(number):
            start = time.monotonic()
            reply = served.verify(served.project) if number % 2 else served.post("/project/list")
            return code_of(reply), time.monotonic() - start

        answers = list(threads.map(ask, range(24)))
    assert {code for code, _ in answers} == {501}
    assert max(seconds for _, seconds in answers) < 10
    with app.app_context():
        db.engine.dispose()


def test_commands_of_a_server_that_only_reads_print_one_line(cluster, tmp_path):
    cluster.set(default_transaction_read_only="on")
    app = create_app({"SQLALCHEMY_DATABASE_URI": cluster.uri(), "SECRET_KEY": SECRET_KEY})
    commands = (
        f"user list;purge;db upgrade;db current;copy-from {cluster.uri()};backup {tmp_path}/x"
    )
    for command in ("set-timezone --yes", *commands.split(";")):
        result = app.test_cli_runner().invoke(main, args=command.split())
        assert result.exit_code == 1, command
        assert isinstance(result.exception, SystemExit | None), command
        assert result.output.count("\n") <= 1


def test_a_limit_of_connections_is_one_finding_with_its_cure(cluster):
    cluster.sql("CREATE ROLE few LOGIN CONNECTION LIMIT 0")
    try:
        uri = cluster.uri().replace("//postgres@", "//few@")
        app = create_app({"SQLALCHEMY_DATABASE_URI": uri, "SECRET_KEY": SECRET_KEY})
        found = json.loads(app.test_cli_runner().invoke(main, args=["doctor", "--json"]).stdout)
    finally:
        cluster.sql("DROP ROLE few")
    (fault,) = [finding for finding in found if finding["state"] == "FAULT"]
    assert "too many connections" in fault["what"]
    assert fault["fix"].startswith("raise max_connections or the role's limit")
