"""The data plane's paths through nginx: what the team's servers get, and what no log holds."""

import json
import random
import socket
import string

import pytest
from support.helpers import basic
from support.nginx_front import SAMPLE, Upstream, envelope, uncommented

from gateway.project.schemas import KEY, SECRET

pytestmark = pytest.mark.nginx
CREDENTIAL = f"{KEY}.{SECRET}"
PREFIX = SAMPLE.split("and name it ------\n")[1].split("\n\n")[0]
GUARDED = SAMPLE.split("with a header -------\n")[1].split("\n\n")[0]


@pytest.fixture
def database_uri(sqlite_uri):
    """One kind of database is enough, because these tests are about the way to it."""
    return sqlite_uri


@pytest.fixture
def gateway():
    """A server in the place of gateway, which lets everything pass."""
    gateway = Upstream()
    yield gateway
    gateway.close()


@pytest.fixture
def front(start_front, gateway):
    return start_front(nodes=[gateway.port])


def send(front, path, *headers, method="GET"):
    """Send a request byte for byte; return status, head and body."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close", *headers, "", ""]
    with (
        socket.create_connection(("127.0.0.1", front.port), timeout=60) as plain,
        front.trust.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        connection.sendall("\r\n".join(lines).encode("latin-1"))
        head, _, body = connection.makefile("rb").read().partition(b"\r\n\r\n")
    return int(head.split()[1]), head.decode("latin-1"), body


def lines_of(front):
    """Return all that nginx has logged."""
    return (front.folder / "access.log").read_text() + front.server.output


@pytest.mark.parametrize(
    "below",
    [
        "",
        "/",
        "?a=1&b=%2F&c=..&d=//",
        "/v1/models",
        "//a//b/",
        "/a%2Fb%20c/%E4%B8%AD%41",
        "/v1.0/..x/x../.../.hidden",
        "/a/./b",
        "/a/../b",
        "/a/..",
        "/v1%2e0/%2ehidden?%2e%2e/..",
        "/a;b=c/d,e'(f)*!$&+=:@~",
        "/rpc/ws/rpc",
        "/\xff\xe4",
        "/" + "x" * 7900,
    ],
)
def test_a_path_arrives_as_it_was_sent(front, gateway, upstreams, below):
    for place, upstream, pool, end_point in (
        ("/rpc", upstreams[0], "", "/rpc"),
        ("//rpc", upstreams[0], "", "/rpc"),
        ("/ws", upstreams[0], "", "/ws"),
        ("/blue/rpc", upstreams[1], "blue", "/rpc"),
        ("/blue/ws", upstreams[1], "blue", "/ws"),
    ):
        status, *_ = send(front, f"{place}/{CREDENTIAL}{below}")
        assert (status, upstream.seen[-1][0]) == (200, f"{end_point}{below}")
        asked, headers = gateway.seen[-1]
        assert asked == f"/api/v1/project/verify?pool={pool}&cost=1"
        assert (headers["X-API-Key"], headers["Authorization"]) == (CREDENTIAL, None)
        for name in ("X-API-Key", "Authorization"):
            value = CREDENTIAL if name == "X-API-Key" else basic(KEY, SECRET)
            status, *_ = send(front, f"{place}{below}", f"{name}: {value}")
            assert (status, upstream.seen[-1][0]) == (200, f"{end_point}{below}")
            assert gateway.seen[-1][1][name] == value
    for _, headers in upstreams[0].seen + upstreams[1].seen:
        assert not {"Authorization", "X-API-Key"} & set(headers)
    assert SECRET not in lines_of(front)


def spellings():
    """Yield paths with the credential in a wrong place or spelling, all below /rpc."""
    yield from (f"/{CREDENTIAL}/..", f"/{CREDENTIAL}/../x", f"/{CREDENTIAL}/a/../../x")
    yield from (f"/{CREDENTIAL}/%2e%2e", f"/{CREDENTIAL}/.%2E/x", f"/{CREDENTIAL}/a/%2e./x")
    yield from (f"/{CREDENTIAL}%2f..", f"/{CREDENTIAL}/..%2fx", f"/{CREDENTIAL}/a%2f../x")
    yield from (f"/{CREDENTIAL}/..;/x", f"/{CREDENTIAL}/a\\..\\x", f"/{CREDENTIAL}/%5c../x")
    yield from (f"/../rpc/{CREDENTIAL}/x", f"/../blue/rpc/{CREDENTIAL}", f"/x/../{CREDENTIAL}")
    yield from (f"/x/{CREDENTIAL}", f"//{CREDENTIAL}", f"/{CREDENTIAL}/{CREDENTIAL}")
    yield from (f"?key={CREDENTIAL}", f"/x?{CREDENTIAL}", f"/{CREDENTIAL}?x={CREDENTIAL}")
    yield from (f"/{KEY}%2e{SECRET}", f"/{KEY}%2E{SECRET}/x", f"?k={KEY}%2e{SECRET}")
    yield from (f"/%{ord(KEY[0]):x}{CREDENTIAL[1:]}", f"/{CREDENTIAL}/%70{CREDENTIAL[1:]}")
    yield from (f"/{CREDENTIAL}.", f"/{CREDENTIAL};x", f"/{CREDENTIAL}#x", f"/{CREDENTIAL}%00")
    yield from (f"/{CREDENTIAL}\0", f"/{CREDENTIAL}/%", f"/.{CREDENTIAL}", f"/{CREDENTIAL},x")
    yield from (f"/{CREDENTIAL}/" + "x" * 8192,)


@pytest.mark.parametrize("path", list(spellings()))
def test_a_credential_in_another_place_or_spelling(front, gateway, upstreams, path):
    """Not even a right header beside it makes such a request pass."""
    for headers in ([], [f"X-API-Key: {CREDENTIAL}"]):
        status, _, body = send(front, f"/rpc{path}", *headers)
        assert status in (400, 404)
        assert envelope(body) == status
    assert [upstream.seen for upstream in (gateway, *upstreams)] == [[], [], []]
    assert SECRET not in lines_of(front)
    assert SECRET[1:] not in lines_of(front)


@pytest.mark.parametrize(
    "below",
    [
        "/..",
        "/../x",
        "/a/../../x",
        "/a/b/../../c",
        "/%2e%2e/x",
        "/a/.%2e/x",
        "/a/..%2fx",
        "/..;/x",
        "/a/..\\x",
        "/a%5c../x",
        "/../blue/rpc",
        "/a/%2e%2e%2f",
    ],
)
def test_no_path_climbs_out_of_its_end_point(front, gateway, upstreams, below):
    for place in ("/rpc", "/blue/ws", f"/rpc/{CREDENTIAL}"):
        status, _, body = send(front, f"{place}{below}", "X-API-Key: x")
        assert (status, envelope(body)) in ((404, 404), (400, 400))
    assert [upstream.seen for upstream in upstreams] == [[], []]
    assert [path for path, _ in gateway.seen if "verify" in path] == []


def test_credentials_that_are_nearly_right_are_asked_for_in_vain(start_front, team, upstreams):
    (service,), customer = team()
    front = start_front(service)
    key, secret = customer.credential.split(".")
    for text in (key, secret, f"{key}.{secret[1:]}", f"{key}.{secret}x", f"{key}{secret}"):
        for path in (f"/rpc/{text}", f"/ws/{text}/x"):
            status, head, body = send(front, path)
            assert (status, envelope(body)) == (401, 1001)
            assert 'WWW-Authenticate: Basic realm="gateway"' in head
    for name in ("X-API-Key", "Authorization"):
        for value in (customer.credential, f"Bearer {customer.credential}", "x"):
            status, _, body = send(front, f"/rpc/{customer.credential}", f"{name}: {value}")
            assert (status, envelope(body)) == (401, 1001)
        for length in (7000, 8100, 8185, 9000):
            status, _, body = send(front, "/rpc", f"{name}: {'x' * length}")
            assert status in (400, 401)
    assert (customer.counts(), upstreams[0].seen) == ((0, 0), [])
    assert not {secret, secret[1:]} & set(lines_of(front).replace("/", " ").split())
    assert secret[1:] not in lines_of(front) + service.server.output


def test_the_team_gets_no_secret_and_no_forged_header(front, upstreams):
    forwarding = ("Forwarded", "X-Real-IP", "X-Original-URL", "X-Original-URI", "X-Rewrite-URL")
    forwarding += ("X-Forwarded-User", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Prefix")
    forwarding += ("X-Remote-User", "Remote-User", "X-Client-IP", "True-Client-IP", "Via", "Proxy")
    headers = [f"{name}: forged" for name in forwarding]
    referer = f"Referer: https://localhost/rpc/{CREDENTIAL}?x"
    send(front, f"/rpc/{CREDENTIAL}", *headers, referer, "Proxy-Authorization: forged")
    ((_, seen),) = upstreams[0].seen
    assert "forged" not in str(seen)
    assert seen["Referer"] == "https://localhost/"
    for bad in (f"https://{CREDENTIAL}@x/", f"about:{CREDENTIAL}", f"/rpc/{CREDENTIAL}"):
        send(front, "/rpc", f"Referer: {bad}")
        assert upstreams[0].seen[-1][1]["Referer"] is None
    assert SECRET not in lines_of(front)


def test_no_log_holds_a_secret_when_servers_fail(start_front, gateway, upstreams):
    front = start_front(nodes=[gateway.port], main=1)  # nothing listens there
    assert send(front, f"/rpc/{CREDENTIAL}/x", f"Referer: https://x/{CREDENTIAL}")[0] == 502
    gateway.close()
    status, _, body = send(front, f"/ws/{CREDENTIAL}/x")
    assert (status, envelope(body)) == (503, 503)
    for path in (f"/nothing/{CREDENTIAL}", f"/docs/{CREDENTIAL}", f"/api/v1/login?{CREDENTIAL}"):
        assert send(front, path, f"User-Agent: {CREDENTIAL}")[0] in (404, 502)
    assert send(front, f"/rpc/{CREDENTIAL} x")[0] == 400
    assert send(front, "/rpc", f"{CREDENTIAL}", method=CREDENTIAL)[0] == 400
    logged = lines_of(front)
    assert SECRET not in logged
    (line,) = [line for line in logged.splitlines() if "upstream=127.0.0.1:1,502" in line]
    assert " GET /rpc/ 502 " in line


def test_other_paths_of_the_team(start_front, gateway, reached):
    front = start_front(nodes=[gateway.port], changes={GUARDED: uncommented(GUARDED)})
    path = "/v1/a%2Fb//c/./d/../e?x=%20&y=.."
    for headers in (f"X-API-Key: {CREDENTIAL}", f"Authorization: Bearer {CREDENTIAL}"):
        assert send(front, path, headers)[0] == 200
        assert gateway.seen[-1][0] == "/api/v1/project/verify?pool=&cost=1"
        got, seen = reached.seen[-1]
        assert got == path
        assert not {"Authorization", "X-API-Key"} & set(seen)
    for bad in (f"/v1/{CREDENTIAL}", f"/v1/x?key={CREDENTIAL}", f"/v1/{KEY}%2e{SECRET}"):
        assert send(front, bad, f"X-API-Key: {CREDENTIAL}")[0] == 404
    assert len(reached.seen) == 2


def secrets(number):
    chance = random.Random(15)
    letters = string.ascii_letters + string.digits
    for _ in range(number):
        yield "".join(chance.choices(letters, k=48))


RATE = {"rate=100r/s": "rate=1r/m", "burst=100": "burst=9", "rate=1000r/s": "rate=9000r/s"}


def test_a_project_has_one_rate_as_http_basic_and_one_in_the_other_forms(start_front, gateway):
    """Each takes ten requests, and so does each other secret: a stranger's use up nothing."""
    front = start_front(nodes=[gateway.port], changes=RATE)
    for secret in secrets(3):
        basics = [
            ("/rpc", f"Authorization: {basic(KEY, secret)}"),
            ("/blue/ws/x", f"authorization: {basic(KEY, secret).replace('Basic', 'basic ')}"),
        ]
        others = [
            ("/rpc", f"Authorization: Bearer {KEY}.{secret}"),
            ("/rpc", f"authorization: bearer   {KEY}.{secret}"),
            ("/ws", f"X-API-Key: {KEY}.{secret}"),
            (f"/rpc/{KEY}.{secret}", "A: b"),
            (f"/blue/ws/{KEY}.{secret}/x", "A: b"),
        ]
        for forms in (basics, others):
            replies = [send(front, *forms[n % len(forms)]) for n in range(14)]
            assert [status for status, *_ in replies] == [200] * 10 + [429] * 4
            assert b"Too many requests at once" in replies[-1][2]
            assert "Retry-After: 1\r\n" in replies[-1][1]


def test_a_paused_project_is_told_as_such(start_front, team, reached):
    (service,), customer = team(REQUEST_MAX=1)
    front = start_front(service)

    def edit(active_until):
        body = {"id": 1, "active_until": active_until}
        assert customer.post("/project/edit", body)[:2] == (200, 0)

    edit(1)
    for path, headers in (
        ("/rpc", (f"X-API-Key: {customer.credential}",)),
        (f"/rpc/{customer.credential}/v1", ()),
    ):
        status, head, body = send(front, path, *headers)
        assert (status, envelope(body)) == (403, 1000)
        assert b"This project is paused, has expired" in body
        assert "Retry-After" not in head
        assert "X-Request-ID: " in head
    assert send(front, f"/rpc/{customer.wrong_credential}")[0] == 401
    edit(0)
    replies = [send(front, f"/rpc/{customer.credential}") for _ in range(2)]
    assert [status for status, *_ in replies] == [200, 429]
    assert b"The quota of the day is used up; try again in" in replies[1][2]
    edit(1)
    assert send(front, f"/rpc/{customer.credential}")[0] == 403
    assert (len(reached.seen), customer.counts()) == (1, (1, 1))


@pytest.mark.parametrize(
    ("headers", "status", "code", "said"),
    [
        ({"X-Gateway-Code": "429", "Retry-After": "7"}, 429, 429, "The quota of the month is full"),
        ({"X-Gateway-Code": "429", "Retry-After": "7"}, 429, 429, ""),
        ({"X-Gateway-Code": "1000"}, 403, 1000, "It is paused: ask [its owner]!"),
        ({"X-Gateway-Code": "1009"}, 403, 1009, "It can never fit"),
        ({"X-Gateway-Code": "1009"}, 403, 1009, 'not "JSON"'),
        ({"X-Gateway-Code": "1000"}, 403, 1000, "not \\ JSON"),
        ({"X-Gateway-Code": "1000"}, 403, 1000, "\xe4"),
        ({}, 403, 1000, ""),
    ],
)
def test_a_refusal_in_the_words_of_gateway(front, gateway, reached, headers, status, code, said):
    gateway.status, gateway.headers = 403, {**headers, "RateLimit": '"day";r=0;t=7'}
    if said:
        gateway.headers["X-Gateway-Message"] = said
    got, head, body = send(front, "/rpc", f"X-API-Key: {CREDENTIAL}")
    assert (got, envelope(body)) == (status, code)
    message = json.loads(body)["header"]["message"]
    fits_json = said and said.isascii() and not {*'"\\'} & {*said}
    assert message == said if fits_json else len(message) > 30
    assert ("Retry-After: 7\r\n" in head) == (code == 429)
    assert head.count("RateLimit") == head.count('RateLimit: "day";r=0;t=7\r\n') == 1
    for line in ("Cache-Control: no-store", "X-Content-Type-Options: nosniff"):
        assert f"{line}\r\n" in head
    assert "X-Gateway" not in head
    assert reached.seen == []


@pytest.mark.parametrize("path", ["/v1/images", "/v1/images/x", "/v1/images?a=b", "/v1/%69mages"])
@pytest.mark.parametrize("place", ["/rpc", "//rpc", "/blue/rpc", f"/rpc/{CREDENTIAL}", "/rpc/a/.."])
def test_a_request_costs_what_its_path_says(start_front, gateway, upstreams, place, path):
    """The map's example; neither a query nor a header of the client changes pool or cost."""
    front = start_front(nodes=[gateway.port], changes={'# "~^/rpc/v1/images': '"~^/rpc/v1/images'})
    pool = "blue" if "blue" in place else ""
    end = f"{'&' if '?' in path else '?'}cost=1&pool=red"
    forged = ("cost: 1", "pool: red", "X-Gateway-Pool: red", "X-Gateway-Cost: 1")
    key = () if CREDENTIAL in place else (f"X-API-Key: {CREDENTIAL}",)
    for below, cost in ((path, 20), (f"//{path}", 20), ("/v1/imagesque", 1), ("/ws/v1/images", 1)):
        assert send(front, f"{place}{below}{end}", *key, *forged)[0] == 200
        assert gateway.seen[-1][0] == f"/api/v1/project/verify?pool={pool}&cost={cost}"
        assert "red" not in str(gateway.seen[-1][1])
    assert len(upstreams[bool(pool)].seen) == 4


def test_your_servers_and_the_log_get_no_cookie_of_gateway(front, reached):
    for cookie, arrives in (
        ("a=b; c=d", "a=b; c=d"),
        ("gateway_device_1=v1.abc", None),
        ("a=b; gateway_device_7=v1.abc; c=d", None),
        ("a=b; Gateway_Device_7=v1.abc", None),
    ):
        assert send(front, "/rpc", f"Cookie: {cookie}")[0] == 200
        assert reached.seen[-1][1]["Cookie"] == arrives
    assert "gateway_device" not in lines_of(front)


def test_servers_that_do_not_know_the_end_point(start_front, gateway, upstreams):
    change = {"/$end_point$below$query;": "$below$query;"}
    front = start_front(nodes=[gateway.port], changes=change)
    for place, upstream in (("/rpc", 0), (f"/rpc/{CREDENTIAL}", 0), ("/blue/ws", 1)):
        assert send(front, f"{place}/v1/models?a=%2F")[0] == 200
        assert upstreams[upstream].seen[-1][0] == "/v1/models?a=%2F"
        assert send(front, place)[0] == 404  # there is no path left


def test_the_api_and_the_console_below_a_prefix(start_front, gateway):
    front = start_front(nodes=[gateway.port], changes={PREFIX: uncommented(PREFIX)})
    gateway.headers = {"Set-Cookie": "gateway_device_1=x; Path=/api/v1; HttpOnly"}
    for path in ("/api/v1/login", "/", "/console/views/page.js", "/docs", "/readyz"):
        status, head, _ = send(front, f"/keys{path}")
        assert (status, gateway.seen[-1][0]) == (200, path)
        assert "Path=/keys/api/v1; HttpOnly" in head
    for path in ("/api/v1/project/verify", "/api/v1/project/%63heck/x", "/metrics", "/rpc", "/x"):
        assert send(front, f"/keys{path}")[0] == 404
    assert len(gateway.seen) == 5
