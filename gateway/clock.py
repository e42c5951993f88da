"""The time that rules depend on.

Call it as ``clock.now()``, so that a test can replace it everywhere at once.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

# The clocks of two nodes may differ by this much. Whatever has a term lives this much longer.
LEEWAY = timedelta(seconds=10)


def now() -> datetime:
    """Return the present moment in UTC, with its time zone."""
    return datetime.now(timezone.utc)
