"""Two nodes race for a project's last requests; meanwhile one is killed, or Postgres switched.

No limit is exceeded by even one, and nothing is lost that was answered. The service's clock jumps
to just before one midnight after the other, and then runs on for more than a minute. On Postgres a
rate follows the real clock.
"""

import random
import threading
import time
from bisect import bisect_right
from collections import Counter
from contextlib import suppress
from datetime import datetime
from http.client import HTTPException
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import make_url
from support.helpers import basic, postgres_only, until
from support.nginx_front import ask_node
from support.servers import GUNICORN
from test_failover import pair, query  # noqa: F401 - pair is a fixture

from gateway.testing.databases import migrated

CLOCK = """
from datetime import timedelta
from pathlib import Path
from gateway import clock
real, ahead = clock.now, Path("{}")
clock.now = lambda: real() + timedelta(seconds=float(ahead.read_text()))
from wsgi import app
"""
ZONE = "Europe/Berlin"
# They begin after the end of a month or year, after 28 or 29 February, after 23 or 25 hours.
DAYS = [
    *("2024-03-01", "2024-04-01", "2024-10-28", "2024-11-01", "2025-01-01"),
    *("2025-03-01", "2025-03-31", "2025-10-27", "2026-01-01", "2026-03-01"),
    *("2026-03-30", "2026-10-26", "2027-02-01", "2027-03-29", "2027-11-01"),
    *("2028-01-01", "2028-02-29", "2028-03-01", "2028-03-27", "2028-10-30"),
]
COSTS = (1, 3, 7, 1, 3, 7, 1, 7)
DAY, MONTH = 301, 400  # the limits of one project
RATE, BURST = 1200, 200  # of another
AGAIN = 4  # seconds from one disturbance to the next, once the clock runs on


class Race:
    """Clients that ask two nodes for two projects in turn, and what they were answered.

    :param set_clock: makes the service's clock be ahead by so many seconds.
    """

    def __init__(self, projects, nodes, set_clock):
        self.headers = [basic(*project.values()) for project in projects]
        self.nodes, self.set_clock = nodes, set_clock
        self.passed = [], []  # of each project: (sent, answered, cost)
        self.unanswered = [], []  # costs
        self.statuses = set()  # of the others
        self.refused = 0  # when the first project was refused last, on the service's clock
        self.earliest = self.latest = 0  # seconds by which that clock is ahead
        self.ended = threading.Event()
        self.threads = [
            threading.Thread(target=self.run, args=each, daemon=True) for each in enumerate(COSTS)
        ]

    def move_to(self, moment):
        ahead = self.latest = moment - time.time()
        self.set_clock(ahead)
        self.earliest = ahead

    def run(self, number, cost):
        while not self.ended.is_set():
            number += 1
            project, port = number % 2, self.nodes[number // 2 % 2].port
            begin, status = time.time() + self.earliest, None
            with suppress(OSError, HTTPException):
                status = ask_node(port, self.headers[project], cost)
            if status == 204:
                self.passed[project].append((begin, time.time() + self.latest, cost))
            elif status in (None, 503):  # it may have been counted
                self.unanswered[project].append(cost)
            else:
                self.statuses.add(status)
                self.refused = self.refused if project else begin

    def wrong(self, sql):
        """Return totals that are not what passed, and minutes in which too much has passed."""
        for each, total in sql("SELECT id - 1, request_total FROM projects"):
            passed = sum(cost for _, _, cost in self.passed[each])
            if not passed <= total <= passed + sum(self.unanswered[each]):
                yield each, passed, sum(self.unanswered[each]), total
        for first, _, _ in self.passed[1]:
            times = self.passed[1]
            passed = sum(cost for sent, end, cost in times if first <= sent and end <= first + 60)
            if passed > RATE + BURST:
                yield first, passed


@pytest.fixture
def race(start_service, tmp_path, scale, tally, request):
    """Return a function that races; each round it calls ``ready`` and then ``disturb(nodes)``."""
    ahead = tmp_path / "ahead"

    def set_clock(seconds):
        (tmp_path / "new").write_text(str(seconds))
        (tmp_path / "new").rename(ahead)

    def days(sql):
        kept = "SELECT day, requests FROM project_days WHERE project_id = 1"
        today = "SELECT request_day, request_count + extra_count FROM projects WHERE id = 1"
        return {str(day): requests for day, requests in [*sql(kept), *sql(today)] if day}

    def run(sql, disturb, ready=lambda: None, **settings):
        set_clock(0)
        (tmp_path / "moved.py").write_text(CLOCK.format(ahead))
        ours = {"REQUEST_MAX": DAY, "REQUESTS_PER_MONTH": MONTH, "TIMEZONE": ZONE, "QUOTA_MAILS": 0}
        service = start_service(scale(2, 8), [*GUNICORN[:-1], "moved:app"], **ours, **settings)
        token = service.sign_up("lory")
        body = {"project_type": 1, "project_name": "x"}
        projects = [service.post("/project/create", body, token)[2] for _ in range(2)]
        sql(f"UPDATE projects SET request_max = 0, month_max = 0, per_minute = {RATE} WHERE id = 2")
        nodes = [service.server, start_service.another()]
        nodes[1].wait_for("Listening at")
        race, counted = Race(projects, nodes, set_clock), {}
        for thread in race.threads:
            thread.start()
        for day in scale(DAYS[:1], DAYS):
            ready()
            midnight = datetime.fromisoformat(day).replace(tzinfo=ZoneInfo(ZONE)).timestamp()
            race.move_to(midnight - random.uniform(1, 4))
            disturb(nodes)
            until(lambda: race.refused > midnight + 1)  # noqa: B023 - it is called at once
            counted |= days(sql)
        for _ in range(scale(0, 20)):
            ready()
            disturb(nodes)
            time.sleep(AGAIN)
        race.ended.set()
        for thread in race.threads:
            thread.join()
        counted |= days(sql)
        for node in nodes:
            node.kill()
        months = Counter()
        for day, requests in counted.items():
            months[day[:7]] += requests
        lost = [each for each in counted.items() if each[1] > DAY]
        lost += [each for each in months.items() if each[1] > MONTH]
        lost += [*race.wrong(sql), *(race.statuses - {403})]
        tried = len(race.passed[0]) + len(race.passed[1])
        tally("limits", f"requests that raced, {request.node.name}", tried, lost)

    return run


def test_nodes_are_killed(race, start_service, sql):
    def kill(nodes):
        nodes.reverse()
        nodes[0].kill()
        nodes[0] = start_service.another()
        nodes[0].wait_for("Listening at")

    race(sql, kill)


@postgres_only
def test_postgres_is_switched(race, pair):  # noqa: F811 - the fixture
    migrated(pair.uri())
    race(
        lambda statement: query(pair.primary.uri())(statement),  # noqa: PLW0108 - it changes
        lambda _: pair.switch(),
        pair.follow,
        SQLALCHEMY_DATABASE_URI=pair.uri(),
    )


DATABASE_CLOCK = """
CREATE SCHEMA moved;
CREATE TABLE moved.clock AS SELECT now() AS moment;
CREATE FUNCTION moved.clock_timestamp() RETURNS timestamptz LANGUAGE sql
AS 'SELECT moment FROM moved.clock';
"""


def test_rate_of_a_day(make_app, database_uri, sql, sign_up, clock, scale, tally, request):
    """A client asks every few seconds until it is refused: 60 a minute pass, 10 at once."""
    on_postgres = database_uri.startswith("postgresql")
    url = make_url(database_uri)
    if on_postgres:
        url = url.update_query_dict({"options": "-csearch_path=moved,pg_catalog,public"})
    clock.freeze(2024, 3, 7)
    app = make_app(
        SQLALCHEMY_DATABASE_URI=url.render_as_string(hide_password=False),
        REQUEST_MAX=0,
        REQUESTS_PER_MINUTE=60,
    )
    if on_postgres:
        sql(DATABASE_CLOCK)
    person = sign_up(client=app.test_client())
    project = person.create_project()
    moments, sums, asked = [], [0], 0  # moments in milliseconds
    while asked < scale(200_000, 86_400_000):
        step = random.randint(500, 9000)
        asked += step
        clock.advance(milliseconds=step)
        if on_postgres:
            sql("UPDATE moved.clock SET moment = :now", now=clock.now())
        for cost in (random.choice(COSTS), 1):
            while person.verify(project, cost=cost).status_code == 204:
                moments.append(asked)
                sums.append(sums[-1] + cost)
    lost = [] if 0.999 * asked <= 1000 * sums[-1] <= asked + 10_000 else [(asked, sums[-1])]
    for number, first in enumerate(moments):
        if sums[bisect_right(moments, first + 60_000)] - sums[number] > 60 + 10:
            lost.append(first)
    tally("limits", f"requests of a day with a rate, {request.node.name}", len(moments), lost)
