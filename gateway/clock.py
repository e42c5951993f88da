"""The only place that asks the system for the time.

Call it through the module, ``clock.now()``, so that a test can replace it everywhere at once.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

# How far the clocks of two nodes may differ, and so how much longer than its term anything lives.
LEEWAY = timedelta(seconds=10)


def now() -> datetime:
    """Return the present moment, aware, in UTC."""
    return datetime.now(timezone.utc)
