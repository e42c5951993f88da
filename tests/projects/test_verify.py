"""verify: who may pass, what is counted, and when a new day starts."""

import re

import pytest
from sqlalchemy import event
from support.helpers import assert_failure, code_of, sqlite_only
from support.sql_log import without_triggers

from gateway.db import db

RATE_LIMITS = ("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset")


def assert_unknown(reply):
    assert reply.headers["WWW-Authenticate"] == 'Basic realm="gateway"'
    assert_failure(reply, 401, 1001)
    assert not [name for name, _ in reply.headers if name.startswith(("X-Gateway", "RateLimit"))]


def assert_misconfigured(reply, name):
    """A bad question is the fault of the proxy's configuration, not of the client."""
    assert (reply.status_code, code_of(reply)) == (400, 1003)
    assert reply.json["header"]["message"].startswith(f"{name} must be")


def test_request_passes_and_is_counted(start, counts):
    person, project = start(2024, 3, 7, 15, 44, 43, REQUEST_MAX=30)
    reply = person.verify(project)
    assert reply.status_code == 204
    assert reply.data == b""
    assert reply.headers["X-Gateway-Project"] == "1"
    assert reply.headers["X-Gateway-Key"] == project["project_key"]
    assert reply.headers["X-Gateway-Pool"] == ""
    assert [reply.headers[name] for name in RATE_LIMITS] == ["30", "29", "29717"]  # 8:15:17
    assert counts() == (1, 1)
    assert [(p["request_total"], p["request_today"]) for p in person.projects()] == [(1, 1)]


def test_quota_is_used_up(start, counts):
    person, project = start(2024, 3, 7, 23, 59, 0, REQUEST_MAX=2)
    replies = [person.verify(project) for _ in range(4)]
    assert [reply.status_code for reply in replies] == [204, 204, 403, 403]
    assert [reply.headers["RateLimit-Remaining"] for reply in replies] == ["1", "0", "0", "0"]
    refusal = replies[-1]
    assert refusal.headers["X-Gateway-Code"] == "429"
    assert refusal.headers["Retry-After"] == "60"
    assert refusal.headers["RateLimit-Limit"] == "2"
    assert refusal.headers["RateLimit-Reset"] == "60"
    assert code_of(refusal) == 429
    assert refusal.json["data"] == {}
    assert counts() == (2, 2)
    for limit, remaining in ((1, "0"), (3, "0"), (0, None)):
        person.operate("project", "allow", project["project_key"], limit)
        reply = person.verify(project)
        assert reply.headers.get("RateLimit-Remaining") == remaining
        assert reply.status_code == (403 if limit == 1 else 204)


def test_wrong_or_inactive_project_does_not_pass(person, sign_up, project, command, counts):
    other = sign_up("libin").create_project()
    command("project", "allow", 1, 1)
    assert person.verify(project).status_code == 204
    # None of them learns that the quota is used up.
    assert_unknown(person.verify(project, secret="x" * 48))
    assert_unknown(person.verify(project, secret=other["project_secret"]))
    assert_unknown(person.verify({**project, "project_key": "x" * 16}))
    assert person.verify(project).status_code == 403
    command("project", "allow", 1, 0)
    command("user", "ban", "lory")
    assert_unknown(person.verify(project))
    assert counts() == (1, 1)
    command("user", "unban", "lory")
    reply = person.verify(project)
    assert reply.status_code == 204
    assert not [name for name in RATE_LIMITS if name in reply.headers]  # 0 is no limit
    person.sign_in()
    person.post("/project/delete", {"id": 1})
    assert_unknown(person.verify(project))
    assert counts() == (2, 0)  # the day of a deleted project is in project_days
    assert person.verify(other).status_code == 204


def test_pools(person, project, command, counts):
    for pool in ("red", "blue"):
        command("pool", "add", pool)

    def asked_for(pools):
        return [person.verify(project, pool=pool).status_code for pool in pools]

    assert asked_for(["", "red", "blue"]) == [204, 401, 401]
    command("project", "assign", 1, "blue")
    assert asked_for(["", "red", "blue"]) == [401, 401, 204]
    for bad in ("BLUE", "blue ", "blue\0", "\ud800", "b%", "x" * 64, "-", "'", "../blue"):
        quoted = bad.encode("utf-8", "surrogatepass")
        assert_misconfigured(person.verify(project, pool=quoted), "pool")
    assert_misconfigured(person.verify(project, pool=["blue", "blue"]), "pool")
    assert person.verify(project).headers["X-Gateway-Pool"] == "blue"  # nginx named no pool
    command("project", "assign", 1, "--none")
    assert asked_for(["", "blue"]) == [204, 401]
    assert counts() == (4, 4)


def test_new_day_starts_at_midnight_of_the_time_zone(start, clock, counts):
    person, project = start(TIMEZONE="Asia/Shanghai", REQUEST_MAX=2)

    def passed(times=3):
        return [person.verify(project).status_code for _ in range(times)]

    clock.freeze(2024, 3, 7, 15, 59, 59)  # 23:59:59 in Shanghai
    assert passed() == [204, 204, 403]
    assert person.projects()[0]["request_today"] == 2
    clock.freeze(2024, 3, 7, 16, 0, 0)
    assert person.projects()[0]["request_today"] == 0
    assert passed() == [204, 204, 403]
    assert counts() == (4, 2)
    clock.freeze(2024, 3, 9, 16, 0, 0)
    assert passed(1) == [204]
    assert counts() == (5, 1)


@sqlite_only
@pytest.mark.parametrize(
    ("zone", "moment", "seconds"),
    [
        ("UTC", (2024, 3, 7, 0, 0, 0), 86400),
        ("UTC", (2024, 3, 7, 23, 59, 59), 1),
        ("Europe/Berlin", (2024, 3, 30, 23, 0, 0), 23 * 3600),  # summer time begins
        ("Europe/Berlin", (2024, 10, 26, 22, 0, 0), 25 * 3600),  # and ends
        ("Asia/Beirut", (2024, 3, 30, 21, 0, 0), 3600),  # the next day begins at 1:00
        ("America/Havana", (2024, 11, 2, 4, 0, 0), 86400),  # the next day has 0:00 twice
    ],
)
def test_seconds_until_the_new_day(start, clock, zone, moment, seconds):
    person, project = start(*moment, TIMEZONE=zone, REQUEST_MAX=30)
    assert person.verify(project).headers["RateLimit-Reset"] == str(seconds)
    clock.advance(seconds=seconds - 1)
    assert person.verify(project).headers["RateLimit-Remaining"] == "28"
    clock.advance(seconds=1)
    assert person.verify(project).headers["RateLimit-Remaining"] == "29"


def test_nodes_with_different_clocks_start_one_day(start, clock, counts):
    person, project = start(2024, 3, 7, 23, REQUEST_MAX=3)

    def passes_at(*moment):
        clock.freeze(2024, 3, *moment)
        return person.verify(project).status_code == 204

    ahead, behind = (8, 0, 0, 2), (7, 23, 59, 54)
    assert [passes_at(*behind) for _ in range(4)] == [True, True, True, False]
    assert passes_at(*ahead)
    assert counts() == (4, 1)
    assert passes_at(*behind)
    assert person.projects()[0]["request_today"] == 2
    assert person.verify(project).headers["RateLimit-Reset"] == str(86400 + 6)
    assert not passes_at(*ahead)
    assert not passes_at(*behind)
    assert counts() == (6, 3)
    clock.freeze(2024, 3, *ahead)
    usage = person.post("/project/usage", {"id": 1, "days": 2}).json["data"]
    assert [day["requests"] for day in usage["list"]] == [3, 3]


def test_verify_runs_one_statement_and_a_refusal_two(person, project, statements):
    statements()
    for secret, verbs in ((None, ["UPDATE"]), ("x" * 48, ["UPDATE", "SELECT"])):
        person.verify(project, secret=secret)
        assert [statement.split()[0] for statement in statements()] == verbs


@sqlite_only
def test_only_counts_are_written_without_fsync(app, person, project, sql):
    """synchronous is 1 (NORMAL) for verify only, and 2 (FULL) for every other write."""
    modes = []

    def watch(connection, *_):
        def look(statement):
            if statement.startswith(("UPDATE", "INSERT", "DELETE")):
                verb, table = re.sub(" (INTO|FROM)", "", statement).split()[:2]
                connection.set_trace_callback(None)
                mode = connection.execute("PRAGMA synchronous").fetchone()[0]
                connection.set_trace_callback(watched)
                modes.append((verb, table, mode))

        watched = without_triggers(connection, look)
        connection.set_trace_callback(watched)

    with app.app_context():
        engine = db.engine
    event.listen(engine, "checkout", watch)
    person.verify(project)
    person.create_project()
    person.verify(project)
    person.post("/platform/logout")
    event.remove(engine, "checkout", watch)
    counted, created = ("UPDATE", "projects", 1), ("INSERT", "projects", 2)
    limited = [("UPDATE", "users", 2), ("INSERT", "throttle_counts", 2)]
    assert modes == [counted, *limited, created, counted, ("INSERT", "revoked_tokens", 2)]


def test_only_refusals_are_logged(client, person, project, caplog):
    caplog.clear()
    person.verify(project)
    assert caplog.text == ""
    person.verify(project, secret="x" * 48)
    assert "project.verify user=- ip=127.0.0.1 code=1001 project=1 status=401" in caplog.text
    for _ in range(30):
        person.verify(project)
    assert "project.verify user=- ip=127.0.0.1 code=429 project=1 status=403" in caplog.text
    for secret in ("x" * 48, project["project_secret"], project["project_key"]):
        assert secret not in caplog.text
