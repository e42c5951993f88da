"""The secret key: nodes share it, and it can be changed."""

import json

import pytest
from click.testing import CliRunner
from support.helpers import SECRET_KEY, code_of, sqlite_only

from gateway.ops.cli import main

OTHER = "another key, long enough to be one of ours"


@pytest.fixture
def node(make_app):
    """Return a function that runs a command on a node with keys; it returns exit code and words."""

    def run(*arguments, key=SECRET_KEY, fallbacks=()):
        app = make_app(SECRET_KEY=key, SECRET_KEY_FALLBACKS=list(fallbacks))
        result = app.test_cli_runner().invoke(main, args=arguments)
        return result.exit_code, result.output

    return run


def ready(make_app, key, *fallbacks):
    app = make_app(SECRET_KEY=key, SECRET_KEY_FALLBACKS=list(fallbacks))
    return app.test_client().get("/readyz").status_code


def test_a_node_with_another_key_does_not_start(node, make_app, person):
    project = person.create_project()
    assert node("db", "upgrade") == (0, "")
    exit_code, said = node("db", "upgrade", key=OTHER)
    assert exit_code == 3
    assert said.startswith("gateway cannot start: SECRET_KEY is not the key that this database was")
    assert said.count("\n") == 1
    assert ready(make_app, OTHER) == 503
    assert "gateway secret-key accept" in node("doctor", key=OTHER)[1]
    # Really lost: keys go on working, and their secrets are unreadable.
    assert "and 1 secrets are" not in node("secret-key", "accept", "--yes")[1]
    exit_code, said = node("secret-key", "accept", "--yes", key=OTHER)
    assert (exit_code, "1 secrets are unreadable" in said) == (0, True)
    assert (ready(make_app, OTHER), ready(make_app, SECRET_KEY)) == (200, 503)
    assert person.verify(project).status_code == 204


@pytest.mark.parametrize(
    ("ours", "said"),
    [
        ({"SECRET_KEY": OTHER}, "SECRET_KEY is not the key"),
        ({"PASSWORD_MD5": False}, "PASSWORD_MD5 is 0 here, but 1"),
        ({"TIMEZONE": "Asia/Shanghai"}, "TIMEZONE is Asia/Shanghai here, but UTC"),
    ],
)
@sqlite_only
def test_commands_refuse_other_settings(node, make_app, person, sql, ours, said):
    assert node("db", "upgrade") == (0, "")
    before = sql("SELECT password_hash FROM users")
    runner = make_app(**ours).test_cli_runner()
    for call in (
        ["user", "set-password", "lory", "--password-stdin"],
        ["user", "invite", "a@b.com"],
        ["usage"],
        ["purge"],
    ):
        result = runner.invoke(main, call, input="another password")
        assert (result.exit_code, result.output.count("\n")) == (3, 1)
        assert said in result.output
    assert sql("SELECT password_hash FROM users") == before
    assert runner.invoke(main, ["doctor"]).exit_code == 1
    assert node("usage")[0] == 0


def test_a_rotation_goes_from_node_to_node(node, make_app):
    assert node("db", "upgrade") == (0, "")
    assert node("db", "upgrade", key=OTHER, fallbacks=[SECRET_KEY]) == (0, "")
    assert ready(make_app, SECRET_KEY) == 200  # a node that is not rotated yet goes on,
    assert node("db", "upgrade")[0] == 3  # but does not start again, nor take the key back
    assert ready(make_app, OTHER, SECRET_KEY) == 200
    assert node("db", "upgrade", key=OTHER, fallbacks=[SECRET_KEY]) == (0, "")
    assert node("db", "upgrade", key=OTHER) == (0, "")  # the fallback goes
    assert node("db", "upgrade")[0] == 3
    assert ready(make_app, SECRET_KEY) == 503


def test_rotate_writes_the_file_of_the_key(tmp_path, monkeypatch):
    monkeypatch.setenv("GATEWAY_INSTANCE_PATH", str(tmp_path))
    (tmp_path / "secret_key").write_text(SECRET_KEY)
    command = CliRunner()
    assert command.invoke(main, ["secret-key", "rotate"]).exit_code == 0
    new, old = (tmp_path / "secret_key").read_text().splitlines()
    assert (len(new) >= 32, old) == (True, SECRET_KEY)
    assert (tmp_path / "secret_key").stat().st_mode & 0o777 == 0o600


@sqlite_only
def test_rotate_prints_settings_where_a_setting_holds_the_key(node):
    exit_code, said = node("secret-key", "rotate", fallbacks=[OTHER])
    lines = dict(line.split(" = ") for line in said.splitlines())
    assert exit_code == 0
    assert len(json.loads(lines["SECRET_KEY"])) >= 32
    assert json.loads(lines["SECRET_KEY_FALLBACKS"]) == [SECRET_KEY, OTHER]


@sqlite_only
def test_a_key_that_opens_no_secret_is_not_claimed(node, person):
    """A database of before may have lost its key without a word."""
    person.create_project()
    exit_code, said = node("db", "upgrade", key=OTHER)
    assert (exit_code, "gateway secret-key accept" in said) == (3, True)
    assert node("db", "upgrade") == (0, "")
    assert code_of(person.post("/project/list")) == 0
