"""What proxies ask that pass an answer on: one meaning with verify, and no trick of a path."""

import json
import socket
from contextlib import closing

import pytest
from support.helpers import TIMEOUT, assert_failure, forms

CHECK = "/api/v1/project/check"


@pytest.fixture
def database_uri(sqlite_uri):
    """One kind of database is enough: verify's tests try the statement on both."""
    return sqlite_uri


@pytest.fixture
def credential(project):
    return f"{project['project_key']}.{project['project_secret']}"


@pytest.fixture
def ask(client):
    """Ask with a path, as it is sent; return the reply."""

    def ask(path, method="GET", **headers):
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        environ = {"RAW_URI": CHECK + path}
        return client.open(CHECK + path, method=method, headers=given, environ_overrides=environ)

    return ask


def test_every_method_is_one_question(ask, project, command):
    command("project", "allow", 1, 0)
    command("project", "allow", 1, "--month", 100)
    left = 100
    for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "X"):
        for headers in forms(project).values():
            reply = ask("/-/1/rpc/v1?pool=red&cost=7", method, **headers)
            left -= 1
            assert reply.status_code == 200
            assert reply.headers["X-Gateway-Project"] == "1"
            assert reply.headers["X-Gateway-Key"] == project["project_key"]
            assert f'"month";r={left};' in reply.headers["RateLimit"]
            assert method == "HEAD" or reply.json["header"]["code"] == 0
        upgrade = {"Upgrade": "websocket", "Connection": "Upgrade"}
        assert ask("/-/1/ws", method, **headers, **upgrade).status_code == 200
        left -= 1
        reply = ask("/-/1", method, X_API_Key="x")
        assert (reply.status_code, "Location" in reply.headers) == (401, False)


def test_refusals_have_their_true_status(ask, project, credential, command):
    command("project", "allow", 1, 1)
    assert ask("/-/1", X_API_Key=credential).status_code == 200
    reply = ask("/-/1", X_API_Key=credential)
    assert_failure(reply, 429, 429)
    assert 0 < int(reply.headers["Retry-After"]) <= 86400
    assert_failure(ask("/-/1"), 401, 1001)


def test_a_credential_in_the_path(ask, credential):
    other = "/rpc/" + "k" * 16 + "." + "s" * 48
    forms = ("/rpc/{}", "//rpc/{}", "/ws/{}/x/y", "/blue/rpc/{}", "/rpc/{}//a/../b", "/rpc/{}?a=/x")
    for form in forms:
        path = form.format(credential)
        assert ask(f"/_/1{path}").status_code == 200, form
        assert ask("/_/1", X_Forwarded_Uri=path).status_code == 200, form
        assert ask(f"/_/1{path}", X_Forwarded_Uri=other, X_API_Key=credential).status_code == 200
        assert ask(f"/_/1{other}", X_Forwarded_Uri=path).status_code == 401, form
        assert ask(f"/_/1{path}", X_API_Key="k" * 16 + "." + "s" * 48).status_code == 401, form
        assert ask("/_/1/rpc", X_Forwarded_Uri=path).status_code == 401, form


ELSEWHERE = (
    *("/x/{}", "/rpc/x/{}", "/rpc//{}", "/rpc/{}.", "/rpc/{}%2f", "/rpc/{}/{}", "/blue/red/rpc/{}"),
    *("/rpc/../rpc/{}", "/RPC/{}", "rpc/{}", "/rpc;{}", "/rpc/\\{}", "/rpc/{}%3f", "/rpc/,{}"),
)


def test_a_credential_elsewhere_in_the_path(ask, credential):
    """Not even a right header beside it makes it pass, because the team's servers would get it."""
    hidden = f"%{ord(credential[0]):02x}{credential[1:16]}%2e{credential[17:]}"
    for form in ELSEWHERE:
        for path in (form.replace("{}", credential), form.replace("{}", hidden), f"/rpc/{hidden}"):
            for headers in ({}, {"X_API_Key": credential}):
                assert ask("/-/1", X_Forwarded_Uri=path, **headers).status_code == 401, path


def test_pools_come_from_its_own_path_as_it_was_sent(ask, credential, command):
    command("pool", "add", "blue")
    for pool, status in (("-", 200), ("_", 200), ("blue", 401)):
        assert ask(f"/{pool}/1", X_API_Key=credential).status_code == status
    command("project", "assign", 1, "blue")
    for pool, status in (("-", 401), ("_", 200), ("blue", 200)):
        reply = ask(f"/{pool}/1/red/rpc?pool=red", X_API_Key=credential, X_Gateway_Pool="red")
        assert reply.status_code == status
    for pool in ("", "%2d", "%5f", "bl%75e", "Blue", "blue%2f", "_%00", "."):
        assert ask(f"/{pool}/1", X_API_Key=credential).status_code in (400, 401, 404)


def test_a_body_is_neither_read_nor_awaited(start_service):
    service = start_service()
    with closing(socket.create_connection(("127.0.0.1", service.port), timeout=TIMEOUT)) as plain:
        head = f"POST {CHECK}/-/1/rpc HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
        plain.sendall(head.encode())
        answer = plain.makefile("rb").read()  # until the service hangs up
    lines, _, body = answer.partition(b"\r\n\r\n")
    assert lines.startswith(b"HTTP/1.1 401 ")
    assert b"Connection: close" in lines
    assert json.loads(body)["header"]["code"] == 1001
