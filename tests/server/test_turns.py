"""Threads take turns; nothing slow holds up the others."""

import subprocess
import sys
import threading
import time

import psycopg
import pytest
from support.helpers import PASSWORD, TIMEOUT, postgres_only, until

from gateway import crypto
from gateway.db import db
from gateway.db.deadline import start
from gateway.server import gunicorn, turns

NEVER = 10 * TIMEOUT  # seconds; a turn that only passes because it is slow fails these tests


@pytest.fixture
def make_pool():
    """Return a function that makes a pool of twelve threads; at the end all threads end."""
    pools = []

    def make(slow=NEVER, threads=12):
        pools.append(turns.Pool(threads, slow))
        return pools[-1]

    yield make
    for pool in pools:
        pool.shutdown()
        assert not any(thread.is_alive() for thread in pool._threads)


class Held:
    """A job that has begun when ``begun`` is set, and goes on until ``may_end`` is set."""

    def __init__(self):
        self.begun, self.may_end = threading.Event(), threading.Event()

    def __call__(self):
        self.begun.set()
        assert self.may_end.wait(TIMEOUT)
        return threading.current_thread()


def test_one_thread_answers_one_request_after_the_other_in_their_order(make_pool):
    pool, first, order = make_pool(), Held(), []
    held = pool.submit(first)
    assert first.begun.wait(TIMEOUT)

    def work(number, *, named):
        order.append((number, named))
        return threading.current_thread()

    futures = [pool.submit(work, number, named="x") for number in range(8)]
    assert order == []
    first.may_end.set()
    threads = {future.result(TIMEOUT) for future in futures}
    assert order == [(number, "x") for number in range(8)]
    assert threads == {held.result(TIMEOUT)}  # no change of threads


def test_the_thread_that_worked_last_works_again(make_pool):
    pool = make_pool(slow=0.01)
    held = [Held() for _ in range(3)]
    ends = [pool.submit(each) for each in held]
    for each in held:
        assert each.begun.wait(TIMEOUT)
    for idle, number in enumerate((0, 2, 1), 1):
        held[number].may_end.set()
        until(lambda idle=idle: len(pool._idle) == idle)
    last = ends[1].result(TIMEOUT)
    assert pool.submit(threading.current_thread).result(TIMEOUT) is last


def test_an_exception_reaches_who_asks_and_ends_nothing(make_pool):
    pool = make_pool()
    with pytest.raises(SystemExit):
        pool.submit(sys.exit).result(TIMEOUT)
    assert pool.submit(int, "7").result(TIMEOUT) == 7


def test_slow_requests_hold_up_nobody_until_there_is_no_thread_left(make_pool):
    pool = make_pool(slow=0.01, threads=3)
    slow = [Held() for _ in range(3)]
    ends = [pool.submit(each) for each in slow]
    for each in slow:
        assert each.begun.wait(TIMEOUT)
    waiting = pool.submit(int, "7")
    slow[1].may_end.set()  # its thread is free now
    assert waiting.result(TIMEOUT) == 7
    slow[0].may_end.set()
    slow[2].may_end.set()
    assert len({end.result(TIMEOUT) for end in ends}) == 3


def test_a_slow_request_ends_no_turn_but_its_own(make_pool):
    pool = make_pool(slow=0.01)
    slow, second, third = Held(), Held(), Held()
    pool.submit(slow)
    pool.submit(second)
    assert second.begun.wait(TIMEOUT)  # although the slow one has not ended
    pool._slow = NEVER
    pool.submit(third)
    slow.may_end.set()
    until(lambda: pool._idle)  # the thread of the slow one rests
    assert not third.begun.is_set()
    second.may_end.set()
    assert third.begun.wait(TIMEOUT)
    third.may_end.set()


def test_who_stands_aside_lets_another_go_on_and_comes_before_those_who_have_not_begun(make_pool):
    pool, order = make_pool(), []
    other, back = Held(), threading.Event()

    def work():
        with turns.aside():
            order.append("aside")
            assert back.wait(TIMEOUT)
        order.append("back")

    end = pool.submit(work)
    pool.submit(other)
    assert other.begun.wait(TIMEOUT)  # it goes on meanwhile
    last = pool.submit(order.append, "last")
    back.set()
    until(lambda: pool._returning)
    assert order == ["aside"]  # the turn is the other's
    other.may_end.set()
    end.result(TIMEOUT)
    last.result(TIMEOUT)
    assert order == ["aside", "back", "last"]


def test_who_has_lost_the_turn_and_stands_aside_takes_it_from_nobody(make_pool):
    pool = make_pool(slow=0.01)
    slow, stands_aside, second, third = Held(), threading.Event(), Held(), Held()

    def work():
        slow()
        with turns.aside():
            stands_aside.set()

    pool.submit(work)
    pool.submit(second)
    assert second.begun.wait(TIMEOUT)
    pool._slow = NEVER
    pool.submit(third)
    slow.may_end.set()
    assert stands_aside.wait(TIMEOUT)
    assert len(pool._threads) == 2  # none has been started for the third
    second.may_end.set()
    third.may_end.set()


def test_a_thread_that_takes_no_turns_stands_aside_for_nobody(make_pool):
    pool = make_pool()
    with turns.aside():
        assert pool.submit(int, "7").result(TIMEOUT) == 7


def test_shutdown_ends_every_thread_and_drops_nothing_that_has_begun(make_pool):
    pool = make_pool()
    first = Held()
    begun, waiting = pool.submit(first), pool.submit(int, "7")
    assert first.begun.wait(TIMEOUT)
    pool.shutdown(wait=False)
    first.may_end.set()
    assert begun.result(TIMEOUT) is not None
    assert waiting.result(TIMEOUT) == 7
    pool.shutdown()
    assert not any(thread.is_alive() for thread in pool._threads)


def test_shutdown_drops_nothing_that_waits_behind_a_slow_request(make_pool):
    pool = make_pool(slow=0.01, threads=1)
    slow = Held()
    pool.submit(slow)
    assert slow.begun.wait(TIMEOUT)
    waiting = pool.submit(int, "7")
    pool.shutdown(wait=False)
    until(lambda: pool._turn is None)  # the slow one has lost it, and there is no other thread
    slow.may_end.set()
    assert waiting.result(TIMEOUT) == 7


def test_nothing_can_be_submitted_after_shutdown(make_pool):
    pool = make_pool()
    pool.shutdown()
    with pytest.raises(RuntimeError, match="shut down"):
        pool.submit(int)


def test_shutdown_ends_the_watcher(make_pool):
    before = set(threading.enumerate())
    pool = make_pool(slow=0.01)
    pool.submit(int).result(TIMEOUT)
    pool.shutdown()
    until(lambda: set(threading.enumerate()) <= before)


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


def test_a_slow_request_holds_up_nobody_when_all_threads_were_busy(make_pool):
    """One thread is slow, the other stands aside, so nobody has the turn when a request comes."""
    pool, first, slow, second = make_pool(slow=0.005, threads=2), Held(), Held(), Held()

    def stand_aside():
        with turns.aside():
            second()
        slow()

    pool.submit(first)
    assert first.begun.wait(TIMEOUT)
    aside = pool.submit(stand_aside)
    assert second.begun.wait(TIMEOUT)
    until(lambda: not pool._is_crowded.is_set())
    waiting = pool.submit(int, "7")
    second.may_end.set()
    assert slow.begun.wait(TIMEOUT)
    first.may_end.set()
    assert waiting.result(TIMEOUT) == 7
    assert not aside.done()
    slow.may_end.set()


def test_a_slow_request_holds_up_nobody_at_the_end(make_pool):
    pool, aside, slow = make_pool(slow=0.005), Held(), Held()

    def stand_aside():
        with turns.aside():
            aside()
        return "back"

    returns = pool.submit(stand_aside)
    assert aside.begun.wait(TIMEOUT)
    held = pool.submit(slow)
    assert slow.begun.wait(TIMEOUT)
    pool.shutdown(wait=False)
    until(pool._is_crowded.is_set)
    time.sleep(0.05)  # ten turns; nothing shows that the watcher has looked
    aside.may_end.set()
    assert returns.result(TIMEOUT) == "back"
    assert not held.done()
    slow.may_end.set()


def test_a_request_waits_when_no_thread_can_be_started(make_pool, monkeypatch):
    pool = make_pool()
    first = Held()
    pool.submit(first)
    assert first.begun.wait(TIMEOUT)

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        pool._turn = None  # as if the first were slow
        waiting = pool.submit(int, "7")
    first.may_end.set()
    assert waiting.result(TIMEOUT) == 7


def test_who_submits_hears_when_not_even_one_thread_can_be_started(make_pool, monkeypatch):
    pool, done = make_pool(), []
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="no thread"):
            pool.submit(done.append, "refused")
    pool.submit(done.append, "taken").result(TIMEOUT)
    assert done == ["taken"]


def refuse(_thread):
    raise RuntimeError("can't start new thread")


def test_gunicorn_answers_requests_in_such_a_pool():
    worker = object.__new__(gunicorn.Worker)
    worker.cfg = type("Settings", (), {"threads": 3})
    pool = worker.get_thread_pool()
    assert isinstance(pool, turns.Pool)
    assert pool._max_threads == 3
    pool.shutdown()


@pytest.mark.parametrize("work", [crypto.hash_password, lambda p: crypto.password_matches(p, None)])
def test_others_go_on_while_a_password_is_hashed(work, make_pool, monkeypatch):
    is_hashing, others_are_done = threading.Event(), threading.Event()

    class Slow:
        def hash(self, *_):
            is_hashing.set()
            assert others_are_done.wait(TIMEOUT)

        verify = hash

    monkeypatch.setattr(crypto, "hasher", Slow())
    monkeypatch.setattr(crypto, "_dummy_hash", lambda _: "x")
    pool = make_pool()
    hashed = pool.submit(work, PASSWORD)
    assert is_hashing.wait(TIMEOUT)
    pool.submit(others_are_done.set)
    hashed.result(TIMEOUT)


@postgres_only
def test_others_go_on_while_postgres_answers(app, make_pool):
    with app.app_context():
        url = db.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)

    def wait_for_lock():
        with app.app_context():
            start()  # as in a request
            db.session.execute(db.text("SELECT pg_advisory_lock(20)"))
            db.session.execute(db.text("SELECT pg_advisory_unlock(20)"))

    pool = make_pool()
    with psycopg.connect(url, autocommit=True) as blocker:
        blocker.execute("SELECT pg_advisory_lock(20)")
        waiting = pool.submit(wait_for_lock)
        pool.submit(lambda: blocker.execute("SELECT pg_advisory_unlock(20)")).result(TIMEOUT)
        waiting.result(TIMEOUT)
