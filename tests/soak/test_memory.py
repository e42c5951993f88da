"""The memory of a worker: hashes give theirs back, and a day of requests leaves nothing behind."""

from __future__ import annotations

import random
import re
import threading
import time
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path

from ledger import Ledger, NoAnswer, live_once
from support.helpers import TIMEOUT, basic, until

from gateway.server.memory import PERIOD

HASH = 15  # MiB; a hash takes 19
MAX_GROWTH = 1.05
DAY = 10 * 86_400  # requests, ten each second


def mib(worker, name):
    """Return a line of a process's memory: VmRSS, or VmHWM, the largest so far."""
    status = Path(f"/proc/{worker.pid}/status").read_text()
    return int(re.search(rf"{name}:\s+(\d+)", status)[1]) / 1024


def at_rest(worker):
    """Return the memory of a worker that answers nothing, when it has given back what it can."""
    end, least = time.monotonic() + 2 * PERIOD, mib(worker, "VmRSS")
    while time.monotonic() < end:
        time.sleep(0.1)
        least = min(least, mib(worker, "VmRSS"))
    return least


def test_the_memory_of_a_hash_is_given_back(start_service):
    service = start_service(workers=1)
    service.sign_up("lory")
    (worker,) = service.server.workers()
    Path(f"/proc/{worker.pid}/clear_refs").write_text("5")  # forget the largest so far
    service.log_in("lory")
    until(lambda: mib(worker, "VmRSS") <= mib(worker, "VmHWM") - HASH)


def test_a_day_of_requests_leaves_nothing_behind(start_service, scale, tally, request):
    service = start_service(workers=1, REQUEST_MAX=10**9, PROJECTS_PER_USER=100)
    token = service.sign_up("lory")
    (worker,) = service.server.workers()
    made = [
        service.post("/project/create", {"project_type": 1, "project_name": "x"}, token)[2]
        for _ in range(50)
    ]
    with everybody(service, token, made) as count:
        count.wait_for(scale(1_000, DAY // 20))
    before = at_rest(worker)
    with everybody(service, token, made) as count:
        count.wait_for(scale(1_000, DAY))
    after = at_rest(worker)
    (same,) = service.server.workers()
    assert same.pid == worker.pid  # it was not replaced meanwhile
    tally(
        "memory",
        f"requests of a day, {request.node.callspec.id}: {before:.1f} MiB, then {after:.1f}",
        scale(1_000, DAY),
        [] if after <= before * MAX_GROWTH else [f"{after / before:.3f} times as much"],
    )


class Count:
    """Requests that were answered."""

    def __init__(self):
        self.answers = 0
        self.changed = threading.Condition()

    def add(self, more=1):
        with self.changed:
            self.answers += more
            self.changed.notify_all()

    def wait_for(self, number):
        with self.changed:
            while self.answers < number:
                before = self.answers
                self.changed.wait(TIMEOUT)
                assert self.answers > before, "no answer comes any more"


@contextmanager
def everybody(service, token, made):
    """Let customers, users and strangers ask at the same time; yield the count of answers."""
    count, ended, failures = Count(), threading.Event(), []

    def run(ask):
        with closing(HTTPConnection("127.0.0.1", service.port, timeout=TIMEOUT)) as connection:
            while not ended.is_set():
                try:
                    ask(connection)
                except Exception as error:
                    failures.append(error)
                    raise

    def send(connection, method, path, body=None, **headers):
        headers["X-Forwarded-For"] = f"10.{random.randrange(256)}.{random.randrange(256)}.1"
        connection.request(method, f"/api/v1{path}", body, headers)
        reply = connection.getresponse()
        reply.read()
        count.add()
        return reply.status

    def customer(connection):
        one = random.choice(made)
        headers = {"Authorization": basic(one["project_key"], one["project_secret"])}
        assert send(connection, "GET", "/project/verify", **headers) == 204

    def reader(connection):
        body = f'{{"page_no": {random.randrange(3)}, "page_size": 20}}'
        assert send(connection, "POST", "/project/list", body, Authorization=token) == 200

    def stranger(connection):
        method, path, body, given = random.choice(
            [
                ("GET", "/project/verify", None, basic(f"{random.random()}", "x")),
                ("GET", f"/{random.random()}", None, ""),
                ("POST", "/project/list", "{}", f"Bearer {random.random()}"),
                ("POST", "/login", f'{{"user_name": "{random.random()}"', ""),
                ("POST", "/login", f'{{"user_name": "x{random.random()}", "password": "x"}}', ""),
                ("POST", "/register", '{"user_name": 7}', ""),
            ]
        )
        assert 400 <= send(connection, method, path, body, Authorization=given) < 500

    def person(_connection):
        ledger = Ledger()
        try:
            live_once(service, ledger)
        except NoAnswer:
            raise AssertionError(ledger.faults) from None
        count.add(ledger.answers)

    kinds = [customer, customer, customer, reader, stranger, person]
    threads = [threading.Thread(target=run, args=(kind,)) for kind in kinds]
    for thread in threads:
        thread.start()
    try:
        yield count
    finally:
        ended.set()
        for thread in threads:
            thread.join(TIMEOUT)
    assert not failures, failures
