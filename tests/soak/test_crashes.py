"""Processes killed during their work: everything answered with code 0 is still stored."""

from __future__ import annotations

import random

import pytest
from ledger import Ledger, broken_promises, load

from gateway.db import db


@pytest.fixture
def crash(app, start_service, sql, scale, tally, request):
    """Return a function that crashes the service under load several times, and checks each time."""
    service = start_service(workers=2)
    ledger = Ledger()
    database = request.node.callspec.id

    def run(title, how, *, test, soak):
        lost = []
        for _ in range(scale(test, soak)):
            with load(service, ledger):
                ledger.wait_for_answers(random.randint(1, 30))
                how(service, ledger.up)
                ledger.wait_for_answers(10)
            lost += broken_promises(ledger, sql)
            if database == "sqlite":
                lost += [row for row in sql("PRAGMA integrity_check") if row != ("ok",)]
            with app.app_context():
                db.engine.dispose()  # because SQLite recovers only a file that nobody else has open
        assert ledger.promises() > 10
        tally("crashes", f"{title}, {database}", scale(test, soak))
        tally("crashes", f"promises kept across {title}, {database}", ledger.promises(), lost)

    return run


def kill_a_worker(service, _up):
    random.choice(service.server.workers()).kill()


def kill_the_server(service, up):
    up.clear()
    service.server.kill()
    service.start()
    up.set()


def terminate_the_server(service, up):
    up.clear()
    service.server.stop()
    assert service.server.process.returncode == 0
    service.start()
    up.set()


def test_kill_a_worker(crash):
    crash("kill -9 of a worker", kill_a_worker, test=5, soak=100)


def test_kill_the_server(crash):
    crash("kill -9 of the server", kill_the_server, test=3, soak=100)


def test_terminate_the_server(crash):
    crash("SIGTERM of the server", terminate_the_server, test=2, soak=25)
