"""One kind of database for most tests of accounts, and a limit that is reached sooner."""

import pytest

from gateway.auth import limits


@pytest.fixture
def database_uri(request):
    """SQLite; the mark ``on_both`` adds Postgres where locks or SQL decide."""
    return request.getfixturevalue(f"{getattr(request, 'param', 'sqlite')}_uri")


@pytest.fixture
def ten_a_day(monkeypatch):
    """Ten wrong passwords a day lock an account; test_limits counts the hundred of the service."""
    monkeypatch.setitem(limits.LIMITS, "login-day", limits.Limit(10, limits.DAY, "log in"))
