"""What strangers ask for costs a process little: a bucket, and no waits for the disk."""

import os
import subprocess
import sys
import threading

import pytest
from sqlalchemy import event, text
from support.helpers import PASSWORD, TIMEOUT, sqlite_only
from support.sql_log import sql_log

from gateway import throttle
from gateway.db import db
from gateway.errors import ApiError
from gateway.testing.mailbox import wait_for_background
from gateway.throttle import Bucket

WRONG = {"user_name": "lory", "password": "wrong password"}


@pytest.fixture
def now(monkeypatch):
    """The time that buckets see; it stands still until the test changes it."""
    time = [1000.0]
    monkeypatch.setattr(throttle, "monotonic", lambda: time[0])
    return time


def refused(bucket, times):
    """Take so many times at once; return how many were refused."""
    number = 0
    for _ in range(times):
        try:
            bucket.take()
        except ApiError as error:
            number += (error.code.number, error.status, error.retry_after) == (429, 429, 1)
    return number


@pytest.mark.parametrize("rate", [1, 5, 20])
def test_a_bucket_lets_twenty_at_once_and_then_its_rate(now, rate):
    bucket = Bucket(20)
    assert refused(bucket, 1000) == 0  # of a process that serves nobody
    bucket.per_second = rate
    assert refused(bucket, 100) == 80
    now[0] += 2
    assert refused(bucket, 100) == 100 - min(20, 2 * rate)
    now[0] += 3600
    assert refused(bucket, 100) == 80


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/login", {"user_name": "x{}", "password": PASSWORD}),
        ("/auth-code", {"user_name": "x{}", "email": "x{}@126.com"}),
        ("/reset-code", {"email": "x{}@126.com"}),
    ],
    ids=["login", "auth-code", "reset-code"],
)
def test_a_flood_is_refused_before_any_write(app, api, now, path, body, sql, monkeypatch):
    for name, rate in (("SIGN_INS", 20), ("MAILS", 5)):  # as in a server's process
        monkeypatch.setattr(throttle, name, Bucket(20))
        getattr(throttle, name).per_second = rate

    def ask(number):
        return api(path, {name: value.format(number) for name, value in body.items()})

    assert [ask(number).status_code for number in range(25)] == [200] * 20 + [429] * 5
    wait_for_background()
    counts = sql("SELECT sum(count), count(*) FROM throttle_counts")
    with app.app_context(), sql_log(db.engine) as read_log:
        refusal = ask(30)
        sent = read_log()
    assert (refusal.status_code, refusal.headers["Retry-After"]) == (429, "1")
    assert [each for each in sent if not each.startswith("SELECT")] == []
    assert sql("SELECT sum(count), count(*) FROM throttle_counts") == counts
    now[0] += 1
    assert ask(31).status_code == 200


def test_who_is_refused_anyway_takes_nobodys_place(api, now, monkeypatch):
    for name in ("SIGN_INS", "MAILS"):
        monkeypatch.setattr(throttle, name, Bucket(20))
        getattr(throttle, name).per_second = 5
    for _ in range(40):  # 5 of which are asked for the password, and one for a mail
        api("/login", WRONG)
        api("/reset-code", {"email": "lory@126.com"})
    assert refused(throttle.SIGN_INS, 15) == 0
    assert refused(throttle.MAILS, 19) == 0
    assert refused(throttle.MAILS, 1) == refused(throttle.SIGN_INS, 1) == 1


def test_only_counters_wait_for_no_disk(app, api, person):
    """The last writing transaction tells: of a wrong login, and of a project that is created."""
    asked = []

    def note(_connection, _cursor, statement, *_rest):
        asked.append(statement == "SET LOCAL synchronous_commit = off")

    def waits_for_disk(path, body, **kwargs):
        asked.clear()
        assert api(path, body, **kwargs).status_code == 200
        with app.app_context(), db.engine.connect() as connection:
            if db.engine.dialect.name == "postgresql":
                return not any(asked)
            return connection.scalar(text("PRAGMA synchronous")) == 2  # FULL

    with app.app_context():
        event.listen(db.engine, "before_cursor_execute", note)
    project = {"project_type": 1, "project_name": "x"}
    token = {"headers": {"Authorization": person.token}}
    assert not waits_for_disk("/login", WRONG)
    assert waits_for_disk("/project/create", project, **token)
    assert not waits_for_disk("/login", WRONG)


@sqlite_only
@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_a_connection_lets_others_write_when_its_transaction_has_ended(app, person, end):
    change = text("UPDATE users SET language = 'en'")
    done = []

    def write_too():
        with app.app_context(), db.engine.begin() as connection:
            done.append(connection.execute(change).rowcount)

    with app.app_context(), db.engine.connect() as connection:
        for number in (1, 2):
            connection.execute(change)
            getattr(connection, end)()
            other = threading.Thread(target=write_too)
            other.start()
            other.join(TIMEOUT)
            assert done == [1] * number


def test_hashing_without_a_thread_is_a_503(app):
    program = f"""
import threading
from gateway import create_app

app = create_app({{"SQLALCHEMY_DATABASE_URI": {str(app.config["SQLALCHEMY_DATABASE_URI"])!r}}})
start = threading.Thread.start

def refuse(thread):
    raise RuntimeError("can't start new thread")

def ask():
    body = {{"user_name": "nobody", "password": "{PASSWORD}"}}
    reply = app.test_client().post("/api/v1/login", json=body)
    print(reply.status_code, reply.json["header"]["code"], reply.headers.get("Retry-After"))

threading.Thread.start = refuse
ask()
threading.Thread.start = start
ask()
"""
    environment = {**os.environ, "GATEWAY_SECRET_KEY": "x" * 40}
    ended = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env=environment,
        timeout=TIMEOUT,
        check=True,
    )
    assert ended.stdout.split("\n")[:2] == ["503 503 5", "200 1002 None"], ended
