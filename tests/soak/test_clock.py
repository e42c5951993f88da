"""A clock that is changed, or that differs between two nodes: nothing is valid for too long.

Codes, tokens and counts are valid while the clock shows a time in their term, with a leeway of ten
seconds. They are invalid while they seem to come from the future, after the clock was set back.
"""

from __future__ import annotations

from datetime import timedelta
from itertools import count

import pytest
from support.helpers import PASSWORD, code_of

HOUR = 3600
# {change of the clock in seconds: {seconds after it: whether the thing is still valid}}
CODES = {
    -HOUR: {0: 0, 611: 0, HOUR - 11: 0, HOUR - 10: 1, HOUR + 599: 1, HOUR + 600: 0},
    -2: {0: 1, 601: 1, 602: 0},
    2: {0: 1, 597: 1, 598: 0},
    HOUR: {0: 0, 600: 0},
}
MAIL_MINUTE = {
    -HOUR: {0: 0, 70: 0, HOUR - 11: 0, HOUR - 10: 1, HOUR + 59: 1, HOUR + 60: 0},
    -2: {0: 1, 61: 1, 62: 0},
    2: {0: 1, 57: 1, 58: 0},
    HOUR: {0: 0},
}
LOGINS = {
    -HOUR: {0: 0, 911: 0, HOUR - 11: 0, HOUR - 10: 1, HOUR + 899: 1, HOUR + 900: 0},
    -2: {0: 1, 901: 1, 902: 0},
    2: {0: 1, 897: 1, 898: 0},
    HOUR: {0: 0},
}
TOKENS = {
    -HOUR: {0: 0, HOUR - 11: 0, HOUR - 10: 1, 13 * HOUR + 9: 1, 13 * HOUR + 10: 0},
    -2: {0: 1, 12 * HOUR + 11: 1, 12 * HOUR + 12: 0},
    2: {0: 1, 12 * HOUR + 7: 1, 12 * HOUR + 8: 0},
    HOUR: {0: 1, 11 * HOUR + 9: 1, 11 * HOUR + 10: 0},
}


@pytest.fixture(
    params=[
        ("Asia/Shanghai", 2026, 11, 22, 15, 59, 59),  # a second before midnight
        ("America/New_York", 2026, 3, 8, 6, 59, 59),  # a second before summer time
    ],
    ids=lambda moment: moment[0],
)
def app(make_app, clock, request):
    zone, *moment = request.param
    clock.freeze(*moment)
    return make_app(TIMEZONE=zone, TRUSTED_PROXIES=1)


@pytest.fixture
def compare(clock, tally, request):
    """Return a function that issues a thing, changes the clock and checks each row of a table."""
    title = request.node.originalname.removeprefix("test_").replace("_", " ")

    def run(table, issue, counts):
        start, wrong = clock.offset, []
        for step, moments in table.items():
            for after, expected in moments.items():
                clock.offset = start
                issued = issue(f"u{step}.{after}")
                clock.offset = start + timedelta(seconds=step + after)
                if counts(issued) != bool(expected):
                    wrong.append((step, after))
        tally("clock set by 2 s or 1 h", title, sum(map(len, table.values())), wrong)

    return run


def test_lifetime_of_codes(api, relay, compare):
    def issue(name):
        body = {"user_name": name, "email": f"{name}@126.com"}
        assert code_of(api("/auth-code", body)) == 0
        return {**body, "password": PASSWORD, "reg_code": relay.code()}

    compare(CODES, issue, lambda body: code_of(api("/register", body)) == 0)


def test_minute_between_mails(api, compare):
    def issue(name):
        body = {"user_name": name, "email": f"{name}@126.com"}
        assert code_of(api("/auth-code", body)) == 0
        return body

    compare(MAIL_MINUTE, issue, lambda body: code_of(api("/auth-code", body)) == 429)


def test_throttle_of_logins(app, person, compare):
    stranger = app.test_client(use_cookies=False)  # a device cookie has counts of its own

    def login(address):
        body = {"user_name": "lory", "password": "a wrong password"}
        headers = {"X-Forwarded-For": address}
        return code_of(stranger.post("/api/v1/login", json=body, headers=headers))

    def issue(_name):
        address = f"2001:db8:{next(number)}::1"
        assert [login(address) for _ in range(5)] == [1002] * 5
        return address

    number = count()
    compare(LOGINS, issue, lambda address: login(address) == 429)


def test_lifetime_of_tokens(api, person, compare):
    def issue(_name):
        return api("/login", {"user_name": "lory", "password": PASSWORD}).json["data"]["auth_token"]

    def counts(token):
        return code_of(api("/project/list", headers={"Authorization": token})) == 0

    compare(TOKENS, issue, counts)


@pytest.mark.parametrize("step", [-HOUR, -2, 2, HOUR])
def test_revoked_token_stays_revoked(person, clock, command, step):
    clock.advance(hours=11, minutes=30)
    assert code_of(person.post("/platform/logout")) == 0
    clock.advance(seconds=step)
    assert command("purge").exit_code == 0
    clock.advance(seconds=-step)
    assert code_of(person.post("/project/list")) == 1001
