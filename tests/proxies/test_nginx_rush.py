"""A rush of one stranger on pages and sign-ins: customers' requests pass; in the soak, in time."""

import subprocess
import sys
import time

import pytest
from support.servers import ROOT

pytestmark = [pytest.mark.nginx, pytest.mark.soak]
LOGIN = '{"user_name": "nobody", "password": "e10adc3949ba59abbe56e057f20f883e"}'


@pytest.fixture
def ask(team, start_front):
    """Return a function that asks /rpc for some seconds; it returns the p95 of the times in ms."""
    (service,), customer = team(REQUEST_MAX=0)
    front = start_front(service)

    def ask(seconds):
        connection, times, end = front.connect(), [], time.monotonic() + seconds
        while time.monotonic() < end:
            start = time.perf_counter()
            status, *_ = front.ask("/rpc", customer.header, connection=connection)
            times.append(1000 * (time.perf_counter() - start))
            assert status == 200
            time.sleep(0.01)  # less than the rate of a project
        connection.close()
        return sorted(times)[len(times) * 95 // 100]

    ask.front = front
    return ask


@pytest.mark.parametrize(
    "request_line",
    [("GET", "/openapi.json"), ("GET", "/"), ("POST", "/api/v1/login", LOGIN)],
    ids=["description", "page", "login"],
)
def test_a_rush_does_not_stop_customers(ask, request_line, scale):
    """The times of the soak are the best of three, because other programs also delay requests."""
    command = [sys.executable, ROOT / "tests" / "support" / "rush.py", str(ask.front.port)]
    command += [ask.front.folder / "gateway.crt", scale("100", "300"), *request_line]
    seconds, ratios = scale(0.5, 2.5), []
    while not ratios or (min(ratios) > scale(10, 3) and len(ratios) < 3):
        idle = ask(seconds)
        rush = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            assert rush.stdout.readline() == "ready\n"
            ratios.append(ask(seconds) / idle)
            statuses, _ = rush.communicate("", timeout=30)
        finally:
            rush.kill()
            rush.wait()
        assert "429: " in statuses
    print(f"p95 of /rpc in the rush, divided by that before: {ratios}")
    assert min(ratios) <= scale(10, 3)
