"""Every reply is an envelope, every code can occur, every route is public or needs credentials."""

import os
import signal
import threading
import time
from types import SimpleNamespace

import psycopg
import pytest
from sqlalchemy.exc import OperationalError, ProgrammingError
from support.helpers import (
    NO_POSTGRES,
    NO_SQLITE,
    OK,
    PASSWORD,
    assert_failure,
    code_of,
    postgres_only,
)

from gateway.db import postgres
from gateway.errors import Code
from gateway.ops.cli import main

PUBLIC = {
    "/healthz",
    "/readyz",
    "/openapi.json",
    "/",
    "/console/<path:name>",
    "/.well-known/change-password",
    "/docs",
    "/docs/<name>",
    "/api/v1/auth-code",
    "/api/v1/register",
    "/api/v1/login",
    "/api/v1/reset-code",
    "/api/v1/reset-password",
}
WANTS_A_PROJECT = {
    "/api/v1/project/verify",
    "/api/v1/project/check/<path:path>",
    "/api/v1/project/quota",
}


def test_every_route_is_public_or_needs_credentials(app, client):
    for rule in app.url_map.iter_rules():
        method = "POST" if "POST" in (rule.methods or ()) else "GET"
        reply = client.open(rule.rule, method=method)
        if rule.rule in PUBLIC:
            assert reply.status_code != 401
        else:
            assert_failure(reply, 401, 1001)
            wanted = "Basic" if rule.rule in WANTS_A_PROJECT else "Bearer"
            assert reply.headers["WWW-Authenticate"].split()[0] == wanted
    assert {rule.rule for rule in app.url_map.iter_rules()} >= PUBLIC | WANTS_A_PROJECT


NEW = {"user_name": "new", "email": "new@126.com"}
LOGIN = {"user_name": "lory", "password": PASSWORD}
EMPTY_PROJECT = {"project_type": 1, "project_name": "x"}


def ban(p):
    p.sign_up("lory")
    p.app.test_cli_runner().invoke(main, args=["user", "ban", "lory"])


def ask_without_a_database(p):
    app = p.make_app(SQLALCHEMY_DATABASE_URI=NO_POSTGRES)
    return app.test_client().post("/api/v1/login", json=LOGIN)


# name: (HTTP status, header.code, what prepares it, what provokes it)
PROVOKED = {
    "OK": (200, 0, None, lambda p: p.api("/auth-code", NEW)),
    "ACCESS_DENIED": (
        *(200, 1000, None),
        lambda p: p.sign_up().post("/project/list", {"user_id": p.sign_up("libin").user_id}),
    ),
    "UNAUTHENTICATED": (401, 1001, None, lambda p: p.api("/project/list")),
    "WRONG_CREDENTIALS": (200, 1002, None, lambda p: p.api("/login", LOGIN)),
    "INVALID_PARAMETER": (400, 1003, None, lambda p: p.api("/login", {**LOGIN, "user_name": 1})),
    "MALFORMED_REQUEST": (400, 1004, None, lambda p: p.api("/login", ["lory"])),
    "USER_NAME_EXISTS": (
        *(200, 1005, lambda p: p.sign_up("lory")),
        lambda p: p.api("/auth-code", {**NEW, "user_name": "LORY"}),
    ),
    "NOT_FOUND": (200, 1006, None, lambda p: p.sign_up().post("/project/delete", {"id": 7})),
    "WRONG_CODE": (
        *(200, 1008, None),
        lambda p: p.api("/register", {**NEW, "password": PASSWORD, "reg_code": "0000"}),
    ),
    "LIMIT_REACHED": (
        *(200, 1009, lambda p: p.app.config.update(PROJECTS_PER_USER=0)),
        lambda p: p.sign_up().post("/project/create", EMPTY_PROJECT),
    ),
    "BANNED": (200, 1012, ban, lambda p: p.api("/login", LOGIN)),
    "EMAIL_EXISTS": (
        *(200, 1018, lambda p: p.sign_up("lory", "civet148@126.com")),
        lambda p: p.api("/auth-code", {**NEW, "email": "Civet148@126.com"}),
    ),
    "MAIL_NOT_SENT": (
        *(503, 1029, lambda p: setattr(p.relay, "refuse_data", "451 4.3.0 try again later")),
        lambda p: p.api("/auth-code", NEW),
    ),
    "TOO_MANY_REQUESTS": (
        *(429, 429, lambda p: p.api("/auth-code", NEW)),
        lambda p: p.api("/auth-code", NEW),
    ),
    "DATABASE_UNAVAILABLE": (503, 501, None, ask_without_a_database),
}


def test_every_code_is_listed_here():
    assert {code.name for code in Code} == PROVOKED.keys()


@pytest.mark.parametrize("name", PROVOKED)
def test_every_code_can_be_provoked(name, app, api, sign_up, relay, make_app):
    parts = SimpleNamespace(app=app, api=api, sign_up=sign_up, relay=relay, make_app=make_app)
    status, code, prepare, provoke = PROVOKED[name]
    if prepare:
        prepare(parts)
    reply = provoke(parts)
    if code == 0:
        assert (reply.status_code, code_of(reply)) == (200, 0)
    else:
        assert_failure(reply, status, code)
    if status in (429, 503):
        assert int(reply.headers["Retry-After"]) > 0
    assert reply.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("POST", "/", 405),
        ("GET", "/favicon.ico", 404),
        ("POST", "/api/v1/login/", 404),
        ("POST", "/api//v1/login", 404),
        ("GET", "/static/x", 404),
        ("GET", "/api/v1/login", 405),
        ("PUT", "/api/v1/project/list", 405),
        ("BREW", "/api/v1/login", 405),
        ("POST", "/healthz", 405),
        ("OPTIONS", "/api/v1/login", 405),
    ],
)
def test_http_failures(client, method, path, status):
    reply = client.open(path, method=method)
    assert_failure(reply, status, status)
    if status == 405:
        assert ("GET" if path in ("/", "/healthz") else "POST") in reply.headers["Allow"]


def test_exception_in_a_handler(app, client, caplog):
    @app.get("/broken")
    def broken():
        raise RuntimeError("the secret is 42")

    reply = client.get("/broken")
    assert_failure(reply, 500, 500)
    assert "42" not in reply.text
    assert "RuntimeError" in caplog.text


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (OperationalError("SELECT 1", {}, Exception("gone")), 503, 501),
        (ProgrammingError("SELEC 1", {}, Exception("syntax")), 500, 500),
    ],
)
def test_lost_database_and_wrong_sql_have_different_codes(app, client, error, status, code):
    @app.get("/broken")
    def broken():
        raise error

    reply = client.get("/broken")
    assert_failure(reply, status, code)
    assert "SELEC" not in reply.text


def test_database_without_tables_is_unavailable(api, sql):
    sql("ALTER TABLE users RENAME TO gone")
    try:
        reply = api("/login", {"user_name": "lory", "password": PASSWORD})
    finally:
        sql("ALTER TABLE gone RENAME TO users")
    assert_failure(reply, 503, 501)


BACKENDS = (
    "SELECT pid FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


@pytest.fixture
def hang(postgres_uri, postgres_server):
    """Return a function that pauses all processes of the server until the end of the test."""
    stopped = []

    def stop():
        with psycopg.connect(postgres_uri) as connection:
            found = [pid for (pid,) in connection.execute(BACKENDS).fetchall()]
        assert found
        for pid in (postgres_server.get_pid(), *found):
            os.kill(pid, signal.SIGSTOP)
            stopped.append(pid)

    def go_on():
        while stopped:
            os.kill(stopped.pop(), signal.SIGCONT)

    stop.go_on = go_on
    rescue = threading.Timer(30, go_on)  # ends the pause, because a failing test must not hang
    rescue.start()
    yield stop
    rescue.cancel()
    go_on()


@postgres_only
def test_reply_comes_although_the_database_hangs(person, hang):
    hang()
    start = time.monotonic()
    assert_failure(person.post("/project/list"), 503, 501)
    assert time.monotonic() - start < 10
    hang.go_on()
    assert person.projects() == []


@postgres_only
def test_reply_comes_although_the_database_hangs_after_the_last_statement(
    make_app, person, hang, monkeypatch
):
    monkeypatch.setattr(postgres, "ANSWER_TIMEOUT", 1)
    app = make_app()
    app.after_request(lambda response: hang() or response)
    start = time.monotonic()
    reply = app.test_client().post("/api/v1/project/list", headers={"Authorization": person.token})
    assert reply.status_code == 200
    assert time.monotonic() - start < 10


def test_health(client):
    for path in ("/healthz", "/readyz"):
        reply = client.get(path)
        assert (reply.status_code, reply.json) == (200, OK)


def test_not_ready_without_the_database(make_app):
    client = make_app(SQLALCHEMY_DATABASE_URI=NO_SQLITE).test_client()
    assert_failure(client.get("/readyz"), 503, 501)
    assert client.get("/healthz").status_code == 200
