"""Operator commands: pools, and the projects in them."""

import pytest


@pytest.fixture
def project(person):
    return person.create_project()


def rows(result):
    """Return a printed table, cell by cell, without its head."""
    return [line.split(maxsplit=6) for line in result.output.splitlines()[1:]]


def assert_refused(result, sentence):
    assert result.exit_code != 0
    assert result.output.splitlines()[-1] == f"Error: {sentence}"


@pytest.mark.parametrize(
    ("group", "commands"),
    [
        ("user", ["ban", "unban", "promote", "demote"]),
        ("pool", ["add", "list", "remove"]),
        ("project", ["list", "assign", "allow"]),
    ],
)
def test_every_command_explains_itself(flask, group, commands):
    listed = flask(group, "--help").output
    for command in commands:
        assert command in listed
        result = flask(group, command, "--help")
        assert result.exit_code == 0
        assert result.output.startswith("Usage: ")
        assert "." in result.output.split("\n\n")[1]


def test_pools_come_and_go(flask):
    assert flask("pool", "add", "red").output == "red: added\n"
    flask("pool", "add", "blue")
    assert rows(flask("pool", "list")) == [["2", "0", "blue"], ["1", "0", "red"]]
    assert flask("pool", "remove", "red").output == "red: removed\n"
    flask("pool", "add", "red")
    assert rows(flask("pool", "list")) == [["2", "0", "blue"], ["3", "0", "red"]]


@pytest.mark.parametrize(
    "name", ["", "Blue", "a b", "a_b", "-a", "a-", "é", "a/b", "x" * 64, "a\n"]
)
def test_names_that_no_pool_may_have(flask, name):
    result = flask("pool", "add", "--", name)
    assert result.exit_code == 1
    assert "1 to 63 of a-z, 0-9 and -" in result.output
    assert rows(flask("pool", "list")) == []


@pytest.mark.parametrize("name", ["a", "0", "a-1", "x" * 63])
def test_names_that_a_pool_may_have(flask, name):
    assert flask("pool", "add", name).exit_code == 0


def test_a_pool_is_made_once(flask):
    flask("pool", "add", "blue")
    assert_refused(flask("pool", "add", "blue"), "There is a pool of this name already")
    assert len(rows(flask("pool", "list"))) == 1


def test_a_pool_with_projects_stays(flask, person, project):
    person.create_project()
    flask("pool", "add", "blue")
    for number in (1, 2):
        flask("project", "assign", number, "blue")
    sentence = "The pool still has projects; see: project list --pool blue"
    assert_refused(flask("pool", "remove", "blue"), sentence)
    person.post("/project/delete", {"id": 2})
    assert_refused(flask("pool", "remove", "blue"), sentence)
    assert rows(flask("pool", "list")) == [["1", "1", "blue"]]
    flask("project", "assign", 1, "--none")
    assert flask("pool", "remove", "blue").exit_code == 0
    assert_refused(flask("pool", "remove", "blue"), "There is no such pool; see: pool list")


def test_a_project_is_assigned_by_id_or_key(flask, person, project):
    flask("pool", "add", "blue")
    assert flask("project", "assign", 1, "blue").output == "project 1: pool blue\n"
    (shown,) = person.projects()
    assert (shown["pool_id"], shown["pool_name"]) == (1, "blue")
    assert shown["end_points"] == [
        "https://api.hobbychain.org/blue/rpc",
        "wss://api.hobbychain.org/blue/ws",
    ]
    result = flask("project", "assign", project["project_key"], "--none")
    assert result.output == "project 1: pool none\n"
    (shown,) = person.projects()
    assert (shown["pool_id"], shown["pool_name"]) == (0, "")


def test_what_cannot_be_assigned(flask, person, project):
    flask("pool", "add", "blue")
    no_project = "There is no live project with this id or key"
    assert_refused(flask("project", "assign", 1, "red"), "There is no such pool; see: pool list")
    for unknown in ("2", "0", "9" * 10, "9" * 30, "x" * 16, "x", "-"):
        assert_refused(flask("project", "assign", "--", unknown, "blue"), no_project)
    for arguments in ([], ["blue", "--none"]):
        result = flask("project", "assign", 1, *arguments)
        assert_refused(result, "Name a pool, or say --none.")
    person.post("/project/delete", {"id": 1})
    assert_refused(flask("project", "assign", 1, "blue"), no_project)
    assert_refused(flask("project", "allow", 1, 5), no_project)


def test_allow(flask, person, project):
    assert flask("project", "allow", 1, 5).output == "project 1: 5 a day\n"
    assert person.projects()[0]["request_max"] == 5
    assert flask("project", "allow", 1, 0).output == "project 1: no limit of requests a day\n"
    for bad in ("x", "-1", "1.5", str(2**31)):
        assert flask("project", "allow", "--", 1, bad).exit_code == 2
    assert person.projects()[0]["request_max"] == 0


def test_projects_are_listed_without_their_secrets(flask, sign_up):
    lory, libin = sign_up("lory"), sign_up("libin")
    first, second = lory.create_project("my chain"), libin.create_project("我的ChatGPT项目")
    lory.verify(first)
    flask("pool", "add", "blue")
    flask("project", "assign", 2, "blue")
    flask("project", "allow", 2, 0)
    result = flask("project", "list")
    assert result.output.splitlines() == [
        "ID  KEY               POOL  TODAY  MAX       TOTAL  OWNER: NAME",
        f"1   {first['project_key']}  -     1      30        1      lory: my chain",
        f"2   {second['project_key']}  blue  0      no limit  0      libin: 我的ChatGPT项目",
    ]

    def listed(*arguments):
        return [line.split()[0] for line in flask(*arguments).output.splitlines()[1:]]

    assert listed("project", "list", "--user", "libin@126.com") == ["2"]
    assert listed("project", "list", "--pool", "blue") == ["2"]
    assert listed("project", "list", "--pool", "") == ["1"]
    assert listed("project", "list", "--pool", "blue", "--user", "lory") == []
    assert_refused(flask("project", "list", "--user", "nobody"), "There is no such account")
    assert_refused(
        flask("project", "list", "--pool", "red"), "There is no such pool; see: pool list"
    )


def test_pages_of_projects(flask, person):
    for _ in range(51):
        person.create_project()
    first, second = flask("project", "list").output, flask("project", "list", "--page", 1).output
    assert len(first.splitlines()) == 52
    assert first.splitlines()[-1] == "page 0 of 0 to 1; 51 projects"
    assert [line.split()[0] for line in second.splitlines()] == ["ID", "51", "page"]


def test_what_operators_do_is_logged(flask, project, caplog):
    flask("pool", "add", "blue")
    flask("project", "assign", 1, "blue")
    flask("project", "allow", 1, 5)
    flask("project", "assign", 1, "--none")
    flask("pool", "remove", "blue")
    lines = [record.getMessage() for record in caplog.records]
    assert [line for line in lines if line.startswith("operator")] == [
        "operator pool=1 added",
        "operator project=1 pool=1",
        "operator project=1 request_max=5",
        "operator project=1 pool=0",
        "operator pool=1 removed",
    ]
