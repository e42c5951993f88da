"""Two nodes of several workers race at the edge of a day and a month, and are killed meanwhile.

No limit is exceeded by even one, and nothing is lost that was answered. The nodes' clock begins
some seconds before midnight; on Postgres the rate follows the real one.
"""

import threading
import time
from collections import Counter
from contextlib import suppress
from datetime import datetime, timezone
from http.client import HTTPConnection, HTTPException

import pytest
from support.helpers import TIMEOUT, basic

CLOCK = """
from datetime import timedelta
from pathlib import Path
from gateway import clock
_real, _ahead = clock.now, Path("{}")
clock.now = lambda: _real() + timedelta(seconds=float(_ahead.read_text()))
"""
COSTS = (1, 3, 7, 1, 3, 7, 1, 7)
SECONDS = 12  # of a race; midnight is in its middle


class Race:
    """Clients that ask nodes in turn, and what they were answered: (cost, status)."""

    def __init__(self, project, ports):
        self.header = {
            "Authorization": basic(project["project_key"], project["project_secret"]),
        }
        self.ports = ports
        self.answers = []
        self.unanswered = 0
        self.until = time.monotonic() + SECONDS

    def ask(self, number):
        cost, connection = COSTS[number], None
        while time.monotonic() < self.until:
            if connection is None:
                number += 1
                port = self.ports[number % len(self.ports)]
                connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
            try:
                connection.request("GET", f"/api/v1/project/verify?cost={cost}", None, self.header)
                reply = connection.getresponse()
                reply.read()
                self.answers.append((cost, reply.status))
            except (OSError, HTTPException):
                with suppress(OSError):
                    connection.close()
                connection = None
                self.unanswered += cost
        if connection is not None:
            connection.close()

    def run(self, meanwhile):
        threads = [threading.Thread(target=self.ask, args=(n,)) for n in range(len(COSTS))]
        for thread in threads:
            thread.start()
        meanwhile(self)
        for thread in threads:
            thread.join()
        assert {status for _, status in self.answers} <= {204, 403, 503}
        return sum(cost for cost, status in self.answers if status == 204)


@pytest.fixture
def race(start_service, tmp_path, scale):
    """Return a function that races on two nodes, and kills them in turn.

    It returns the passed cost and the unanswered one.
    """
    ahead = tmp_path / "ahead"
    ahead.write_text("0")
    wsgi = tmp_path / "wsgi.py"
    wsgi.write_text(CLOCK.format(ahead) + wsgi.read_text())

    def run(midnight=None, **settings):
        service = start_service(scale(2, 4), **{"REQUEST_MAX": 0, "QUOTA_MAILS": 0, **settings})
        body = {"project_type": 1, "project_name": "x"}
        *_, project = service.post("/project/create", body, service.sign_up("lory"))
        nodes = [service.server, start_service.another()]
        nodes[1].wait_for("Listening at")
        if midnight:
            now = datetime.now(timezone.utc)
            ahead.write_text(str((midnight - now).total_seconds() - SECONDS / 2))

        def kill_in_turn(race):
            for turn in range(scale(2, 5)):
                time.sleep(1)
                nodes[turn % 2].kill()
                nodes[turn % 2] = start_service.another()
                nodes[turn % 2].wait_for("Listening at")
                race.ports[turn % 2] = nodes[turn % 2].port

        race = Race(project, [node.port for node in nodes])
        passed = race.run(kill_in_turn)
        for node in nodes[1:]:
            node.stop()
        return passed, race.unanswered

    return run


@pytest.mark.parametrize(
    ("zone", "midnight"),
    [
        ("UTC", datetime(2024, 3, 1, tzinfo=timezone.utc)),
        ("Europe/Berlin", datetime(2024, 3, 31, 22, tzinfo=timezone.utc)),  # after 23 hours
        ("Europe/Berlin", datetime(2024, 10, 27, 23, tzinfo=timezone.utc)),  # after 25 hours
    ],
    ids=["29 February", "23 hours", "25 hours in a month"],
)
def test_quotas(race, sql, tally, request, zone, midnight):
    """At a month's end the day's quota binds, within a month the month's."""
    passed, unanswered = race(midnight, TIMEZONE=zone, REQUEST_MAX=301, REQUESTS_PER_MONTH=302)
    kept = "SELECT day, requests FROM project_days"
    today = "SELECT request_day, request_count + extra_count FROM projects"
    days = {str(day): count for day, count in [*sql(kept), *sql(today)]}
    lost = [day for day, count in days.items() if count > 301]
    months = Counter()
    for day, count in days.items():
        months[day[:7]] += count
    lost += [month for month, count in months.items() if count > 302]
    if not passed <= sum(days.values()) <= passed + unanswered:
        lost.append((passed, unanswered, days))
    tally("limits", f"costs that raced at midnight, {request.node.callspec.id}", passed, lost)


def test_rate(race, tally, request):
    """1,200 a minute: 200 at once, and one in 50 ms."""
    begin = time.monotonic()
    passed, unanswered = race(REQUESTS_PER_MINUTE=1200)
    seconds = time.monotonic() - begin
    lost = [] if 200 + SECONDS * 19 - unanswered <= passed <= 200 + seconds * 20 else [passed]
    tally("limits", f"costs that raced for a rate, {request.node.callspec.id}", passed, lost)
