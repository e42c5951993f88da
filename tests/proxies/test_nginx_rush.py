"""A rush of one stranger on pages and sign-ins: customers' requests go on, in time."""

import subprocess
import sys
import time

import pytest
from support.servers import ROOT

pytestmark = pytest.mark.nginx
CONNECTIONS = 300
SECONDS = 2.5
MAX_RATIO = 3
ROUNDS = 3  # at most, because other programs on this machine also delay requests
LOGIN = '{"user_name": "nobody", "password": "e10adc3949ba59abbe56e057f20f883e"}'


@pytest.fixture
def database_uri(sqlite_uri):
    """One kind of database is enough, because these tests are about nginx."""
    return sqlite_uri


@pytest.fixture
def front(team, start_front):
    (service,), customer = team(REQUEST_MAX=0)
    front = start_front(service)
    front.customer = customer
    return front


def p95(front, seconds=SECONDS):
    """Ask /rpc one request after the other; return the 95th of a hundred times, in ms."""
    connection, times, end = front.connect(), [], time.monotonic() + seconds
    while time.monotonic() < end:
        start = time.perf_counter()
        status, *_ = front.ask("/rpc", front.customer.header, connection=connection)
        times.append(1000 * (time.perf_counter() - start))
        assert status == 200
        time.sleep(0.01)  # less than the rate of a project
    connection.close()
    return sorted(times)[len(times) * 95 // 100]


@pytest.mark.parametrize(
    "request_line",
    [
        ("GET", "/openapi.json"),
        ("GET", "/docs"),
        ("GET", "/"),
        ("POST", "/api/v1/login", LOGIN),
    ],
    ids=["description", "page", "console", "login"],
)
def test_a_rush_does_not_delay_customers(front, request_line):
    command = [sys.executable, ROOT / "tests" / "support" / "rush.py", str(front.port)]
    command += [front.folder / "gateway.crt", str(CONNECTIONS), *request_line]
    p95(front, 0.5)  # opens the connections to the node and to the database
    measured = []
    while not measured or (
        measured[-1][1] > MAX_RATIO * measured[-1][0] and len(measured) < ROUNDS
    ):
        idle = p95(front)
        rush = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            assert rush.stdout.readline() == "ready\n"
            measured.append((idle, p95(front)))
            statuses, _ = rush.communicate("", timeout=30)
        finally:
            rush.kill()
            rush.wait()
        assert "429: " in statuses
        if measured[-1][1] <= MAX_RATIO * measured[-1][0]:
            break
    for idle, busy in measured:
        print(f"p95 of /rpc: idle {idle:.1f} ms, in the rush {busy:.1f} ms")
    assert measured[-1][1] <= MAX_RATIO * measured[-1][0], measured
