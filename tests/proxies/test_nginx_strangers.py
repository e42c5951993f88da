"""What a stranger can do to nginx: limits of one client, TLS, other names, the place on port 80."""

import json
import re
import socket
import ssl
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from itertools import islice
from pathlib import Path

import psutil
import pytest
from support.helpers import TIMEOUT
from support.nginx_front import SAMPLE, WHOLE, envelope, uncommented
from support.servers import free_port

from gateway.project.schemas import KEY, SECRET

pytestmark = pytest.mark.nginx
PORT_80 = SAMPLE.split("it passes nothing else. ---------\n")[1].split("\n\n")[0]
PORT_80 = PORT_80.replace("api.example.com", "localhost")  # as the front edits it
GUARDED = SAMPLE.split("with a header -------\n")[1].split("\n\n")[0]
REAL_IP = SAMPLE.split("TRUSTED_PROXIES stays 1.\n")[1].split("\n\n")[0]


def test_a_client_gets_a_share_of_the_api(start_front, stand_in, reached):
    stand_in.may_answer.clear()
    front = start_front(nodes=[stand_in.port])

    def ask(address, path="/api/v1/login"):
        with closing(front.connect()) as connection:
            connection.source_address = (address, 0)
            return front.ask(path, connection=connection, body=b"{}")

    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(ask, "127.0.0.66") for _ in range(6)]
        stand_in.wait_for_requests(6)
        pages = ("/", "/console/main.js", "/docs", "/openapi.json")
        for path in ("/api/v1/login", "/api/v1/project/list", *pages):
            status, headers, body = ask("127.0.0.66", path)
            assert (status, envelope(body), headers["Retry-After"]) == (429, 429, "1")
        answers += [pool.submit(ask, "127.0.0.67") for _ in range(2)]
        stand_in.wait_for_requests(8)
        # The API has its share of the node now; what nginx asks for customers goes on.
        status, headers, body = front.ask("/api/v1/login")
        assert (status, envelope(body), headers["Retry-After"]) == (503, 503, "5")
        assert front.ask("/rpc", "Basic x")[0] == 200
        assert len(reached.seen) == 1
        stand_in.may_answer.set()
    assert [answer.result()[0] for answer in answers] == [200] * 8
    assert front.ask("/api/v1/login")[0] == 200


def test_a_client_has_a_rate_on_every_place(start_front, stand_in):
    slow = {"rate=20r/s": "rate=1r/m", "rate=1000r/s": "rate=1r/m", "delay=20": "nodelay"}
    slow |= {"burst=120": "burst=2", "burst=1000": "burst=2", "burst=100": "burst=2"}
    front = start_front(nodes=[stand_in.port], changes=slow)
    for path in ("/api/v1/project/list", "/docs", "/rpc"):
        statuses = [front.ask(path, f"Basic {n}")[0] for n in range(4)]
        assert statuses == ([200, 200, 200, 429] if path != "/docs" else [429] * 4)


def test_a_client_is_an_address_or_a_network(start_front, stand_in):
    """Behind a proxy whose word nginx takes, as the comment shows."""
    real_ip = uncommented(REAL_IP).replace("192.0.2.0/24", "127.0.0.1")
    changes = {REAL_IP: real_ip, "rate=1r/s": "rate=1r/m", "burst=20 nodelay": "burst=1 nodelay"}
    front = start_front(nodes=[stand_in.port], changes=changes)

    def log_in(address):
        return front.ask("/api/v1/login", body=b"{}", X_Forwarded_For=address)[0]

    for one, other, are_one_client in (
        ("2001:db8:1:1::1", "2001:db8:1:1:ffff:ffff:ffff:ffff", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.3", "::ffff:192.0.2.3", True),
        ("::ffff:192.0.2.4", "::ffff:192.0.2.5", False),
    ):
        assert [log_in(one) for _ in range(3)] == [200, 200, 429]
        assert stand_in.seen[-1][1].get_all("X-Forwarded-For") == [one]
        assert log_in(other) == (429 if are_one_client else 200), one


def handshake(front, name, ciphers=None, **options):
    context = ssl.create_default_context(cafile=front.folder / "gateway.crt")
    context.check_hostname = False
    if ciphers:
        context.set_ciphers(ciphers)
    for option, value in options.items():
        setattr(context, option, value)
    with front.tls(name, context) as connection:
        return connection.cipher()[0]


def test_only_ciphers_with_forward_secrecy(front):
    old = {"maximum_version": ssl.TLSVersion.TLSv1_2}
    assert handshake(front, "localhost").startswith("TLS_")
    assert handshake(front, "localhost", **old).startswith("ECDHE-")
    for ciphers in ("kRSA", "DHE:!ECDHE", "ECDHE+SHA:!AESGCM"):
        with pytest.raises(ssl.SSLError):
            handshake(front, "localhost", ciphers=f"{ciphers}:@SECLEVEL=0", **old)
    with pytest.deprecated_call(), pytest.raises(ssl.SSLError):
        handshake(front, "localhost", maximum_version=ssl.TLSVersion.TLSv1_1)


def test_who_asks_for_another_name_gets_no_answer(front, reached):
    for name in (None, "127.0.0.1", "example.com"):
        with pytest.raises(ssl.SSLError, match=r"(?i)unrecognized.name"):
            handshake(front, name)
    with front.tls() as connection:
        connection.sendall(b"GET /rpc HTTP/1.1\r\nHost: example.com\r\n\r\n")
        assert connection.recv(1) == b""
    assert reached.seen == []


def test_hsts_on_every_answer(front):
    for path in ("/rpc", "/nothing", "/api/v1/login", "/docs"):
        _, headers, _ = front.ask(path, "Basic x")
        assert headers.get_all("Strict-Transport-Security") == ["max-age=31536000"]
        assert headers.get_all("Referrer-Policy") == ["no-referrer"]


@pytest.mark.parametrize(
    ("head", "status", "said"),
    [
        (f"GET /rpc HTTP/1.1\r\nHost: localhost\r\nX: {'x' * 8200}", 400, "header is too large"),
        (f"GET /rpc?{'x' * 8200} HTTP/1.1\r\nHost: localhost", 400, "address is too long"),
        ("GET /rpc HTTP/3.0\r\nHost: localhost", 400, "not a request that HTTP allows"),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: x", 400, "not a request"),
        ("GET /x?what=head HTTP/1.1\r\nHost: localhost", 404, "no such endpoint"),
        ("GET /red/rpc HTTP/1.1\r\nHost: localhost", 404, "no such endpoint"),
        ("GET /x\1 HTTP/1.1\r\nHost: localhost", 400, "not a request that HTTP allows"),
    ],
)
def test_what_nginx_itself_answers(front, head, status, said):
    got, lines, body = front.send(head)
    assert (got, envelope(body)) == (status, status)
    assert said in json.loads(body)["header"]["message"]
    for line in ("Content-Type: application/json", "Cache-Control: no-store"):
        assert line in lines.splitlines()
    assert lines.count("X-Content-Type-Options: nosniff") == 1


CREDENTIAL = f"{KEY}.{SECRET}"
LONGEST = 8000  # of 8192 bytes for a line
# Long texts that expressions could be slow to match: each character that they name, and parts of
# what they look for, over and over.
PARTS = [*"_-.,=%/+ a0A:;\\?&~", "%2e", "%2f", "..", "../", "/..", "a/../", "A" * 16 + ".", "/a"]
PARTS += ["A" * 16 + "." + "_" * 48 + " ", "A" * 16 + "." + "a" * 48 + "_", CREDENTIAL + "/"]
PARTS += ["%41" * 16 + "." + "a" * 48 + "/", CREDENTIAL + "x/"]
PARTS += ["basic ", "bearer ", "gateway_device_"]
PATHS = ("/rpc", f"/blue/ws/{CREDENTIAL}", "/v1/", "/api/v1/", "/api/v1/login", "/console/")
HEADERS = ("Authorization", "X-API-Key", "Referer", "Cookie", "Upgrade", "Sec-Fetch-Site")


def dear_requests():
    """Yield request lines and headers that nginx accepts, and that are as long as it accepts."""
    for part in PARTS:
        text = (part * LONGEST)[:LONGEST].strip()
        for beside in ("_" * LONGEST, CREDENTIAL, f"Basic {text}"[:LONGEST]):
            yield "/rpc", {"X-API-Key": text, "Authorization": beside}
            yield f"/rpc/{CREDENTIAL}", {"Authorization": text, "X-API-Key": beside}
        for prefix in ("basic ", "Bearer ", "https://", "a=b; "):
            yield "/rpc", dict.fromkeys(HEADERS[:3], f"{prefix}{text}"[:LONGEST])
        yield "/rpc", dict.fromkeys(HEADERS[2:], text)
        yield "/api/v1/login", dict.fromkeys(HEADERS[2:], text)
        path = text.replace(" ", "+")
        for place in PATHS:
            for end in ("", "/..", "\\", "%2e", "x" * 48):
                yield f"{place}/{path}"[: LONGEST - 100] + end, {}
            yield f"{place}?{path}"[: LONGEST - 100], {"Referer": f"https://x/{text}"[:LONGEST]}


@pytest.mark.soak
def test_no_header_and_no_path_costs_much(start_front, stand_in, scale):
    """A request costs at most 100 ms of nginx's CPU, whatever a client sends, best of five."""
    changes = {GUARDED: uncommented(GUARDED)}
    changes |= {"rate=20r/s": "rate=9999r/s", "rate=1r/s": "rate=99r/s"}
    front = start_front(nodes=[stand_in.port], changes=changes)
    workers = psutil.Process(front.server.process.pid).children()
    connection, statuses, dearest = front.connect(), Counter(), 0

    def price(path, headers):
        """Return the seconds of CPU that nginx's workers spend on a request."""
        before = cpu_seconds(workers)
        status, *_ = front.ask(path, connection=connection, method="GET", body=None, **headers)
        statuses[status] += 1
        return cpu_seconds(workers) - before

    for path, headers in islice(dear_requests(), 0, None, scale(7, 1)):
        prices = [price(path, headers)]
        while prices[-1] > 0.1 and len(prices) < 5:
            prices.append(price(path, headers))
        dearest = max(dearest, min(prices))
        assert min(prices) <= 0.1, (path[:200], str(headers)[:200], prices)
    connection.close()
    print(f"the dearest of {statuses.total()} requests cost nginx {1000 * dearest:.1f} ms of CPU")
    assert set(statuses) >= {200, 404}  # they get as far as a request can


@pytest.mark.parametrize(
    ("last", "path"), [('"~^/[^ ]* [^ ]+ /" 0;', "/rpc/"), ('"~^[^ ]+ /" 0;', "/v1/")]
)
def test_a_map_in_which_pcre_gives_up_lets_nothing_pass(start_front, stand_in, reached, last, path):
    """With an expression before its last one that takes PCRE more steps than its limit."""
    changes = {GUARDED: uncommented(GUARDED), last: f'"~^(?:[^ ]+)+[!@]$" 0; {last}'}
    front = start_front(nodes=[stand_in.port], changes=changes)
    assert front.ask(f"{path}{'x' * 9}", "Basic x")[0] == 200
    assert front.ask(f"{path}{'x' * 99}", "Basic x")[0] == 404
    assert len(reached.seen) == 1


def cpu_seconds(processes):
    files = (Path(f"/proc/{process.pid}/schedstat") for process in processes)
    return sum(int(file.read_text().split()[0]) for file in files) / 1e9


def test_half_sent_requests_and_handshakes_end_soon(start_front, stand_in):
    front = start_front(nodes=[stand_in.port], changes={"header_timeout 5s": "header_timeout 1s"})
    with ExitStack() as connections:
        address = ("127.0.0.1", front.port)
        silent, half_greeted = (
            connections.enter_context(socket.create_connection(address, timeout=TIMEOUT))
            for _ in range(2)
        )
        half_greeted.sendall(b"\x16\x03\x01\x02\x00\x01")  # the beginning of a handshake
        half_asked = connections.enter_context(front.tls())
        half_asked.sendall(b"GET /rpc HTTP/1.1\r\nHost: loc")
        for connection in (silent, half_greeted, half_asked):
            with suppress(ConnectionResetError):
                assert connection.recv(1) == b""


def test_limits_of_connections():
    number = int(re.search(r"worker_connections (\d+);", WHOLE)[1])
    files = int(re.search(r"worker_rlimit_nofile (\d+);", WHOLE)[1])
    assert (number, files >= 2 * number) == (16384, True)


def test_the_place_on_port_80_passes_challenges_and_nothing_else(
    start_front, stand_in, tmp_path, reached
):
    challenges = tmp_path / "acme" / ".well-known" / "acme-challenge"
    challenges.mkdir(parents=True)
    (challenges / "token").write_text("token.thumbprint")
    (tmp_path / "acme" / "secret").write_text("not for everybody")
    port = free_port()
    block = uncommented(PORT_80).replace("/var/www/acme", str(tmp_path / "acme"))
    block = block.replace("listen 80;", f"listen 127.0.0.1:{port};")
    start_front(
        nodes=[stand_in.port], changes={PORT_80: block.replace("api.example.com", "localhost")}
    )

    def get(path):
        with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT) as connection:
            request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            connection.sendall(request.encode())
            return connection.makefile("rb").read()

    found = get("/.well-known/acme-challenge/token")
    assert found.startswith(b"HTTP/1.1 200 ")
    assert found.endswith(b"\r\n\r\ntoken.thumbprint")
    climb = "/.well-known/acme-challenge/../../secret"
    for path in ("/", "/rpc", "/api/v1/login", "/secret", climb):
        assert get(path) == b""
    assert b" 404 " in get("/.well-known/acme-challenge/nothing")
    assert (stand_in.seen, reached.seen) == ([], [])
