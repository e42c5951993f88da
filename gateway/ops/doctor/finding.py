"""What a check of doctor returns."""

from __future__ import annotations

from dataclasses import dataclass

OK, WARNING, FAULT = "ok", "warning", "FAULT"


@dataclass(frozen=True)
class Finding:
    """One checked part: its name, what was seen, and the fix when the state is not ``OK``."""

    state: str
    name: str
    what: str
    fix: str = ""
