"""Answer requests in threads that take turns, because changes between threads cost CPU.

Python's global interpreter lock (GIL) lets one thread run at a time. A thread releases it at each
row that SQLite reads, and whenever it sends or receives. When others wait for the GIL, each time is
a change of threads: with 8 requests at once, two fifths of the CPU of a list, a fifth of verify's.
So a worker runs the Python code of one request at a time: ``_turn`` is a lock that a thread holds
while it answers one request after the other. It releases the lock while it waits for something
slow: ``with turns.aside()``.

No request holds up the others. When a turn takes longer than SLOW, because a body or a relay is
slow, another thread gets the turn, and the slow request goes on without it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent import futures
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

SLOW = 0.005  # seconds; a slow turn passes to another thread after one to two times as many

_own = threading.local()  # .place: the pool and the ticket of a thread that does a job


class Pool:
    """Threads of which one has the turn. It has what gunicorn calls of an Executor.

    :param threads: how many there may be, and so how many slow requests at once.
    :param slow: seconds, as SLOW.
    """

    def __init__(self, threads: int, slow: float = SLOW) -> None:
        self._slow = slow
        self._startable = threads  # how many more threads may be started
        self._guard = threading.Lock()  # of all that follows
        self._jobs: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._unfinished: set[Future[Any]] = set()
        # Each thread waits on its own lock, its ticket; releasing that lock wakes the thread.
        self._returning: deque[threading.Lock] = deque()
        self._turn: threading.Lock | None = None
        self._began = 0.0  # the turn
        self._ended = False
        self._is_crowded = threading.Event()
        # The last one worked last; its memory is in caches.
        self._idle: list[threading.Lock] = [self._start_thread()]
        threading.Thread(target=self._watch, name="turns", daemon=True).start()

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call a function in one of the threads, after those that were submitted before.

        :raises RuntimeError: when the pool has been shut down.
        """
        future: Future[Any] = Future()
        with self._guard:
            if self._ended:
                raise RuntimeError("the pool has been shut down")
            self._unfinished.add(future)
            self._jobs.append((future, partial(function, *args, **kwargs)))
            self._ask_for_turn()
        future.add_done_callback(self._unfinished.discard)
        return future

    def shutdown(self, wait: bool = True) -> None:
        """Take no more jobs.

        Whoever makes a pool must call this, or the end of the process ends the requests.

        :param wait: return when all that was submitted is done. Then the threads only wait, and end
            with the process.
        """
        with self._guard:
            self._ended = True
        if wait:
            futures.wait(list(self._unfinished))

    def leave(self, ticket: threading.Lock) -> None:
        """Pass the turn on, if the thread of this ticket still has it."""
        with self._guard:
            if self._turn is ticket:
                self._pass_on()

    def come_back(self, ticket: threading.Lock) -> None:
        """Wait for the turn, before every request that has not begun."""
        with self._guard:
            self._returning.append(ticket)
            self._ask_for_turn()
        ticket.acquire()

    def _ask_for_turn(self) -> None:
        if self._turn is not None or not self._pass_on():
            self._is_crowded.set()

    def _pass_on(self) -> bool:
        """Give the turn to a thread that comes back, or to one for the next job; tell whether."""
        self._turn, self._began = None, time.monotonic()
        if self._returning:
            self._turn = self._returning.popleft()
        elif self._jobs and self._idle:
            self._turn = self._idle.pop()
        elif self._jobs and self._startable:
            with suppress(RuntimeError):  # none can be started now; one that ends takes the job
                self._turn = self._start_thread()
        if self._turn is None:
            return False
        self._turn.release()
        return True

    def _start_thread(self) -> threading.Lock:
        ticket = threading.Lock()
        ticket.acquire()
        threading.Thread(target=self._work, args=(ticket,), name="request", daemon=True).start()
        self._startable -= 1
        return ticket

    def _work(self, ticket: threading.Lock) -> None:
        while True:
            ticket.acquire()
            while job := self._next_job(ticket):
                _own.place = self, ticket
                _run(*job)
                _own.place = None
            with self._guard:
                self._idle.append(ticket)
                if self._turn is ticket or self._turn is None:
                    self._pass_on()

    def _next_job(self, ticket: threading.Lock) -> tuple[Future[Any], Callable[[], Any]] | None:
        """Return the job that a thread may go on with, if it still has the turn."""
        with self._guard:
            if self._turn is not ticket or self._returning or not self._jobs:
                return None
            self._began = time.monotonic()
            return self._jobs.popleft()

    def _watch(self) -> None:
        """Pass slow turns on, while others wait."""
        while self._is_crowded.wait():
            time.sleep(self._slow)
            with self._guard:
                if self._jobs or self._returning:
                    if time.monotonic() - self._began >= self._slow:
                        self._pass_on()
                else:
                    self._is_crowded.clear()


def _run(future: Future[Any], function: Callable[[], Any]) -> None:
    try:
        future.set_result(function())
    except BaseException as error:  # noqa: BLE001 - who asks for the result gets it
        future.set_exception(error)


@contextmanager
def aside() -> Iterator[None]:
    """Let another thread have the turn while this one waits; then wait for the turn.

    It does nothing in a thread that takes no turns, such as a command's.
    """
    place: tuple[Pool, threading.Lock] | None = getattr(_own, "place", None)
    if place is None:
        yield
        return
    pool, ticket = place
    _own.place = None
    pool.leave(ticket)
    try:
        yield
    finally:
        pool.come_back(ticket)
        _own.place = place
