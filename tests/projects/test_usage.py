"""Usage by day, and projects that are renamed, paused and resumed. On both databases."""

import csv
import io
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import event
from support.helpers import basic, code_of, postgres_only, sqlite_only, until
from support.nginx_front import ask_node

from gateway.db import db


@pytest.fixture
def made(start):
    """Return a person and a project without a daily limit, early on a day in Shanghai."""
    return start(2024, 3, 7, 16, 0, 5, TIMEZONE="Asia/Shanghai")  # 2024-03-08 00:00:05 there


def use(person, project, times):
    for _ in range(times):
        assert person.verify(project).status_code == 204


def usage(person, **body):
    person.sign_in()  # because the clock of these tests passes the end of a token
    reply = person.post("/project/usage", {"id": 1, **body})
    assert code_of(reply) == 0
    return reply.json["data"]


def requests(person, days):
    return [entry["requests"] for entry in usage(person, days=days)["list"]]


def test_usage_lists_each_day_with_zeros_and_today_last(made, clock):
    person, project = made
    names = ("active_until", "month_max", "month_used", "per_minute", "old_secret_until")
    assert usage(person, days=2) == {
        **dict.fromkeys(names, 0),
        "last_used": "",
        "list": [{"day": "2024-03-07", "requests": 0}, {"day": "2024-03-08", "requests": 0}],
    }
    use(person, project, 3)
    clock.advance(days=1)
    assert usage(person, days=3)["list"] == [
        {"day": "2024-03-07", "requests": 0},
        {"day": "2024-03-08", "requests": 3},
        {"day": "2024-03-09", "requests": 0},
    ]
    use(person, project, 2)
    clock.advance(days=2)
    use(person, project, 1)
    assert requests(person, 5) == [0, 3, 2, 0, 1]
    reply = person.post("/project/usage", {"id": 1}).json
    assert (reply["header"]["total"], reply["header"]["count"]) == (30, 30)
    days = [entry["day"] for entry in reply["data"]["list"]]
    assert (days[0], days[-1], reply["data"]["last_used"]) == ("2024-02-11", *["2024-03-11"] * 2)


def test_a_project_idle_for_months_keeps_its_last_day(made, clock):
    person, project = made
    use(person, project, 2)
    clock.advance(days=99)
    data = usage(person, days=400)
    assert data["last_used"] == "2024-03-08"
    assert data["list"][-100] == {"day": "2024-03-08", "requests": 2}
    assert sum(entry["requests"] for entry in data["list"]) == 2
    assert usage(person, days=30)["last_used"] == "2024-03-08"


def test_a_day_that_a_wrong_clock_wrote_is_added_to(made, clock):
    person, project = made
    for days, today in ((3, 1), (-3, 1), (3, 2), (0, 2)):  # the first is wrong
        use(person, project, 1)
        assert person.projects()[0]["request_today"] == today
        clock.advance(days=days)
        person.sign_in()
    assert requests(person, 4) == [2, 0, 0, 2]


def test_a_day_that_turns_between_two_reads_is_counted_once(made, clock):
    """The second read is one statement, so the day is in one table or in the other."""
    person, project = made
    use(person, project, 3)
    clock.advance(days=1)
    with person.client.application.app_context():
        engine = db.engine

    def turn_first(_connection, _cursor, statement, *_):
        if "project_days" in statement:
            use(person, project, 1)

    event.listen(engine, "before_cursor_execute", turn_first)
    assert requests(person, 2) == [3, 1]
    event.remove(engine, "before_cursor_execute", turn_first)
    assert requests(person, 2) == [3, 1]


@sqlite_only
def test_bad_values_are_refused_and_change_nothing(made):
    person, _ = made
    before = person.projects()
    for days in (0, 401, -1, "3", 2.0, True, None):
        reply = person.post("/project/usage", {"id": 1, "days": days})
        assert (reply.status_code, code_of(reply)) == (400, 1003), days
    times = [("active_until", value) for value in (2**31, -1, None, "0")]
    names = [("project_name", value) for value in ("", "x" * 129)]
    for name, value in (*times, *names, ("project_type", -1)):
        body = {"id": 1, "project_type": 5, "project_name": "new", name: value}
        reply = person.post("/project/edit", body)
        assert (reply.status_code, code_of(reply)) == (400, 1003), name
    assert person.projects() == before


def test_usage_and_edit_of_another_users_project_are_not_found(made, sign_up):
    person, _ = made
    other = sign_up("other", client=person.client)
    for path, body in (("usage", {}), ("edit", {"project_name": "mine"}), ("edit", {})):
        assert code_of(other.post(f"/project/{path}", {"id": 1, **body})) == 1006
        assert code_of(person.post(f"/project/{path}", {"id": 2, **body})) == 1006
    assert person.projects()[0]["project_name"] != "mine"


def test_edit_changes_only_what_is_sent(made):
    person, _ = made
    (project,) = person.projects()
    for body in ({"project_name": " new "}, {"project_type": 7}, {}):
        assert code_of(person.post("/project/edit", {"id": 1, **body})) == 0
        project |= body
        project["project_name"] = project["project_name"].strip()
        assert person.projects() == [project]


def test_a_project_pauses_when_its_time_has_come(made, clock):
    person, project = made
    now = int(clock.now().timestamp())
    assert code_of(person.post("/project/edit", {"id": 1, "active_until": now + 60})) == 0
    use(person, project, 1)
    clock.advance(seconds=60)
    refused = person.verify(project)
    assert refused.status_code == 403
    assert (code_of(refused), refused.headers["X-Gateway-Code"]) == (1000, "1000")
    assert person.verify(project, secret="x" * 48).status_code == 401
    assert usage(person, days=1)["active_until"] == now + 60
    for time_of_pause, status in ((0, 204), (1, 403)):  # a time in the past pauses at once
        assert code_of(person.post("/project/edit", {"id": 1, "active_until": time_of_pause})) == 0
        assert person.verify(project).status_code == status


@postgres_only
def test_no_request_passes_that_begins_after_a_pause_was_answered(start_service):
    service = start_service(workers=2, REQUEST_MAX=0)
    token = service.sign_up("lory")
    project = service.post("/project/create", {"project_type": 1, "project_name": "x"}, token)[2]
    header = basic(project["project_key"], project["project_secret"])
    asked, ended = [], threading.Event()

    def ask():
        while not ended.is_set():
            asked.append((time.monotonic(), ask_node(service.port, header)))

    with ThreadPoolExecutor(4) as executor:
        for _ in range(4):
            executor.submit(ask)
        try:
            until(lambda: len(asked) > 5)
            edited = service.post("/project/edit", {"id": 1, "active_until": 1}, token)
            answered = time.monotonic()
            until(lambda: sum(began > answered for began, _ in list(asked)) >= 8)
        finally:
            ended.set()
    assert edited[:2] == (200, 0)
    assert {status for began, status in asked if began > answered} == {403}
    passed = sum(status == 204 for _, status in asked)
    (item,) = service.post("/project/usage", {"id": 1, "days": 1}, token)[2]["list"]
    assert (passed > 0, item["requests"]) == (True, passed)


def test_the_usage_command_answers_who_used_how_much(made, clock, sign_up):
    person, project = made
    other = sign_up("other", client=person.client)
    use(person, project, 1)
    use(person, person.create_project("second"), 1)
    use(other, other.create_project(), 3)
    assert json.loads(person.operate("usage", "--users", "--json")) == [
        {"user_id": 2, "owner": "other", "projects": 1, "requests": 3},
        {"user_id": 1, "owner": "lory", "projects": 2, "requests": 2},
    ]
    clock.advance(days=30)  # 2024-04-07
    use(person, project, 4)

    def rows(*words):
        return json.loads(person.operate("usage", "--json", *words))

    march = ("--month", "2024-03")
    assert [(row["owner"], row["requests"]) for row in rows(*march)] == [
        ("other", 3),
        ("lory", 1),
        ("lory", 1),
    ]
    assert [row["requests"] for row in rows()] == [4]
    assert len(rows(*march, "--top", "1")) == 1
    table = person.operate("usage", *march, "--user", "lory", "--csv")
    first, _ = csv.DictReader(io.StringIO(table))
    assert (first["requests"], first["project_key"]) == ("1", project["project_key"])
    assert "other" in person.operate("usage", *march)
    unused = ("usage", "--month", "2023-01")
    assert person.operate(*unused) == "none\n"
    assert person.operate(*unused, "--csv").splitlines() == table.splitlines()[:1]


def test_usage_outlives_a_project_and_its_row(made, clock, sql):
    person, project = made
    use(person, project, 3)
    clock.advance(days=1)
    use(person, project, 2)  # the last day, which the deletion keeps
    person.sign_in()
    assert code_of(person.post("/project/delete", {"id": 1})) == 0

    def rows():
        listed = json.loads(person.operate("usage", "--month", "2024-03", "--json"))
        return [(row["owner"], row["project_key"], row["requests"]) for row in listed]

    assert rows() == [("lory", project["project_key"], 5)]
    clock.advance(days=31)
    person.operate("purge")
    assert sql("SELECT * FROM projects") == []
    assert rows() == [("lory", "", 5)]
    clock.advance(days=400)
    person.operate("purge")
    assert rows() == []


def test_another_time_zone_counts_no_day_twice_and_begins_no_month_anew(start, clock, command, sql):
    settings = {"REQUESTS_PER_MONTH": 5, "TIMEZONE": "Asia/Shanghai"}
    person, project = start(2024, 2, 27, 20, **settings)
    person.verify(project, cost=2)
    clock.freeze(2024, 2, 29, 20)  # 1 March in Shanghai
    use(person, project, 1)
    person.client.application.config["TIMEZONE"] = "UTC"
    sql("INSERT INTO stored_values (name, value) VALUES ('TIMEZONE', 'Asia/Shanghai')")
    assert command("set-timezone", "--yes").exit_code == 0
    use(person, project, 2)
    assert person.verify(project).status_code == 403  # 1 March counts for 29 February
    assert requests(person, 3) == [0, 2, 3]


@sqlite_only
def test_a_spreadsheet_takes_no_name_for_a_formula(made):
    person, project = made
    use(person, project, 1)
    for name in ("=1+1", "+1", "-1", "@SUM(1)"):
        person.post("/project/edit", {"id": 1, "project_name": name})
        (row,) = csv.DictReader(io.StringIO(person.operate("usage", "--csv")))
        assert row["project_name"] == f"'{name}"


@sqlite_only
def test_the_usage_command_refuses_what_is_no_number_and_no_month(command):
    for words in (["--top", 0], ["--top", "9" * 20], ["--month", "10000-1"]):
        result = command("usage", *words)
        assert (result.exit_code, "Traceback" in result.output) == (2, False)
    for month in ("2024-13", "2024", "x"):
        result = command("usage", "--month", month)
        assert (result.exit_code, "does not match the format" in result.output) == (2, True)
