"""Five proxies with the shipped samples: each lets pass, counts and refuses the same.

Their programs, but nginx and HAProxy, come with the extra ``proxies``; make test-proxies has them.
"""

import json
import os
import re
from ipaddress import ip_address
from itertools import count
from posixpath import normpath
from urllib.parse import unquote, urlsplit

import pytest
from support import proxies
from support.helpers import basic
from support.nginx_front import SAMPLE, Customer
from support.services import services
from websockets.exceptions import InvalidStatus

from gateway.project.schemas import KEY, SECRET

pytestmark = [pytest.mark.nginx, pytest.mark.proxies]
CREDENTIAL = f"{KEY}.{SECRET}"
numbers = count()
FORGED = {
    "X-Gateway-Project": "forged",
    "X-Gateway-Pool": "forged",
    "X-Gateway-Code": "0",
    "X-Forwarded-For": "6.6.6.6",
    "X-Forwarded-Uri": f"/rpc/{CREDENTIAL}",
    "X-Forwarded-Proto": "forged",
    "Cookie": "a=b; gateway_device_1=forged",
    "cost": "1",
    "pool": "red",
}


@pytest.fixture(scope="module", params=proxies.NAMES)
def start(request, tmp_path_factory, three_upstreams):
    """Return a function that starts a proxy in front of a port, once for all tests of the proxy."""
    if proxies.missing(request.param):
        (pytest.fail if os.environ.get("SKIP_NOTHING") else pytest.skip)(f"no {request.param} here")
    main, blue, _ = (each.port for each in three_upstreams)
    fronts = {}

    def start(port):
        if port not in fronts:
            folder = tmp_path_factory.mktemp(request.param)
            fronts[port] = proxies.start(request.param, folder, port, main, blue)
            fronts[port].name = request.param
        return fronts[port]

    yield start
    for front in fronts.values():
        front.end()


@pytest.fixture(scope="module")
def node(sqlite_databases, relay_server, tmp_path_factory):
    with services(sqlite_databases.new(), relay_server, tmp_path_factory.mktemp("node")) as start:
        yield start(workers=2, REQUEST_MAX=200)


@pytest.fixture
def customer(node):
    return Customer(node, f"customer{next(numbers)}")


@pytest.fixture
def front(start, node, upstreams):
    """The proxy in front of a node."""
    return start(node.port)


@pytest.fixture
def before_stand_in(start, stand_in):
    """The proxy in front of a stand-in for gateway, which lets everything pass."""
    stand_in.headers = {"X-Gateway-Project": "1", "X-Gateway-Key": KEY}
    return start(stand_in.port)


def test_credentials(front, customer, reached):
    """24 credentials, of which some are right, in every place and form that a client has."""
    key, secret = customer.credential.split(".")
    right, wrong = customer.credential, customer.wrong_credential
    for path, headers, arrives in (
        *(("/rpc", headers, "/rpc") for headers in customer.forms.values()),
        ("/rpc", {"Authorization": f"bearer  {right}"}, "/rpc"),
        ("/rpc", {"Authorization": basic(key, secret), "X-API-Key": right}, "/rpc"),
        ("/ws/a%20b?c=%2F", {"X-API-Key": right}, "/ws/a%20b?c=%2F"),
        (f"/rpc/{right}", {}, "/rpc"),
        (f"/rpc/{right}/v1/chat?x=y", {}, "/rpc/v1/chat?x=y"),
        (f"/ws/{right}/", {}, "/ws/"),
    ):
        before = len(reached.seen)
        status, _, body = front.ask(path, **{**FORGED, **headers})
        assert (status, body, len(reached.seen)) == (200, b"hello", before + 1), path
        got, seen = reached.seen[-1]
        assert got == arrives
        assert seen["X-Gateway-Key"] == key
        assert seen.get_all("X-Gateway-Project") == [customer.project_id]
        text = str(seen.items())
        assert secret not in text
        assert "forged" not in text
        assert not {"Authorization", "X-API-Key", "X-Gateway-Code"} & set(seen)
    assert customer.counts()[0] == 9
    for path, headers in (
        ("/rpc", {}),
        ("/rpc", {"Authorization": basic(key, "x" * 48)}),
        ("/rpc", {"Authorization": basic(key, "")}),
        ("/rpc", {"Authorization": "Basic"}),
        ("/rpc", {"Authorization": "Basic !!!!"}),
        ("/rpc", {"Authorization": basic(key, secret)[:-1]}),
        ("/rpc", {"Authorization": f"Bearer {wrong}"}),
        ("/rpc", {"Authorization": f"Bearer {customer.token}"}),
        ("/rpc", {"Authorization": f"Digest {right}"}),
        ("/rpc", {"X-API-Key": wrong}),
        ("/rpc", {"X-API-Key": key}),
        ("/rpc", {"X-API-Key": f"{right}x"}),
        ("/rpc", {"X-API-Key": right, "Authorization": f"Bearer {wrong}"}),
        (f"/rpc/{wrong}", {}),
        (f"/rpc/{right}", {"X-API-Key": wrong}),
    ):
        status, got, body = front.ask(path, **{**FORGED, **headers})
        assert (status, json.loads(body)["header"]["code"]) == (401, 1001), (path, headers)
        assert got["WWW-Authenticate"] == 'Basic realm="gateway"'
    assert (len(reached.seen), customer.counts()[0]) == (9, 9)


def odd_paths():
    """Yield paths with which somebody may try to reach what he must not, or to hide a secret."""
    hidden = f"%{ord(KEY[0]):x}{CREDENTIAL[1:]}"
    yield from (f"/rpc/x/{CREDENTIAL}", f"/rpc/{CREDENTIAL}/{CREDENTIAL}", f"/rpc/{hidden}")
    yield from (f"/rpc?key={CREDENTIAL}", f"/rpc/{CREDENTIAL}?x={CREDENTIAL}")
    yield from (f"/rpc/{KEY}%2e{SECRET}", f"/rpc?{KEY}%2E{SECRET}", f"/rpc/a%2f{CREDENTIAL}")
    yield from (f"/rpc/{CREDENTIAL}.", f"/rpc/{CREDENTIAL};x")
    yield from (f"/rpc/x//{CREDENTIAL}", f"/./rpc/x/{CREDENTIAL}")
    yield from ("/rpc/..%2fx", "/rpc/a/..%2fx", "/rpc/%2e%2e%2fx")
    yield from ("/rpc/a%5c../x", "/rpc/..\\x")
    yield from ("/rpcx", "/RPC", "/red/rpc", "/Blue/rpc", "/x/blue/rpc", "/%2e/rpcs")
    yield from ("/metrics", "//metrics", "/metrics/", "/%6detrics", "/healthz", "/failure", "/x")
    for name in ("verify", "check/-/1", "check/_/1/rpc", "check"):
        first = f"%{ord(name[0]):x}{name[1:]}"
        for each in (name, first, f"{name}/", f"{name}?pool=", f"x/%2e%2e/{first}"):
            yield f"/api/v1/project/{each}"
        yield from (f"//api/v1/project/{name}", f"/api/v1//project//{name}")
        yield from (f"/api/v1/./project/{name}", f"/api/v1/x/../project/{name}")
        yield from (f"/rpc/../api/v1/project/{name}", f"/API/v1/project/{name}")
        yield from (f"/api/v1/project%2f{name}", f"/api/v1/project/%25{first[1:]}")
        yield from (f"/api/v1/project/{name};x", f"http://localhost/api/v1/project/{name}")


def test_odd_paths(front, customer, upstreams):
    """Not even a right credential in a header helps them, and none is counted."""
    for odd in odd_paths():
        path = odd.replace(CREDENTIAL, customer.credential)
        path = path.replace(SECRET, customer.credential[17:])
        status, headers, _ = front.ask(path, method="GET", X_API_Key=customer.credential)
        assert status in (400, 401, 404), (path, status)
        assert "X-Gateway-Key" not in headers
        assert [each.seen for each in upstreams] == [[], []], path
    assert customer.counts() == (0, 0)
    status, _, body = front.ask("/readyz", method="GET")
    assert (status, json.loads(body)["header"]["code"]) == (200, 0)
    for path in ("/", "/docs", "/openapi.json"):
        assert front.ask(path, method="GET")[0] == 200


def test_pools_and_costs(before_stand_in, stand_in, upstreams):
    front = before_stand_in
    images = "/v1/images"
    for path, pool, cost in (
        ("/rpc", "-", 1),
        ("/rpc/v1/imagesque", "-", 1),
        (f"/rpc{images}?cost=1&pool=blue", "-", 20),
        (f"/rpc{images}/x", "-", 20),
        ("/rpc/v1/%69mages", "-", 20),
        (f"/rpc/{CREDENTIAL}{images}", "-", 20),
        ("/blue/rpc/x?cost=7&pool=", "blue", 1),
        (f"/blue/ws/{CREDENTIAL}", "blue", 1),
    ):
        assert front.ask(path, X_API_Key=CREDENTIAL, **FORGED)[0] == 200
        question, headers = stand_in.seen[-1]
        if front.name == "nginx":
            wanted = f"/api/v1/project/verify?pool={pool.strip('-')}&cost={cost}"
            assert question == wanted, path
        else:
            wanted = f"/api/v1/project/check/{pool}/{cost}"
            assert question.split("?")[0].removeprefix(wanted)[:1] in ("", "/"), (path, question)
        assert upstreams[pool == "blue"].seen[-1][0].startswith(("/rpc", "/ws"))
        assert "blue" not in upstreams[pool == "blue"].seen[-1][0].split("?")[0]
        assert headers["X-Forwarded-For"] != "6.6.6.6"
    assert [len(each.seen) for each in upstreams] == [6, 2]
    count = len(stand_in.seen)
    origin = {"Origin": "https://app.example.com", "Access-Control-Request-Method": "PUT"}
    if front.name != "nginx":  # there the whole of CORS is to be uncommented
        assert front.ask("/rpc/x", method="OPTIONS", **origin)[0] in (200, 204)
        assert len(stand_in.seen) == count


def spellings():
    """Yield ways to write paths; servers may read them as /rpc/v1/images, or may not."""
    tails = ("/v1/images", "//v1/images", "/v1//images", "/v1/images/", "/v1/./images")
    tails += ("/v1/%69mages", "/%76%31/images", "/v1/%2e/images", "/v1%2fimages", "/v1%2Fimages")
    tails += ("/x/../v1/images", "/v1/x/%2e%2e/images", "/v1/images/%zz", "/v1/images/%")
    tails += ("/v1/images%2f", "/v1/images#", "/v1/images?#", "/./v1/images")
    tails += ("/rpc/v1/images", "/ws/v1/images", "/blue/rpc/v1/images")
    begins = ("/rpc", "//rpc", "///rpc", "/./rpc", "/%72pc", "/x/../rpc", "/blue/rpc", "//blue/rpc")
    for begin in begins:
        for credential in ("", f"/{CREDENTIAL}", f"//{CREDENTIAL}"):
            yield from (f"{begin}{credential}{tail}" for tail in tails)
    begins = ("/ws", "/rpc/rpc", "/ws/rpc", "/blue//rpc", "/%62lue/rpc", "/blue%2frpc", "/rpc%2f")
    for begin in begins:
        yield from (f"{begin}/v1/images", f"{begin}/{CREDENTIAL}/v1/images")


def test_the_cost_is_that_of_the_path_that_arrives(before_stand_in, stand_in, upstreams):
    front = before_stand_in
    each_pool_has_its_own_prices = front.name in ("traefik", "envoy")
    passed = 0
    for path in spellings():
        del stand_in.seen[:], upstreams[0].seen[:], upstreams[1].seen[:]
        status, _, _ = front.ask(path, X_API_Key=CREDENTIAL)
        arrived = [each.seen for each in upstreams]
        if status != 200:
            assert (status, arrived) in [(400, [[], []]), (404, [[], []])], path
            continue
        passed += 1
        ((question, _),) = stand_in.seen
        pool, cost = re.search(r"(?:check/|pool=)([a-z-]*)(?:/|&cost=)([0-9]+)", question).groups()
        assert [len(each) for each in arrived] == ([0, 1] if pool == "blue" else [1, 0]), path
        ((got, _),) = arrived[pool == "blue"]
        assert re.match("/+(rpc|ws)(/|$)", got), (path, got)
        read = re.sub("/+", "/", normpath(unquote(urlsplit(f"http://x{got}").path)))
        dear = re.match("/rpc/v1/images(/|$)", read)
        dear = dear and not (pool == "blue" and each_pool_has_its_own_prices)
        assert int(cost) == (20 if dear else 1), (path, got)
    assert passed > 20


def test_no_header_of_another_proxy_can_be_forged(before_stand_in, stand_in, reached):
    """Nor in a spelling with "_", which CGI, WSGI and PHP take for "-"."""
    front = before_stand_in
    own = ("Project", "Key", "Pool", "Code", "Message")
    removed = set(re.findall(r'proxy_set_header (\S+) +"";', SAMPLE))
    removed -= {"Content-Length", "Transfer-Encoding", "Connection", "Authorization", "X-API-Key"}
    assert len(removed) > 40
    shapes = [removed | {"X-Request-ID"}]
    shapes.append({name.replace("-", "_") for name in removed if "-" in name})
    shapes.append({f"X{a}Gateway{b}{name}" for a, b in ("__", "-_", "_-") for name in own})
    shapes.append({f"x_gateway__{name}" for name in own} | {"X_API_Key", "x_forwarded-for"})
    shapes.append({f"X.Gateway.{name}" for name in own})
    for names in shapes:
        connection = front.connect()
        sent = {
            "X-API-Key": CREDENTIAL,
            "X-Forwarded-For": "6.6.6.6",
            **dict.fromkeys(names, "forged"),
        }
        connection.request("GET", "/rpc", headers=sent)
        assert connection.getresponse().status == 200
        connection.close()
        for _, headers in (stand_in.seen[-1], reached.seen[-1]):
            assert not [name for name, value in headers.items() if "forged" in value]
            assert ip_address(*headers.get_all("X-Forwarded-For")) != ip_address("6.6.6.6")
        assert reached.seen[-1][1].get_all("X-Gateway-Project") == ["1"]
    for cookies, arrive in (
        ("a=b; c=d", "a=b; c=d"),
        ("gateway_device_1=no; gateway_device_2=no", ""),
        ("a=b; GATEWAY_DEVICE_1=no;gateway_device_3=no; c=d", "a=b; c=d"),
    ):
        front.ask("/rpc", X_API_Key=CREDENTIAL, Cookie=cookies)
        # Some remove all cookies; nginx does so when gateway's own is among them.
        arrived = reached.seen[-1][1].get("Cookie", "")
        assert arrived == arrive or (arrived == "" and (front.name, arrive) != ("nginx", cookies))
    assert len(reached.seen) == len(shapes) + 3


def test_traffic_and_a_killed_service(front, node, customer, reached):
    body = b"x" * 1_000_000
    for number, method in enumerate(("POST", "PUT", "PATCH", "DELETE", "GET"), start=1):
        sent = body if method in ("POST", "PUT", "PATCH") else None
        status, headers, _ = front.ask("/rpc/x", customer.header, method=method, body=sent)
        assert (status, len(reached.seen)) == (200, number)
        if front.name != "traefik":  # which passes no header of a good answer to the client
            assert headers["RateLimit-Remaining"] == str(200 - number)
    for headers in ({"Authorization": customer.header}, {"X-API-Key": customer.credential}):
        front.talk("/ws", headers)
    front.talk(f"/ws/{customer.credential}/feed", {})
    with pytest.raises(InvalidStatus) as refusal:
        front.talk(f"/ws/{customer.wrong_credential}", {})
    assert refusal.value.response.status_code == 401
    statuses = front.load(customer.header, 250)
    assert sorted(statuses) == [200] * 192 + [429] * 58
    assert (len(reached.seen), customer.counts()) == (200, (200, 200))
    status, headers, body = front.ask("/rpc", customer.header)
    assert (status, json.loads(body)["header"]["code"]) == (429, 429)
    assert 0 < int(headers["Retry-After"]) <= 86400
    node.server.kill()
    for path in ("/rpc", f"/rpc/{customer.credential}"):
        assert front.ask(path, customer.header if path == "/rpc" else None)[0] in (500, 502, 503)
    node.start()
    assert len(reached.seen) == 200
