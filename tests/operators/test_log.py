"""The log: one line for each request, and never a secret."""

import re

import pytest
from support.helpers import NO_SQLITE, PASSWORD

from gateway.log import logger


@pytest.fixture
def database_uri(sqlite_uri):
    """One database is enough, because nothing here depends on it."""
    return sqlite_uri


def lines(caplog):
    return [record.getMessage() for record in caplog.records]


def test_every_event_writes_one_line(api, sign_up, make_admin, caplog):
    person = sign_up("lory")
    api("/login", {"user_name": "lory", "password": "wrong password"})
    api("/login", {"user_name": "nobody", "password": "wrong password"})
    api("/auth-code", {"user_name": "lory", "email": "new@126.com"})
    person.create_project()
    person.post("/project/delete", {"id": 1})
    person.post("/platform/logout")
    person.post("/platform/logout")
    assert lines(caplog) == [
        "auth.auth_code user=- ip=127.0.0.1 code=0 status=200",
        "auth.register user=1 ip=127.0.0.1 code=0 status=200",
        "auth.login user=1 ip=127.0.0.1 code=0 status=200",
        "auth.login user=1 ip=127.0.0.1 code=1002 status=200",
        "auth.login user=- ip=127.0.0.1 code=1002 status=200",
        "auth.auth_code user=- ip=127.0.0.1 code=1005 status=200",
        "project.create user=1 ip=127.0.0.1 code=0 project=1 status=200",
        "project.delete user=1 ip=127.0.0.1 code=0 project=1 status=200",
        "auth.logout user=1 ip=127.0.0.1 code=0 status=200",
        "auth.logout user=- ip=127.0.0.1 code=1001 status=401",
    ]


def test_line_of_a_throttled_login_has_the_account(api, person, caplog):
    for _ in range(11):
        api("/login", {"user_name": "lory", "password": "wrong password"})
    assert lines(caplog)[-1] == "auth.login user=1 ip=127.0.0.1 code=429 status=429"


def test_line_starts_with_utc_time_and_request_id(client, caplog):
    client.post("/api/v1/login", headers={"X-Request-ID": "abc-1"})
    (record,) = caplog.records
    (handler,) = logger.handlers
    record.created = 1709826283.5  # 2024-03-07 15:44:43 UTC
    record.msecs = 500
    line = handler.format(record)
    assert re.match(r"2024-03-07T15:44:43\.500Z INFO request=\S+ auth\.login ", line)


def test_only_failed_health_checks_write_lines(client, make_app, caplog):
    client.get("/healthz")
    client.get("/readyz")
    assert lines(caplog) == []
    make_app(SQLALCHEMY_DATABASE_URI=NO_SQLITE).test_client().get("/readyz")
    assert lines(caplog)[-1] == "health.readyz user=- ip=127.0.0.1 code=501 status=503"


def test_the_request_id(client):
    """A client's own is kept if it is one; else, and at failures, the reply has a new one."""

    def answered(given, path="/healthz"):
        return client.get(path, headers={"X-Request-ID": given}).headers["X-Request-ID"]

    for given in ("abc-1", "x" * 64, "0af7651916cd43dd.8448_eb"):
        assert answered(given) == given
    for given in ("", "x" * 65, "a b", "a;b", "é", '"'):
        new = {answered(given), answered(given), answered(given, "/nowhere")}
        assert len(new) == 3
        assert all(re.fullmatch("[0-9a-f]{32}", each) for each in new)


def test_no_secret_is_logged(sign_up, relay, sql, caplog):
    person = sign_up()
    code = relay.code()
    made = person.create_project()
    person.projects()
    person.client.post("/api/v1/login", json={"user_name": PASSWORD, "password": PASSWORD})
    person.client.post("/api/v1/project/list", headers={"Authorization": person.token + "x"})
    # a failure in the database, whose message could show the parameters
    sql("ALTER TABLE projects RENAME TO gone")
    try:
        reply = person.post("/project/create", {"project_type": 1, "project_name": "x"})
    finally:
        sql("ALTER TABLE gone RENAME TO projects")
    assert reply.status_code >= 500
    seen = caplog.text
    assert "project.create" in seen
    for secret in (PASSWORD, person.token, *made.values(), person.email):
        assert secret not in seen
    assert code not in seen


def test_proxy_that_is_not_believed(make_app, caplog):
    for peer, forwarded, proxies, warnings in (
        ("127.0.0.1", "203.0.113.7", 0, 1),
        ("::1", "203.0.113.7", 0, 1),
        ("", "203.0.113.7", 0, 1),
        ("127.0.0.1", None, 0, 0),
        ("127.0.0.1", "203.0.113.7", 1, 0),
        ("203.0.113.9", "203.0.113.7", 0, 0),  # a client's own header
    ):
        caplog.clear()
        client = make_app(TRUSTED_PROXIES=proxies).test_client()
        headers = {"X-Forwarded-For": forwarded} if forwarded else {}
        for _ in range(3):
            client.get("/healthz", headers=headers, environ_base={"REMOTE_ADDR": peer})
            client.post("/api/v1/login", headers=headers, environ_base={"REMOTE_ADDR": peer})
        found = [line for line in lines(caplog) if "TRUSTED_PROXIES" in line]
        assert len(found) == warnings, (peer, forwarded, proxies)
        assert all("set TRUSTED_PROXIES to the number of proxies" in line for line in found)
