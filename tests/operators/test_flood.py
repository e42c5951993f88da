"""A flood of wrong keys does not fill the log, and what it left out is counted."""

import re

import pytest
from support.helpers import basic

from gateway.web import access_log

WRONG = basic("k" * 16, "s" * 48)


@pytest.fixture
def database_uri(sqlite_uri):
    """One database is enough, because nothing here depends on it."""
    return sqlite_uri


@pytest.fixture
def now(monkeypatch):
    """The time that the flood sees; it stands still until the test changes it."""
    time = [1000.0]
    monkeypatch.setattr(access_log, "monotonic", lambda: time[0])
    return time


@pytest.fixture
def ask(make_app, caplog):
    """Return a function that sends a wrong key; and one that returns the lines of verify."""
    client = make_app(TRUSTED_PROXIES=1).test_client()

    def ask(ip="10.0.0.1", header=WRONG):
        headers = {"Authorization": header, "X-Forwarded-For": ip}
        return client.get("/api/v1/project/verify", headers=headers).status_code

    ask.all = lambda: caplog.messages
    ask.lines = lambda: [m for m in caplog.messages if m.startswith("project.verify")]
    return ask


def test_one_line_for_each_client_and_second(ask, now):
    for second in range(5):
        now[0] = 1000.0 + second
        assert {ask() for _ in range(50)} == {401}
    lines = ask.lines()
    assert len(lines) == 5
    assert re.findall(r"repeated=(\d+)", "".join(lines)) == ["49"] * 4
    now[0] += 2
    assert ask("10.0.0.2") == 401
    assert [line.endswith("status=401 repeated=49") for line in ask.lines()[5:]] == [True, False]
    assert "ip=10.0.0.1" in ask.lines()[5]


def test_many_clients_do_not_fill_the_log(ask, now):
    for number in range(1200):
        ask(f"10.{number // 250}.{number % 250}.1")
    firsts = [line for line in ask.lines() if "repeated" not in line]
    assert len(firsts) == len({line.split()[2] for line in firsts}) == 1001
    assert "ip=10.3.249.1" in firsts[999]
    now[0] += 2
    ask()
    assert "refusals of other clients repeated=199" in ask.all()


def test_a_flood_of_sign_ins_has_a_line_for_each_client_and_second(make_app, now, caplog):
    client = make_app(TRUSTED_PROXIES=1).test_client()
    body = {"user_name": "nobody", "password": "wrong password"}
    for number in range(40):
        headers = {"X-Forwarded-For": f"10.0.0.{number % 2}"}
        client.post("/api/v1/login", json=body, headers=headers)
    lines = [line for line in caplog.messages if "code=429" in line]
    assert [line.split()[2] for line in lines] == ["ip=10.0.0.0", "ip=10.0.0.1"]
    assert sum("code=1002" in line for line in caplog.messages) == 10  # 5 of each client
    now[0] += 1
    client.post("/api/v1/login", json=body, headers={"X-Forwarded-For": "10.0.0.1"})
    assert caplog.messages[-1].endswith("ip=10.0.0.1 code=429 status=429 repeated=14")
