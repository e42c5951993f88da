"""A clock that a test moves."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone


class MovingClock:
    """Shows the system's time, and runs on with it, until a test moves or stops it.

    ``offset`` is the difference to the system's time, or to the moment of ``freeze``.
    """

    def __init__(self) -> None:
        self.offset = timedelta()
        self.frozen: datetime | None = None

    def now(self) -> datetime:
        """Return the moment that the service takes for the present one, in UTC."""
        return (self.frozen or datetime.now(timezone.utc)) + self.offset

    def advance(self, **time: float) -> None:
        """Move the clock: ``advance(hours=1)``. It takes what ``timedelta`` takes."""
        self.offset += timedelta(**time)

    def freeze(self, *date: int) -> None:
        """Stop the clock at a moment in UTC: ``freeze(2026, 1, 31, 23, 59)``.

        After that, only ``advance`` moves it.
        """
        self.frozen, self.offset = datetime(*date, tzinfo=timezone.utc), timedelta()  # type: ignore[arg-type, misc]
