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


def judge(name: str, what: str, fix: str, *, is_bad: bool) -> Finding:
    """Return a warning with its fix, or that all is well."""
    return Finding(WARNING, name, what, fix) if is_bad else Finding(OK, name, what)
