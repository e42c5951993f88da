"""The data plane's paths through nginx: what the team's servers get, and what no log holds."""

import json
import random
import string

import pytest
from support.helpers import basic
from support.nginx_front import SAMPLE, Upstream, envelope, uncommented

from gateway.project.schemas import KEY, SECRET

pytestmark = pytest.mark.nginx
CREDENTIAL = f"{KEY}.{SECRET}"
PREFIX = SAMPLE.split("and name it ------\n")[1].split("\n\n")[0]
GUARDED = SAMPLE.split("with a header -------\n")[1].split("\n\n")[0]


def send(front, path, *headers, method="GET"):
    return front.send(f"{method} {path} HTTP/1.1", "Host: localhost", *headers)


def lines_of(front):
    """Return all that nginx has logged."""
    return (front.folder / "access.log").read_text() + front.server.output


def paths_below():
    """Yield what may follow an end point, and arrives as it was sent."""
    yield from ("", "/", "?a=1&b=%2F&c=..&d=//", "/v1/models", "//a//b/", "/a/./b", "/a/../b")
    yield from ("/a%2Fb%20c/%E4%B8%AD%41", "/v1.0/..x/x../.../.hidden", "/a/..", "/rpc/ws/rpc")
    yield from ("/v1%2e0/%2ehidden?%2e%2e/..", "/a;b=c/d,e'(f)*!$&+=:@~", "/\xff\xe4")
    yield "/" + "x" * 7900


@pytest.mark.parametrize("below", list(paths_below()))
def test_a_path_arrives_as_it_was_sent(front, stand_in, upstreams, below):
    for place, upstream, pool, end_point in (
        ("/rpc", upstreams[0], "", "/rpc"),
        ("//rpc", upstreams[0], "", "/rpc"),
        ("/ws", upstreams[0], "", "/ws"),
        ("/blue/rpc", upstreams[1], "blue", "/rpc"),
        ("/blue/ws", upstreams[1], "blue", "/ws"),
    ):
        status, *_ = send(front, f"{place}/{CREDENTIAL}{below}")
        assert (status, upstream.seen[-1][0]) == (200, f"{end_point}{below}")
        asked, headers = stand_in.seen[-1]
        assert asked == f"/api/v1/project/verify?pool={pool}&cost=1"
        assert (headers["X-API-Key"], headers["Authorization"]) == (CREDENTIAL, None)
        for name in ("X-API-Key", "Authorization"):
            value = CREDENTIAL if name == "X-API-Key" else basic(KEY, SECRET)
            status, *_ = send(front, f"{place}{below}", f"{name}: {value}")
            assert (status, upstream.seen[-1][0]) == (200, f"{end_point}{below}")
            assert stand_in.seen[-1][1][name] == value
    for _, headers in upstreams[0].seen + upstreams[1].seen:
        assert not {"Authorization", "X-API-Key"} & set(headers)
    assert SECRET not in lines_of(front)


def refused_paths():
    """Yield paths with a credential in a wrong place or spelling, and some that climb."""
    for below in (
        *(f"/{CREDENTIAL}/{climb}" for climb in ("..", "../x", "a/../../x", "%2e%2e", ".%2E/x")),
        *(f"/{CREDENTIAL}/{climb}" for climb in ("a/%2e./x", "..%2fx", "a%2f../x", "..;/x")),
        *(f"/{CREDENTIAL}/{odd}" for odd in ("a\\..\\x", "%5c../x", "%", "x" * 8192)),
        *(f"/{CREDENTIAL}{end}" for end in (".", ";x", "#x", "%00", "\0", ",x", "%2f..")),
        *(f"/{CREDENTIAL}/{again}" for again in (CREDENTIAL, f"%70{CREDENTIAL[1:]}")),
        *(f"{begin}{CREDENTIAL}" for begin in ("/x/../", "/x/", "//", "?key=", "/x?", "/.")),
        f"/{CREDENTIAL}?x={CREDENTIAL}",
        f"/{KEY}%2e{SECRET}",
        f"/{KEY}%2E{SECRET}/x",
        f"?k={KEY}%2e{SECRET}",
        f"/%{ord(KEY[0]):x}{CREDENTIAL[1:]}",
        f"/../rpc/{CREDENTIAL}/x",
        f"/../blue/rpc/{CREDENTIAL}",
    ):
        yield f"/rpc{below}"
    climbs = ("/..", "/../x", "/a/../../x", "/a/b/../../c", "/%2e%2e/x", "/a/.%2e/x", "/a/..%2fx")
    climbs += ("/..;/x", "/a/..\\x", "/a%5c../x", "/../blue/rpc", "/a/%2e%2e%2f")
    for place in ("/rpc", "/blue/ws", f"/rpc/{CREDENTIAL}"):
        yield from (f"{place}{climb}" for climb in climbs)


def test_paths_that_are_refused_unasked(front, stand_in, upstreams):
    """Not even a right header beside them helps."""
    for path in refused_paths():
        for headers in ([], [f"X-API-Key: {CREDENTIAL}"]):
            status, _, body = send(front, path, *headers)
            assert status in (400, 404), path
            assert envelope(body) == status
        assert [each.seen for each in (stand_in, *upstreams)] == [[], [], []], path
    assert not [secret for secret in (SECRET, SECRET[1:]) if secret in lines_of(front)]


@pytest.mark.parametrize(
    ("referer", "arrives"),
    [
        (f"https://localhost/rpc/{CREDENTIAL}?x", "https://localhost/"),
        (f"https://{CREDENTIAL}@x/", None),
        (f"about:{CREDENTIAL}", None),
        (f"/rpc/{CREDENTIAL}", None),
    ],
)
def test_the_team_gets_only_the_origin_of_a_referer(front, reached, referer, arrives):
    send(front, f"/rpc/{CREDENTIAL}", f"Referer: {referer}", "Proxy-Authorization: forged")
    ((_, seen),) = reached.seen
    assert (seen["Referer"], seen["Proxy-Authorization"]) == (arrives, None)
    assert SECRET not in lines_of(front)


def test_no_log_holds_a_secret_when_servers_fail(start_front):
    gateway = Upstream()
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


def test_other_paths_of_the_team(start_front, stand_in, reached):
    front = start_front(nodes=[stand_in.port], changes={GUARDED: uncommented(GUARDED)})
    path = "/v1/a%2Fb//c/./d/../e?x=%20&y=.."
    for headers in (f"X-API-Key: {CREDENTIAL}", f"Authorization: Bearer {CREDENTIAL}"):
        assert send(front, path, headers)[0] == 200
        assert stand_in.seen[-1][0] == "/api/v1/project/verify?pool=&cost=1"
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


def test_a_project_has_one_rate_as_http_basic_and_one_in_the_other_forms(start_front, stand_in):
    """Each takes ten requests, and so does each other secret: a stranger's use up nothing."""
    front = start_front(nodes=[stand_in.port], changes=RATE)
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
def test_a_refusal_in_the_words_of_gateway(front, stand_in, reached, headers, status, code, said):
    stand_in.status, stand_in.headers = 403, {**headers, "RateLimit": '"day";r=0;t=7'}
    if said:
        stand_in.headers["X-Gateway-Message"] = said
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


def test_servers_that_do_not_know_the_end_point(start_front, stand_in, upstreams):
    change = {"/$end_point$below$query;": "$below$query;"}
    front = start_front(nodes=[stand_in.port], changes=change)
    for place, upstream in (("/rpc", 0), (f"/rpc/{CREDENTIAL}", 0), ("/blue/ws", 1)):
        assert send(front, f"{place}/v1/models?a=%2F")[0] == 200
        assert upstreams[upstream].seen[-1][0] == "/v1/models?a=%2F"
        assert send(front, place)[0] == 404  # there is no path left


def test_the_api_and_the_console_below_a_prefix(start_front, stand_in):
    front = start_front(nodes=[stand_in.port], changes={PREFIX: uncommented(PREFIX)})
    stand_in.headers = {"Set-Cookie": "gateway_device_1=x; Path=/api/v1; HttpOnly"}
    for path in ("/api/v1/login", "/", "/console/views/page.js", "/docs", "/readyz"):
        status, head, _ = send(front, f"/keys{path}")
        assert (status, stand_in.seen[-1][0]) == (200, path)
        assert "Path=/keys/api/v1; HttpOnly" in head
    for path in ("/api/v1/project/verify", "/api/v1/project/%63heck/x", "/metrics", "/rpc", "/x"):
        assert send(front, f"/keys{path}")[0] == 404
    assert len(stand_in.seen) == 5
