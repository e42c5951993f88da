"""Threads take turns; nothing slow holds up the others."""

import subprocess
import sys
import threading

import psycopg
import pytest
from support.helpers import PASSWORD, TIMEOUT, postgres_only

from gateway import crypto
from gateway.db import db, deadline
from gateway.server import turns

NEVER = 10 * TIMEOUT  # seconds; a turn that only passes because it is slow fails these tests


@pytest.fixture
def make_pool():
    """Return a function that makes a pool of twelve threads."""
    pools = []

    def make(slow=NEVER, threads=12):
        pools.append(turns.Pool(threads, slow))
        return pools[-1]

    yield make
    for pool in pools:
        pool.shutdown()


class Held:
    """A job that has begun when ``begun`` is set, and goes on until ``may_end`` is set."""

    def __init__(self, aside=False):
        self.aside, self.begun, self.may_end = aside, threading.Event(), threading.Event()

    def __call__(self):
        with turns.aside() if self.aside else deadline.nullcontext():
            self.begun.set()
            assert self.may_end.wait(TIMEOUT)
        return threading.current_thread()


def begin(pool, *jobs):
    """Submit jobs, each when the one before has begun; return their futures."""
    futures = []
    for job in jobs:
        futures.append(pool.submit(job))
        assert job.begun.wait(TIMEOUT)
    return futures


def test_one_thread_answers_one_request_after_the_other_in_their_order(make_pool):
    pool, first, order = make_pool(), Held(), []
    (held,) = begin(pool, first)

    def work(number, *, named):
        order.append((number, named))
        return threading.current_thread()

    futures = [pool.submit(work, number, named="x") for number in range(8)]
    assert order == []
    first.may_end.set()
    threads = {future.result(TIMEOUT) for future in futures}
    assert order == [(number, "x") for number in range(8)]
    assert threads == {held.result(TIMEOUT)}  # no change of threads


def test_an_exception_reaches_who_asks_and_ends_nothing(make_pool):
    pool = make_pool()
    with pytest.raises(SystemExit):
        pool.submit(sys.exit).result(TIMEOUT)
    assert pool.submit(int, "7").result(TIMEOUT) == 7


def test_slow_requests_hold_up_nobody_until_there_is_no_thread_left(make_pool):
    pool = make_pool(slow=0.01, threads=3)
    slow = [Held() for _ in range(3)]
    ends = begin(pool, *slow)
    waiting = pool.submit(int, "7")
    slow[1].may_end.set()  # its thread is free now
    assert waiting.result(TIMEOUT) == 7
    slow[0].may_end.set()
    slow[2].may_end.set()
    assert len({end.result(TIMEOUT) for end in ends}) == 3


def test_who_stands_aside_lets_another_go_on(make_pool):
    pool = make_pool()
    aside, other = Held(aside=True), Held()
    futures = begin(pool, aside, other)  # the other goes on meanwhile
    futures.append(pool.submit(threading.current_thread))
    aside.may_end.set()
    other.may_end.set()
    assert len({future.result(TIMEOUT) for future in futures[:2]}) == 2
    futures[2].result(TIMEOUT)


def test_a_slow_request_holds_up_nobody_when_all_threads_were_busy(make_pool):
    """One thread is slow, the other stands aside, so nobody has the turn when a request comes."""
    pool, first, aside, slow = make_pool(slow=0.005, threads=2), Held(), Held(aside=True), Held()
    begin(pool, first)
    both = pool.submit(lambda: (aside(), slow()))
    assert aside.begun.wait(TIMEOUT)
    waiting = pool.submit(int, "7")
    aside.may_end.set()
    assert slow.begun.wait(TIMEOUT)
    first.may_end.set()
    assert waiting.result(TIMEOUT) == 7
    assert not both.done()
    slow.may_end.set()


def test_a_thread_that_takes_no_turns_stands_aside_for_nobody(make_pool):
    pool = make_pool()
    with turns.aside():
        assert pool.submit(int, "7").result(TIMEOUT) == 7


@pytest.mark.parametrize("slow", [NEVER, 0.005])
def test_shutdown_drops_nothing(make_pool, slow):
    pool, aside, first = make_pool(slow, threads=2), Held(aside=True), Held()
    begun = begin(pool, aside, first)
    waiting = pool.submit(int, "7")
    pool.shutdown(wait=False)
    with pytest.raises(RuntimeError, match="shut down"):
        pool.submit(int)
    aside.may_end.set()
    first.may_end.set()
    assert all(each.result(TIMEOUT) for each in begun)
    assert waiting.result(TIMEOUT) == 7


def test_a_worker_that_ends_answers_first_and_does_what_follows_the_answers():
    program = """
import threading, time, types
from gunicorn.workers.gthread import ThreadWorker
from gateway import crypto
from gateway.server.gunicorn import Worker

def answer():
    time.sleep(0.3)  # the main thread does nothing meanwhile that could be awaited
    crypto.hash_password("x")
    print("answered")
    threading.Thread(target=lambda: (time.sleep(0.1), print("followed")), daemon=False).start()

def loop(worker):
    worker.tpool = worker.get_thread_pool()
    worker.tpool.submit(answer)
    raise SystemExit

ThreadWorker.init_process = loop
worker = object.__new__(Worker)
worker.cfg = types.SimpleNamespace(threads=2, settings={})
worker.init_process()
"""
    command = [sys.executable, "-c", program]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=True)
    assert ended.stdout.split() == ["answered", "followed"]
    assert ended.stderr == ""


@pytest.mark.parametrize("work", [crypto.hash_password, lambda p: crypto.password_matches(p, None)])
def test_others_go_on_while_a_password_is_hashed(work, make_pool, monkeypatch):
    is_hashing, others_are_done = threading.Event(), threading.Event()

    class Slow:
        def hash(self, *_):
            if not is_hashing.is_set():  # the dummy hash comes first
                is_hashing.set()
                assert others_are_done.wait(TIMEOUT)
            return "x"

        verify = hash

    monkeypatch.setattr(crypto, "hasher", Slow())
    monkeypatch.setattr(crypto, "aside", turns.aside)
    pool = make_pool(0.01 if "lambda" in repr(work) else NEVER)
    hashed = pool.submit(work, PASSWORD)
    assert is_hashing.wait(TIMEOUT)
    pool.submit(others_are_done.set)
    hashed.result(TIMEOUT)


@postgres_only
def test_others_go_on_while_postgres_writes(app, make_pool, monkeypatch):
    monkeypatch.setattr(deadline, "aside", turns.aside)
    with app.app_context():
        url = db.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)

    def write():
        with app.app_context():
            deadline.start()  # as in a request
            db.session.execute(db.text("UPDATE users SET language = 'en'"))
            db.session.commit()

    pool = make_pool()
    with psycopg.connect(url) as blocker:
        blocker.execute("LOCK TABLE users")
        waiting = pool.submit(write)
        pool.submit(blocker.rollback).result(TIMEOUT)
        waiting.result(TIMEOUT)
