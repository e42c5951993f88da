"""Operator commands: accounts, projects, pools, mail, purge."""

import json

import pytest
from support.helpers import PASSWORD, code_of, login, sqlite_only

from gateway.ops.cli import main
from gateway.project.models import RESERVED_POOL_NAMES


@pytest.fixture
def project(person):
    return person.create_project()


def rows(result):
    """Return the cells of a printed table, without its head."""
    return [line.split() for line in result.output.splitlines()[1:]]


def assert_refused(result, sentence):
    assert result.exit_code != 0
    assert result.output.splitlines()[-1] == f"Error: {sentence}"


# Accounts


def log_in(api, user_name="lory", password=PASSWORD):
    return code_of(login(api, user_name, password))


def is_in(person):
    return code_of(person.post("/project/list")) == 0


@sqlite_only
def test_create_an_admin(command, api, relay):
    result = command("user", "create", "boss", "boss@126.com", "--admin", input=f"{PASSWORD}\n" * 2)
    assert result.exit_code == 0
    assert result.output.splitlines()[-1] == "boss is created as an admin"
    assert PASSWORD not in result.output
    data = api("/login", {"user_name": "boss", "password": PASSWORD}).json["data"]
    assert data["role"] == "admin"
    assert relay.mails == []


@sqlite_only
def test_password_from_standard_input_or_a_prompt(command, api):
    typed = "the first one\nanother one\n" + f"{PASSWORD}\n" * 2  # the prompt asks again
    command("user", "create", "a", "a@126.com", input=typed)
    command("user", "create", "b", "b@126.com", "--password-stdin", input=f"{PASSWORD}\r\n")
    assert [log_in(api, name) for name in "ab"] == [0, 0]
    assert log_in(api, "b", "12345678") == 1002


def test_create_refuses_invalid_accounts(command, person, sql):
    for user_name, email, password, sentence in (
        ("a b", "a@126.com", PASSWORD, "user_name must be made of visible letters and digits"),
        ("a", "a@", PASSWORD, "email must be an address like name@example.com"),
        ("a", "a@126.com", "short", "password must be 8 to 128 characters long"),
        ("LORY", "a@126.com", PASSWORD, "User name already exists; choose another"),
        ("a", "Lory@126.com", PASSWORD, "Email already exist"),
    ):
        result = command("user", "create", user_name, email, "--password-stdin", input=password)
        assert result.exit_code == 1
        assert result.output.splitlines()[-1].startswith(f"Error: {sentence}")
    assert len(sql("SELECT * FROM users")) == 1


def test_set_password_revokes_all_tokens(command, api, person):
    result = command("user", "set-password", "lory", "--password-stdin", input="another digest")
    assert result.output == "lory has a new password and no valid token\n"
    assert not is_in(person)
    assert log_in(api) == 1002
    assert log_in(api, password="another digest") == 0
    result = command("user", "set-password", "lory", "--password-stdin", input="short")
    assert_refused(result, "password must be 8 to 128 characters long")


def test_logout_revokes_all_tokens(command, api, person, sign_up):
    other = sign_up("libin")
    assert command("user", "logout", "LORY@126.com").output == "lory has no valid token\n"
    assert not is_in(person)
    assert is_in(other)
    assert log_in(api) == 0


@sqlite_only
def test_unknown_user_is_refused(command):
    for call in ("show", "logout", "set-password", "ban", "promote"):
        result = command("user", call, "nobody", input=f"{PASSWORD}\n" * 2)
        assert_refused(result, "There is no such account; see: user list")


def test_list_and_show_accounts(command, sign_up, clock):
    clock.freeze(2024, 3, 7, 15, 44, 43)
    lory = sign_up("lory")
    sign_up("王小明", "wang@126.com")
    command("user", "promote", "lory")
    command("user", "ban", "王小明")
    lory.create_project()
    assert command("user", "list").output.splitlines() == [
        "ID  USER NAME  EMAIL         ROLE   BANNED  PROJECTS  CREATED",
        "1   lory       lory@126.com  admin  no      1         2024-03-07 15:44:43",
        "2   王小明     wang@126.com  -      yes     0         2024-03-07 15:44:43",
    ]
    for option, name in (("--admins", "lory"), ("--banned", "王小明")):
        assert [row[1] for row in rows(command("user", "list", option))] == [name]
    assert command("user", "list", "--admins", "--banned").output == "none\n"
    found = json.loads(command("user", "list", "--json").output)
    wang = {
        "id": 2,
        "user_name": "王小明",
        "email": "wang@126.com",
        "role": "",
        "banned": True,
        "projects": 0,
        "created": "2024-03-07 15:44:43",
    }
    assert (found["total"], found["list"][1]) == (2, wang)
    assert "王小明" in command("user", "list", "--json").output
    shown = json.loads(command("user", "show", "wang@126.com", "--json").output)
    assert shown == {**wang, "projects_max": "default"}
    command("user", "allow", "lory", "--projects", "7")
    shown = command("user", "show", "lory").output.splitlines()
    assert (shown[1], shown[-1]) == ("user_name     lory", "projects_max  7")


def test_list_pages_of_accounts(command, sql):
    sql(
        "INSERT INTO users (user_name, name_key, email, email_key, password_hash, is_admin,"
        " is_banned, live_projects, created_at) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL"
        " SELECT i + 1 FROM n WHERE i < 120) SELECT 'u' || i, 'u' || i, 'u' || i, 'u' || i, '',"
        " false, false, 0, '2024-03-07 15:44:43' FROM n"
    )
    assert command("user", "list").output.splitlines()[-1] == "page 0 of 0 to 2; 120 in all"
    last = command("user", "list", "--page", 2).output.splitlines()
    assert [line.split()[1] for line in last[1:-1]] == [f"u{n}" for n in range(101, 121)]


# Pools


def test_add_list_and_remove_pools(command):
    assert command("pool", "add", "red").output == "red: added\n"
    command("pool", "add", "blue")
    assert rows(command("pool", "list")) == [["2", "0", "blue"], ["1", "0", "red"]]
    assert command("pool", "remove", "red").output == "red: removed\n"
    command("pool", "add", "red")
    assert rows(command("pool", "list")) == [["2", "0", "blue"], ["3", "0", "red"]]
    assert json.loads(command("pool", "list", "--json").output) == {
        "total": 2,
        "list": [
            {"id": 2, "projects": 0, "pool_name": "blue"},
            {"id": 3, "projects": 0, "pool_name": "red"},
        ],
    }
    assert_refused(command("pool", "add", "blue"), "There is a pool of this name already")


@sqlite_only
def test_names_of_pools(command):
    for name in ("", "Blue", "a b", "a_b", "-a", "a-", "é", "a/b", "x" * 64, "a\n"):
        result = command("pool", "add", "--", name)
        assert (result.exit_code, "1 to 63 of a-z, 0-9 and -" in result.output) == (1, True)
    for name in RESERVED_POOL_NAMES:  # of nginx's own paths
        assert f"{name} is reserved" in command("pool", "add", name).output
    assert rows(command("pool", "list")) == []
    for name in ("a", "0", "a-1", "x" * 63):
        assert command("pool", "add", name).exit_code == 0


def test_pool_with_projects_cannot_be_removed(command, person, project):
    person.create_project()
    command("pool", "add", "blue")
    for number in (1, 2):
        command("project", "assign", number, "blue")
    sentence = "The pool still has projects; see: project list --pool blue"
    assert_refused(command("pool", "remove", "blue"), sentence)
    person.post("/project/delete", {"id": 2})
    assert_refused(command("pool", "remove", "blue"), sentence)
    assert rows(command("pool", "list")) == [["1", "1", "blue"]]
    command("project", "assign", 1, "--none")
    assert command("pool", "remove", "blue").exit_code == 0
    assert_refused(command("pool", "remove", "blue"), "There is no such pool; see: pool list")


# Projects


@sqlite_only
def test_show_a_project_without_its_secret(command, clock, sign_up):
    clock.freeze(2024, 3, 7, 15, 44, 43)
    person = sign_up()
    made = person.create_project()
    person.verify(made)
    shown = {
        "id": 1,
        "project_key": made["project_key"],
        "pool_name": "",
        "today": 1,
        "max": 30,
        "total": 1,
        "owner": "lory",
        "project_name": "我的ChatGPT项目",
        "month": 1,
        "month_max": "no limit",
        "per_minute": "no limit",
        "active_until": "",
        "blocked": False,
        "project_type": 1,
        "created": "2024-03-07 15:44:43",
    }
    for which in (1, made["project_key"]):
        assert json.loads(command("project", "show", which, "--json").output) == shown
    listed = json.loads(command("project", "list", "--json").output)
    assert listed["total"] == 1
    assert listed["list"][0].items() <= shown.items()
    plain = command("project", "show", 1).output
    assert "project_name  我的ChatGPT项目\n" in plain
    assert made["project_secret"] not in plain + str(listed)


@sqlite_only
def test_delete_asks_before_it_deletes_a_project(command, person, project):
    question = 'Delete project 1 "我的ChatGPT项目" of lory? [y/N]: '
    result = command("project", "delete", 1, input="n\n")
    assert (result.exit_code, result.output.splitlines()[0]) == (1, question + "n")
    assert person.verify(project).status_code == 204
    result = command("project", "delete", project["project_key"], input="y\n")
    assert (result.exit_code, result.output.splitlines()[-1]) == (0, "project 1: deleted")
    assert person.verify(project).status_code == 401
    assert person.projects() == []
    for arguments in (["delete", 1, "--yes"], ["show", 1]):
        assert_refused(
            command("project", *arguments), "There is no live project with this id or key"
        )


@sqlite_only
def test_deleted_project_does_not_count_for_the_limit(command, app, person, sql):
    app.config["PROJECTS_PER_USER"] = 1
    person.create_project()
    sql("DELETE FROM throttle_counts")  # an account creates only as many in a day
    assert command("project", "delete", 1, "--yes").output == "project 1: deleted\n"
    assert "project_key" in person.create_project()


def test_assign_by_id_or_key(command, person, project):
    command("pool", "add", "blue")
    assert command("project", "assign", 1, "blue").output == "project 1: pool blue\n"
    (shown,) = person.projects()
    assert (shown["pool_id"], shown["pool_name"]) == (1, "blue")
    assert shown["end_points"] == [
        "https://api.hobbychain.org/blue/rpc",
        "wss://api.hobbychain.org/blue/ws",
    ]
    result = command("project", "assign", project["project_key"], "--none")
    assert result.output == "project 1: pool none\n"
    (shown,) = person.projects()
    assert (shown["pool_id"], shown["pool_name"]) == (0, "")


def test_assign_refuses_unknown_project_or_pool(command, person, project):
    command("pool", "add", "blue")
    no_project = "There is no live project with this id or key"
    assert_refused(command("project", "assign", 1, "red"), "There is no such pool; see: pool list")
    for unknown in ("2", "0", "9" * 10, "9" * 30, "x" * 16, "x", "-"):
        assert_refused(command("project", "assign", "--", unknown, "blue"), no_project)
    for arguments in ([], ["blue", "--none"]):
        result = command("project", "assign", 1, *arguments)
        assert_refused(result, "Name a pool, or give --none.")
    person.post("/project/delete", {"id": 1})
    assert_refused(command("project", "assign", 1, "blue"), no_project)
    assert_refused(command("project", "allow", 1, 5), no_project)


@sqlite_only
def test_allow_sets_the_quota(command, person, project):
    assert command("project", "allow", 1, 5).output == "project 1: 5 a day, was 30\n"
    assert person.projects()[0]["request_max"] == 5
    assert command("project", "allow", 1, "--day", 0, "--month", 9, "--per-minute", 7).output == (
        "project 1: no limit a day, was 5\n"
        "project 1: 9 a month, was no limit\n"
        "project 1: 7 a minute, was no limit\n"
    )
    for bad in ("x", "-1", "1.5", str(2**31)):
        for option in ("--day", "--month", "--per-minute"):
            assert command("project", "allow", 1, f"{option}={bad}").exit_code == 2
    assert command("project", "allow", 1, "--per-minute", 6_000_001).exit_code == 2
    assert command("project", "allow", 1).exit_code == 2
    assert command("project", "allow", 2, "--day", 1).exit_code == 1
    assert person.projects()[0]["request_max"] == 0
    shown = json.loads(command("project", "show", 1, "--json").output)
    assert (shown["max"], shown["month_max"], shown["per_minute"]) == ("no limit", 9, 7)


def test_list_projects_without_their_secrets(command, sign_up):
    lory, libin = sign_up("lory"), sign_up("libin")
    first, second = lory.create_project("my chain"), libin.create_project("我的ChatGPT项目")
    lory.verify(first)
    command("pool", "add", "blue")
    command("project", "assign", 2, "blue")
    command("project", "allow", 2, 0)
    result = command("project", "list")
    assert result.output.splitlines() == [
        "ID  PROJECT KEY       POOL NAME  TODAY  MAX       TOTAL  OWNER  PROJECT NAME",
        f"1   {first['project_key']}  -          1      30        1      lory   my chain",
        f"2   {second['project_key']}  blue       0      no limit  0      libin  我的ChatGPT项目",
    ]

    def listed(*arguments):
        return [line.split()[0] for line in command(*arguments).output.splitlines()[1:]]

    assert listed("project", "list", "--user", "libin@126.com") == ["2"]
    assert listed("project", "list", "--pool", "blue") == ["2"]
    assert listed("project", "list", "--pool", "") == ["1"]
    assert listed("project", "list", "--pool", "blue", "--user", "lory") == []
    for option, what in (("--user", "account; see: user list"), ("--pool", "pool; see: pool list")):
        assert_refused(command("project", "list", option, "red"), f"There is no such {what}")


@sqlite_only
def test_list_pages_of_projects(command, person):
    for _ in range(51):
        person.create_project()
    first, second = (command("project", "list", "--page", n).output for n in (0, 1))
    assert len(first.splitlines()) == 52
    assert first.splitlines()[-1] == "page 0 of 0 to 1; 51 in all"
    assert [line.split()[0] for line in second.splitlines()] == ["ID", "51", "page"]


@sqlite_only
def test_changes_are_logged_without_names(command, person, project, caplog):
    command("pool", "add", "blue")
    command("project", "assign", 1, "blue")
    command("project", "allow", 1, 5)
    command("project", "assign", 1, "--none")
    command("pool", "remove", "blue")
    command("user", "create", "boss", "boss@126.com", "--password-stdin", input=PASSWORD)
    command("user", "set-password", "boss", "--password-stdin", input=PASSWORD)
    command("user", "logout", "lory")
    command("user", "ban", "lory")
    command("project", "delete", 1, "--yes")
    lines = [record.getMessage() for record in caplog.records]
    assert [line for line in lines if line.startswith("operator")] == [
        "operator pool=1 added",
        "operator project=1 pool=1",
        "operator project=1 request_max=5",
        "operator project=1 pool=0",
        "operator pool=1 removed",
        "operator user=2 is created",
        "operator user=2 has a new password and no valid token",
        "operator user=1 has no valid token",
        "operator user=1 is banned",
        "operator project=1 deleted",
    ]


# Mail and purge


@sqlite_only
def test_send_a_test_mail(command, relay):
    result = command("mail", "test", "boss@126.com")
    accepted = "127.0.0.1 accepted the mail; check that it arrives\n"
    assert (result.exit_code, result.output) == (0, accepted)
    command("mail", "test", "boss@126.com", "--language", "zh")
    assert [mail["Subject"] for mail in relay.mails] == ["gateway: test mail", "gateway：测试邮件"]
    assert relay.mails[-1]["To"] == "boss@126.com"
    relay.refuse_recipient = "550 5.1.1 no such mailbox"
    assert_refused(
        command("mail", "test", "boss@126.com"),
        "the mail was not sent: SMTPRecipientsRefused 550 5.1.1; check the address; if the relay"
        " refuses every recipient: it wants MAIL_USERNAME and MAIL_PASSWORD, or must be told that"
        " this host may send",
    )
    assert command("mail", "test", "boss@").exit_code == 1


@sqlite_only
def test_test_mail_without_a_relay(make_app):
    def send(**settings):
        runner = make_app(MAIL_SERVER=None, **settings).test_cli_runner()
        return runner.invoke(main, args=["mail", "test", "boss@126.com"])

    assert_refused(
        send(),
        "the mail was not sent: no MAIL_SERVER is set; set it, or set MAIL_SUPPRESS_SEND=1 to have"
        " mails written to the terminal, as make run does; see: gateway doctor",
    )
    written = "written to the log only, because MAIL_SUPPRESS_SEND is set\n"
    assert send(MAIL_SUPPRESS_SEND=True).output == written


def test_purge_deletes_expired_rows(command, api, person, clock, sql):
    api("/auth-code", {"user_name": "x", "email": "x@126.com"})
    api("/login", {"user_name": "lory", "password": "not this one"})
    person.post("/platform/logout")
    counts = json.loads(command("purge", "--json").output)
    assert set(counts.values()) == {0}
    clock.advance(days=100)
    held = {table: len(sql(f"SELECT * FROM {table}")) for table in counts}
    assert held["mail_codes"] == held["revoked_tokens"] == 1
    assert json.loads(command("purge", "--json").output) == held
    assert [line.split() for line in sorted(command("purge").output.splitlines())] == [
        [table, "0"] for table in sorted(counts)
    ]
    assert all(sql(f"SELECT * FROM {table}") == [] for table in counts)
