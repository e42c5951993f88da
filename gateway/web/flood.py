"""Keep a flood of refusals out of the log: one line for each client and second, with a count."""

from __future__ import annotations

import threading
from collections.abc import Hashable
from dataclasses import dataclass
from time import monotonic

SECONDS = 1.0  # between two lines of the same kind
MAX_KINDS = 100  # that are told apart at a time, so that many clients do not fill the log either


@dataclass
class _Kind:
    """Lines that differ only in their request: when the last was written, how many were not."""

    written: float
    line: str
    left_out: int = 0


class Flood:
    """Decides which lines are written; each worker process has one."""

    def __init__(self) -> None:
        self._kinds: dict[Hashable, _Kind] = {}
        self._next_look = 0.0
        self._lock = threading.Lock()

    def count(self, key: Hashable, line: str) -> int | None:
        """Count a line; return how many like it were left out before, None to leave it out, too.

        :param key: the same for lines that may stand for each other.
        :param line: what ``overdue`` returns if no such line comes any more.
        """
        now = monotonic()
        with self._lock:
            kind = self._kinds.get(key)
            if kind is None and len(self._kinds) >= MAX_KINDS:
                key, line = "others", "refusals of other clients"
                kind = self._kinds.get(key)
            if kind is None:
                self._kinds[key] = _Kind(now, line)
                return 0
            if now - kind.written < SECONDS:
                kind.left_out += 1
                return None
            left_out, kind.left_out, kind.written = kind.left_out, 0, now
            return left_out

    def overdue(self) -> list[tuple[str, int]]:
        """Return the lines whose flood has ended, with the number of those that were left out."""
        now = monotonic()
        if not self._kinds or now < self._next_look:
            return []
        with self._lock:
            self._next_look = now + SECONDS
            ended = {k: v for k, v in self._kinds.items() if now - v.written >= 2 * SECONDS}
            for key in ended:
                del self._kinds[key]
        return [(kind.line, kind.left_out) for kind in ended.values() if kind.left_out]
