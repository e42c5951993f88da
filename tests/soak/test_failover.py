"""The primary stops at once, its standby is promoted: nothing answered 0 is lost."""

from __future__ import annotations

import random
import time

import pytest
from ledger import Ledger, broken_promises, load
from sqlalchemy import create_engine, text
from support.helpers import basic, postgres_only
from support.nginx_front import ask_node
from support.postgres_cluster import make_cluster
from support.servers import free_port

from gateway.testing.databases import migrated

RECOVERY = 5  # seconds from the promotion
UNAVAILABLE = (503, 501)


class Pair:
    """A primary and its synchronous standby, which take turns."""

    def __init__(self, server):
        self.server = server
        self.primary = make_cluster(server)
        self.primary.initialise()
        self.primary.start()
        self.standby = None
        self.ports = [self.primary.port, free_port()]

    def follow(self):
        """Start a standby, and make every commit wait for it."""
        self.standby = make_cluster(self.server)
        (self.standby.port,) = set(self.ports) - {self.primary.port}
        self.standby.copy_of(self.primary)
        self.standby.start()
        self.primary.set(synchronous_standby_names="*")
        deadline = time.monotonic() + 30
        query = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"
        while self.primary.sql(query) != [(1,)]:
            assert time.monotonic() < deadline

    def switch(self):
        """Stop the primary at once and promote the standby; return when it was promoted."""
        self.primary.stop("immediate")
        self.standby.set_alone()
        self.standby.promote()
        promoted = time.monotonic()
        self.primary.remove()
        self.primary, self.standby = self.standby, None
        return promoted

    def uri(self):
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.ports)
        return f"postgresql://postgres@{hosts}/postgres"

    def remove(self):
        for cluster in filter(None, (self.primary, self.standby)):
            cluster.remove()


@pytest.fixture
def pair(postgres_server):
    pair = Pair(postgres_server)
    yield pair
    pair.remove()


def query(uri):
    """Return a function that runs SQL on a server, like the fixture ``sql``."""

    def run(statement, **values):
        engine = create_engine(uri.replace("postgresql://", "postgresql+psycopg://"))
        with engine.begin() as connection:
            rows = connection.execute(text(statement), values)
            result = rows.all() if rows.returns_rows else None
        engine.dispose()
        return result

    return run


def create(service, token):
    return service.post("/project/create", {"project_type": 1, "project_name": "x"}, token)


def recovers(service, token, project, ledger=None):
    """Write and verify until both succeed; return the moment."""
    ledger = ledger or Ledger()
    key = project["project_key"]
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if create(service, token)[1] != 0:
            continue
        ledger.asked[key] += 1
        if ask_node(service.port, basic(*project.values())) == 204:
            ledger.passed[key] += 1
            break
    return time.monotonic()


@postgres_only
def test_failover_under_load(start_service, pair, scale, tally):
    """The URL has both hosts; the same processes of the service live through every failover."""
    migrated(pair.uri())
    pair.follow()
    service = start_service(workers=2, SQLALCHEMY_DATABASE_URI=pair.uri(), REQUEST_MAX=0)
    token = service.sign_up("lory")
    project = create(service, token)[2]
    ledger = Ledger(expected={UNAVAILABLE})
    lost, times = [], []
    for number in range(scale(1, 20)):
        if number:
            pair.follow()
        with load(service, ledger):
            ledger.wait_for_answers(random.randint(30, 90))
            promoted = pair.switch()
            times.append(recovers(service, token, project, ledger) - promoted)
            ledger.wait_for_answers(10)
        lost += broken_promises(ledger, query(pair.primary.uri()))
    service.server.kill()
    print(f"served again {max(times):.1f} s after the promotion, at most")
    slow = [seconds for seconds in times if seconds > RECOVERY]
    tally("failover", "primary stopped at once, standby promoted, under load", len(times), slow)
    tally("failover", "promises kept across it", ledger.promises(), lost)


@postgres_only
def test_a_primary_that_is_demoted_without_a_stop(start_service, pair, tally):
    """As with a proxy whose name moves: the old server goes on, but only reads."""
    migrated(pair.uri())
    pair.follow()
    service = start_service(workers=2, SQLALCHEMY_DATABASE_URI=pair.uri(), REQUEST_MAX=0)
    token = service.sign_up("lory")
    project = create(service, token)[2]
    pair.primary.set(default_transaction_read_only="on")
    pair.standby.set_alone()
    pair.standby.promote()
    promoted = time.monotonic()
    took = recovers(service, token, project) - promoted
    tally("failover", "primary made read-only, standby promoted", 1, [took] * (took > RECOVERY))
    assert len(pair.standby.sql("SELECT * FROM projects")) >= 2
    service.server.kill()
