"""Give unused memory back to the system, because the hash of a password takes 19 MiB for a moment.

glibc would keep it. To give it back after each hash would cost a login a quarter more CPU. With
another C library than glibc, nothing here does anything. Under many logins the peak is twice 19 MiB
above what a worker takes at rest.
"""

from __future__ import annotations

import ctypes
import time

PERIOD = 2.0  # seconds
_ARENA_MAX = -8  # M_ARENA_MAX in glibc's malloc.h


class Heap:
    """The one heap of a process. Make it before there are threads.

    glibc would give each thread a heap of its own, and could not give back the end of any.
    """

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None)
        self._next_time = 0.0
        if hasattr(self._libc, "mallopt"):
            self._libc.mallopt(_ARENA_MAX, 1)

    def give_back(self) -> None:
        """Give unused memory back; do so once in PERIOD, however often this is called."""
        now = time.monotonic()
        if now >= self._next_time and hasattr(self._libc, "malloc_trim"):
            self._next_time = now + PERIOD
            self._libc.malloc_trim(0)
