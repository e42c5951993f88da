"""readyz and doctor say whether the database takes writes, and why not."""

import json

import pytest
from sqlalchemy import create_engine, text
from support.helpers import SECRET_KEY, postgres_only, sqlite_only

from gateway.db import db, readiness, shared, sqlite

PROXY = {"X-Forwarded-For": "203.0.113.7"}
ROW = "SELECT value FROM stored_values WHERE name = 'readyz'"
# A full disk answers reads, and refuses a write in these words.
FULL = {
    "sqlite": [
        f"CREATE TRIGGER full_{event} BEFORE {event} ON stored_values"
        " BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END"
        for event in ("INSERT", "UPDATE")
    ],
    "postgresql": [
        "CREATE FUNCTION no_space() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE"
        " EXCEPTION 'could not extend file \"base/16384\": disk is full' USING ERRCODE = '53100';"
        " END $$",
        "CREATE TRIGGER no_space BEFORE INSERT OR UPDATE ON stored_values FOR EACH ROW"
        " EXECUTE FUNCTION no_space()",
    ],
}


def message(client, headers=None):
    reply = client.get("/readyz", headers=headers)
    return reply.status_code, reply.json["header"]["message"]


def test_readyz_writes_one_row_now_and_then(client, sql, clock, monkeypatch):
    assert client.get("/readyz").status_code == 200
    (first,) = sql(ROW)
    clock.advance(seconds=3)
    assert client.get("/readyz").status_code == 200
    assert sql(ROW) == [first]
    monkeypatch.setattr(readiness, "WRITE_INTERVAL", 0)
    assert client.get("/readyz", headers=PROXY).status_code == 200  # the last of the first interval
    app = client.application
    app.extensions["gateway.writes"] = readiness.Writes()
    assert client.get("/readyz").status_code == 200
    assert sql(ROW) != [first]


def test_a_full_disk_is_not_ready(client, sql, command, database_uri):
    for statement in FULL[database_uri.partition(":")[0]]:
        sql(statement)
    status, said = message(client)
    assert (status, "disk is full" in said) == (503, True)
    assert said.startswith("The database takes no write: ")
    assert message(client, PROXY) == (503, "The database takes no write")
    findings = json.loads(command("doctor", "--json").output)
    (fault,) = [f for f in findings if f["name"] == "database" and f["state"] == "FAULT"]
    assert "disk is full" in fault["what"]


def test_a_lock_that_is_busy_is_no_failure_at_first(client, sql, database_uri, monkeypatch):
    assert client.get("/readyz").status_code == 200
    client.application.extensions["gateway.writes"] = readiness.Writes()
    monkeypatch.setattr(sqlite, "LOCK_TIMEOUT", 0.1)
    monkeypatch.setattr(readiness, "LOCK_TIMEOUT", 1)
    engine = create_engine(database_uri.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as other:
        other.execute(text("UPDATE stored_values SET value = value"))
        assert client.get("/readyz").status_code == 200
        client.application.extensions["gateway.writes"] = readiness.Writes()
        monkeypatch.setattr(readiness, "BUSY_LIMIT", 0)
        assert message(client, PROXY) == (503, "The database takes no write")
    engine.dispose()


@sqlite_only
def test_the_reason_is_told_but_no_host_through_a_proxy(make_app):
    client = make_app(SQLALCHEMY_DATABASE_URI="postgresql://al@127.0.0.1:1/x").test_client()
    status, said = message(client)
    assert (status, "port 1 failed" in said) == (503, True)
    assert message(client, PROXY) == (503, "The database does not answer")


@pytest.mark.parametrize(
    ("name", "ours", "stored", "word"),
    [
        ("TIMEZONE", "UTC", "Asia/Shanghai", "set Asia/Shanghai"),
        ("SECRET_KEY", SECRET_KEY, "0123", "gateway secret-key accept"),
    ],
)
def test_another_setting_of_all_nodes_is_told(make_app, sql, name, ours, stored, word):
    sql("INSERT INTO stored_values VALUES (:name, :stored)", name=name, stored=stored)
    app = make_app(**{name: ours})
    for headers in (None, PROXY):
        status, said = message(app.test_client(), headers)
        assert (status, said.startswith(name), word in said) == (503, True, True)
    shared.keep_comparing(app)  # as each worker does
    with app.app_context():
        db.engine.dispose()
    status, said = message(app.test_client(), PROXY)
    assert (status, said.startswith(name), word in said) == (503, True, True)


@postgres_only
def test_a_clock_that_differs_from_the_databases(client, clock, command, caplog):
    clock.advance(seconds=9)
    assert client.get("/readyz").status_code == 200
    clock.advance(seconds=10)
    status, said = message(client, PROXY)
    assert (status, "s ahead of the database server's" in said) == (503, True)
    assert "ahead of the database server's" in command("doctor").output
    with client.application.app_context():
        readiness.tell_clock()  # as each worker does now and then
    assert "s ahead of the database server's" in caplog.text
