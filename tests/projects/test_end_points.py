"""END_POINTS: the addresses that project/list shows."""

import pytest

from gateway.errors import ConfigError

TEMPLATES = [
    "https://api.example.com/{pool/}rpc",
    "https://api.example.com/{pool_name}/rpc",
    "wss://api.example.com/{pool/}ws/{credential}",
]


@pytest.fixture
def database_uri(sqlite_uri):
    """One kind of database is enough: the lists of other tests come from both."""
    return sqlite_uri


def test_with_and_without_a_pool(make_app, sign_up, command):
    person = sign_up(client=make_app(END_POINTS=TEMPLATES).test_client())
    project = person.create_project()
    credential = f"{project['project_key']}.{project['project_secret']}"
    assert person.projects()[0]["end_points"] == [
        "https://api.example.com/rpc",
        "https://api.example.com//rpc",
        f"wss://api.example.com/ws/{credential}",
    ]
    command("pool", "add", "blue")
    command("project", "assign", 1, "blue")
    assert person.projects()[0]["end_points"] == [
        "https://api.example.com/blue/rpc",
        "https://api.example.com/blue/rpc",
        f"wss://api.example.com/blue/ws/{credential}",
    ]


def test_the_default_is_the_reference(person):
    person.create_project()
    assert person.projects()[0]["end_points"] == [
        "https://api.hobbychain.org//rpc",
        "wss://api.hobbychain.org//ws",
    ]


def test_unknown_placeholders_stop_the_start(make_app):
    unknown = ["{pool}", "{}", "{pool_name", "}", "{{pool/}}", "{pool_name }", "{POOL_NAME}"]
    for placeholder in (*unknown, "{secret}", "{/pool}", "{pool//}"):
        with pytest.raises(ConfigError) as error:
            make_app(END_POINTS=["https://x/{pool/}rpc", f"https://x/{placeholder}/rpc"])
        assert str(error.value) == (
            "END_POINTS must have no placeholders but {pool_name}, {pool/} (the name and a slash,"
            " or nothing) and {credential}"
        )
