"""END_POINTS: the addresses that project/list shows."""

import pytest

from gateway.errors import ConfigError

TEMPLATES = [
    "https://api.example.com/{pool/}rpc",
    "https://api.example.com/{pool_name}/rpc",
    "wss://api.example.com/{pool/}ws/{credential}",
    "https://{pool_name}.example.com/%s",
]


def test_with_and_without_a_pool(start, command):
    settings = {"REQUEST_MAX": 7, "TIMEZONE": "Asia/Shanghai", "END_POINTS": TEMPLATES}
    person, made = start(2024, 3, 7, 15, 44, 43, **settings)
    credential = f"{made['project_key']}.{made['project_secret']}"
    (project,) = person.projects()
    assert project["end_points"] == [
        "https://api.example.com/rpc",
        "https://api.example.com//rpc",
        f"wss://api.example.com/ws/{credential}",
        "https://.example.com/%s",
    ]
    assert (project["pool_id"], project["pool_name"]) == (0, "")
    assert (project["request_max"], project["created_time"]) == (7, "2024-03-07 23:44:43")
    for pool in ("red", "blue"):
        command("pool", "add", pool)
    command("project", "assign", 1, "blue")
    (project,) = person.projects()
    assert project["end_points"] == [
        "https://api.example.com/blue/rpc",
        "https://api.example.com/blue/rpc",
        f"wss://api.example.com/blue/ws/{credential}",
        "https://blue.example.com/%s",
    ]
    assert (project["pool_id"], project["pool_name"]) == (2, "blue")


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
