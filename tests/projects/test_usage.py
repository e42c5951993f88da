"""Usage by day, and projects that are renamed, paused and resumed. On both databases."""

import csv
import io
import json
import threading
import time

import pytest
from support.helpers import TIMEOUT, basic, code_of, login
from support.nginx_front import ask_node

from gateway.project import usage as usages

PAGE = {"id": 1, "days": 3}


@pytest.fixture
def project(make_app, sign_up, clock):
    """Return a person and a project without a daily limit, early on a day in Shanghai."""
    clock.freeze(2024, 3, 7, 16, 0, 5)  # 2024-03-08 00:00:05 in Shanghai
    app = make_app(TIMEZONE="Asia/Shanghai", REQUEST_MAX=0)
    person = sign_up(client=app.test_client())
    return person, person.create_project()


def log_in_again(person):
    """Take a new token, because the clock of these tests passes the end of the first one."""
    reply = login(lambda path, body: person.client.post(f"/api/v1{path}", json=body))
    person.token = reply.json["data"]["auth_token"]


def use(person, project, times):
    for _ in range(times):
        assert person.verify(project).status_code == 204


def usage(person, **body):
    log_in_again(person)
    reply = person.post("/project/usage", {"id": 1, **body})
    assert code_of(reply) == 0
    return reply.json


def test_usage_lists_each_day_with_zeros_and_today_last(project, clock):
    person, created = project
    assert usage(person, days=2)["data"] == {
        "active_until": 0,
        "last_used": "",
        "month_max": 0,
        "month_used": 0,
        "per_minute": 0,
        "old_secret_until": 0,
        "list": [{"day": "2024-03-07", "requests": 0}, {"day": "2024-03-08", "requests": 0}],
    }
    use(person, created, 3)
    clock.advance(days=1)
    assert usage(person, days=3)["data"]["list"] == [
        {"day": "2024-03-07", "requests": 0},
        {"day": "2024-03-08", "requests": 3},
        {"day": "2024-03-09", "requests": 0},
    ]
    use(person, created, 2)
    clock.advance(days=2)
    use(person, created, 1)
    reply = usage(person, days=5)
    assert [entry["requests"] for entry in reply["data"]["list"]] == [0, 3, 2, 0, 1]
    assert reply["data"]["last_used"] == "2024-03-11"
    assert (reply["header"]["total"], reply["header"]["count"]) == (5, 5)


def test_thirty_days_by_default(project):
    person, _ = project
    days = [entry["day"] for entry in usage(person)["data"]["list"]]
    assert (len(days), days[0], days[-1]) == (30, "2024-02-08", "2024-03-08")


def test_a_project_idle_for_months_keeps_its_last_day(project, clock):
    person, created = project
    use(person, created, 2)
    clock.advance(days=99)
    data = usage(person, days=400)["data"]
    assert data["last_used"] == "2024-03-08"
    assert data["list"][-100] == {"day": "2024-03-08", "requests": 2}
    assert sum(entry["requests"] for entry in data["list"]) == 2
    assert usage(person, days=30)["data"]["last_used"] == "2024-03-08"


def test_nodes_whose_clocks_differ_lose_no_request_at_midnight(project, clock):
    """Fast and slow node take turns for 20 s around midnight; the sum is exact."""
    person, created = project
    clock.freeze(2024, 3, 8, 15, 59, 30)
    use(person, created, 2)
    clock.freeze(2024, 3, 8, 15, 59, 55)
    for second in range(20):
        clock.advance(seconds=1 if second % 2 else 9)
        use(person, created, 1)
        clock.advance(seconds=-8 if not second % 2 else 0)
    clock.advance(minutes=1)
    # The fast node begins the day at its 16:00:04, and the slow one then counts for that day, too.
    entries = usage(person, days=2)["data"]["list"]
    assert [entry["requests"] for entry in entries] == [2, 20]


def test_a_day_that_a_wrong_clock_wrote_is_added_to(project, clock):
    person, created = project
    use(person, created, 1)
    clock.advance(days=3)  # wrong
    use(person, created, 1)
    clock.advance(days=-3)
    use(person, created, 1)
    clock.advance(days=3)
    use(person, created, 1)
    assert [entry["requests"] for entry in usage(person, days=4)["data"]["list"]] == [2, 0, 0, 2]


@pytest.mark.parametrize("days", [0, 401, -1, "3", 2.0, True, None])
def test_usage_refuses_bad_days(project, days):
    person, _ = project
    reply = person.post("/project/usage", {"id": 1, "days": days})
    assert (reply.status_code, code_of(reply)) == (400, 1003)


def test_usage_and_edit_of_another_users_project_are_not_found(project, sign_up):
    person, _ = project
    other = sign_up("other", client=person.client)
    for path, body in (("usage", {}), ("edit", {"project_name": "mine"}), ("edit", {})):
        assert code_of(other.post(f"/project/{path}", {"id": 1, **body})) == 1006
        assert code_of(person.post(f"/project/{path}", {"id": 2, **body})) == 1006
    assert person.projects()[0]["project_name"] != "mine"


def test_edit_changes_only_what_is_sent(project):
    person, _ = project
    (before,) = person.projects()
    assert code_of(person.post("/project/edit", {"id": 1, "project_name": " new "})) == 0
    assert person.projects() == [{**before, "project_name": "new"}]
    assert code_of(person.post("/project/edit", {"id": 1, "project_type": 7})) == 0
    assert code_of(person.post("/project/edit", {"id": 1})) == 0
    assert person.projects() == [{**before, "project_name": "new", "project_type": 7}]


@pytest.mark.parametrize(
    "change",
    [
        {"active_until": 2**31},
        {"active_until": -1},
        {"active_until": None},
        {"active_until": "0"},
        {"project_name": ""},
        {"project_name": "x" * 129},
        {"project_type": -1},
    ],
)
def test_edit_refuses_bad_values_and_changes_nothing(project, change):
    person, _ = project
    before = person.projects()
    reply = person.post("/project/edit", {"id": 1, "project_type": 5, **change})
    assert (reply.status_code, code_of(reply)) == (400, 1003)
    assert person.projects() == before


def test_a_project_pauses_when_its_time_has_come(project, clock):
    person, created = project
    now = int(clock.now().timestamp())
    assert code_of(person.post("/project/edit", {"id": 1, "active_until": now + 60})) == 0
    use(person, created, 1)
    clock.advance(seconds=60)
    refused = person.verify(created)
    assert refused.status_code == 403
    assert (code_of(refused), refused.headers["X-Gateway-Code"]) == (1000, "1000")
    assert person.verify(created, secret="x" * 48).status_code == 401
    assert usage(person, days=1)["data"] == {
        "active_until": now + 60,
        "last_used": "2024-03-08",
        "month_max": 0,
        "month_used": 1,
        "per_minute": 0,
        "old_secret_until": 0,
        "list": [{"day": "2024-03-08", "requests": 1}],
    }
    assert code_of(person.post("/project/edit", {"id": 1, "active_until": 0})) == 0
    use(person, created, 1)


def test_no_request_passes_that_begins_after_a_pause_was_answered(start_service):
    service = start_service(workers=2, REQUEST_MAX=0)
    token = service.sign_up("lory")
    project = service.post("/project/create", {"project_type": 1, "project_name": "x"}, token)[2]
    header = basic(project["project_key"], project["project_secret"])
    service.post("/project/edit", {"id": 1, "active_until": 0}, token)
    asked, some_passed, ended = [], threading.Event(), threading.Event()

    def ask():
        while not ended.is_set():
            began = time.monotonic()
            asked.append((began, ask_node(service.port, header)))
            if len(asked) > 5:
                some_passed.set()

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert some_passed.wait(TIMEOUT)
    assert service.post("/project/edit", {"id": 1, "active_until": 1}, token)[:2] == (200, 0)
    answered = time.monotonic()
    while sum(began > answered for began, _ in list(asked)) < 8:
        threading.Event().wait(0.01)
    ended.set()
    for thread in threads:
        thread.join(TIMEOUT)
    assert {status for began, status in asked if began > answered} == {403}
    passed = sum(status == 204 for _, status in asked)
    (item,) = service.post("/project/usage", {"id": 1, "days": 1}, token)[2]["list"]
    assert (passed > 0, item["requests"]) == (True, passed)


def test_a_time_in_the_past_pauses_at_once(project):
    person, created = project
    assert code_of(person.post("/project/edit", {"id": 1, "active_until": 1})) == 0
    assert person.verify(created).status_code == 403


def test_the_usage_command_answers_who_used_how_much(project, clock, sign_up):
    from gateway.ops.cli import main  # noqa: PLC0415 - the fixture has the application

    person, created = project
    other = sign_up("other", client=person.client)
    theirs = other.create_project()
    use(person, created, 2)
    use(other, theirs, 3)
    clock.advance(days=30)  # 2024-04-07
    use(person, created, 4)

    def run(*arguments):
        runner = person.client.application.test_cli_runner()
        result = runner.invoke(main, args=["usage", *arguments])
        assert result.exit_code == 0, result.output
        return result.output

    march = json.loads(run("--month", "2024-03", "--json"))
    assert [(row["owner"], row["requests"]) for row in march] == [("other", 3), ("lory", 2)]
    assert json.loads(run("--json"))[0]["requests"] == 4
    assert len(json.loads(run("--month", "2024-03", "--top", "1", "--json"))) == 1
    (row,) = csv.DictReader(io.StringIO(run("--month", "2024-03", "--user", "lory", "--csv")))
    assert (row["requests"], row["project_key"]) == ("2", created["project_key"])
    assert "other" in run("--month", "2024-03")
    assert run("--month", "2023-01") == "none\n"


def test_usage_outlives_a_project_and_its_row(project, clock, sql):
    from gateway.ops.cli import main  # noqa: PLC0415 - as above

    person, created = project
    use(person, created, 3)
    clock.advance(days=1)
    use(person, created, 2)  # the last day, which the deletion keeps
    log_in_again(person)
    assert code_of(person.post("/project/delete", {"id": 1})) == 0
    runner = person.client.application.test_cli_runner()

    def rows(*arguments):
        result = runner.invoke(main, args=["usage", "--month", "2024-03", "--json", *arguments])
        return json.loads(result.output)

    assert [(row["project_key"], row["requests"]) for row in rows()] == [
        (created["project_key"], 5)
    ]
    clock.advance(days=31)
    assert runner.invoke(main, args=["purge"]).exit_code == 0
    assert sql("SELECT * FROM projects") == []
    assert [(row["owner"], row["project_key"], row["requests"]) for row in rows()] == [
        ("lory", "", 5)
    ]
    clock.advance(days=400)
    assert runner.invoke(main, args=["purge"]).exit_code == 0
    assert rows() == []


def test_usage_of_each_user(project, sign_up):
    from gateway.ops.cli import main  # noqa: PLC0415 - as above

    person, created = project
    other = sign_up("other", client=person.client)
    use(person, created, 2)
    use(person, person.create_project("second"), 2)
    use(other, other.create_project(), 3)
    runner = person.client.application.test_cli_runner()
    result = runner.invoke(main, args=["usage", "--users", "--json"])
    assert json.loads(result.output) == [
        {"user_id": 1, "owner": "lory", "projects": 2, "requests": 4},
        {"user_id": 2, "owner": "other", "projects": 1, "requests": 3},
    ]


def test_another_time_zone_counts_no_day_twice(project, clock, command, sql):
    person, created = project
    use(person, created, 5)
    clock.freeze(2024, 3, 7, 16, 30)
    app = person.client.application
    app.config["TIMEZONE"] = "UTC"  # where it is still the 7th
    sql("INSERT INTO stored_values (name, value) VALUES ('TIMEZONE', 'Asia/Shanghai')")
    assert command("set-timezone", "--yes").exit_code == 0
    assert [entry["requests"] for entry in usage(person, days=3)["data"]["list"]] == [0, 0, 5]


def main_command():
    from gateway.ops.cli import main  # noqa: PLC0415 - as above

    return main


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(1)"])
def test_a_spreadsheet_takes_no_name_for_a_formula(project, name):
    person, created = project
    use(person, created, 1)
    person.post("/project/edit", {"id": 1, "project_name": name})
    runner = person.client.application.test_cli_runner()
    result = runner.invoke(main_command(), args=["usage", "--csv"])
    (row,) = csv.DictReader(io.StringIO(result.output))
    assert row["project_name"] == f"'{name}"


def test_a_day_that_turns_between_two_reads_is_counted_once(project, clock, monkeypatch):
    """The second read is one statement, so the day is in one table or in the other."""
    person, created = project
    use(person, created, 3)
    clock.advance(days=1)
    whole = usages.counts_of

    def turn_first(*arguments):
        use(person, created, 1)
        return whole(*arguments)

    monkeypatch.setattr(usages, "counts_of", turn_first)
    assert [entry["requests"] for entry in usage(person, days=2)["data"]["list"]] == [3, 1]


@pytest.mark.parametrize("arguments", [["--top", "0"], ["--top", "9" * 20], ["--month", "10000-1"]])
def test_the_usage_command_refuses_what_no_database_takes(project, arguments):
    runner = project[0].client.application.test_cli_runner()
    result = runner.invoke(main_command(), args=["usage", *arguments])
    assert (result.exit_code, "Traceback" in result.output) == (2, False)


@pytest.mark.parametrize("month", ["2024-13", "2024", "x"])
def test_the_usage_command_refuses_months_that_do_not_exist(project, month):
    from gateway.ops.cli import main  # noqa: PLC0415 - as above

    runner = project[0].client.application.test_cli_runner()
    result = runner.invoke(main, args=["usage", "--month", month])
    assert result.exit_code == 2
    assert "does not match the format" in result.output
