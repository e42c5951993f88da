"""The limits of a project: day, month, rate, costs, and who may change them. On both databases."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from support.helpers import basic, code_of, sqlite_only

QUOTA = "/api/v1/project/quota"


@pytest.fixture
def admin(person, make_admin):
    make_admin(person)
    return person


def passed(person, project, times, **question):
    """Return how many of so many requests pass; the others must be refused for a limit."""
    replies = [person.verify(project, **question) for _ in range(times)]
    refused = [reply for reply in replies if reply.status_code != 204]
    for reply in refused:
        assert (reply.status_code, reply.headers["X-Gateway-Code"]) == (403, "429")
        assert reply.headers["X-Gateway-Message"] == reply.json["header"]["message"]
    return times - len(refused)


def usage(person, days):
    person.sign_in()  # because the clock has passed the end of the first token
    return person.post("/project/usage", {"id": 1, "days": days}).json["data"]


def quota(person, project):
    header = basic(project["project_key"], project["project_secret"])
    return person.client.get(QUOTA, headers={"Authorization": header})


def test_a_day_goes_on_after_the_clock_went_back_within_it(start, clock):
    person, project = start(2024, 3, 7, 23, 50, REQUEST_MAX=10, REQUESTS_PER_MONTH=14)
    assert passed(person, project, 7) == 7
    clock.freeze(2024, 3, 8, 0, 10)
    assert passed(person, project, 2) == 2
    clock.freeze(2024, 3, 7, 23, 10)
    day = {"limit": 10, "remaining": 3, "reset": 3000}
    assert quota(person, project).json["data"]["day"] == day
    assert passed(person, project, 4) == 3  # ten of the day
    clock.freeze(2024, 3, 8, 0, 10)
    assert passed(person, project, 4) == 2  # fourteen of the month
    data = usage(person, 2)
    assert [day["requests"] for day in data["list"]] == [10, 4]
    assert (data["month_max"], data["month_used"]) == (14, 14)


def test_nodes_whose_clocks_are_hours_apart_never_exceed_a_quota(start, clock):
    person, project = start(REQUEST_MAX=9, REQUESTS_PER_MONTH=50)
    for turn in range(30):
        clock.freeze(2024, 3, 7 + turn % 2, 12)
        person.verify(project, cost=2)
    assert [day["requests"] for day in usage(person, 2)["list"]] == [8, 8]


@sqlite_only
@pytest.mark.parametrize(
    ("zone", "last", "first"),  # the last second of a month and the first of the next, in UTC
    [
        ("UTC", (2024, 2, 29, 23, 59, 59), (2024, 3, 1, 0, 0, 0)),
        ("UTC", (2023, 2, 28, 23, 59, 59), (2023, 3, 1, 0, 0, 0)),
        ("UTC", (2023, 12, 31, 23, 59, 59), (2024, 1, 1, 0, 0, 0)),
        ("Asia/Shanghai", (2024, 4, 30, 15, 59, 59), (2024, 4, 30, 16, 0, 0)),
        ("Europe/Berlin", (2024, 3, 31, 21, 59, 59), (2024, 3, 31, 22, 0, 0)),  # a day of 23 hours
    ],
)
def test_month(start, clock, zone, last, first):
    person, project = start(*last, TIMEZONE=zone, REQUESTS_PER_MONTH=3)
    clock.advance(days=-20)
    assert passed(person, project, 2) == 2
    clock.freeze(*last)
    assert passed(person, project, 1) == 1
    reply = person.verify(project)
    assert (reply.status_code, reply.headers["Retry-After"]) == (403, "1")
    assert code_of(reply) == 429
    assert "month" in reply.json["header"]["message"]
    assert "RateLimit-Limit" not in reply.headers
    clock.freeze(*first)
    assert passed(person, project, 4) == 3
    assert usage(person, 1)["month_used"] == 3


def test_a_cost_is_counted_whole_or_not_at_all(start):
    person, project = start(REQUEST_MAX=10, REQUESTS_PER_MONTH=12)
    assert passed(person, project, 2, cost=7) == 1
    assert passed(person, project, 2, cost=3) == 1
    assert person.projects()[0]["request_today"] == person.projects()[0]["request_total"] == 10
    assert usage(person, 1)["list"] == [{"day": "2024-03-07", "requests": 10}]


def test_a_cost_that_can_never_fit(start):
    person, _ = start()
    for option, limit, fits in (
        ("--day", 9, 9),
        ("--month", 9999, 9999),
        ("--per-minute", 1, 5),
        ("--per-minute", 36, 6),
        ("--per-minute", 59_999, 9999),  # a burst is rounded down
    ):
        project = person.create_project()
        person.operate("project", "allow", project["project_key"], option, limit)
        reply = person.verify(project, cost=fits + 1)
        assert (reply.status_code, code_of(reply)) == (403, 1009), limit
        assert reply.headers["X-Gateway-Code"] == "1009"
        assert reply.headers["X-Gateway-Message"] == reply.json["header"]["message"]
        assert "Retry-After" not in reply.headers
        assert passed(person, project, 1, cost=fits) == 1, limit


@sqlite_only
def test_a_bad_cost_is_the_fault_of_the_proxy(start, caplog):
    person, project = start()
    costs = ("", "0", "-1", "+1", "1.0", "01", "10001", "x", " 1", "1\n", "\u0661", ["1", "1"])
    for cost in costs:
        caplog.clear()
        reply = person.verify(project, cost=cost)
        assert (reply.status_code, code_of(reply)) == (400, 1003), cost
        sentence = "a bad question: cost must be one integer from 1 to 10000"
        assert f"a proxy's configuration asks with {sentence}" in caplog.messages
    assert person.projects()[0]["request_total"] == 0


def test_counts_have_64_bits(start, sql, clock):
    person, project = start()
    person.verify(project)
    sql("UPDATE projects SET request_total = 5000000000, extra_count = 4999999999, month_count = 1")
    assert passed(person, project, 1, cost=10_000) == 1
    assert person.projects()[0]["request_today"] == 5_000_010_000
    clock.advance(days=1)
    assert passed(person, project, 1) == 1
    data = usage(person, 2)
    assert [day["requests"] for day in data["list"]] == [5_000_010_000, 1]
    assert data["month_used"] == 5_000_010_001


@sqlite_only
def test_rate(start, clock):
    """60 a minute: ten at once, then one each second. On Postgres its own clock decides."""
    person, project = start(REQUESTS_PER_MINUTE=60)
    assert passed(person, project, 12) == 10
    clock.advance(milliseconds=999)
    reply = person.verify(project)
    assert (reply.status_code, reply.headers["Retry-After"]) == (403, "1")
    assert "minute" in reply.json["header"]["message"]
    assert person.verify(project, cost=7).headers["Retry-After"] == "7"  # 6.001 s
    clock.advance(milliseconds=1)
    assert passed(person, project, 2) == 1
    clock.advance(seconds=4)
    assert passed(person, project, 2, cost=3) == 1
    assert passed(person, project, 2) == 1
    clock.advance(days=1)
    assert passed(person, project, 12) == 10


@sqlite_only
@pytest.mark.parametrize(("per_minute", "burst"), [(7, 5), (35, 5), (100, 16), (600, 100)])
def test_no_minute_has_more_than_the_rate_and_a_burst(start, clock, per_minute, burst):
    person, project = start(REQUESTS_PER_MINUTE=per_minute)
    assert passed(person, project, burst + 1) == burst
    count = 0
    for _ in range(200):
        clock.advance(milliseconds=300)
        count += passed(person, project, 1 + per_minute // 180)
    assert per_minute - 1 <= count <= per_minute


@sqlite_only
def test_a_clock_that_is_set_back_counts_as_a_burst_just_used_up(start, clock):
    person, project = start(REQUESTS_PER_MINUTE=60)
    assert passed(person, project, 5) == 5
    for back in ({"seconds": -8}, {"hours": -3}, {"days": -400}):
        clock.advance(**back)
        reply = person.verify(project)
        assert (reply.status_code, reply.headers["Retry-After"]) == (403, "1"), back
        clock.advance(seconds=1)
        assert passed(person, project, 2) == 1
        clock.advance(seconds=9)
        assert passed(person, project, 12) == 9


def test_rate_on_the_clock_of_the_database(start):
    """Real time: 600 a minute are 100 at once, then one in 100 ms."""
    person, project = start(REQUESTS_PER_MINUTE=600)
    begin = time.monotonic()
    assert passed(person, project, 1, cost=99) == 1
    first = passed(person, project, 20)
    took = time.monotonic() - begin
    if person.client.application.config["SQLALCHEMY_DATABASE_URI"].startswith("postgresql"):
        assert 1 <= first <= 1 + took * 10
    else:
        assert first == 1  # there the service's clock stands still


@pytest.mark.parametrize("limit", ["--day", "--month"])
def test_racing_requests_never_exceed_a_quota(start, limit):
    person, project = start(REQUESTS_PER_MINUTE=6_000_000)
    person.operate("project", "allow", 1, limit, 61)
    together = threading.Barrier(6)

    def passed_of(cost):
        racer = replace(person, client=person.client.application.test_client())
        together.wait()
        return cost * passed(racer, project, 10, cost=cost)

    with ThreadPoolExecutor(6) as executor:
        assert sum(executor.map(passed_of, (1, 3, 7, 1, 3, 7))) == 61
    assert person.projects()[0]["request_total"] == 61


def test_headers_tell_of_every_limit(start):
    person, project = start(REQUEST_MAX=30, REQUESTS_PER_MONTH=100, REQUESTS_PER_MINUTE=60)
    headers = person.verify(project, cost=3).headers
    assert headers["RateLimit-Policy"] == (
        '"day";q=30;w=86400, "month";q=100;w=2678400, "minute";q=60;w=60'
    )
    day, month, minute = headers["RateLimit"].split(", ")
    assert (day, month) == ('"day";r=27;t=43200', '"month";r=97;t=2116800')  # 24.5 days
    assert minute == '"minute";r=7;t=3'
    of_day = [headers[f"RateLimit-{name}"] for name in ("Limit", "Remaining", "Reset")]
    assert of_day == ["30", "27", "43200"]


def test_retry_after_is_the_latest_of_the_limits_that_are_full(start, clock):
    person, project = start(2024, 3, 31, 12, REQUEST_MAX=5, REQUESTS_PER_MONTH=5)
    person.operate("project", "allow", 1, "--per-minute", 1)
    assert passed(person, project, 5) == 5
    reply = person.verify(project)
    assert reply.headers["Retry-After"] == "43200"
    person.operate("project", "allow", 1, "--day", 0)
    assert "month" in person.verify(project).json["header"]["message"]
    person.operate("project", "allow", 1, "--month", 0)
    reply = person.verify(project)
    assert "minute" in reply.json["header"]["message"]
    assert 58 <= int(reply.headers["Retry-After"]) <= 60
    person.operate("project", "allow", 1, "--per-minute", 0)
    assert passed(person, project, 3) == 3


def test_quota_counts_nothing(start):
    person, project = start(REQUEST_MAX=2, REQUESTS_PER_MINUTE=60)
    person.verify(project)
    for _ in range(3):
        reply = quota(person, project)
        assert reply.json["header"] == {"code": 0, "message": "OK", "total": 1, "count": 1}
        data = reply.json["data"]
        assert data["day"] == {"limit": 2, "remaining": 1, "reset": 43200}
        assert data["month"] == {"limit": 0, "remaining": 0, "reset": 0}
        assert data["minute"]["limit"] == 60
        assert data["minute"]["remaining"] in (9, 10)
    assert person.projects()[0]["request_total"] == 1
    person.verify(project)
    assert quota(person, project).json["data"]["day"]["remaining"] == 0


@sqlite_only
def test_quota_wants_the_credentials_of_a_project(start):
    person, project = start()
    person.operate("user", "ban", "lory")
    banned = quota(person, project)
    person.operate("user", "unban", "lory")
    wrong = quota(person, {**project, "project_secret": "x" * 48})
    person.sign_in()
    person.post("/project/delete", {"id": 1})
    for reply in (banned, wrong, quota(person, project), person.client.get(QUOTA)):
        assert (reply.status_code, code_of(reply)) == (401, 1001)
        assert reply.headers["WWW-Authenticate"] == 'Basic realm="gateway"'


def test_a_blocked_project_is_paused_for_its_owner_too(start):
    person, project = start()
    assert person.operate("project", "pause", 1) == "project 1: paused\n"
    reply = person.verify(project)
    assert (reply.status_code, reply.headers["X-Gateway-Code"]) == (403, "1000")
    assert reply.headers["X-Gateway-Message"] == reply.json["header"]["message"]
    reply = quota(person, project)
    assert (reply.status_code, code_of(reply)) == (200, 1000)
    for body in ({"active_until": 0}, {"active_until": 2**31 - 1}, {"blocked": False}):
        assert code_of(person.post("/project/edit", {"id": 1, **body})) == 1000
    assert code_of(person.post("/project/edit", {"id": 1, "project_name": "new"})) == 0
    assert person.verify(project).status_code == 403
    assert json.loads(person.operate("project", "show", 1, "--json"))["blocked"] is True
    assert person.operate("project", "resume", 1) == "project 1: resumed\n"
    assert person.verify(project).status_code == 204
    assert code_of(person.post("/project/edit", {"id": 1, "active_until": 1})) == 0
    assert person.operate("project", "resume", 1) == "project 1: still paused by its owner\n"
    assert person.verify(project).status_code == 403


def test_only_an_admin_edits_a_limit(sign_up, admin):
    owner = sign_up("libin")
    project = owner.create_project()
    limits = {"request_max": 2, "month_max": 3, "per_minute": 1, "blocked": True}
    for field, value in limits.items():
        body = {"id": 1, field: value}
        assert code_of(owner.post("/project/edit", {**body, "project_name": "new"})) == 1000, field
        assert code_of(admin.post("/project/edit", body)) == 0
        assert owner.verify(project, cost=6).status_code == 403, field
        assert code_of(admin.post("/project/edit", {"id": 1, field: type(value)(0)})) == 0
        assert owner.verify(project, cost=6).status_code == 204, field
    assert owner.projects()[0]["project_name"] == "我的ChatGPT项目"
    numbers = [("request_max", -1), ("month_max", 2**31), ("per_minute", 6_000_001)]
    flags = [("blocked", value) for value in (1, "true", None)]
    for field, bad in (*numbers, ("per_minute", True), *flags):
        reply = admin.post("/project/edit", {"id": 1, field: bad})
        assert (reply.status_code, code_of(reply)) == (400, 1003), (field, bad)


def test_usage_tells_month_rate_and_grace(start, clock):
    person, project = start(2024, 2, 29, 12, REQUESTS_PER_MONTH=9, REQUESTS_PER_MINUTE=700)
    person.verify(project, cost=3)
    clock.advance(days=1)
    person.verify(project, cost=2)
    assert usage(person, 1)["old_secret_until"] == 0
    person.post("/project/rotate", {"id": 1, "grace_hours": 1})
    data = usage(person, 1)
    assert (data["month_max"], data["month_used"], data["per_minute"]) == (9, 2, 700)
    assert data["old_secret_until"] == 1709298000  # 2024-03-01 13:00
    clock.advance(hours=1)
    assert usage(person, 1)["old_secret_until"] == 0


def test_projects_are_sorted_by_use(start, clock):
    person, _ = start(2024, 2, 29, 12)
    projects = [person.create_project(), person.create_project()]
    person.verify(projects[0], cost=9)
    clock.advance(days=1)
    person.verify(projects[1], cost=5)
    clock.advance(days=1)
    person.verify(projects[0])

    def order(by):
        listed = json.loads(person.operate("project", "list", "--sort", by, "--json"))
        return [row["id"] for row in listed["list"]]

    assert order("total") == [2, 3, 1]
    assert order("month") == [3, 2, 1]
    assert order("today") == [2, 1, 3]
    rows = json.loads(person.operate("usage", "--today", "--json"))
    assert [(row["id"], row["requests"]) for row in rows] == [(2, 1)]


def test_an_account_may_have_more_or_fewer_projects(start, command, sql):
    person, _ = start(PROJECTS_PER_USER=2)

    def create(times):
        body = {"project_type": 1, "project_name": "x"}
        return [code_of(person.post("/project/create", body)) for _ in range(times)]

    assert create(2) == [0, 1009]
    assert person.operate("user", "allow", "lory", "--projects", 4) == (
        "lory may have 4 projects, before default\n"
    )
    assert create(3) == [0, 0, 1009]
    person.operate("user", "allow", "lory", "--projects", 0)
    for _ in range(2):
        person.post("/project/delete", {"id": 1})
    assert sql("SELECT live_projects FROM users") == [(3,)]
    assert create(1) == [1009]
    person.operate("user", "allow", "lory", "--projects", "default")
    for project in (2, 3):
        person.post("/project/delete", {"id": project})
    assert create(1) == [1009]  # four were created within a day
    sql("DELETE FROM throttle_counts")
    assert create(2) == [0, 1009]
    for bad in ("x", -1, 2**31):
        assert command("user", "allow", "lory", f"--projects={bad}").exit_code == 2
