"""END_POINTS: the addresses that project/list shows."""

import pytest
from support.helpers import basic

from gateway.errors import ConfigError

TEMPLATES = [
    "https://api.example.com/{pool/}rpc",
    "https://api.example.com/{pool_name}/rpc",
    "wss://api.example.com/{pool/}ws/{credential}",
]


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
    header = basic(*credential.split("."))
    reply = person.client.get("/api/v1/project/verify", headers={"Authorization": header})
    assert reply.status_code == 204


def test_the_default_is_the_reference(person):
    person.create_project()
    assert person.projects()[0]["end_points"] == [
        "https://api.hobbychain.org//rpc",
        "wss://api.hobbychain.org//ws",
    ]


@pytest.mark.parametrize(
    "template",
    [
        "https://x/{pool}/rpc",
        "https://x/{}",
        "https://x/{pool_name",
        "https://x/}",
        "{{pool/}}",
        "https://x/{pool_name }",
        "https://x/{POOL_NAME}",
        "https://x/{secret}",
        "{/pool}",
        "{pool//}",
    ],
)
def test_unknown_placeholders_stop_the_start(make_app, template):
    with pytest.raises(ConfigError) as error:
        make_app(END_POINTS=["https://x/{pool/}rpc", template])
    assert str(error.value) == (
        "END_POINTS must have no placeholders but {pool_name}, {pool/} (the name and a slash, or"
        " nothing) and {credential}"
    )
